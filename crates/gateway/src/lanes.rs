//! The gateway's lanes: one task at a time each, as many as needed at once.
//!
//! Rules: a lane is on disk before a request or voucher that rests on it is sent; after a new
//! connection of its box a lane is resumed before it is used, and at once if it is open; a lane
//! whose two ends cannot agree is left for good. What a lane owes is paid with the next task, or
//! alone a second later.
//! Never here: allocations, which box gets a task.

use crate::{
    boxes::{BoxHandle, Resumed},
    router::Router,
    store::Records,
};
use client::{lanes::Payer, store::StoreError};
use crypto::{AccountId, ChainId, OperatorId, SecretKey, Signed};
use ledger::{
    payments::schema::{LaneId, Receipt, Request, Voucher},
    verification::Exhibit,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use units::Credit;

/// Lanes to one operator that are used at once.
pub(crate) const LANES_PER_OPERATOR: usize = 32;
/// How long a task waits for a lane.
const LANE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long after the last receipt a voucher goes alone.
const VOUCHER_PAUSE: Duration = Duration::from_secs(1);

/// A lane and the connection on which it was resumed; zero for none.
#[derive(Debug)]
struct Lane {
    payer: Payer,
    resumed_on: u64,
}

#[derive(Debug)]
struct Pool {
    idle: Vec<Lane>,
    next_index: u32,
    places: Arc<Semaphore>,
    /// By lane: fees so far and the most the open task can cost.
    committed: BTreeMap<u32, Credit>,
}

impl Pool {
    fn new() -> Self {
        Self {
            idle: Vec::new(),
            next_index: 0,
            places: Arc::new(Semaphore::new(LANES_PER_OPERATOR)),
            committed: BTreeMap::new(),
        }
    }
}

/// All lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    chain: ChainId,
    account: AccountId,
    session_key: SecretKey,
    records: Records,
    router: Arc<Router>,
    pools: Mutex<BTreeMap<OperatorId, Pool>>,
}

/// Why no lane is to be had.
#[derive(Debug)]
pub(crate) enum LaneError {
    /// All are in use.
    Busy,
    /// The box is lost.
    BoxLost,
    Store(StoreError),
}

impl From<StoreError> for LaneError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A lane in use. Dropped without [`Lease::give_back`], the lane is left for good.
#[derive(Debug)]
pub(crate) struct Lease {
    lanes: Arc<Lanes>,
    lane: Lane,
    _place: OwnedSemaphorePermit,
}

impl Lanes {
    /// Takes up the lanes of an earlier run.
    pub(crate) fn open(
        chain: ChainId,
        account: AccountId,
        session_key: SecretKey,
        records: Records,
        router: Arc<Router>,
    ) -> Result<Arc<Self>, StoreError> {
        let mut pools: BTreeMap<OperatorId, Pool> = BTreeMap::new();
        for payer in records.lanes()? {
            let LaneId { payer: account_of, operator, index } = payer.lane();
            if account_of != account {
                continue;
            }
            let pool = pools.entry(operator).or_insert_with(Pool::new);
            pool.next_index = pool.next_index.max(index.saturating_add(1));
            pool.committed.insert(index, committed(&payer));
            pool.idle.push(Lane { payer, resumed_on: 0 });
        }
        let pools = Mutex::new(pools);
        Ok(Arc::new(Self { chain, account, session_key, records, router, pools }))
    }

    fn pools(&self) -> MutexGuard<'_, BTreeMap<OperatorId, Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody to whom there are lanes.
    pub(crate) fn operators(&self) -> Vec<OperatorId> {
        self.pools().keys().copied().collect()
    }

    /// Ids of all lanes to an operator.
    pub(crate) fn ids(&self, operator: &OperatorId) -> Vec<LaneId> {
        let pools = self.pools();
        let indexes = pools.get(operator).map(|pool| pool.committed.keys().copied());
        let id = |index| LaneId { payer: self.account, operator: *operator, index };
        indexes.into_iter().flatten().map(id).collect()
    }

    /// All fees so far to an operator, and the most its open tasks can cost.
    pub(crate) fn committed(&self, operator: &OperatorId) -> Credit {
        let pools = self.pools();
        let all = pools.get(operator).map(|pool| pool.committed.values().map(|sum| sum.get()));
        Credit::new(all.into_iter().flatten().fold(0, u128::saturating_add))
    }

    /// A lane to this box, ready for a task.
    pub(crate) async fn lease(self: &Arc<Self>, handle: &BoxHandle) -> Result<Lease, LaneError> {
        let places = {
            let mut pools = self.pools();
            Arc::clone(&pools.entry(handle.operator).or_insert_with(Pool::new).places)
        };
        let place = timeout(LANE_TIMEOUT, places.acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(LaneError::Busy) };
        let mut lease = Lease { lanes: Arc::clone(self), lane: self.take(handle), _place: place };
        while lease.lane.resumed_on != handle.connection {
            match handle.resume(&mut lease.lane.payer, &self.session_key.public()).await {
                Resumed::Agreed => lease.lane.resumed_on = handle.connection,
                Resumed::Disagreed => lease.lane = self.take(handle),
                Resumed::BoxLost => {
                    lease.give_back();
                    return Err(LaneError::BoxLost);
                }
            }
        }
        lease.note();
        Ok(lease)
    }

    /// An idle lane, those already resumed on this connection first, or a new one.
    fn take(&self, handle: &BoxHandle) -> Lane {
        let mut pools = self.pools();
        let pool = pools.entry(handle.operator).or_insert_with(Pool::new);
        let ready = pool.idle.iter().rposition(|lane| lane.resumed_on == handle.connection);
        let found = match ready {
            Some(index) => Some(pool.idle.swap_remove(index)),
            None => pool.idle.pop(),
        };
        found.unwrap_or_else(|| {
            let index = pool.next_index;
            pool.next_index = index.saturating_add(1);
            let id = LaneId { payer: self.account, operator: handle.operator, index };
            Lane { payer: Payer::new(id), resumed_on: 0 }
        })
    }

    /// Sends what is owed on idle lanes to boxes that are connected; for the end of a run.
    pub(crate) async fn settle_all(self: &Arc<Self>) {
        for operator in self.operators() {
            let Some(handle) = self.router.get(&operator) else { continue };
            let indexes: Vec<u32> = self.owing(&operator);
            for index in indexes {
                self.settle(&handle, index).await;
            }
        }
    }

    fn owing(&self, operator: &OperatorId) -> Vec<u32> {
        let pools = self.pools();
        let idle = pools.get(operator).map(|pool| pool.idle.iter());
        let owing = idle.into_iter().flatten().filter(|lane| lane.payer.owes());
        owing.map(|lane| lane.payer.lane().index).collect()
    }

    /// Sends the voucher that an idle lane owes, if it still does.
    async fn settle(self: &Arc<Self>, handle: &BoxHandle, index: u32) {
        let taken = {
            let mut pools = self.pools();
            let Some(pool) = pools.get_mut(&handle.operator) else { return };
            let at = pool.idle.iter().position(|lane| {
                lane.payer.lane().index == index
                    && lane.payer.owes()
                    && lane.resumed_on == handle.connection
            });
            let Some(at) = at else { return };
            let Ok(place) = Arc::clone(&pool.places).try_acquire_owned() else { return };
            (pool.idle.swap_remove(at), place)
        };
        let (lane, place) = taken;
        let mut lease = Lease { lanes: Arc::clone(self), lane, _place: place };
        if let Some(allocation) = lease.lane.payer.allocation() {
            lease.pay(handle, allocation).await;
        }
        lease.give_back();
    }

    /// Whether a lane to an operator waits for its box: see [`Payer::is_open`].
    pub(crate) fn is_open(&self, operator: &OperatorId) -> bool {
        let pools = self.pools();
        let idle = pools.get(operator).map(|pool| pool.idle.iter());
        idle.into_iter().flatten().any(|lane| lane.payer.is_open())
    }

    /// Resumes the open lanes of a box that has just connected and pays what they owe: nobody may
    /// ever ask on them again.
    pub(crate) async fn take_up(self: &Arc<Self>, handle: &BoxHandle, allocation: u64) {
        while let Some(mut lease) = self.open_lane(handle) {
            match handle.resume(&mut lease.lane.payer, &self.session_key.public()).await {
                Resumed::Agreed => {
                    lease.lane.resumed_on = handle.connection;
                    if lease.lane.payer.owes() {
                        lease.pay(handle, allocation).await;
                    }
                    lease.give_back();
                }
                Resumed::Disagreed => {}
                Resumed::BoxLost => return lease.give_back(),
            }
        }
    }

    /// An open lane that was not resumed on this connection.
    fn open_lane(self: &Arc<Self>, handle: &BoxHandle) -> Option<Lease> {
        let mut pools = self.pools();
        let pool = pools.get_mut(&handle.operator)?;
        let waits = |lane: &Lane| lane.payer.is_open() && lane.resumed_on != handle.connection;
        let at = pool.idle.iter().position(waits)?;
        let place = Arc::clone(&pool.places).try_acquire_owned().ok()?;
        let lane = pool.idle.swap_remove(at);
        Some(Lease { lanes: Arc::clone(self), lane, _place: place })
    }
}

impl Lease {
    /// The paying end.
    pub(crate) fn payer(&mut self) -> &mut Payer {
        &mut self.lane.payer
    }

    pub(crate) fn id(&self) -> LaneId {
        self.lane.payer.lane()
    }

    /// The voucher for all receipts so far; on disk when this returns.
    async fn voucher(&mut self, allocation: u64) -> Result<Signed<Voucher>, StoreError> {
        let (chain, key) = (self.lanes.chain, self.lanes.session_key.clone());
        let voucher = self.lane.payer.voucher(chain, allocation, &key);
        self.lanes.records.put_lane(&self.lane.payer).await?;
        Ok(voucher)
    }

    /// Sends the voucher for all receipts so far.
    async fn pay(&mut self, handle: &BoxHandle, allocation: u64) {
        match self.voucher(allocation).await {
            Ok(voucher) => handle.send_voucher(voucher).await,
            Err(error) => tracing::error!(%error, "a voucher could not be written"),
        }
    }

    /// Orders a task and gives the voucher to send with it; both are on disk then.
    pub(crate) async fn order(
        &mut self,
        request: &Request,
        most: Credit,
        allocation: u64,
    ) -> Result<Signed<Voucher>, StoreError> {
        self.lane.payer.order_task(request, most);
        self.note();
        self.voucher(allocation).await
    }

    /// Sets aside what an open task may cost, before it is ordered.
    pub(crate) fn set_aside(&self, most: Credit) {
        let position = self.lane.payer.position().cumulative;
        let sum = Credit::new(position.get().saturating_add(most.get()));
        self.write_committed(sum);
    }

    /// Keeps an accepted receipt, in the background: it is needed if a claim leaves it out.
    pub(crate) fn keep(&self, request: &Signed<Request>, receipt: &Signed<Receipt>) {
        let exhibit = Exhibit { request: request.clone(), receipt: receipt.clone() };
        let records = self.lanes.records.clone();
        tokio::spawn(async move {
            if let Err(error) = records.put_receipt(&exhibit).await {
                tracing::error!(%error, "a receipt was not kept");
            }
        });
    }

    fn note(&self) {
        self.write_committed(committed(&self.lane.payer));
    }

    fn write_committed(&self, sum: Credit) {
        let LaneId { operator, index, .. } = self.id();
        if let Some(pool) = self.lanes.pools().get_mut(&operator) {
            pool.committed.insert(index, sum);
        }
    }

    /// The lane must be resumed before it is used again.
    pub(crate) fn distrust(&mut self) {
        self.lane.resumed_on = 0;
    }

    /// Puts the lane back; what it owes goes out in a second.
    pub(crate) fn give_back(self) {
        self.note();
        let Self { lanes, lane, _place: place } = self;
        let LaneId { operator, index, .. } = lane.payer.lane();
        let owes = lane.payer.owes();
        if let Some(pool) = lanes.pools().get_mut(&operator) {
            pool.idle.push(lane);
        }
        drop(place);
        if owes {
            tokio::spawn(async move {
                tokio::time::sleep(VOUCHER_PAUSE).await;
                if let Some(handle) = lanes.router.get(&operator) {
                    lanes.settle(&handle, index).await;
                }
            });
        }
    }
}

/// Fees so far and the most the open task can cost.
fn committed(payer: &Payer) -> Credit {
    let open = payer.order().map_or(Credit::ZERO, |order| order.most);
    Credit::new(payer.position().cumulative.get().saturating_add(open.get()))
}
