//! What each box may still serve under the ledger's value cap.
//!
//! Rules: a box whose cap is not known yet, or whose network has no audits, gets tasks. Work beyond
//! the cap would be unpaid and unchecked.
//! Never here: the formula, and what must fit; that is `client::caps`.

use crate::{lanes::Lanes, router::Router};
use client::{
    caps::Room,
    follow::Follower,
    rpc::{Rpc, RpcError},
};
use crypto::OperatorId;
use ledger::{
    Params,
    payments::{LANES, Lane},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use units::Credit;

/// How old a cap gets before it is read again.
const PERIOD: Duration = Duration::from_secs(5);

/// The caps of the boxes that are connected.
#[derive(Debug)]
pub(crate) struct Caps {
    rpc: Rpc,
    follower: Follower,
    params: Params,
    router: Arc<Router>,
    lanes: Arc<Lanes>,
    rooms: Mutex<BTreeMap<OperatorId, Room>>,
}

impl Caps {
    pub(crate) fn new(
        rpc: Rpc,
        follower: Follower,
        params: Params,
        router: Arc<Router>,
        lanes: Arc<Lanes>,
    ) -> Self {
        Self { rpc, follower, params, router, lanes, rooms: Mutex::default() }
    }

    fn rooms(&self) -> MutexGuard<'_, BTreeMap<OperatorId, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a box may take a task that costs at most so much.
    pub(crate) fn admits(&self, operator: OperatorId, most: Credit) -> bool {
        let Some(room) = self.rooms().get(&operator).copied() else { return true };
        room.admits(self.lanes.committed(&operator), most).is_ok()
    }

    /// Reads the caps of all boxes every few seconds, for ever.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            for handle in self.router.all() {
                match self.read(handle.operator).await {
                    Ok(room) => {
                        self.rooms().insert(handle.operator, room);
                    }
                    Err(error) => tracing::debug!(%error, "a value cap cannot be read"),
                }
            }
            let connected = |operator: &OperatorId| self.router.get(operator).is_some();
            self.rooms().retain(|operator, _| connected(operator));
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn read(&self, operator: OperatorId) -> Result<Room, RpcError> {
        let mut claimed = 0_u128;
        for lane in self.lanes.ids(&operator) {
            let record: Option<Lane> = self.rpc.record(&LANES, &lane).await?;
            claimed = claimed.saturating_add(record.map_or(0, |lane| lane.cumulative.get()));
        }
        let clock = self.follower.seen().clock;
        Room::read(&self.rpc, &self.params, &operator, clock, Credit::new(claimed)).await
    }
}
