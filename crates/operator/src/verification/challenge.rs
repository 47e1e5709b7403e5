//! A challenge of one receipt: from its content to its end on the ledger.
//!
//! ```text
//!   run again ── same ──▶ right
//!       └─ differs ──▶ Challenge ──▶ moves, one for each of the operator's ──▶ proven, or lost
//! ```
//! Rules: nothing is said before it was run again; every move is read from the ledger's record, so
//! that a challenge that was broken off goes on where it stood. Never here: what a fault costs.

use super::{
    Acts,
    disputes::{self, Player},
    execution::{Execution, ExecutionError, Order, Side},
};
use client::{
    follow::Follower,
    rpc::{Rpc, RpcError},
    transactions::{SendError, Sender},
};
use crypto::{AccountId, Digest, Salt, SecretKey};
use engine::Engine;
use ledger::{
    Call,
    disputes::{self as game, Cause, DISPUTES, LINES, Line, Party, schema::Subject},
};
use model::commit;
use std::sync::Arc;
use tokio::sync::Mutex;

/// A receipt with what its commitments hide, and who challenges it.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// The node that is asked, for instance `http://127.0.0.1:7700`.
    pub rpc_url: String,
    /// The key of the account that puts up the bond.
    pub key: SecretKey,
    /// The model that was asked.
    pub engine: Arc<Engine>,
    /// Request and receipt.
    pub subject: Subject,
    /// The request's salt.
    pub salt: Salt,
    /// The input's token ids.
    pub ids: Vec<u32>,
    /// The output's token ids; none where it is a row.
    pub tokens: Vec<u32>,
}

/// How a challenge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The run gives what the receipt says: nothing was sent.
    Right,
    /// The ledger has shown that the receipt is wrong, or its operator was silent.
    Won {
        /// What was shown; nothing for silence.
        cause: Option<Cause>,
    },
    /// The line was lost, and its bond with it.
    Lost,
}

/// Why a challenge came to no end.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    /// The node.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The ledger refused the challenge.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The content is not that of the request.
    #[error("salt and input ids do not give the request's input_commit")]
    OtherInput,
    /// The model is not the one that was asked.
    #[error("the request is for another model")]
    OtherModel,
    /// It cannot be run again.
    #[error("the receipt cannot be re-executed: {reason}")]
    NotRun {
        /// Why.
        reason: String,
    },
}

/// Runs a receipt again and, if that gives something else, plays the dispute to its end.
///
/// # Errors
/// [`ChallengeError`].
pub async fn challenge(challenge: Challenge) -> Result<Ended, ChallengeError> {
    check(&challenge)?;
    let Challenge { rpc_url, key, engine, subject, salt, ids, .. } = &challenge;
    let rpc = Rpc::new(rpc_url)?;
    let chain = rpc.status().await?.chain_id;
    let account = AccountId::new(key.public());
    let sender = Mutex::new(Sender::new(rpc.clone(), chain, account, key.clone()));
    let vocabulary = engine.model().facts().vocabulary;
    if let Some(foreign) = disputes::foreign(subject, salt, ids, vocabulary) {
        sender.lock().await.send(Call::Disputes(foreign)).await?;
        return Ok(Ended::Won { cause: Some(Cause::Impossible) });
    }
    let own = execute(challenge.clone()).await?;
    let message = &subject.receipt.message;
    let (receipt, finding) = (message.hash(), own.finding());
    let trace = commit::trace_commit(&finding.trace_root, salt);
    let same = (finding.output_commit, finding.n_out, finding.finish, trace)
        == (message.output_commit, message.n_out, message.finish, message.trace_commit);
    if same {
        return Ok(Ended::Right);
    }
    let mut follower = Follower::start(rpc.clone()).await?;
    if line_of(&rpc, &receipt, account).await?.is_none() {
        let tx = game::Tx::Challenge { subject: Box::new(subject.clone()), finding };
        sender.lock().await.send(Call::Disputes(tx)).await?;
    }
    let mut player = Player::new(Party::Challenger);
    player.hold(receipt, own);
    let mut acts = Acts::default();
    // What the operator had to do when it was last seen: whoever is on turn at the end was silent.
    let mut turn = Party::Defender;
    while let Some((number, line)) = line_of(&rpc, &receipt, account).await? {
        turn = line.phase.turn();
        let ours = |dispute: &game::Dispute| dispute.receipt.hash() == receipt;
        for open in disputes::open_lines(&rpc, Party::Challenger, ours).await? {
            if open.number == number {
                let again = challenge.clone();
                player.play(open, move || run(&again), &mut acts, &sender).await;
            }
        }
        follower.next().await;
    }
    let proven = rpc.record(&DISPUTES, &receipt).await?.and_then(|dispute| dispute.proven);
    Ok(match (proven, turn) {
        (Some(cause), _) => Ended::Won { cause: Some(cause) },
        (None, Party::Defender) => Ended::Won { cause: None },
        (None, Party::Challenger) => Ended::Lost,
    })
}

/// The open line in which an account stands.
async fn line_of(
    rpc: &Rpc,
    receipt: &Digest,
    account: AccountId,
) -> Result<Option<(u32, Line)>, RpcError> {
    let lines = rpc.records(&LINES, receipt).await?;
    let mut own = lines
        .into_iter()
        .filter(|(_, line)| line.backers.iter().any(|backer| backer.account == account));
    Ok(own.next().map(|((_, number), line)| (number, line)))
}

/// Whether model and content are those of the request.
fn check(challenge: &Challenge) -> Result<(), ChallengeError> {
    let body = &challenge.subject.request.message.body;
    if challenge.engine.model().id() != body.model {
        return Err(ChallengeError::OtherModel);
    }
    if commit::input_commit(&challenge.salt, &challenge.ids) != body.input_commit {
        return Err(ChallengeError::OtherInput);
    }
    Ok(())
}

async fn execute(challenge: Challenge) -> Result<Execution, ChallengeError> {
    let not_run = |reason: String| ChallengeError::NotRun { reason };
    let run = tokio::task::spawn_blocking(move || run(&challenge)).await;
    run.map_err(|error| not_run(error.to_string()))?.map_err(|error| not_run(error.to_string()))
}

fn run(challenge: &Challenge) -> Result<Execution, ExecutionError> {
    let order = Order {
        body: &challenge.subject.request.message.body,
        receipt: &challenge.subject.receipt.message,
        ids: &challenge.ids,
        salt: challenge.salt,
        guess: &challenge.tokens,
    };
    Execution::new(Arc::clone(&challenge.engine), &order, Side::Challenger)
}
