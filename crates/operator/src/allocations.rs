//! What payers have promised on the chain, and how much of it is already in use here.
//!
//! Rules: the sum of what the lanes of one allocation have outstanding (receipts not yet
//! claimed, and the most that running tasks can cost) never exceeds what the allocation has
//! left; an allocation must live long enough to be claimed; a task that the operator's value cap
//! leaves no room for is refused. Limits and expiries only grow on
//! the chain and only our own claims cash, so a record that was seen holds until it falls
//! short; a node that cannot be reached stops nobody before that.
//! Never here: vouchers, signatures.

use client::{
    caps::Room,
    rpc::Rpc,
    wire::{Refusal, RefusalCode},
};
use crypto::{AccountId, OperatorId};
use ledger::payments::{
    ALLOCATIONS, Allocation, Lane as Claimed,
    schema::{LaneId, Voucher},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use units::{Credit, Millis};

/// Allocations remembered; beyond, the one looked up longest ago is forgotten.
const REMEMBERED: usize = 8_192;
/// Pause before a record that fell short, or is not there, is looked up again.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

type AllocationKey = (AccountId, u64);

/// What a lane has outstanding.
#[derive(Debug, Clone, Copy)]
struct Use {
    allocation: u64,
    /// What the chain has paid this lane for.
    claimed: Claimed,
    /// The lane's fees so far.
    cumulative: Credit,
    /// The most its running task can cost.
    running: Credit,
}

impl Use {
    /// All fees so far, and the most that may come.
    fn ordered(&self) -> Credit {
        self.cumulative.checked_add(self.running).unwrap_or(Credit::MAX)
    }

    /// What is not claimed yet.
    fn outstanding(&self) -> Credit {
        let unclaimed = self.cumulative.saturating_sub(self.claimed.cumulative);
        // Both are sums of fees that were checked against a limit.
        unclaimed.checked_add(self.running).unwrap_or(Credit::MAX)
    }
}

#[derive(Debug, Clone, Copy)]
struct Known {
    record: Option<Allocation>,
    looked: Instant,
}

#[derive(Debug, Default)]
struct Book {
    known: BTreeMap<AllocationKey, Known>,
    uses: BTreeMap<LaneId, Use>,
    /// What all lanes have ordered.
    ordered: Credit,
    /// Under the value cap, when it was last read.
    room: Option<Room>,
}

/// What a voucher shall cover.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// The lane's fees so far.
    pub(crate) cumulative: Credit,
    /// The most the task can cost.
    pub(crate) running: Credit,
    /// The clock until which the allocation must live.
    pub(crate) until: Millis,
}

/// The allocations that this operator's lanes draw on.
#[derive(Debug)]
pub(crate) struct Allocations {
    rpc: Rpc,
    operator: OperatorId,
    book: Mutex<Book>,
}

impl Allocations {
    pub(crate) fn new(rpc: Rpc, operator: OperatorId) -> Self {
        Self { rpc, operator, book: Mutex::default() }
    }

    /// Holds `voucher` against its allocation and puts the need down, or says why not.
    pub(crate) async fn cover(&self, voucher: &Voucher, need: Need) -> Result<(), Refusal> {
        let key = (voucher.payer, voucher.allocation);
        match self.try_cover(voucher, need) {
            Err(refusal) if refusal.code != RefusalCode::ValueCap => {}
            decided => return decided,
        }
        if !self.may_look(key) {
            // Another task may have looked since: what counts is what is known now.
            return self.try_cover(voucher, need);
        }
        match self.rpc.record(&ALLOCATIONS, &key).await {
            Ok(record) => self.learn(key, record),
            Err(error) => {
                tracing::warn!(%error, "an allocation could not be looked up");
                return Err(refusal("the allocation cannot be looked up now; try again"));
            }
        }
        self.try_cover(voucher, need)
    }

    fn try_cover(&self, voucher: &Voucher, need: Need) -> Result<(), Refusal> {
        let mut book = self.book();
        let key = (voucher.payer, voucher.allocation);
        let Some(record) = book.known.get(&key).and_then(|known| known.record) else {
            let what = format!("allocation {} is not on the chain", voucher.allocation);
            return Err(refusal(&what));
        };
        if record.operator != self.operator {
            return Err(refusal("the allocation is for another operator"));
        }
        if record.signer != voucher.session_key {
            return Err(refusal("the allocation names another session key"));
        }
        if record.expires < need.until {
            let Allocation { expires, .. } = record;
            let until = need.until;
            let what = format!("the allocation ends at clock {expires}, it must last to {until}");
            return Err(refusal(&what));
        }
        let lane = voucher.lane_id();
        let wanted = Use {
            allocation: voucher.allocation,
            claimed: book.uses.get(&lane).map_or_else(Claimed::default, |held| held.claimed),
            cumulative: need.cumulative,
            running: need.running,
        };
        let others = book.others(&lane, voucher.allocation);
        let left = record.left().unwrap_or(Credit::ZERO);
        let sum = others.checked_add(wanted.outstanding()).unwrap_or(Credit::MAX);
        if sum > left {
            let what = format!("{sum} would be outstanding, the allocation has {left} left");
            return Err(refusal(&what));
        }
        book.fits(&lane, &wanted)?;
        book.set(lane, wanted);
        Ok(())
    }

    /// Takes what is left under the value cap.
    pub(crate) fn limit(&self, room: Room) {
        self.book().room = Some(room);
    }

    /// What the chain has paid for over all lanes, as far as is known.
    pub(crate) fn claimed_in_all(&self) -> Credit {
        let book = self.book();
        Credit::total(book.uses.values().map(|held| held.claimed.cumulative)).unwrap_or(Credit::MAX)
    }

    fn may_look(&self, key: AllocationKey) -> bool {
        let book = self.book();
        book.known.get(&key).is_none_or(|known| known.looked.elapsed() >= LOOK_PAUSE)
    }

    /// Takes a record from the chain. What was cashed only grows, so an answer that was
    /// overtaken by a later one does no harm.
    pub(crate) fn learn(&self, key: AllocationKey, record: Option<Allocation>) {
        let mut book = self.book();
        let earlier = book.known.get(&key).and_then(|known| known.record);
        let record = record.map(|mut record| {
            record.cashed = record.cashed.max(earlier.map_or(Credit::ZERO, |known| known.cashed));
            record
        });
        let looked = Instant::now();
        if book.known.len() >= REMEMBERED
            && !book.known.contains_key(&key)
            && let Some((oldest, _)) = book.known.iter().min_by_key(|(_, known)| known.looked)
        {
            let oldest = *oldest;
            book.known.remove(&oldest);
        }
        book.known.insert(key, Known { record, looked });
    }

    /// Puts down what a lane has outstanding, without a check: after a start.
    pub(crate) fn restore(&self, lane: LaneId, allocation: u64, cumulative: Credit) {
        let mut book = self.book();
        let claimed = Claimed::default();
        book.set(lane, Use { allocation, claimed, cumulative, running: Credit::ZERO });
    }

    /// Takes what the chain has paid a lane for; it only grows.
    pub(crate) fn claimed(&self, lane: &LaneId, claimed: Claimed) {
        if let Some(held) = self.book().uses.get_mut(lane)
            && claimed.sequence > held.claimed.sequence
        {
            held.claimed = claimed;
        }
    }

    /// What the chain has paid a lane for, as far as is known.
    pub(crate) fn claimed_of(&self, lane: &LaneId) -> Claimed {
        self.book().uses.get(lane).map_or_else(Claimed::default, |held| held.claimed)
    }

    /// A task has ended; the lane's fees are now `cumulative`.
    pub(crate) fn ended(&self, lane: &LaneId, cumulative: Credit) {
        let mut book = self.book();
        if let Some(held) = book.uses.get(lane).copied() {
            book.set(*lane, Use { cumulative, running: Credit::ZERO, ..held });
        }
    }

    /// A lane that was never used.
    pub(crate) fn forget(&self, lane: &LaneId) {
        let mut book = self.book();
        let gone = book.uses.remove(lane).map_or(Credit::ZERO, |held| held.ordered());
        book.ordered = book.ordered.saturating_sub(gone);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Puts down what a lane has outstanding.
    fn set(&mut self, lane: LaneId, held: Use) {
        let before = self.uses.insert(lane, held).map_or(Credit::ZERO, |held| held.ordered());
        let others = self.ordered.saturating_sub(before);
        self.ordered = others.checked_add(held.ordered()).unwrap_or(Credit::MAX);
    }

    /// Whether the value cap leaves room for the task that a lane is to run.
    fn fits(&self, lane: &LaneId, wanted: &Use) -> Result<(), Refusal> {
        let Some(room) = self.room.filter(|_| !wanted.running.is_zero()) else { return Ok(()) };
        let before = self.uses.get(lane).map_or(Credit::ZERO, Use::ordered);
        let others = self.ordered.saturating_sub(before);
        let ordered = others.checked_add(wanted.cumulative).unwrap_or(Credit::MAX);
        room.admits(ordered, wanted.running).map_err(|left| {
            let most = wanted.running;
            let what = format!(
                "the value cap leaves {left} for all that is not claimed yet, and this task may \
                 cost {most}; ask another box, or again once audits have passed"
            );
            Refusal::new(RefusalCode::ValueCap, what)
        })
    }

    /// What the other lanes of an allocation have outstanding.
    fn others(&self, lane: &LaneId, allocation: u64) -> Credit {
        let first = LaneId { index: 0, ..*lane };
        let last = LaneId { index: u32::MAX, ..*lane };
        self.uses
            .range(first..=last)
            .filter(|(id, held)| *id != lane && held.allocation == allocation)
            .try_fold(Credit::ZERO, |sum, (_, held)| sum.checked_add(held.outstanding()))
            .unwrap_or(Credit::MAX)
    }
}

fn refusal(reason: &str) -> Refusal {
    Refusal::new(RefusalCode::Allocation, reason)
}
