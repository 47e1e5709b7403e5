//! Boxes on their links: who they are, and which message belongs to which task.
//!
//! Rules: a box is welcome if the ledger names the key its link has proved, and its asks are
//! signed with it; a message that does not fit ends the connection; a connection that ends
//! ends its tasks, and who runs them learns it at once.
//! Never here: which box gets a task, money.

use crate::{
    funds::Funds,
    router::{MAX_BOXES, Router},
    store::{Records, StoredPath},
};
use client::{
    lanes::Payer,
    rpc::Rpc,
    wire::{
        FromBox, FromGateway, Hello, LaneReport, Output, Paths, Refusal, RefusalCode, Task,
        WIRE_VERSION, decode, encode,
    },
};
use crypto::{AccountId, ChainId, Domain, ModelId, OperatorId, PublicKey, Signed};
use ledger::{
    payments::schema::{LaneId, Receipt},
    staking::{BOX_KEYS, OPERATORS},
};
use link::{Connection, Listener, Sender, TlsListener};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use units::{List, Price};

/// How long a box may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a box may take to say where a lane stands.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages of one task that may wait for who runs it.
const TASK_QUEUE: usize = 1_024;

/// What a box says of one task.
#[derive(Debug)]
pub(crate) enum TaskMessage {
    Tokens(Vec<u32>),
    Done(Box<(Signed<Receipt>, Output)>),
    Refused(Refusal),
}

/// A box that is connected now.
#[derive(Debug)]
pub(crate) struct BoxHandle {
    /// Names the connection; never zero.
    pub(crate) connection: u64,
    pub(crate) operator: OperatorId,
    pub(crate) key_epoch: u32,
    pub(crate) box_key: PublicKey,
    /// What it asks, by model.
    pub(crate) asks: BTreeMap<ModelId, Price>,
    sender: Sender,
    waiting: Mutex<Waiting>,
    next_task: AtomicU64,
}

/// Who waits for what.
#[derive(Debug, Default)]
struct Waiting {
    tasks: BTreeMap<u64, mpsc::Sender<TaskMessage>>,
    reports: BTreeMap<LaneId, oneshot::Sender<LaneReport>>,
    /// Set when the connection has ended: nobody may begin to wait.
    ended: bool,
}

/// A task that was sent; it ends for the box when this is dropped.
#[derive(Debug)]
pub(crate) struct SentTask {
    handle: Arc<BoxHandle>,
    number: u64,
    messages: mpsc::Receiver<TaskMessage>,
}

impl SentTask {
    /// What the box says next; nothing once the box is lost.
    pub(crate) async fn next(&mut self) -> Option<TaskMessage> {
        self.messages.recv().await
    }

    /// Asks the box to stop within one token; its receipt still comes.
    pub(crate) async fn cancel(&self) {
        let message = FromGateway::Cancel { task: self.number };
        // A box that is lost needs no telling.
        self.handle.sender.send(encode(&message)).await.ok();
    }
}

impl Drop for SentTask {
    fn drop(&mut self) {
        self.handle.waiting().tasks.remove(&self.number);
    }
}

impl BoxHandle {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a task. Its number is chosen here. Nothing if the box is lost.
    pub(crate) async fn send_task(self: &Arc<Self>, mut task: Task) -> Option<SentTask> {
        let number = self.next_task.fetch_add(1, Ordering::Relaxed);
        let (send, messages) = mpsc::channel(TASK_QUEUE);
        {
            let mut waiting = self.waiting();
            if waiting.ended {
                return None;
            }
            waiting.tasks.insert(number, send);
        }
        let sent = SentTask { handle: Arc::clone(self), number, messages };
        task.task = number;
        let message = FromGateway::Task(Box::new(task));
        self.sender.send(encode(&message)).await.ok().map(|()| sent)
    }

    /// Asks where a lane stands. Nothing if the box is lost or does not answer.
    pub(crate) async fn report(&self, lane: LaneId) -> Option<LaneReport> {
        let (send, report) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.ended {
                return None;
            }
            waiting.reports.insert(lane, send);
        }
        self.sender.send(encode(&FromGateway::Resume { lane })).await.ok()?;
        timeout(REPORT_TIMEOUT, report).await.ok()?.ok()
    }

    /// Sends the latest voucher of a lane without a task.
    pub(crate) async fn send_voucher(&self, voucher: Signed<ledger::payments::schema::Voucher>) {
        // A box that is lost gets it with the next task.
        self.sender.send(encode(&FromGateway::Voucher(voucher))).await.ok();
    }

    /// Ends every wait: the box is lost.
    pub(crate) fn end(&self) {
        let mut waiting = self.waiting();
        waiting.ended = true;
        waiting.tasks.clear();
        waiting.reports.clear();
    }
}

/// What connections of boxes work on.
#[derive(Debug)]
pub(crate) struct Boxes {
    pub(crate) chain: ChainId,
    pub(crate) account: AccountId,
    pub(crate) rpc: Rpc,
    pub(crate) router: Arc<Router>,
    pub(crate) records: Records,
    pub(crate) funds: Arc<Funds>,
    pub(crate) connections: AtomicU64,
}

impl Boxes {
    /// Takes boxes until dropped, which ends all their connections.
    pub(crate) async fn accept(self: Arc<Self>, mut listener: TlsListener) {
        let mut serving = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // A connection that panicked has said so; the others go on.
                _ = serving.join_next(), if !serving.is_empty() => continue,
            };
            let Ok(connection) = accepted else { break };
            if serving.len() < MAX_BOXES {
                let boxes = Arc::clone(&self);
                serving.spawn(async move { boxes.serve(connection).await });
            }
        }
    }

    async fn serve(&self, connection: Connection) {
        let box_key = connection.peer();
        let (sender, mut receiver) = connection.split();
        let hello = match timeout(HELLO_TIMEOUT, receiver.next()).await {
            Ok(Ok(Some(frame))) => decode::<FromBox>(&frame),
            _ => return,
        };
        let Ok(FromBox::Hello(hello)) = hello else { return };
        let handle = match self.welcome(hello, box_key, sender.clone()).await {
            Ok(handle) => handle,
            Err(refusal) => {
                tracing::warn!(%box_key, %refusal, "a box is not welcome");
                sender.send(encode(&FromGateway::Rejected(refusal))).await.ok();
                return;
            }
        };
        if sender.send(encode(&FromGateway::Welcome)).await.is_err() {
            return;
        }
        if let Err(handle) = self.router.add(Arc::clone(&handle)) {
            tracing::warn!(operator = %handle.operator, "no room for another box");
            return;
        }
        tracing::info!(operator = %handle.operator, models = handle.asks.len(), "box connected");
        let (funds, connected) = (Arc::clone(&self.funds), Arc::clone(&handle));
        tokio::spawn(async move { funds.take_up(&connected).await });
        while let Ok(Some(frame)) = receiver.next().await {
            let taken = match decode::<FromBox>(&frame) {
                Ok(message) => self.take(&handle, message).await,
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = taken {
                tracing::warn!(operator = %handle.operator, reason, "the box broke the rules");
                break;
            }
        }
        self.router.remove(&handle);
        handle.end();
        tracing::info!(operator = %handle.operator, "box gone");
    }

    /// Holds a hello against the ledger.
    async fn welcome(
        &self,
        hello: Hello,
        box_key: PublicKey,
        sender: Sender,
    ) -> Result<Arc<BoxHandle>, Refusal> {
        let refuse =
            |reason: &dyn ToString| Refusal::new(RefusalCode::Identity, reason.to_string());
        if hello.version != WIRE_VERSION {
            return Err(refuse(&format!("this gateway speaks version {WIRE_VERSION}")));
        }
        if hello.chain != self.chain {
            return Err(refuse(&format!("this gateway pays on chain {}", self.chain)));
        }
        let (operator, key_epoch) = (hello.operator, hello.key_epoch);
        let internal = |error: client::rpc::RpcError| refuse(&error);
        let record = self.rpc.record(&OPERATORS, &operator).await.map_err(internal)?;
        if record.is_none_or(|record| record.key_epoch != key_epoch) {
            return Err(refuse(&"the ledger does not know this operator with this box key"));
        }
        let key = self.rpc.record(&BOX_KEYS, &(operator, key_epoch)).await.map_err(internal)?;
        if key.is_none_or(|key| key.key != box_key) {
            return Err(refuse(&"the link's key is not the registered box key"));
        }
        let mut asks = BTreeMap::new();
        for ask in hello.asks.iter() {
            let message = &ask.message;
            let ours = message.chain == self.chain
                && message.operator == operator
                && message.key_epoch == key_epoch;
            let signed = box_key.verify(Domain::Ask, message, &ask.signature);
            if !ours || signed.is_err() {
                return Err(refuse(&"an ask is not this operator's"));
            }
            asks.insert(message.model, message.price);
        }
        Ok(Arc::new(BoxHandle {
            connection: self.connections.fetch_add(1, Ordering::Relaxed).saturating_add(1),
            operator,
            key_epoch,
            box_key,
            asks,
            sender,
            waiting: Mutex::default(),
            next_task: AtomicU64::new(0),
        }))
    }

    /// Hands a message to who waits for it.
    async fn take(&self, handle: &BoxHandle, message: FromBox) -> Result<(), String> {
        match message {
            FromBox::Hello(_) => return Err("a second hello".into()),
            FromBox::LaneReport(report) => {
                if let Some(waiting) = handle.waiting().reports.remove(&report.lane) {
                    // Who asked may have given up.
                    waiting.send(report).ok();
                }
            }
            FromBox::Tokens { task, ids } => {
                return handle.pass(task, TaskMessage::Tokens(ids.into_vec()));
            }
            FromBox::Done { task, receipt, rest } => {
                return handle.pass(task, TaskMessage::Done(Box::new((receipt, rest))));
            }
            FromBox::Refused { task, refusal } => {
                return handle.pass(task, TaskMessage::Refused(refusal));
            }
            FromBox::Paths(paths) => return self.keep_paths(handle, paths).await,
            FromBox::VoucherRefused { lane, refusal } => {
                tracing::warn!(index = lane.index, %refusal, "a voucher was not taken");
            }
        }
        Ok(())
    }

    /// Stores paths and says so. They are checked against the ledger when they are used.
    async fn keep_paths(&self, handle: &BoxHandle, paths: Paths) -> Result<(), String> {
        if paths.operator != handle.operator {
            return Err("paths of another operator".into());
        }
        let (epoch, root) = (paths.epoch, paths.root);
        let (mut stored, mut keys) = (Vec::new(), Vec::new());
        for placed in paths.paths.into_vec() {
            let key = placed.leaf.key;
            keys.push(key);
            if key.payer == self.account {
                let lane = LaneId { payer: key.payer, operator: handle.operator, index: key.lane };
                stored.push((lane, key.sequence, StoredPath { epoch, root, placed }));
            }
        }
        self.records.put_paths(stored).await.map_err(|error| error.to_string())?;
        let keys = List::new(keys).map_err(|error| error.to_string())?;
        let kept = FromGateway::PathsKept { epoch, keys };
        handle.sender.send(encode(&kept)).await.map_err(|error| error.to_string())
    }
}

impl BoxHandle {
    fn pass(&self, task: u64, message: TaskMessage) -> Result<(), String> {
        let waiting = self.waiting();
        match waiting.tasks.get(&task) {
            // Who ran it has given it up.
            None => Ok(()),
            Some(runner) => runner.try_send(message).map_or_else(
                |error| match error {
                    mpsc::error::TrySendError::Full(_) => Err("too many pieces at once".into()),
                    mpsc::error::TrySendError::Closed(_) => Ok(()),
                },
                Ok,
            ),
        }
    }

    /// Resumes a lane after a new connection.
    pub(crate) async fn resume(&self, payer: &mut Payer, session_key: &PublicKey) -> Resumed {
        let Some(report) = self.report(payer.lane()).await else { return Resumed::BoxLost };
        match payer.resume(&report, session_key, &self.box_key) {
            Ok(()) => Resumed::Agreed,
            Err(error) => {
                tracing::warn!(index = payer.lane().index, %error, "a lane is left for good");
                Resumed::Disagreed
            }
        }
    }
}

/// How a lane stands after a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    Agreed,
    /// The lane must be left.
    Disagreed,
    BoxLost,
}
