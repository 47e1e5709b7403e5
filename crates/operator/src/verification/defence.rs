//! An operator's moves in the disputes of its receipts, and against those that contradict them.
//!
//! Rules: a receipt is defended as it was signed, from what its answer left on disk; in a conflict
//! the other receipt is challenged with our own run; whose time ends first is served first.
//! Never here: judging one's own receipts.

use super::{
    Acts, Duty, LookError,
    disputes::{self, Open, Player},
    execution::{Execution, ExecutionError, Order, Side},
};
use crate::node::Node;
use ledger::{
    disputes::{Dispute, LOADS, Party},
    payments::schema::Request,
    verification::{CONFLICTS, Conflict},
};
use model::Output;
use std::sync::Arc;

/// What stands behind this box's receipts.
pub(crate) struct Defence {
    node: Arc<Node>,
    acts: Acts,
    defender: Player,
    challenger: Player,
}

impl Defence {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let (defender, challenger) = (Player::new(Party::Defender), Player::new(Party::Challenger));
        Self { node, acts: Acts::default(), defender, challenger }
    }
}

impl Duty for Defence {
    const WHAT: &'static str = "the disputes of this operator";

    /// Makes every move that is due.
    async fn look(&mut self) -> Result<(), LookError> {
        let node = Arc::clone(&self.node);
        let load = node.rpc.record(&LOADS, &node.operator).await?;
        if load.is_some_and(|load| load.disputes > 0) {
            self.defend().await?;
        }
        for (_, conflict) in node.rpc.records(&CONFLICTS, &()).await? {
            if conflict.disputed {
                self.duel(&conflict).await?;
            }
        }
        Ok(())
    }
}

impl Defence {
    async fn defend(&mut self) -> Result<(), LookError> {
        let node = Arc::clone(&self.node);
        let ours = |dispute: &Dispute| dispute.receipt.operator == node.operator;
        for open in disputes::open_lines(&node.rpc, Party::Defender, ours).await? {
            let request = open.dispute.request.clone();
            match self.run_of(&open, &request, true)? {
                Some(execute) => {
                    self.defender.play(open, execute, &mut self.acts, &node.sender).await;
                }
                None => tracing::error!(receipt = %open.receipt, "its content is not here"),
            }
        }
        Ok(())
    }

    /// Moves against the other receipt of a conflict in which one is ours.
    async fn duel(&mut self, conflict: &Conflict) -> Result<(), LookError> {
        let node = Arc::clone(&self.node);
        let is_ours = |side: &ledger::verification::Side| {
            side.subject.receipt.message.operator == node.operator
        };
        let (own, other) = match &conflict.sides {
            [own, other] if is_ours(own) => (own, other),
            [other, own] if is_ours(own) => (own, other),
            _ => return Ok(()),
        };
        let (request, receipt) = (&own.subject.request.message, &other.subject.receipt.message);
        let against = |dispute: &Dispute| dispute.receipt == *receipt;
        for open in disputes::open_lines(&node.rpc, Party::Challenger, against).await? {
            if !open.line.backers.iter().any(|backer| backer.account == own.owner) {
                continue;
            }
            if let Some(execute) = self.run_of(&open, request, false)? {
                self.challenger.play(open, execute, &mut self.acts, &node.sender).await;
            }
        }
        Ok(())
    }

    /// How to run anew what we answered to `request`, for a dispute; nothing if it is not here.
    fn run_of(
        &self,
        open: &Open,
        request: &Request,
        defends: bool,
    ) -> Result<Option<impl FnOnce() -> Result<Execution, ExecutionError> + use<>>, LookError> {
        let kept = self.node.records.opening(request.lane_id(), request.sequence)?;
        let served = self.node.models.get(&request.body.model);
        let Some((kept, served)) = kept.zip(served) else { return Ok(None) };
        let engine = Arc::clone(&served.engine);
        let (body, receipt) = (request.body.clone(), open.dispute.receipt.clone());
        Ok(Some(move || {
            let (ids, tokens) = (kept.ids.into_vec(), kept.tokens.into_vec());
            let (body, salt) = (&body, kept.salt);
            let order = Order { body, receipt: &receipt, ids: &ids, salt, guess: &tokens };
            if !defends {
                return Execution::new(engine, &order, Side::Challenger);
            }
            let served = match kept.row.is_empty() {
                true => Output::Tokens(tokens.clone()),
                false => Output::Row(kept.row.into_vec()),
            };
            let side = Side::Defender { served, trace_commit: receipt.trace_commit };
            Execution::new(engine, &order, side)
        }))
    }
}
