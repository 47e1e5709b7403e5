//! Accounts: the stored records, and reading them.

use super::schema::{ACCOUNTS, POTS, Pot, SESSIONS, SUPPLY};
use crate::store::{Corrupt, Read};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, PublicKey};
use serde::{Deserialize, Serialize};
use units::{Coin, Credit, Millis, Nonce};

/// An open account.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Account {
    /// What it holds. Invariant: part of the sum of R2.
    pub balance: Coin,
    /// The next nonce of its own key (R3). Invariant: only grows.
    pub nonce: Nonce,
}

/// What an account lets a hot key do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Session {
    /// The next nonce of this key (R3). Invariant: only grows, also across grants.
    pub nonce: Nonce,
    /// Most it may ever spend on fees.
    pub fee_cap: Coin,
    /// Spent on fees. Invariant: at most `fee_cap`.
    pub fees_spent: Coin,
    /// Most it may ever back in allocations.
    pub spend_cap: Credit,
    /// Limits of the live allocations it backs, and what ended ones have cashed.
    /// Invariant: at most `spend_cap`.
    pub backed: Credit,
    /// The clock from which it is no longer valid.
    pub expires: Millis,
    /// Ended by its account before its time.
    pub revoked: bool,
}

impl Session {
    /// Whether it may act at `clock` (R7).
    #[must_use]
    pub fn is_live(&self, clock: Millis) -> bool {
        !self.revoked && clock < self.expires
    }
}

/// Coin ever made and destroyed.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Supply {
    /// Made by genesis.
    pub genesis: Coin,
    /// Made since. Invariant: zero until there is an emission schedule.
    pub minted: Coin,
    /// Destroyed since.
    pub burned: Coin,
}

/// An account, or `None` if it was never opened.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn account(state: &impl Read, id: &AccountId) -> Result<Option<Account>, Corrupt> {
    state.get(&ACCOUNTS, id)
}

/// A session, or `None` if it was never granted.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn session(
    state: &impl Read,
    account: &AccountId,
    key: &PublicKey,
) -> Result<Option<Session>, Corrupt> {
    state.get(&SESSIONS, &(*account, *key))
}

/// The next nonce of a signer of an account: 0 for one that never signed.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn next_nonce(state: &impl Read, id: &AccountId, signer: &PublicKey) -> Result<Nonce, Corrupt> {
    if signer == id.get() {
        return Ok(account(state, id)?.unwrap_or_default().nonce);
    }
    Ok(session(state, id, signer)?.map_or(Nonce::ZERO, |session| session.nonce))
}

/// What a pot holds.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn pot(state: &impl Read, pot: Pot) -> Result<Coin, Corrupt> {
    Ok(state.get(&POTS, &pot)?.unwrap_or_default())
}

/// Coin ever made and destroyed.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn supply(state: &impl Read) -> Result<Supply, Corrupt> {
    Ok(state.get(&SUPPLY, &())?.unwrap_or_default())
}
