//! Plays disputes, for an operator that is challenged and for whoever challenges.
//!
//! Rules: what is to be done is read from the ledger at every look; one's own re-execution is kept
//! while a dispute lasts. Never here: which disputes are one's own, which move is right.

use super::{
    Act, Acts,
    execution::{Execution, ExecutionError},
};
use client::{
    rpc::{Rpc, RpcError},
    transactions::Sender,
};
use crypto::{Digest, Salt, Tree, merkle::RangeProof};
use ledger::{
    Call,
    disputes::{
        self, DISPUTES, Dispute, LINES, Line, Party,
        player::{Stuck, next_move},
        schema::Subject,
    },
};
use model::commit;
use std::collections::{BTreeMap, btree_map::Entry};
use tokio::sync::Mutex;

/// Re-executions kept at once: each holds the rows of a run.
const MAX_HELD: usize = 4;

/// An open line of a disputed receipt.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) receipt: Digest,
    pub(crate) number: u32,
    pub(crate) dispute: Dispute,
    pub(crate) line: Line,
}

/// All open lines whose dispute `is_ours` and in which `party` is on turn.
///
/// # Errors
/// [`RpcError`].
pub(crate) async fn open_lines(
    rpc: &Rpc,
    party: Party,
    is_ours: impl Fn(&Dispute) -> bool,
) -> Result<Vec<Open>, RpcError> {
    let mut open = Vec::new();
    let mut known: BTreeMap<Digest, Option<Dispute>> = BTreeMap::new();
    // Disputes are remembered long after their end, lines are not.
    for ((receipt, number), line) in rpc.records(&LINES, &()).await? {
        if line.phase.turn() != party {
            continue;
        }
        let dispute = match known.entry(receipt) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let dispute = rpc.record(&DISPUTES, &receipt).await?;
                place.insert(dispute.filter(|it| it.proven.is_none() && is_ours(it)))
            }
        };
        if let Some(dispute) = dispute.clone() {
            open.push(Open { receipt, number, dispute, line });
        }
    }
    // Whose time ends first is served first.
    open.sort_by_key(|open| open.line.due);
    Ok(open)
}

/// What convicts a receipt for an input that its model cannot have run: the first token that the
/// model does not know.
pub(crate) fn foreign(
    subject: &Subject,
    salt: &Salt,
    ids: &[u32],
    vocabulary: u32,
) -> Option<disputes::Tx> {
    let (position, token) = (0_u32..).zip(ids).find(|(_, id)| **id >= vocabulary)?;
    let at = u64::from(position);
    let leaves = commit::input_leaves(salt, ids);
    Some(disputes::Tx::Foreign {
        subject: Box::new(subject.clone()),
        position,
        token: *token,
        salt: salt.of_leaf(Tree::Input, at),
        proof: RangeProof::new(&leaves, at..at.saturating_add(1)).ok()?,
    })
}

/// Plays for one party.
pub(crate) struct Player {
    party: Party,
    held: BTreeMap<Digest, Execution>,
}

impl Player {
    /// For one party; it has nothing at hand yet.
    pub(crate) const fn new(party: Party) -> Self {
        Self { party, held: BTreeMap::new() }
    }

    /// Keeps a re-execution for the moves to come.
    pub(crate) fn hold(&mut self, receipt: Digest, own: Execution) {
        if self.held.len() >= MAX_HELD {
            self.held.pop_first();
        }
        self.held.insert(receipt, own);
    }

    /// Makes the move that a line waits for; `execute` re-executes the run where that was not done
    /// yet.
    pub(crate) async fn play(
        &mut self,
        open: Open,
        execute: impl FnOnce() -> Result<Execution, ExecutionError> + Send + 'static,
        acts: &mut Acts,
        sender: &Mutex<Sender>,
    ) {
        let Open { receipt, number, dispute, line } = open;
        let act = Act::Move { receipt, line: number, moves: line.moves };
        if !acts.may(&act) {
            return;
        }
        let (held, party) = (self.held.remove(&receipt), self.party);
        let work = move || -> Result<_, Stuck<ExecutionError>> {
            let mut own = held.map_or_else(execute, Ok).map_err(Stuck::Run)?;
            let play = next_move(&dispute, &line, party, &mut own);
            Ok((own, play))
        };
        // A panic of a library ends the attempt, not the role.
        let play = match tokio::task::spawn_blocking(work).await {
            Ok(Ok((own, play))) => {
                self.hold(receipt, own);
                play
            }
            Ok(Err(stuck)) => Err(stuck),
            Err(error) => return tracing::error!(%receipt, %error, "a re-execution broke"),
        };
        match play {
            Ok(play) => {
                let call = disputes::Tx::Play { receipt, line: number, play };
                acts.send(act, Call::Disputes(call), sender).await;
            }
            Err(stuck) => tracing::error!(%receipt, %stuck, "there is no move in a dispute"),
        }
    }
}
