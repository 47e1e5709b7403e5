//! One request for the network: sent to one box after the other until one has answered.
//!
//! Rules: another box is tried only while no token has come; a receipt is held against what was
//! asked and what came before it is paid; a lane whose box was lost is resumed before it is used
//! again; a box that signs a wrong receipt loses the lane.
//! Never here: text, HTTP, callers' budgets.

use crate::{
    boxes::{BoxHandle, SentTask, TaskMessage},
    caps::Caps,
    config::KnownModel,
    error::{ApiError, Code},
    funds::{Funds, FundsError},
    lanes::{LaneError, Lanes, Lease},
    late::wind_down,
    now,
    router::Router,
};
use client::{
    follow::Follower,
    lanes::Times,
    wire::{self, RefusalCode, Task},
};
use crypto::{AccountId, ChainId, OperatorId, PublicKey, Salt, SecretKey, Signed};
use ledger::payments::schema::{AuditMode, Receipt, Request, RequestBody, Sampling, Tier, fee};
use model::Output;
use std::{ops::ControlFlow, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use units::{Credit, List, Millis, Price};

/// From a request's arrival at a box to its last token.
pub(crate) const DEADLINE: Millis = Millis::new(300_000);
/// How long a box may take to its first sign; then another is tried.
const FIRST_TOKEN: Duration = Duration::from_secs(60);
/// How long after the deadline a box is given up.
const OVERDUE: Duration = Duration::from_secs(5);
/// Boxes tried for one request.
const MAX_ATTEMPTS: usize = 4;

/// What is asked of the network.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) model: Arc<KnownModel>,
    pub(crate) ids: Vec<u32>,
    pub(crate) salt: Salt,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    /// Zero for an embedding.
    pub(crate) max_tokens: u32,
    /// Who may see it if its receipt is drawn.
    pub(crate) audit_mode: AuditMode,
}

/// What the network gave, signed on both sides.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) request: Signed<Request>,
    pub(crate) receipt: Signed<Receipt>,
    pub(crate) box_key: PublicKey,
    pub(crate) output: Output,
}

/// Takes tokens as they come; breaks off when no more are wanted.
pub(crate) type OnTokens<'a> = &'a mut (dyn FnMut(&[u32]) -> ControlFlow<()> + Send);

/// Runs requests.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) chain: ChainId,
    pub(crate) account: AccountId,
    pub(crate) session_key: SecretKey,
    pub(crate) follower: Follower,
    pub(crate) router: Arc<Router>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) funds: Arc<Funds>,
    pub(crate) caps: Arc<Caps>,
}

/// Why an attempt has no result.
enum Failed {
    /// Another box may do better.
    Next(ApiError),
    /// The box does not take such work at present, which it has said at once.
    NotThere(ApiError),
    /// No box will, or the answer has begun.
    Final(ApiError),
}

/// An order that a box has.
struct Order<'a> {
    work: &'a Work,
    handle: Arc<BoxHandle>,
    lease: Lease,
    request: Signed<Request>,
    sent: SentTask,
    t_sent: Millis,
    t_first: Millis,
    tokens: Vec<u32>,
    cancelled: bool,
}

impl Runner {
    /// The most a request can cost, at the dearest ask.
    pub(crate) fn most(&self, work: &Work) -> Result<Credit, ApiError> {
        let asking = self.router.asking(&work.model.id);
        let prices = asking.iter().filter_map(|handle| handle.asks.get(&work.model.id));
        let price = prices.max().copied().ok_or_else(|| nobody(&work.model))?;
        most(work, price)
    }

    /// Runs a request. `cancel` turning true stops it within a token.
    pub(crate) async fn run(
        &self,
        work: &Work,
        cancel: watch::Receiver<bool>,
        on_tokens: OnTokens<'_>,
    ) -> Result<Ran, ApiError> {
        let candidates = self.candidates(work);
        self.run_at(work, candidates, cancel, on_tokens).await
    }

    /// The same at another operator than `other`.
    pub(crate) async fn run_elsewhere(
        &self,
        work: &Work,
        other: OperatorId,
        cancel: watch::Receiver<bool>,
        on_tokens: OnTokens<'_>,
    ) -> Result<Ran, ApiError> {
        let mut candidates = self.candidates(work);
        candidates.retain(|handle| handle.operator != other);
        self.run_at(work, candidates, cancel, on_tokens).await
    }

    /// Boxes in the order in which they are tried: those whose value cap leaves room for the work.
    fn candidates(&self, work: &Work) -> Vec<Arc<BoxHandle>> {
        let mut found = self.router.candidates(&work.model.id);
        found.retain(|handle| {
            let price = handle.asks.get(&work.model.id).copied();
            let most = price.and_then(|price| most(work, price).ok());
            most.is_some_and(|most| self.caps.admits(handle.operator, most))
        });
        found
    }

    async fn run_at(
        &self,
        work: &Work,
        candidates: Vec<Arc<BoxHandle>>,
        mut cancel: watch::Receiver<bool>,
        on_tokens: OnTokens<'_>,
    ) -> Result<Ran, ApiError> {
        let mut failed = nobody(&work.model);
        let mut attempts = 0;
        for handle in candidates {
            if *cancel.borrow() || attempts >= MAX_ATTEMPTS {
                break;
            }
            let operator = handle.operator;
            match self.attempt(work, handle, &mut cancel, on_tokens).await {
                Ok(ran) => return Ok(ran),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Next(error)) => {
                    tracing::info!(%operator, reason = error.message, "another box is tried");
                    attempts += 1;
                    failed = error;
                }
                Err(Failed::NotThere(error)) => {
                    tracing::debug!(%operator, reason = error.message, "another box is asked");
                    failed = error;
                }
            }
        }
        Err(failed)
    }

    async fn attempt(
        &self,
        work: &Work,
        handle: Arc<BoxHandle>,
        cancel: &mut watch::Receiver<bool>,
        on_tokens: OnTokens<'_>,
    ) -> Result<Ran, Failed> {
        let order = self.order(work, handle).await?;
        self.follow(order, cancel, on_tokens).await
    }

    /// Signs the request, pays for what came before it, and sends both.
    async fn order<'a>(&self, work: &'a Work, handle: Arc<BoxHandle>) -> Result<Order<'a>, Failed> {
        let price = handle.asks.get(&work.model.id).copied();
        let price = price.ok_or_else(|| Failed::Next(nobody(&work.model)))?;
        let most = most(work, price).map_err(Failed::Final)?;
        let mut lease = self.lanes.lease(&handle).await.map_err(no_lane)?;
        lease.set_aside(most);
        let allocation = match self.funds.allocation(handle.operator).await {
            Ok(allocation) => allocation,
            Err(error) => {
                lease.give_back();
                return Err(no_funds(&error));
            }
        };
        let sequence = lease.payer().next_sequence();
        let request = self.request(work, &lease, price, sequence).sign(&self.session_key);
        let voucher = lease.order(&request.message, most, allocation).await;
        let voucher = voucher.map_err(|error| Failed::Final(ApiError::internal(error)))?;
        let ids = List::new(work.ids.clone());
        let ids = ids.map_err(|error| Failed::Final(ApiError::internal(error)))?;
        let task = Task { task: 0, request: request.clone(), ids, salt: work.salt, voucher };
        let t_sent = now();
        let Some(sent) = handle.send_task(task).await else {
            lease.distrust();
            lease.give_back();
            return Err(Failed::Next(lost_early()));
        };
        Ok(Order {
            work,
            handle,
            lease,
            request,
            sent,
            t_sent,
            t_first: Millis::ZERO,
            tokens: Vec::new(),
            cancelled: false,
        })
    }

    fn request(&self, work: &Work, lease: &Lease, price: Price, sequence: u64) -> Request {
        let lane = lease.id();
        let body = RequestBody {
            chain: self.chain,
            model: work.model.id,
            semantics: work.model.manifest.semantics,
            input_commit: model::commit::input_commit(&work.salt, &work.ids),
            sampling: work.sampling,
            seed: work.seed,
            max_tokens: work.max_tokens,
            stop: List::empty(),
        };
        Request {
            body,
            payer: self.account,
            session_key: self.session_key.public(),
            operator: lane.operator,
            lane: lane.index,
            sequence,
            price,
            deadline: DEADLINE,
            tier: Tier::Audit,
            audit_mode: work.audit_mode,
            freshness: self.follower.seen().round,
        }
    }

    /// Takes what the box says until the task has ended.
    async fn follow(
        &self,
        mut order: Order<'_>,
        cancel: &mut watch::Receiver<bool>,
        on_tokens: OnTokens<'_>,
    ) -> Result<Ran, Failed> {
        let started = Instant::now();
        let overdue = started + Duration::from_millis(DEADLINE.get()) + OVERDUE;
        loop {
            let limit = if order.tokens.is_empty() { started + FIRST_TOKEN } else { overdue };
            let message = tokio::select! {
                message = order.sent.next() => message,
                changed = cancel.changed(), if !order.cancelled => {
                    // Nobody can cancel any more once the sender is gone.
                    if changed.is_err() || *cancel.borrow() {
                        order.cancel().await;
                    }
                    continue;
                }
                () = sleep_until(limit) => return Err(order.give_up().await),
            };
            match message {
                Some(TaskMessage::Tokens(ids)) => {
                    order.note_first();
                    order.tokens.extend_from_slice(&ids);
                    if on_tokens(&ids).is_break() && !order.cancelled {
                        order.cancel().await;
                    }
                }
                Some(TaskMessage::Done(done)) => {
                    order.note_first();
                    return order.done(done.0, done.1, on_tokens);
                }
                Some(TaskMessage::Refused(refusal)) => return Err(order.refused(&refusal)),
                None => return Err(order.box_lost()),
            }
        }
    }
}

impl Order<'_> {
    async fn cancel(&mut self) {
        self.cancelled = true;
        self.sent.cancel().await;
    }

    fn note_first(&mut self) {
        if self.t_first.is_zero() {
            self.t_first = now();
        }
    }

    /// Whether the caller has seen something, so that no other box can take over.
    fn begun(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The end of the answer: checked, accepted, paid a second later.
    fn done(
        mut self,
        receipt: Signed<Receipt>,
        rest: wire::Output,
        on_tokens: OnTokens<'_>,
    ) -> Result<Ran, Failed> {
        let begun = self.begun();
        let seen = self.tokens.len();
        let output = match rest {
            wire::Output::Row(row) => Output::Row(row.into_vec()),
            wire::Output::Tokens(ids) => {
                self.tokens.extend_from_slice(&ids);
                Output::Tokens(std::mem::take(&mut self.tokens))
            }
        };
        let times = Times { sent: self.t_sent, first: self.t_first, done: now() };
        let holds = check(self.work, &self.handle, &self.request.message, &receipt, &output)
            .map_err(str::to_owned)
            .and_then(|()| {
                let key = &self.handle.box_key;
                let accepted = self.lease.payer().accept(&receipt, key, times);
                accepted.map_err(|error| error.to_string())
            });
        if let Err(reason) = holds {
            // The lane is not given back: its two ends will never agree.
            tracing::error!(operator = %self.handle.operator, reason, "a wrong receipt");
            return Err(if begun { Failed::Final(lost()) } else { Failed::Next(lost_early()) });
        }
        if let Output::Tokens(all) = &output {
            // Nothing is left to cancel.
            let _ = on_tokens(all.get(seen..).unwrap_or_default());
        }
        self.lease.keep(&self.request, &receipt);
        self.lease.give_back();
        let box_key = self.handle.box_key;
        Ok(Ran { request: self.request, receipt, box_key, output })
    }

    /// The box has refused: the lane is free, another box may be tried.
    fn refused(mut self, refusal: &wire::Refusal) -> Failed {
        self.lease.payer().withdraw();
        if matches!(refusal.code, RefusalCode::Lane | RefusalCode::Voucher) {
            self.lease.distrust();
        }
        let begun = self.begun();
        self.lease.give_back();
        let message = format!("the operator refused: {refusal}");
        match refusal.code {
            _ if begun => Failed::Final(lost()),
            RefusalCode::Cancelled => Failed::Final(cancelled()),
            RefusalCode::Request => {
                Failed::Final(ApiError::new(Code::InvalidValue, message, "change the request"))
            }
            RefusalCode::Deadline => {
                Failed::Next(ApiError::new(Code::OperatorTimeout, message, "retry"))
            }
            RefusalCode::AuditMode | RefusalCode::ValueCap => {
                Failed::NotThere(ApiError::new(Code::Overloaded, message, "retry in a second"))
            }
            _ => Failed::Next(ApiError::new(Code::Overloaded, message, "retry in a second")),
        }
    }

    /// The link has broken. What became of the task is found out when the lane is resumed.
    fn box_lost(mut self) -> Failed {
        let begun = self.begun();
        self.lease.distrust();
        self.lease.give_back();
        if begun { Failed::Final(lost()) } else { Failed::Next(lost_early()) }
    }

    /// The box is too slow: it is told to stop, and its receipt, if one comes, is still paid.
    async fn give_up(mut self) -> Failed {
        let begun = self.begun();
        self.cancel().await;
        let times = Times { sent: self.t_sent, first: self.t_first, done: now() };
        let (lease, handle) = (self.lease, self.handle);
        let (request, mut sent) = (self.request, self.sent);
        tokio::spawn(async move { wind_down(lease, &handle, &request, &mut sent, times).await });
        let message = "the operator did not answer in time";
        let error = ApiError::new(Code::OperatorTimeout, message, "retry");
        if begun { Failed::Final(error) } else { Failed::Next(error) }
    }
}

/// Holds a receipt against what was asked and what came.
fn check(
    work: &Work,
    handle: &BoxHandle,
    request: &Request,
    receipt: &Signed<Receipt>,
    output: &Output,
) -> Result<(), &'static str> {
    let message = &receipt.message;
    let n_in = u32::try_from(work.ids.len()).unwrap_or(u32::MAX);
    let n_out = match output {
        Output::Row(row) if row.len() == work.model.facts.width as usize => 1,
        Output::Row(_) => return Err("the row has another width"),
        Output::Tokens(ids) => u32::try_from(ids.len()).unwrap_or(u32::MAX),
    };
    let embedding = work.max_tokens == 0;
    if embedding != matches!(output, Output::Row(_)) {
        return Err("the answer is of another kind");
    }
    if !embedding && n_out > work.max_tokens {
        return Err("more tokens than were asked for");
    }
    if message.key_epoch != handle.key_epoch || message.n_in != n_in || message.n_out != n_out {
        return Err("the receipt counts something else");
    }
    if message.output_commit != model::commit::output_commit(&work.salt, output) {
        return Err("the receipt commits to another output");
    }
    let work_units = model::work_units(&work.model.facts, n_in, n_out);
    if work_units != message.work_units {
        return Err("the receipt counts other work");
    }
    if fee(request.price, message.work_units).ok() != Some(message.fee) {
        return Err("the receipt charges another fee");
    }
    Ok(())
}

fn most(work: &Work, price: Price) -> Result<Credit, ApiError> {
    let n_in = u32::try_from(work.ids.len()).unwrap_or(u32::MAX);
    let work_units = model::work_units(&work.model.facts, n_in, work.max_tokens);
    fee(price, work_units).map_err(ApiError::internal)
}

fn no_lane(error: LaneError) -> Failed {
    match error {
        LaneError::Busy => {
            let message = "all lanes to the operator are in use";
            Failed::Next(ApiError::new(Code::Overloaded, message, "retry in a second"))
        }
        LaneError::BoxLost => Failed::Next(lost_early()),
        LaneError::Store(error) => Failed::Final(ApiError::internal(error)),
    }
}

fn no_funds(error: &FundsError) -> Failed {
    match error {
        FundsError::Deposit { .. } | FundsError::SessionEnded => {
            let hint = "who runs the gateway must deposit credits";
            Failed::Final(ApiError::new(Code::InsufficientCredits, error.to_string(), hint))
        }
        other => {
            tracing::warn!(error = %other, "no allocation");
            let message = "the gateway could not reach the chain to pay the operator";
            Failed::Next(ApiError::new(Code::Overloaded, message, "retry in a second"))
        }
    }
}

fn nobody(model: &KnownModel) -> ApiError {
    let message = format!("no operator serves {} right now", model.name);
    ApiError::new(Code::Overloaded, message, "retry in a second, or choose another model")
}

fn lost() -> ApiError {
    let message = "the operator was lost and the answer could not be completed";
    ApiError::new(Code::OperatorLost, message, "send the request again")
}

fn lost_early() -> ApiError {
    let message = "the operator was lost before it answered";
    ApiError::new(Code::Overloaded, message, "retry in a second")
}

fn cancelled() -> ApiError {
    ApiError::new(Code::Cancelled, "the request was cancelled before an answer began", "retry")
}
