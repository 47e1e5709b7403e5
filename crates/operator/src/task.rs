//! One task from its frame to its receipt.
//!
//! Rules: tokens leave as they come, as many at once as the gateway's pace allows, and never
//! hold up the engine; a task that is cancelled, or whose deadline passes after the first token,
//! ends within one token and is billed for what it gave; before the first token nothing is
//! billed. The last byte leaves after the receipt is on disk. Never here: who may ask.

use crate::{
    admission::{self, Fit},
    node::Node,
    records::{Answered, Opening},
    runner::{NoRun, NotQueued, Work},
};
use client::{
    lanes::Position,
    wire::{self, FromBox, MAX_TOKENS, Refusal, RefusalCode},
};
use crypto::{PublicKey, Signed};
use engine::Canceller;
use ledger::payments::{
    messages::fee,
    schema::{Finish, Receipt, Request},
};
use model::{Output, Run, commit};
use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot};
use units::List;

/// What runner and connection tell each other about one task. Bounded by the model's positions.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    cancelled: AtomicBool,
    /// Reaches into the run, once it has begun.
    canceller: OnceLock<Canceller>,
    tokens: Mutex<Vec<u32>>,
    first: OnceLock<Instant>,
    changed: Notify,
}

impl Progress {
    /// Asks for the end: within one token, or during the prompt.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(canceller) = self.canceller.get() {
            canceller.cancel();
        }
    }

    /// The run has begun; a cancel that came before reaches it too.
    pub(crate) fn begun(&self, canceller: Canceller) {
        let canceller = self.canceller.get_or_init(|| canceller);
        if self.is_cancelled() {
            canceller.cancel();
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    pub(crate) fn push(&self, token: u32) {
        self.first.get_or_init(Instant::now);
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        self.changed.notify_one();
    }

    /// Puts other tokens in the place of those that came.
    fn replace(&self, tokens: &[u32]) {
        tokens.clone_into(&mut self.tokens.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes what came since the last time.
    fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.tokens.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where a task came from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The gateway's link key.
    pub(crate) gateway: PublicKey,
    /// Back to it.
    pub(crate) sender: link::Sender,
    /// When the task arrived.
    pub(crate) received: Instant,
}

/// Serves one task; its gateway gets `Done` or `Refused`, unless it is gone.
pub(crate) async fn serve(
    node: &Node,
    origin: &Origin,
    task: wire::Task,
    progress: &Arc<Progress>,
) {
    let number = task.task;
    if let Err(refusal) = answer(node, origin, task, progress).await {
        tracing::debug!(task = number, %refusal, "a task was refused");
        send(origin, &FromBox::Refused { task: number, refusal }).await;
    }
}

async fn answer(
    node: &Node,
    origin: &Origin,
    task: wire::Task,
    progress: &Arc<Progress>,
) -> Result<(), Refusal> {
    let fit = admission::check(node, &task)?;
    let request = &task.request.message;
    let until = node.claimable_until();
    let lanes = &node.lanes;
    let position = lanes
        .admit(&task.voucher, request.sequence, fit.most, until, progress, origin.gateway)
        .await?;
    let ran = match invented(node, &task) {
        Some(run) => Ok(run),
        None => run(node, origin, &fit, &task, progress).await,
    };
    let ran = ran.map(|run| said(node, run, progress));
    let done = ran.and_then(|run| conclude(node, origin, &fit, &task, progress, position, run));
    let (receipt, run) = match done {
        Ok(done) => done,
        Err(refusal) => {
            lanes.abandon(request.lane_id()).await;
            return Err(refusal);
        }
    };
    if let Some(fault) = &node.fault {
        fault.signed(&receipt.message, &run);
    }
    let number = task.task;
    let rest = rest(origin, number, progress, &run.output).await;
    let (answered, opening) = record(origin, task, receipt, run);
    lanes.issue(&answered, &opening).await?;
    send(origin, &FromBox::Done { task: number, receipt: answered.receipt, rest }).await;
    Ok(())
}

/// Queues the task and passes its tokens on until it ends.
async fn run(
    node: &Node,
    origin: &Origin,
    fit: &Fit<'_>,
    task: &wire::Task,
    progress: &Arc<Progress>,
) -> Result<Run, Refusal> {
    let request = &task.request.message;
    let body = &request.body;
    let (done, mut finished) = oneshot::channel();
    let work = Work {
        ids: task.ids.as_ref().into(),
        sampling: admission::sampling(request),
        seed: body.seed,
        max_tokens: body.max_tokens,
        stop: body.stop.to_vec(),
        deadline: origin.received + Duration::from_millis(request.deadline.get()),
        progress: Arc::clone(progress),
        done,
    };
    fit.served.runner.submit(work).map_err(|error| {
        let code = match error {
            NotQueued::Full => RefusalCode::Busy,
            NotQueued::Closed => RefusalCode::Stopping,
        };
        Refusal::new(code, error)
    })?;
    let mut gateway_is_there = true;
    let run = loop {
        tokio::select! {
            run = &mut finished => break run,
            // A box that says something else than it computes cannot say it at once.
            () = progress.changed.notified(), if node.fault.is_none() => {
                pass_on(origin, task.task, progress).await;
            }
            () = origin.sender.closed(), if gateway_is_there => {
                gateway_is_there = false;
                progress.cancel();
            }
        }
    };
    let run = run.unwrap_or_else(|_| Err(NoRun::Broken("its thread is gone".into())));
    let run = run.map_err(|error| not_run(node, &error))?;
    let late = origin.received.elapsed() > Duration::from_millis(request.deadline.get());
    if late && matches!(run.output, Output::Row(_)) {
        // A row has no part that came in time.
        return Err(not_run(node, &NoRun::Late));
    }
    Ok(run)
}

/// The answer of a box whose fault is to run nothing.
fn invented(node: &Node, task: &wire::Task) -> Option<Run> {
    let max_tokens = task.request.message.body.max_tokens;
    node.fault.as_ref()?.invented(&task.ids, max_tokens)
}

/// What the box says it has computed.
fn said(node: &Node, run: Run, progress: &Progress) -> Run {
    let Some(fault) = &node.fault else { return run };
    let run = fault.altered(run);
    if let Output::Tokens(tokens) = &run.output {
        progress.replace(tokens);
    }
    run
}

fn not_run(node: &Node, error: &NoRun) -> Refusal {
    let code = match error {
        NoRun::Cancelled if node.is_stopping() => RefusalCode::Stopping,
        NoRun::Cancelled => RefusalCode::Cancelled,
        NoRun::Late => RefusalCode::Deadline,
        NoRun::Broken(_) => RefusalCode::Internal,
    };
    Refusal::new(code, error)
}

/// Sends what has come so far.
async fn pass_on(origin: &Origin, task: u64, progress: &Progress) {
    for ids in progress.take().chunks(MAX_TOKENS) {
        let ids = List::new(ids.to_vec()).unwrap_or_default();
        send(origin, &FromBox::Tokens { task, ids }).await;
    }
}

/// Sends what has come so far but the last piece, which goes with the receipt.
async fn rest(origin: &Origin, task: u64, progress: &Progress, output: &Output) -> wire::Output {
    match output {
        Output::Row(row) => wire::Output::Row(List::new(row.clone()).unwrap_or_default()),
        Output::Tokens(_) => {
            let ids = progress.take();
            let (before, last) = ids.split_at(ids.len().saturating_sub(MAX_TOKENS));
            for ids in before.chunks(MAX_TOKENS) {
                let ids = List::new(ids.to_vec()).unwrap_or_default();
                send(origin, &FromBox::Tokens { task, ids }).await;
            }
            wire::Output::Tokens(List::new(last.to_vec()).unwrap_or_default())
        }
    }
}

/// The signed receipt of a run.
fn conclude(
    node: &Node,
    origin: &Origin,
    fit: &Fit<'_>,
    task: &wire::Task,
    progress: &Progress,
    position: Position,
    run: Run,
) -> Result<(Signed<Receipt>, Run), Refusal> {
    let request: &Request = &task.request.message;
    let facts = fit.served.engine.model().facts();
    let work = model::work_units(facts, run.n_in, run.n_out);
    let fee = fee(request.price, work)
        .map_err(|_| Refusal::new(RefusalCode::Internal, "the fee does not fit"))?;
    let done = Instant::now();
    let first = progress.first.get().copied().unwrap_or(done);
    let receipt = Receipt {
        operator: node.operator,
        key_epoch: node.key_epoch,
        request: request.hash(),
        output_commit: commit::output_commit(&task.salt, &run.output),
        trace_commit: commit::trace_commit(&run.trace_root, &task.salt),
        n_in: run.n_in,
        n_out: run.n_out,
        finish: match run.finish {
            model::Finish::Stop => Finish::Stop,
            model::Finish::Length => Finish::Length,
            model::Finish::Cancelled => Finish::Cancelled,
        },
        work_units: work,
        fee,
        sequence: request.sequence,
        previous: position.receipt,
        t_received: node.millis(origin.received),
        t_first: node.millis(first),
        t_done: node.millis(done),
    };
    Ok((receipt.sign(&node.key), run))
}

fn record(
    origin: &Origin,
    task: wire::Task,
    receipt: Signed<Receipt>,
    run: Run,
) -> (Answered, Opening) {
    let trace_root = run.trace_root;
    let (tokens, row) = match run.output {
        Output::Tokens(tokens) => (tokens, Vec::new()),
        Output::Row(row) => (Vec::new(), row),
    };
    let opening = Opening {
        salt: task.salt,
        ids: task.ids,
        tokens: List::new(tokens).unwrap_or_default(),
        row: List::new(row).unwrap_or_default(),
        trace_root,
    };
    (Answered { gateway: origin.gateway, request: task.request, receipt }, opening)
}

/// A gateway that is gone asks for the lane when it is back.
async fn send(origin: &Origin, message: &FromBox) {
    origin.sender.send(wire::encode(message)).await.ok();
}
