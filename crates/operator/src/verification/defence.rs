//! An operator's moves in the disputes of its receipts.
//!
//! Rules: a receipt is defended as it was signed, from what its answer left on disk; whose time
//! ends first is served first. Never here: judging one's own receipts.

use super::{
    Acts, LookError,
    disputes::{self, Open, Player},
    execution::{Execution, Order, Side},
};
use crate::node::{Node, Phase};
use ledger::disputes::{LOADS, Party};
use model::Output;
use std::sync::Arc;

/// Defends this box's receipts until it stops.
pub(crate) async fn run(node: Arc<Node>) {
    let mut follower = node.follower.clone();
    let mut acts = Acts::default();
    let mut player = Player::new(Party::Defender);
    loop {
        tokio::select! {
            _ = follower.next() => {}
            () = node.reached(Phase::Stopping) => return,
        }
        tokio::select! {
            looked = look(&node, &mut player, &mut acts) => if let Err(error) = looked {
                tracing::warn!(%error, "the disputes of this operator wait");
            },
            () = node.reached(Phase::Stopping) => return,
        }
    }
}

/// Makes every move that is due.
async fn look(node: &Arc<Node>, player: &mut Player, acts: &mut Acts) -> Result<(), LookError> {
    let load = node.rpc.record(&LOADS, &node.operator).await?;
    if load.is_none_or(|load| load.disputes == 0) {
        return Ok(());
    }
    let ours = |dispute: &ledger::disputes::Dispute| dispute.receipt.operator == node.operator;
    for open in disputes::open_lines(&node.rpc, Party::Defender, ours).await? {
        let Open { receipt, dispute, .. } = &open;
        let (lane, sequence) = (dispute.request.lane_id(), dispute.request.sequence);
        let kept = node.records.opening(lane, sequence)?;
        let served = node.models.get(&dispute.request.body.model);
        let (Some(kept), Some(served)) = (kept, served) else {
            tracing::error!(%receipt, "what stands behind a disputed receipt is not here");
            continue;
        };
        let engine = Arc::clone(&served.engine);
        let (request, receipt) = (dispute.request.clone(), dispute.receipt.clone());
        let execute = move || {
            let (ids, tokens) = (kept.ids.into_vec(), kept.tokens.into_vec());
            let order = Order {
                body: &request.body,
                receipt: &receipt,
                ids: &ids,
                salt: kept.salt,
                guess: &tokens,
            };
            let served = match kept.row.is_empty() {
                true => Output::Tokens(tokens.clone()),
                false => Output::Row(kept.row.into_vec()),
            };
            let side = Side::Defender { served, trace_commit: receipt.trace_commit };
            Execution::new(engine, &order, side)
        };
        player.play(open, execute, acts, &node.sender).await;
    }
    Ok(())
}
