//! What a block does: begin, transactions, end.
//!
//! Rules:
//! - B1 A block is applied whole or not at all; a transaction that fails leaves only its fee
//!   and nonce.
//! - B2 A block holds at most `block.bytes` bytes and `block.transactions` transactions. At
//!   least half of the bytes are for payments: nothing else takes more than the rest, disputes
//!   at most three tenths.
//! - B3 No transaction of another chain, of an earlier time or valid for too long enters a
//!   block: its proposer could see that.
//! - B4 The order of modules at the begin and the end of a block is one list each.
//! - B5 The proposer gives each sender in turn the next place, so that nobody fills a block by
//!   sending first.
//!
//! Never here: what a transaction means; a clock; consensus.

use crate::{
    accounts, clock,
    context::{Context, Sender},
    credits, disputes,
    error::{Broken, Failure, Rejection},
    event::Event,
    models,
    params::Params,
    payments, staking,
    store::{Corrupt, Overlay, Read, View, Writes},
    tables::{CHAIN, PARAMS},
    transaction::{self, Authorized, Call, Traffic, Transaction},
    verifier::Ports,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, ChainId, Digest, PublicKey, Seed};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
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
    #[error("{bytes} bytes of disputes exceed their share of a block, {limit}")]
    DisputesTooLarge {
        /// In the block.
        bytes: usize,
        /// Three tenths of the block.
        limit: usize,
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
    let due = [unbonding, expiry.map(|(key, ())| key.0), claim.map(|(key, ())| key.0)];
    let due = due.into_iter().chain([line.map(|(key, ())| key.0)]);
    Ok(due.flatten().min())
}

type Step = fn(&mut Context<'_>) -> Result<(), Failure>;

/// B4: what happens before the transactions.
const BEGIN: [Step; 2] = [credits::apply::begin_block, payments::apply::begin_block];

/// B4: what happens after them. Verdicts come first, so that nothing is paid that they hold;
/// then payouts, so that what falls due in this block is paid by it.
const END: [Step; 4] =
    [disputes::apply::end_block, payments::apply::end_block, staking::apply::end_block, clock::end];

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
    check_bounds(ctx.params(), ctx.chain(), env.height, transactions)?;

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
        Call::Payments(tx) => payments::apply::apply(ctx, sender, tx),
        Call::Disputes(tx) => disputes::apply::apply(ctx, sender, tx),
    }
}

/// B3: what the proposer can see of an envelope without the state.
fn check_envelope(
    params: &Params,
    chain: ChainId,
    height: Height,
    transaction: &Transaction,
) -> Result<(), transaction::Error> {
    let Transaction { chain: named, valid_until, .. } = *transaction;
    if named != chain {
        return Err(transaction::Error::WrongChain { named, expected: chain });
    }
    if valid_until < height {
        return Err(transaction::Error::Expired { valid_until, height });
    }
    let lifetime = params.block.transaction_lifetime;
    let latest = Height::new(height.get().saturating_add(lifetime));
    if valid_until > latest {
        return Err(transaction::Error::ValidTooLong { valid_until, latest });
    }
    Ok(())
}

/// Block space as it fills up (B2).
struct Space {
    transactions: usize,
    bytes: usize,
    rest_bytes: usize,
    dispute_bytes: usize,
}

impl Space {
    const fn new() -> Self {
        Self { transactions: 0, bytes: 0, rest_bytes: 0, dispute_bytes: 0 }
    }

    /// Takes the place of one more transaction, or says why there is none.
    fn take(
        &mut self,
        params: &Params,
        authorized: &Authorized<Transaction>,
    ) -> Result<(), BlockError> {
        let count = self.transactions.saturating_add(1);
        let most = params.block.transactions;
        if u32::try_from(count).map_or(true, |count| count > most) {
            return Err(BlockError::TooManyTransactions { count, limit: most });
        }
        let limit = usize::try_from(params.block.bytes).unwrap_or(usize::MAX);
        let bytes = self.bytes.saturating_add(authorized.bytes());
        if bytes > limit {
            return Err(BlockError::TooManyBytes { bytes, limit });
        }
        let traffic = authorized.get().call.traffic();
        let mut dispute_bytes = self.dispute_bytes;
        if traffic == Traffic::Disputes {
            dispute_bytes = dispute_bytes.saturating_add(authorized.bytes());
            let limit = (limit / 10).saturating_mul(3);
            if dispute_bytes > limit {
                return Err(BlockError::DisputesTooLarge { bytes: dispute_bytes, limit });
            }
        }
        if traffic != Traffic::Payments {
            let rest_limit = limit / 2;
            let rest_bytes = self.rest_bytes.saturating_add(authorized.bytes());
            if rest_bytes > rest_limit {
                return Err(BlockError::RestTooLarge { bytes: rest_bytes, limit: rest_limit });
            }
            self.rest_bytes = rest_bytes;
        }
        self.dispute_bytes = dispute_bytes;
        (self.transactions, self.bytes) = (count, bytes);
        Ok(())
    }
}

fn check_bounds(
    params: &Params,
    chain: ChainId,
    height: Height,
    transactions: &[Authorized<Transaction>],
) -> Result<(), BlockError> {
    let mut space = Space::new();
    for (index, authorized) in transactions.iter().enumerate() {
        space.take(params, authorized)?;
        check_envelope(params, chain, height, authorized.get())
            .map_err(|error| BlockError::Transaction { index, error })?;
    }
    Ok(())
}

/// What a proposer may put into its next block, by place in `candidates`, in block order.
///
/// Of each (account, signer) it takes the transactions whose nonces follow on from the state
/// and whose fees the account covers; senders take turns, in the order of their first candidate
/// (B5), until the block or their class of it is full (B2). What is left out may come later;
/// what can never come is told apart by [`triage`].
///
/// # Errors
/// [`Broken`] if the state is damaged.
pub fn select<'a>(
    state: impl Into<View<'a>>,
    candidates: &[&Authorized<Transaction>],
) -> Result<Vec<usize>, Broken> {
    let view = state.into();
    let params = view.get(&PARAMS, &())?.ok_or(Broken::Rule("there are no parameters"))?;
    let mut turns = queues(&view, &params, candidates)?;
    let mut space = Space::new();
    let mut chosen = Vec::new();
    while let Some(mut queue) = turns.pop_front() {
        let Some(index) = queue.pop_front() else { continue };
        let Some(authorized) = candidates.get(index) else { continue };
        // A sender whose next one does not fit has had its turn: later nonces cannot overtake.
        if space.take(&params, authorized).is_ok() {
            chosen.push(index);
            turns.push_back(queue);
        }
    }
    Ok(chosen)
}

type Signer = (AccountId, PublicKey);

/// Per sender, in order of first candidate, the places of its payable run of nonces.
fn queues(
    view: &View<'_>,
    params: &Params,
    candidates: &[&Authorized<Transaction>],
) -> Result<VecDeque<VecDeque<usize>>, Broken> {
    let mut order: Vec<Signer> = Vec::new();
    let mut waiting: BTreeMap<Signer, BTreeMap<units::Nonce, usize>> = BTreeMap::new();
    for (index, authorized) in candidates.iter().enumerate() {
        let Transaction { account, signer, nonce, .. } = *authorized.get();
        let queue = waiting.entry((account, signer)).or_insert_with(|| {
            order.push((account, signer));
            BTreeMap::new()
        });
        queue.entry(nonce).or_insert(index);
    }
    let mut balances: BTreeMap<AccountId, Coin> = BTreeMap::new();
    let mut turns = VecDeque::new();
    for signer in order {
        let indices = waiting.remove(&signer).unwrap_or_default().into_values();
        let mut queue = VecDeque::new();
        let mut payer: Option<accounts::apply::Payer> = None;
        for index in indices {
            let Some(authorized) = candidates.get(index) else { continue };
            match charge(view, params, &mut balances, &mut payer, authorized.get()) {
                Ok(()) => queue.push_back(index),
                Err(Failure::Broken(broken)) => return Err(broken),
                Err(Failure::Rejected(_)) => break,
            }
        }
        turns.push_back(queue);
    }
    Ok(turns)
}

/// Charges one candidate in a copy of its payer's records, carried on from one to the next.
fn charge(
    view: &View<'_>,
    params: &Params,
    balances: &mut BTreeMap<AccountId, Coin>,
    carried: &mut Option<accounts::apply::Payer>,
    transaction: &Transaction,
) -> Result<(), Failure> {
    let now = clock::now(view)?;
    let next = Height::new(now.height.get().saturating_add(1));
    let chain = view.get(&CHAIN, &())?.ok_or(Broken::Rule("there is no chain id"))?;
    check_envelope(params, chain, next, transaction)?;
    // The payer is looked up for each call: a session may sign one kind and not another.
    let mut payer = accounts::apply::payer(view, now.clock, transaction)?;
    if let Some(carried) = carried {
        payer = *carried;
    }
    if let Some(balance) = balances.get(&transaction.account) {
        payer.account.balance = *balance;
    }
    payer.charge(transaction.nonce, transaction.call.fee(params)?)?;
    balances.insert(transaction.account, payer.account.balance);
    *carried = Some(payer);
    Ok(())
}

/// Whether a transaction could be applied on top of a state, now or after others of its sender:
/// what a mempool asks before it keeps one.
///
/// # Errors
/// [`Failure::Rejected`] with the reason if it never can as things stand: another chain, too
/// old, a nonce already used, no account, no session, a fee that is not covered.
pub fn triage<'a>(
    state: impl Into<View<'a>>,
    transaction: &Transaction,
) -> Result<Readiness, Failure> {
    let view = state.into();
    let params = view.get(&PARAMS, &())?.ok_or(Broken::Rule("there are no parameters"))?;
    let chain = view.get(&CHAIN, &())?.ok_or(Broken::Rule("there is no chain id"))?;
    let now = clock::now(&view)?;
    let next = Height::new(now.height.get().saturating_add(1));
    check_envelope(&params, chain, next, transaction)?;
    let mut payer = accounts::apply::payer(&view, now.clock, transaction)?;
    let ready = transaction.nonce <= payer.nonce();
    let nonce = if ready { transaction.nonce } else { payer.nonce() };
    payer.charge(nonce, transaction.call.fee(&params)?)?;
    Ok(if ready { Readiness::Next } else { Readiness::Later })
}

/// When a transaction's turn can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// In the next block.
    Next,
    /// After others of its sender.
    Later,
}
