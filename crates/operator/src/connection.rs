//! One connection to one gateway: hello, then its messages until it ends.
//!
//! Rules: a message that does not decode, comes out of turn or uses a task number twice ends the
//! connection; every message is worked on by itself, at most [`MAX_OPEN`] at once, so that a
//! slow one holds up no cancel; when the connection ends, its tasks are cancelled.
//! Never here: whether a task is good.

use crate::{
    Gateway,
    node::{Node, Phase},
    paths,
    records::Undelivered,
    task::{self, Origin, Progress},
};
use client::wire::{
    self, FromBox, FromGateway, Hello, Refusal, RefusalCode, WIRE_VERSION, WireError,
};
use crypto::{Digest, Signed};
use ledger::payments::schema::{LaneId, ReceiptKey, Voucher};
use link::{Connection, Receiver};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use units::{Epoch, List};

/// Messages of one connection that are worked on at once; tasks beyond are refused.
pub(crate) const MAX_OPEN: usize = 256;
/// How long a gateway may take to answer the hello.
const WELCOME: Duration = Duration::from_secs(10);
/// How long what was sent may take to arrive when the box stops.
const DELIVERY: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The network, or another key.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// Bytes that are no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The gateway did not answer the hello.
    #[error("the gateway did not answer the hello within {} s", WELCOME.as_secs())]
    Silent,
    /// The gateway does not want this box.
    #[error("the gateway rejects this box: {0}")]
    Rejected(Refusal),
    /// A message that may not come now.
    #[error("the gateway sent {what}")]
    OutOfTurn {
        /// Which.
        what: &'static str,
    },
}

/// Tasks of one connection by number.
type Open = Arc<Mutex<BTreeMap<u64, Arc<Progress>>>>;

struct Session<'a> {
    node: &'a Arc<Node>,
    gateway: &'a Gateway,
    sender: link::Sender,
    open: Open,
    slots: Arc<Semaphore>,
}

/// Serves one connection until it ends or the box has stopped.
pub(crate) async fn run(
    node: &Arc<Node>,
    gateway: &Gateway,
    connection: Connection,
) -> Result<(), Ended> {
    let (sender, mut receiver) = connection.split();
    sender.send(wire::encode(&FromBox::Hello(hello(node)))).await?;
    let answer = tokio::select! {
        answer = timeout(WELCOME, receiver.next()) => answer.map_err(|_| Ended::Silent)??,
        () = node.reached(Phase::Stopping) => return Ok(()),
    };
    let Some(answer) = answer else { return Ok(()) };
    match wire::decode(&answer)? {
        FromGateway::Welcome => {}
        FromGateway::Rejected(refusal) => return Err(Ended::Rejected(refusal)),
        _ => return Err(Ended::OutOfTurn { what: "a message before its welcome" }),
    }
    tracing::info!(gateway = gateway.address, "serving a gateway");
    let delivery = tokio::spawn(paths::deliver(Arc::clone(node), gateway.key, sender.clone()));
    let slots = Arc::new(Semaphore::new(MAX_OPEN));
    let session = Session { node, gateway, sender, open: Open::default(), slots };
    let ended = session.messages(&mut receiver).await;
    delivery.abort();
    // It ends because it was told to.
    delivery.await.ok();
    if matches!(ended, Ok(Turn::Stopped)) {
        // Tasks are done; what they sent arrives before the stream ends in order.
        drop(session);
        let drained = async { while let Ok(Some(_)) = receiver.next().await {} };
        timeout(DELIVERY, drained).await.ok();
        return Ok(());
    }
    lock(&session.open).values().for_each(|progress| progress.cancel());
    ended.map(|_| ())
}

fn hello(node: &Node) -> Hello {
    let asks = node.models.values().map(|served| served.ask.clone()).collect();
    Hello {
        version: WIRE_VERSION,
        chain: node.chain,
        operator: node.operator,
        key_epoch: node.key_epoch,
        asks: List::new(asks).unwrap_or_default(),
    }
}

/// How the messages of a connection came to their end.
enum Turn {
    /// The gateway closed the stream.
    Closed,
    /// The box has stopped and nothing runs any more.
    Stopped,
}

impl Session<'_> {
    async fn messages(&self, receiver: &mut Receiver) -> Result<Turn, Ended> {
        loop {
            let frame = tokio::select! {
                frame = receiver.next() => frame?,
                () = self.node.reached(Phase::Closing) => return Ok(Turn::Stopped),
            };
            let Some(frame) = frame else { return Ok(Turn::Closed) };
            let received = Instant::now();
            match wire::decode(&frame)? {
                FromGateway::Task(task) => self.task(*task, received).await?,
                FromGateway::Cancel { task } => {
                    // A task that has ended meanwhile needs no cancel.
                    if let Some(progress) = lock(&self.open).get(&task) {
                        progress.cancel();
                    }
                }
                FromGateway::Resume { lane } => self.resume(lane).await,
                FromGateway::Voucher(voucher) => self.voucher(voucher).await,
                FromGateway::PathsKept { epoch, keys } => self.paths_kept(epoch, &keys).await,
                FromGateway::Welcome => {
                    return Err(Ended::OutOfTurn { what: "a second welcome" });
                }
                FromGateway::Rejected(refusal) => return Err(Ended::Rejected(refusal)),
            }
        }
    }

    async fn task(&self, task: wire::Task, received: Instant) -> Result<(), Ended> {
        let number = task.task;
        if self.node.is_stopping() {
            let reason = "the box is stopping; ask another one";
            return self.refuse(number, RefusalCode::Stopping, reason).await;
        }
        let slots = (Arc::clone(&self.slots).try_acquire_owned(), self.active());
        let (Ok(slot), Some(active)) = slots else {
            let reason = format!("{MAX_OPEN} tasks of this connection are open; ask another box");
            return self.refuse(number, RefusalCode::Busy, &reason).await;
        };
        let progress = Arc::new(Progress::default());
        if lock(&self.open).insert(number, Arc::clone(&progress)).is_some() {
            return Err(Ended::OutOfTurn { what: "a task under the number of an open one" });
        }
        let (node, open) = (Arc::clone(self.node), Arc::clone(&self.open));
        let sender = self.sender.clone();
        let origin = Origin { gateway: self.gateway.key, sender, received };
        tokio::spawn(async move {
            task::serve(&node, &origin, task, &progress).await;
            lock(&open).remove(&number);
            drop((node, origin));
            drop((slot, active));
        });
        Ok(())
    }

    async fn refuse(&self, task: u64, code: RefusalCode, reason: &str) -> Result<(), Ended> {
        let refusal = Refusal::new(code, reason);
        Ok(self.sender.send(wire::encode(&FromBox::Refused { task, refusal })).await?)
    }

    /// Says where a lane stands, once no task runs on it.
    async fn resume(&self, lane: LaneId) {
        let Some(slots) = self.slots().await else { return };
        let (node, sender) = (Arc::clone(self.node), self.sender.clone());
        let gateway = self.gateway.key;
        tokio::spawn(async move {
            let report = node.lanes.report(lane, gateway).await;
            // A gateway that is gone asks again when it is back.
            sender.send(wire::encode(&FromBox::LaneReport(report))).await.ok();
            drop((node, sender));
            drop(slots);
        });
    }

    async fn voucher(&self, voucher: Signed<Voucher>) {
        let Some(slots) = self.slots().await else { return };
        let (node, sender) = (Arc::clone(self.node), self.sender.clone());
        tokio::spawn(async move {
            let lane = voucher.message.lane_id();
            let until = node.claimable_until();
            let taken = if lane.operator == node.operator {
                node.lanes.pay(&voucher, until).await
            } else {
                Err(Refusal::new(RefusalCode::Voucher, "the voucher is for another operator"))
            };
            if let Err(refusal) = taken {
                tracing::debug!(%refusal, "a voucher was refused");
                let message = FromBox::VoucherRefused { lane, refusal };
                sender.send(wire::encode(&message)).await.ok();
            }
            drop((node, sender));
            drop(slots);
        });
    }

    async fn paths_kept(&self, epoch: Epoch, keys: &[ReceiptKey]) {
        let operator = self.node.operator;
        let kept = keys.iter().map(|key| Undelivered {
            epoch,
            root: Digest::ZERO,
            lane: LaneId { payer: key.payer, operator, index: key.lane },
            sequence: key.sequence,
        });
        let kept = kept.collect();
        if let Err(error) = self.node.records.paths_kept(self.gateway.key, kept).await {
            tracing::error!(%error, "delivered paths could not be noted");
        }
    }

    /// Waits for a slot of this connection.
    async fn slots(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        // The semaphores are never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        Some((slot, self.active()?))
    }

    fn active(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.node.active).try_acquire_owned().ok()
    }
}

fn lock(open: &Open) -> MutexGuard<'_, BTreeMap<u64, Arc<Progress>>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
