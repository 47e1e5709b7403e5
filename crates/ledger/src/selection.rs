//! Which transactions a block holds: its bounds, and what a proposer picks.
//!
//! Rules: B2, B3 and B5 of `block`. Never here: what a transaction does.

use crate::{
    accounts,
    block::BlockError,
    clock,
    error::{Broken, Failure},
    params::Params,
    store::{Read, View},
    tables::{CHAIN, PARAMS},
    transaction::{self, Authorized, Traffic, Transaction},
};
use crypto::{AccountId, ChainId, PublicKey};
use std::collections::{BTreeMap, VecDeque};
use units::{Coin, Height};

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

/// The share of disputes in a block.
const fn three_tenths(whole: usize) -> usize {
    (whole / 10).saturating_mul(3)
}

/// Block space as it fills up (B2).
#[derive(Default)]
struct Space {
    transactions: usize,
    bytes: usize,
    /// Bytes of what is no payment, disputes included.
    rest_bytes: usize,
    disputes: usize,
    dispute_bytes: usize,
}

impl Space {
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
        let (mut disputes, mut dispute_bytes) = (self.disputes, self.dispute_bytes);
        if traffic == Traffic::Disputes {
            disputes = disputes.saturating_add(1);
            dispute_bytes = dispute_bytes.saturating_add(authorized.bytes());
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            if disputes > three_tenths(most) || dispute_bytes > three_tenths(limit) {
                return Err(BlockError::TooManyDisputes { count: disputes, bytes: dispute_bytes });
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
        (self.disputes, self.dispute_bytes) = (disputes, dispute_bytes);
        (self.transactions, self.bytes) = (count, bytes);
        Ok(())
    }
}

/// B2, B3: whether all transactions of a block are ones that its proposer could put in.
pub(crate) fn check(
    params: &Params,
    chain: ChainId,
    height: Height,
    transactions: &[Authorized<Transaction>],
) -> Result<(), BlockError> {
    let mut space = Space::default();
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
    let mut space = Space::default();
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
