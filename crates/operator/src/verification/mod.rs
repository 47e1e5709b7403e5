//! Verified work: receipts are audited, a wrong one is challenged, a right one is defended.
//!
//! - `challenge`: of one receipt, by whoever holds its content.
//! - `defence`: an operator's moves in the disputes of its receipts.
//! - `openings`: what an operator owes to audits and conflicts.
//! - `auditor`: re-executes drawn receipts of others; a role of its own.
//! - `disputes`: the moves of either party.
//! - `execution`: one's own re-execution, of which findings and moves are made.
//!
//! Rules: what is to be done is read from the ledger at every look, so a restart loses nothing;
//! each act is sent until it is applied, and given up after [`ATTEMPTS`] refusals, because each
//! costs a fee.
//! Never here: a judgement that the ledger could not repeat.

pub(crate) mod auditor;
pub(crate) mod challenge;
pub(crate) mod defence;
mod disputes;
pub(crate) mod execution;
pub(crate) mod openings;

use crate::node::{self, Node};
use client::{
    rpc::RpcError,
    store::StoreError,
    transactions::{SendError, Sender},
    wire::audit::PointKey,
};
use crypto::{AccountId, Digest};
use ledger::{Call, verification::Phase};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Mutex;

/// Refusals of one act after which it is left.
const ATTEMPTS: u8 = 3;
/// Acts remembered.
const MAX_ACTS: usize = 4_096;

/// Why a look ended early; the next one begins anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// The node.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an operator sees to at every change of the ledger.
pub(crate) trait Duty {
    /// What waits while it cannot be done, for the log.
    const WHAT: &'static str;

    /// Does all that is due.
    fn look(&mut self) -> impl Future<Output = Result<(), LookError>> + Send;
}

/// Sees to a duty until the operator stops.
pub(crate) async fn run<D: Duty>(mut duty: D, node: Arc<Node>) {
    let mut follower = node.follower.clone();
    loop {
        tokio::select! {
            _ = follower.next() => {}
            () = node.reached(node::Phase::Stopping) => return,
        }
        tokio::select! {
            looked = duty.look() => if let Err(error) = looked {
                tracing::warn!(%error, "{} wait", D::WHAT);
            },
            () = node.reached(node::Phase::Stopping) => return,
        }
    }
}

/// Something that is to be done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// At a point, in one of its phases.
    Point {
        /// Which.
        point: PointKey,
        /// In which phase.
        phase: Phase,
    },
    /// An auditor's demand at a point.
    Demand {
        /// Which.
        point: PointKey,
    },
    /// What an operator brings to a point on the ledger.
    Delivery {
        /// Which.
        point: PointKey,
        /// For which auditor, where it is for that one alone.
        auditor: Option<AccountId>,
    },
    /// An auditor's complaint of what it was brought under its seal.
    Complaint {
        /// Where.
        point: PointKey,
    },
    /// In a conflict.
    Answer {
        /// Which.
        conflict: Digest,
        /// For which receipt.
        receipt: Digest,
    },
    /// Against a receipt over a token that its model does not know.
    Foreign {
        /// Which.
        receipt: Digest,
    },
    /// In a dispute, after so many moves.
    Move {
        /// Of which receipt.
        receipt: Digest,
        /// In which line.
        line: u32,
        /// Moves before it.
        moves: u32,
    },
}

/// How often each act was refused, or that it was done.
#[derive(Debug, Default)]
pub(crate) struct Acts(BTreeMap<Act, u8>);

impl Acts {
    /// Whether an act is still worth trying.
    pub(crate) fn may(&self, act: &Act) -> bool {
        self.0.get(act).is_none_or(|refused| *refused < ATTEMPTS)
    }

    /// Notes that an act came to nothing.
    pub(crate) fn failed(&mut self, act: Act) {
        let failed = self.0.entry(act).or_default();
        *failed = failed.saturating_add(1);
    }

    /// Sends an act's transaction and notes what came of it.
    pub(crate) async fn send(&mut self, act: Act, call: Call, sender: &Mutex<Sender>) {
        let sent = sender.lock().await.send(call).await;
        if self.0.len() >= MAX_ACTS {
            self.0.pop_first();
        }
        let refused = self.0.entry(act).or_default();
        match sent {
            Ok(_) => *refused = ATTEMPTS,
            Err(SendError::Rejected(why)) => {
                *refused = refused.saturating_add(1);
                tracing::warn!(?act, code = why.code, reason = why.message, "refused");
            }
            // The node did not answer: that costs nothing.
            Err(error) => tracing::warn!(?act, %error, "not sent"),
        }
    }
}
