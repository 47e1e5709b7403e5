//! What all parts of a running box share: who it is, what it serves, where it stands.
//!
//! Never here: decisions.

use crate::{faults::Fault, lanes::Lanes, records::Records, runner::Runner};
use client::{follow::Follower, rpc::Rpc, transactions::Sender};
use crypto::{ChainId, ModelId, OperatorId, SecretKey, Signed, merkle_sum::Leaf};
use engine::Engine;
use ledger::{
    params::Windows,
    payments::schema::{Ask, AuditMode, LaneId, Receipt, ReceiptKey},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{Mutex, Semaphore, watch};
use units::{Epoch, Millis, Price};

/// Messages that may be under work at once, over all connections.
pub(crate) const MAX_ACTIVE: u32 = 32_768;

/// One model, its price and its engine.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) engine: Arc<Engine>,
    pub(crate) price: Price,
    pub(crate) ask: Signed<Ask>,
    pub(crate) runner: Runner,
}

/// How far a box has come to its end; only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It serves.
    Running,
    /// Nothing new is begun.
    Stopping,
    /// Nothing runs any more; connections end.
    Closing,
}

/// A running box.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) chain: ChainId,
    pub(crate) operator: OperatorId,
    pub(crate) key_epoch: u32,
    pub(crate) key: SecretKey,
    /// Sends transactions under that key, one after the other.
    pub(crate) sender: Mutex<Sender>,
    /// Audit modes of which it takes no task.
    pub(crate) refuses: Vec<AuditMode>,
    /// Whether its claims may hold what nobody may see.
    pub(crate) unseen: bool,
    pub(crate) fault: Option<Arc<dyn Fault>>,
    pub(crate) models: BTreeMap<ModelId, Served>,
    pub(crate) windows: Windows,
    pub(crate) rpc: Rpc,
    pub(crate) follower: Follower,
    pub(crate) records: Records,
    pub(crate) lanes: Lanes,
    /// One permit per message under work; all of them are free when nothing is.
    pub(crate) active: Arc<Semaphore>,
    pub(crate) phase: watch::Sender<Phase>,
    /// Counts claims that reached the ledger: their paths can be sent.
    pub(crate) filed: watch::Sender<u64>,
    pub(crate) clock: Clock,
}

impl Node {
    pub(crate) fn is_stopping(&self) -> bool {
        *self.phase.borrow() >= Phase::Stopping
    }

    /// Waits until the box has come to `phase`.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender is a field of ours, so the channel is open.
        self.phase.subscribe().wait_for(|now| *now >= phase).await.ok();
    }

    /// The ledger period of a clock.
    pub(crate) fn epoch(&self, clock: Millis) -> Epoch {
        Epoch::new(clock.get() / self.windows.epoch.get().max(1))
    }

    /// The clock until which an allocation must live for a task that begins now: the receipt's
    /// period ends, the payer's next voucher comes, and the claim is filed in the period after.
    pub(crate) fn claimable_until(&self) -> Millis {
        let Windows { epoch, claim, .. } = self.windows;
        let now = self.follower.seen().clock;
        Millis::total([now, epoch, epoch, claim]).unwrap_or(Millis::MAX)
    }

    /// What stands in a claim for one of our receipts.
    pub(crate) fn leaf(&self, receipt: &Receipt, lane: LaneId) -> Leaf<ReceiptKey> {
        let leaf = receipt.leaf(lane.payer, lane.index);
        match &self.fault {
            Some(fault) => fault.claimed(leaf),
            None => leaf,
        }
    }

    /// An instant on the box's own clock.
    pub(crate) fn millis(&self, at: Instant) -> Millis {
        self.clock.millis(at)
    }
}

/// The box's clock: the wall's at the start, then steady, so that differences hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    wall_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Self { started: Instant::now(), wall_ms }
    }

    fn millis(&self, at: Instant) -> Millis {
        let since = at.saturating_duration_since(self.started).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        Millis::new(self.wall_ms.saturating_add(since))
    }
}
