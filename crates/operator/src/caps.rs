//! Keeps in mind what this box may still take on under the ledger's value cap.
//!
//! Rules: read every few seconds, and whenever a claim has reached the ledger; a node that is away
//! changes nothing. Never here: what must fit; that is `client::caps`.

use crate::node::{Node, Phase};
use client::caps::Room;
use ledger::Params;
use std::{sync::Arc, time::Duration};

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
        match Room::read(&node.rpc, &params, &node.operator, clock, claimed).await {
            Ok(room) => node.lanes.allocations.limit(room),
            Err(error) => tracing::debug!(%error, "the value cap cannot be read"),
        }
    }
}
