//! The lanes of this operator, in memory and on disk.
//!
//! Rules: one lane is used by one task at a time, whichever connection brought it; a voucher is
//! on disk before it counts, a receipt before it leaves; a lane exists here once a voucher that
//! an allocation covers has opened it, and a payer has at most [`MAX_LANES_PER_PAYER`], so that
//! strangers cannot fill the memory. Receipts that an earlier box key signed are claimed before
//! the lane goes on, so that no claim mixes keys.
//! Never here: what a task computes.

use crate::{
    StartError,
    allocations::{Allocations, Need},
    records::{Answered, Opening, Records},
    task::Progress,
};
use client::{
    lanes::{AdmissionError, Payee, Position, VoucherError},
    store::StoreError,
    wire::{LaneReport, Refusal, RefusalCode},
};
use crypto::{ChainId, PublicKey, Signed};
use ledger::payments::schema::{LaneId, Receipt, Voucher};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};
use units::{Credit, List, Millis};

/// Lanes of one payer.
pub(crate) const MAX_LANES_PER_PAYER: usize = 256;
/// Lanes in all.
pub(crate) const MAX_LANES: usize = 65_536;

/// One lane.
#[derive(Debug)]
pub(crate) struct Lane {
    id: LaneId,
    payee: Payee,
    /// The receipts that no voucher pays for, in order.
    unpaid: Vec<Signed<Receipt>>,
    /// The running task and the gateway that brought it.
    running: Option<(Arc<Progress>, PublicKey)>,
    /// The last receipt that an earlier box key signed.
    old_key: u64,
    /// Taken out of the map; whoever waited for it must look again.
    forgotten: bool,
}

impl Lane {
    /// Where the lane stands.
    pub(crate) fn position(&self) -> Position {
        self.payee.position()
    }

    fn report(&self) -> LaneReport {
        LaneReport {
            lane: self.id,
            voucher: self.payee.latest_voucher().cloned(),
            unpaid: List::new(self.unpaid.clone()).unwrap_or_default(),
        }
    }
}

/// A lane held for one change.
pub(crate) type Held = OwnedMutexGuard<Lane>;

/// All lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    chain: ChainId,
    credit_limit: usize,
    records: Records,
    pub(crate) allocations: Allocations,
    map: Mutex<BTreeMap<LaneId, Arc<AsyncMutex<Lane>>>>,
    /// Told whenever a task has left its lane.
    freed: Notify,
}

impl Lanes {
    /// The lanes as they are on disk.
    ///
    /// # Errors
    /// [`StartError::Records`] if they do not follow each other; [`StartError::Store`].
    pub(crate) fn restore(
        chain: ChainId,
        key_epoch: u32,
        credit_limit: usize,
        records: Records,
        allocations: Allocations,
    ) -> Result<Self, StartError> {
        let mut map = BTreeMap::new();
        for stored in records.lanes()? {
            let (id, unpaid) = (stored.lane, stored.unpaid);
            let messages = unpaid.iter().map(|receipt| &receipt.message);
            let allocation = stored.voucher.message.allocation;
            let payee = Payee::restore(id, credit_limit, Some(stored.voucher), messages);
            let payee = payee.map_err(|error| StartError::Records { reason: error.to_string() })?;
            let position = payee.position();
            allocations.restore(id, allocation, position.cumulative);
            let last = position.sequence;
            let newest = records.answers(id, last..=last)?.pop();
            let old = newest.is_some_and(|done| done.receipt.message.key_epoch != key_epoch);
            let old_key = if old { last } else { 0 };
            let lane = Lane { id, payee, unpaid, running: None, old_key, forgotten: false };
            map.insert(id, Arc::new(AsyncMutex::new(lane)));
        }
        let (map, freed) = (Mutex::new(map), Notify::new());
        Ok(Self { chain, credit_limit, records, allocations, map, freed })
    }

    /// Takes a voucher and lets a task of `sequence` onto its lane.
    pub(crate) async fn admit(
        &self,
        voucher: &Signed<Voucher>,
        sequence: u64,
        most: Credit,
        until: Millis,
        progress: &Arc<Progress>,
        gateway: PublicKey,
    ) -> Result<Position, Refusal> {
        let mut lane = self.hold(voucher.message.lane_id()).await?;
        let admitted = self.admit_held(&mut lane, voucher, sequence, most, until).await;
        match admitted {
            Ok(()) => {
                lane.payee.begin(sequence);
                lane.running = Some((Arc::clone(progress), gateway));
                Ok(lane.position())
            }
            Err(refusal) => {
                self.forget_if_unused(&mut lane);
                Err(refusal)
            }
        }
    }

    async fn admit_held(
        &self,
        lane: &mut Held,
        voucher: &Signed<Voucher>,
        sequence: u64,
        most: Credit,
        until: Millis,
    ) -> Result<(), Refusal> {
        let claimed = self.allocations.claimed_of(&lane.id).sequence;
        if lane.old_key > claimed {
            let reason = "an earlier box key's receipts must be claimed first; use another lane";
            return Err(Refusal::new(RefusalCode::Lane, reason));
        }
        if lane.running.is_some() {
            // Said before the voucher counts: its allocation covers the running task.
            return lane.payee.admit(sequence).map_err(|error| not_admitted(&error));
        }
        self.take(lane, voucher, most, until).await?;
        let admitted = lane.payee.admit(sequence);
        if admitted.is_err() {
            self.allocations.ended(&lane.id, lane.position().cumulative);
        }
        admitted.map_err(|error| not_admitted(&error))
    }

    /// Takes a voucher that came alone. One that says less than what is held is no news.
    pub(crate) async fn pay(
        &self,
        voucher: &Signed<Voucher>,
        until: Millis,
    ) -> Result<(), Refusal> {
        let mut lane = self.hold(voucher.message.lane_id()).await?;
        let taken = if lane.running.is_some() {
            self.take_beside(&mut lane, voucher).await
        } else {
            self.take(&mut lane, voucher, Credit::ZERO, until).await
        };
        self.forget_if_unused(&mut lane);
        taken
    }

    /// While a task runs, a voucher may pay, but not move the lane to another allocation.
    async fn take_beside(&self, lane: &mut Held, voucher: &Signed<Voucher>) -> Result<(), Refusal> {
        let held = lane.payee.latest_voucher().map(|held| held.message.allocation);
        if held != Some(voucher.message.allocation) {
            let reason = "a lane changes its allocation between two tasks only";
            return Err(Refusal::new(RefusalCode::Allocation, reason));
        }
        match lane.payee.check_voucher(self.chain, voucher) {
            Ok(true) => self.keep(lane, voucher).await,
            Ok(false) | Err(VoucherError::Stale { .. }) => Ok(()),
            Err(error) => Err(not_taken(&error)),
        }
    }

    async fn take(
        &self,
        lane: &mut Held,
        voucher: &Signed<Voucher>,
        most: Credit,
        until: Millis,
    ) -> Result<(), Refusal> {
        let is_new = match lane.payee.check_voucher(self.chain, voucher) {
            Err(VoucherError::Stale { .. }) if most.is_zero() => return Ok(()),
            other => other.map_err(|error| not_taken(&error))?,
        };
        let cumulative = lane.position().cumulative;
        let need = Need { cumulative, running: most, until };
        self.allocations.cover(&voucher.message, need).await?;
        if is_new { self.keep(lane, voucher).await } else { Ok(()) }
    }

    async fn keep(&self, lane: &mut Held, voucher: &Signed<Voucher>) -> Result<(), Refusal> {
        self.records.put_voucher(voucher).await.map_err(|error| broken(&error))?;
        let paid = voucher.message.sequence;
        lane.payee.take_voucher(voucher.clone());
        lane.unpaid.retain(|receipt| receipt.message.sequence > paid);
        Ok(())
    }

    /// Writes the receipt of the running task down and frees the lane.
    pub(crate) async fn issue(
        &self,
        answered: &Answered,
        opening: &Opening,
    ) -> Result<(), Refusal> {
        let mut lane = self.hold(answered.request.message.lane_id()).await?;
        let written = self.records.put_answer(answered, opening).await;
        let issued = written.map_err(|error| broken(&error)).and_then(|()| {
            lane.payee.issue(&answered.receipt.message).map_err(|error| {
                Refusal::new(RefusalCode::Internal, format!("the lane has moved: {error}"))
            })
        });
        match &issued {
            Ok(()) => lane.unpaid.push(answered.receipt.clone()),
            Err(_) => lane.payee.abandon(),
        }
        self.free(&mut lane);
        issued
    }

    /// Frees a lane whose task brings no receipt.
    pub(crate) async fn abandon(&self, id: LaneId) {
        if let Ok(mut lane) = self.hold(id).await {
            lane.payee.abandon();
            self.free(&mut lane);
        }
    }

    fn free(&self, lane: &mut Held) {
        lane.running = None;
        self.allocations.ended(&lane.id, lane.position().cumulative);
        self.freed.notify_waiters();
    }

    /// Where a lane stands, once no task runs there: the payer counts what has no receipt by
    /// then as never done. A task that the same gateway brought belongs to a connection that is
    /// gone, and is cancelled; another gateway's is waited for.
    pub(crate) async fn report(&self, id: LaneId, gateway: PublicKey) -> LaneReport {
        loop {
            let freed = self.freed.notified();
            let Some(lane) = self.find(&id) else {
                return LaneReport { lane: id, voucher: None, unpaid: List::empty() };
            };
            let lane = lane.lock_owned().await;
            match &lane.running {
                None => return lane.report(),
                Some((progress, brought_by)) if *brought_by == gateway => progress.cancel(),
                Some(_) => {}
            }
            drop(lane);
            freed.await;
        }
    }

    /// Cancels whatever runs.
    pub(crate) async fn cancel_all(&self) {
        let lanes: Vec<_> = self.map().values().cloned().collect();
        for lane in lanes {
            if let Some((progress, _)) = &lane.lock().await.running {
                progress.cancel();
            }
        }
    }

    /// The latest voucher of every lane.
    pub(crate) async fn vouchers(&self) -> Vec<Signed<Voucher>> {
        let lanes: Vec<_> = self.map().values().cloned().collect();
        let mut vouchers = Vec::with_capacity(lanes.len());
        for lane in lanes {
            vouchers.extend(lane.lock().await.payee.latest_voucher().cloned());
        }
        vouchers
    }

    /// A lane for one change; a new one if there is room.
    async fn hold(&self, id: LaneId) -> Result<Held, Refusal> {
        loop {
            let lane = self.find_or_open(id)?.lock_owned().await;
            if !lane.forgotten {
                return Ok(lane);
            }
        }
    }

    fn find(&self, id: &LaneId) -> Option<Arc<AsyncMutex<Lane>>> {
        self.map().get(id).cloned()
    }

    fn find_or_open(&self, id: LaneId) -> Result<Arc<AsyncMutex<Lane>>, Refusal> {
        let mut map = self.map();
        if let Some(lane) = map.get(&id) {
            return Ok(Arc::clone(lane));
        }
        let (first, last) = (LaneId { index: 0, ..id }, LaneId { index: u32::MAX, ..id });
        if map.range(first..=last).count() >= MAX_LANES_PER_PAYER {
            let reason =
                format!("a payer has at most {MAX_LANES_PER_PAYER} lanes; use one of them");
            return Err(Refusal::new(RefusalCode::Lane, reason));
        }
        if map.len() >= MAX_LANES {
            return Err(Refusal::new(RefusalCode::Busy, "this box has no room for further lanes"));
        }
        let payee = Payee::new(id, self.credit_limit);
        let lane = Lane { id, payee, unpaid: vec![], running: None, old_key: 0, forgotten: false };
        let lane = Arc::new(AsyncMutex::new(lane));
        map.insert(id, Arc::clone(&lane));
        Ok(lane)
    }

    fn forget_if_unused(&self, lane: &mut Held) {
        if lane.payee.latest_voucher().is_none() {
            lane.forgotten = true;
            self.map().remove(&lane.id);
            self.allocations.forget(&lane.id);
        }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<LaneId, Arc<AsyncMutex<Lane>>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_admitted(error: &AdmissionError) -> Refusal {
    let code = match error {
        AdmissionError::Unpaid { .. } => RefusalCode::Voucher,
        AdmissionError::Sequence { .. } | AdmissionError::Running { .. } => RefusalCode::Lane,
    };
    Refusal::new(code, error)
}

fn not_taken(error: &VoucherError) -> Refusal {
    Refusal::new(RefusalCode::Voucher, error)
}

fn broken(error: &StoreError) -> Refusal {
    tracing::error!(%error, "the records failed; restart the box once the disk is well");
    Refusal::new(RefusalCode::Internal, "the box's disk failed")
}
