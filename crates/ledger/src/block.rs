//! What a block does: begin, transactions, end.
//!
//! Rules:
//! - B1 A block is applied whole or not at all; a transaction that fails leaves only its fee
//!   and nonce.
//! - B2 A block holds at most `block.bytes` bytes and `block.transactions` transactions. At
//!   least half of the bytes are for payments: nothing else takes more than the rest. Disputes
//!   take at most three tenths of bytes and of transactions.
//! - B3 No transaction of another chain, of an earlier time or valid for too long enters a
//!   block: its proposer could see that.
//! - B4 The order of modules at the begin and the end of a block is one list each.
//! - B5 The proposer gives each sender in turn the next place, so that nobody fills a block by
//!   sending first.
//!
//! B2, B3 and B5 are carried out in `selection`.
//! Never here: what a transaction means; a clock; consensus.

use crate::{
    accounts, clock,
    context::{Context, Sender},
    credits, disputes,
    error::{Broken, Failure, Rejection},
    event::Event,
    models, payments, selection, staking,
    store::{Corrupt, Overlay, Read, View, Writes},
    transaction::{self, Authorized, Call, Transaction},
    verification,
    verifier::Ports,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{Digest, PublicKey, Seed};
use serde::{Deserialize, Serialize};
use units::{Coin, Height, Millis, Round};

/// All that a block knows of the outside world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// Number of the block: its parent's plus one.
    pub height: Height,
    /// The proposer's wall clock, in ms since 1970; later than the parent's.
    pub time: Millis,
    /// The proposer's key.
    pub proposer: PublicKey,
    /// The consensus view; later than the parent's.
    pub round: Round,
    /// Beacon seeds of earlier rounds, ascending.
    pub seeds: Vec<(Round, Seed)>,
}

/// What a block did.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Applied {
    /// To be committed to the state.
    pub writes: Writes,
    /// One per transaction, in order.
    pub outcomes: Vec<Outcome>,
    /// In order of execution: of the begin, of each transaction, of the end.
    pub events: Vec<Event>,
}

/// What became of one transaction.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Outcome {
    /// The transaction.
    pub id: Digest,
    /// What was charged.
    pub fee: Coin,
    /// Whether it did what it asked for.
    pub status: Status,
    /// How many events are its own.
    pub events: u32,
}

/// Whether a transaction did what it asked for.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Status {
    /// It did.
    Applied = 0,
    /// It broke a rule: fee and nonce are taken, nothing else changed.
    Rejected(Rejection) = 1,
    /// When its turn came it could not pay or its nonce was not the next: nothing changed, and
    /// the same bytes may yet be applied in a later block.
    Refused(Rejection) = 2,
}

/// Why a block is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// T1.
    #[error("the height is {given}, the parent's successor is {expected}")]
    Height {
        /// Of the block.
        given: Height,
        /// Of the parent, plus one.
        expected: Height,
    },
    /// T1.
    #[error("the time {given} is not later than the parent's, {parent}")]
    Time {
        /// Of the block.
        given: Millis,
        /// Of the parent.
        parent: Millis,
    },
    /// T1.
    #[error("the round {given} is not later than the parent's, {parent}")]
    Round {
        /// Of the block.
        given: Round,
        /// Of the parent.
        parent: Round,
    },
    /// T3.
    #[error("{count} seeds exceed the {} of a block", clock::SEEDS_PER_BLOCK_MAX)]
    TooManySeeds {
        /// In the block.
        count: usize,
    },
    /// T3.
    #[error("the seed of round {round} is out of order, too early or already known")]
    Seed {
        /// Whose seed it claims to be.
        round: Round,
    },
    /// B2.
    #[error("{count} transactions exceed the {limit} of a block")]
    TooManyTransactions {
        /// In the block.
        count: usize,
        /// The parameter.
        limit: u32,
    },
    /// B2.
    #[error("{bytes} bytes of transactions exceed the {limit} of a block")]
    TooManyBytes {
        /// In the block.
        bytes: usize,
        /// The parameter.
        limit: usize,
    },
    /// B2.
    #[error("{bytes} bytes beside payments exceed their share of a block, {limit}")]
    RestTooLarge {
        /// In the block.
        bytes: usize,
        /// Half of the block.
        limit: usize,
    },
    /// B3.
    #[error("transaction {index} may not be in this block: {error}")]
    Transaction {
        /// Its place.
        index: usize,
        /// Why.
        error: transaction::Error,
    },
    /// B2.
    #[error("{count} disputes of {bytes} bytes exceed their share of a block, three tenths")]
    TooManyDisputes {
        /// Their transactions in the block.
        count: usize,
        /// The bytes of these.
        bytes: usize,
    },
    /// The state contradicts itself: the node must stop.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl From<Failure> for BlockError {
    /// Outside a transaction nobody can be rejected: a rule that fails there is broken.
    fn from(failure: Failure) -> Self {
        Self::Broken(match failure {
            Failure::Broken(broken) => broken,
            Failure::Rejected(_) => Broken::Rule("a step of the ledger's own was rejected"),
        })
    }
}

impl From<Corrupt> for BlockError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Broken(corrupt.into())
    }
}

/// The clock of the earliest thing the ledger will do by itself, if there is any: a chain that
/// makes blocks slowly when idle makes them faster towards it. What waits for a seed or for the
/// next block counts as due now.
///
/// # Errors
/// [`Broken`] if the state is damaged.
pub fn next_deadline(state: &impl Read) -> Result<Option<Millis>, Broken> {
    let waits = !state.scan(&payments::DRAWS, &(), 1)?.is_empty()
        || !state.scan(&disputes::CLOSING, &(), 1)?.is_empty()
        || !state.scan(&credits::PAYOUTS, &(), 1)?.is_empty();
    if waits {
        return Ok(Some(clock::now(state)?.clock));
    }
    let unbonding = state.scan(&staking::UNBONDING, &(), 1)?.pop().map(|((due, _), _)| due);
    let expiry = state.scan(&payments::ALLOCATION_EXPIRIES, &(), 1)?.pop();
    let claim = state.scan(&payments::DUE, &(), 1)?.pop();
    let line = state.scan(&disputes::DUE, &(), 1)?.pop();
    let point = state.scan(&verification::POINTS_DUE, &(), 1)?.pop();
    let conflict = state.scan(&verification::CONFLICTS_DUE, &(), 1)?.pop();
    let leaving = state.scan(&verification::LEAVING, &(), 1)?.pop();
    let due = [unbonding, expiry.map(|(key, ())| key.0), claim.map(|(key, ())| key.0)];
    let due = due.into_iter().chain([line.map(|(key, ())| key.0)]);
    let audits = [point.map(|(key, ())| key.0), conflict.map(|(key, ())| key.0)];
    let due = due.chain(audits).chain([leaving.map(|(key, ())| key.0)]);
    Ok(due.flatten().min())
}

type Step = fn(&mut Context<'_>) -> Result<(), Failure>;

/// B4: what happens before the transactions.
const BEGIN: [Step; 3] =
    [credits::apply::begin_block, payments::apply::begin_block, verification::apply::begin_block];

/// B4: what happens after them. Verdicts come first, and what they cost, so that nothing is paid
/// that they hold; then payouts, so that what falls due in this block is paid by it.
const END: [Step; 5] = [
    disputes::apply::end_block,
    verification::apply::end_block,
    payments::apply::end_block,
    staking::apply::end_block,
    clock::end,
];

/// Applies a block to a state, or says why it is invalid. The state itself is not changed: the
/// caller commits the writes once the block is final.
///
/// # Errors
/// [`BlockError`]; for [`BlockError::Broken`] the node must stop.
pub fn apply_block<'a>(
    state: impl Into<View<'a>>,
    env: &Env,
    transactions: &[Authorized<Transaction>],
    ports: &Ports<'a>,
) -> Result<Applied, BlockError> {
    let view = state.into();
    let now = clock::advance(&clock::now(&view)?, env)?;
    let mut ctx = Context::open(Overlay::new(view), now, *ports)?;
    selection::check(ctx.params(), ctx.chain(), env.height, transactions)?;

    clock::begin(&mut ctx, env)?;
    for step in BEGIN {
        step(&mut ctx)?;
    }
    ctx.keep();
    let mut outcomes = Vec::with_capacity(transactions.len());
    for transaction in transactions {
        outcomes.push(apply_transaction(&mut ctx, transaction)?);
    }
    for step in END {
        step(&mut ctx)?;
    }
    let (writes, events) = ctx.close();
    Ok(Applied { writes, outcomes, events })
}

/// B1: fee and nonce first, then the call, which may fail on its own.
fn apply_transaction(
    ctx: &mut Context<'_>,
    authorized: &Authorized<Transaction>,
) -> Result<Outcome, Broken> {
    let (transaction, id) = (authorized.get(), authorized.id());
    let fee = match accounts::apply::admit(ctx, transaction) {
        Ok(fee) => fee,
        Err(Failure::Broken(broken)) => return Err(broken),
        Err(Failure::Rejected(why)) => {
            ctx.revert();
            let status = Status::Refused(why);
            return Ok(Outcome { id, fee: Coin::ZERO, status, events: 0 });
        }
    };
    ctx.keep();
    let sender = Sender { account: transaction.account, signer: transaction.signer };
    let status = match dispatch(ctx, &sender, &transaction.call) {
        Ok(()) => Status::Applied,
        Err(Failure::Broken(broken)) => return Err(broken),
        Err(Failure::Rejected(why)) => {
            ctx.revert();
            Status::Rejected(why)
        }
    };
    let events = u32::try_from(ctx.fresh_events()).unwrap_or(u32::MAX);
    ctx.keep();
    Ok(Outcome { id, fee, status, events })
}

fn dispatch(ctx: &mut Context<'_>, sender: &Sender, call: &Call) -> Result<(), Failure> {
    match call {
        Call::Accounts(tx) => accounts::apply::apply(ctx, sender, tx),
        Call::Credits(tx) => credits::apply::apply(ctx, sender, tx),
        Call::Staking(tx) => staking::apply::apply(ctx, sender, tx),
        Call::Models(tx) => models::apply::apply(ctx, sender, tx),
        Call::Payments(tx) => {
            verification::apply::admit(ctx, tx)?;
            payments::apply::apply(ctx, sender, tx)
        }
        Call::Disputes(tx) => disputes::apply::apply(ctx, sender, tx),
        Call::Verification(tx) => verification::apply::apply(ctx, sender, tx),
    }
}
