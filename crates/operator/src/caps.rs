//! Keeps in mind what this box may still take on under the ledger's value cap.
//!
//! Rules: read every few seconds, and whenever a claim has reached the ledger; a node that is away
//! changes nothing; a box that takes work nobody may see has half of the room, because its claims
//! may count twice. Never here: what must fit; that is `client::caps`.

use crate::node::{Node, Phase};
use client::{
    caps::Room,
    rpc::{Rpc, RpcError},
};
use crypto::OperatorId;
use ledger::Params;
use std::{sync::Arc, time::Duration};
use units::{Credit, Millis};

/// How old what is known gets before it is read again.
const PERIOD: Duration = Duration::from_secs(5);

/// Reads until the box stops.
pub(crate) async fn run(node: Arc<Node>, params: Params) {
    let mut filed = node.filed.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            // The sender is the node's, so the channel is open.
            _ = filed.changed() => {}
            () = node.reached(Phase::Stopping) => return,
        }
        let clock = node.follower.seen().clock;
        let claimed = node.lanes.allocations.claimed_in_all();
        match read(&node.rpc, &params, node.operator, clock, claimed, node.unseen).await {
            Ok(room) => node.lanes.allocations.limit(room),
            Err(error) => tracing::debug!(%error, "the value cap cannot be read"),
        }
    }
}

/// What a box may take on; `claimed` as for [`Room::read`], `unseen` whether its claims may hold
/// what nobody may see.
pub(crate) async fn read(
    rpc: &Rpc,
    params: &Params,
    operator: OperatorId,
    clock: Millis,
    claimed: Credit,
    unseen: bool,
) -> Result<Room, RpcError> {
    let room = Room::read(rpc, params, &operator, clock, claimed).await?;
    Ok(if unseen { room.halved() } else { room })
}
