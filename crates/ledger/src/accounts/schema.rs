//! Accounts: what may be sent, what is recorded, why a sender is refused.

use super::state::{Account, Session, Supply};
use crate::{
    params::{OutOfBounds, within},
    store::{Key, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, PublicKey};
use serde::{Deserialize, Serialize};
use units::{Coin, Credit, Millis};

/// Balances and nonces by account. Invariant: R2.
pub const ACCOUNTS: Table<AccountId, Account> = Table::new([1, 0], "accounts.accounts");
/// Session keys by (account, key). Never removed: the nonce outlives the session (R3).
pub const SESSIONS: Table<(AccountId, PublicKey), Session> =
    Table::new([1, 1], "accounts.sessions");
/// Coin held by the pots of other modules. Absent means empty.
pub const POTS: Table<Pot, Coin> = Table::new([1, 2], "accounts.pots");
/// How much coin was ever made and destroyed: one record.
pub const SUPPLY: Table<(), Supply> = Table::new([1, 3], "accounts.supply");

/// A named holding of coin that belongs to a module, not to an account.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Pot {
    /// `credits`: coin burned for credits, paid out again when they are settled or redeemed.
    Remint = 0,
    /// `credits`: the spread of every mint.
    Stability = 1,
    /// `staking`: bonds, those being unbonded included.
    Bonds = 2,
    /// `models`: deposits of publishers.
    ModelDeposits = 3,
    /// Share of the take for audits and watchers.
    Audit = 4,
    /// Share of the take for the treasury.
    Treasury = 5,
    /// Share of the take for validators.
    Validators = 6,
    /// Share of the take for insurance.
    Insurance = 7,
    /// `disputes`: bonds of challengers.
    DisputeBonds = 8,
    /// `verification`: bonds of auditors.
    AuditorBonds = 9,
    /// `verification`: a slash while it is spread. Empty between steps.
    Penalties = 10,
}

impl Pot {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Remint,
        Self::Stability,
        Self::Bonds,
        Self::ModelDeposits,
        Self::Audit,
        Self::Treasury,
        Self::Validators,
        Self::Insurance,
        Self::DisputeBonds,
        Self::AuditorBonds,
        Self::Penalties,
    ];
}

impl Key for Pot {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(borsh::to_vec(self).unwrap_or_default());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        <Self as BorshDeserialize>::deserialize(bytes).ok()
    }
}

/// Transactions. Numbers are on the wire: never reuse one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tx {
    /// 0: Coin to another account (R5, R6).
    Transfer {
        /// The receiver.
        to: AccountId,
        /// How much.
        amount: Coin,
    } = 0,
    /// 1: Lets `key` sign for the account within caps until `expires` (R7–R9).
    GrantSession {
        /// The hot key.
        key: PublicKey,
        /// Most it may ever spend on fees.
        fee_cap: Coin,
        /// Most it may ever back in payment allocations, unspent ones not counted.
        spend_cap: Credit,
        /// The clock from which it is no longer valid.
        expires: Millis,
    } = 1,
    /// 2: Ends a session at once. Allocations it backs run on to their own expiry (R7).
    RevokeSession {
        /// The hot key.
        key: PublicKey,
    } = 2,
}

impl Tx {
    /// The fixed fee of the kind.
    #[must_use]
    pub const fn fee(&self, params: &Params) -> Coin {
        match self {
            Self::Transfer { .. } => params.transfer_fee,
            Self::GrantSession { .. } => params.grant_session_fee,
            Self::RevokeSession { .. } => params.revoke_session_fee,
        }
    }
}

/// Facts for indexers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Event {
    /// Coin went from one account to another.
    Transferred {
        /// The sender.
        from: AccountId,
        /// The receiver.
        to: AccountId,
        /// How much.
        amount: Coin,
    } = 0,
    /// A session key was granted, or its caps and expiry were changed.
    SessionGranted {
        /// The account.
        account: AccountId,
        /// The hot key.
        key: PublicKey,
        /// The clock from which it is no longer valid.
        expires: Millis,
    } = 1,
    /// A session key was revoked.
    SessionRevoked {
        /// The account.
        account: AccountId,
        /// The hot key.
        key: PublicKey,
    } = 2,
}

/// Why a sender is refused. Numbers are on the wire: never reuse one.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Error {
    /// R5.
    #[error("the amount is zero; send at least one billionth")]
    ZeroAmount = 0,
    /// R5.
    #[error("the account holds {balance}, {amount} is needed")]
    Insufficient {
        /// What it holds, fee already taken.
        balance: Coin,
        /// What was asked.
        amount: Coin,
    } = 1,
    /// R6.
    #[error("{amount} does not open an account; a first transfer is at least {minimum}")]
    BelowOpeningMinimum {
        /// What was sent.
        amount: Coin,
        /// The parameter.
        minimum: Coin,
    } = 2,
    /// R7.
    #[error("the account's own key needs no session")]
    OwnKey = 3,
    /// R7.
    #[error("the session would end at clock {expires}, it is already {clock}")]
    ExpiryPassed {
        /// In the transaction.
        expires: Millis,
        /// Of the ledger.
        clock: Millis,
    } = 4,
    /// R9.
    #[error("the fee cap {cap} is below the {used} already spent; set it higher")]
    FeeCapBelowUsed {
        /// In the transaction.
        cap: Coin,
        /// Already spent.
        used: Coin,
    } = 5,
    /// R9.
    #[error("the spend cap {cap} is below the {used} already backed; set it higher")]
    SpendCapBelowUsed {
        /// In the transaction.
        cap: Credit,
        /// Already backed.
        used: Credit,
    } = 6,
    /// R7.
    #[error("key {key} is no session key of this account")]
    UnknownSession {
        /// In the transaction.
        key: PublicKey,
    } = 7,
    /// R7, R8: the key that shall back an allocation has ended or was revoked.
    #[error("session key {key} has ended at clock {clock}; grant it again")]
    SessionEnded {
        /// The session key.
        key: PublicKey,
        /// Of the ledger.
        clock: Millis,
    } = 8,
    /// R8.
    #[error("{amount} exceeds what the session may still back, {left}; raise its spend cap")]
    SpendCapExceeded {
        /// What was asked.
        amount: Credit,
        /// Left under the cap.
        left: Credit,
    } = 9,
    /// R10.
    #[error("{key} is no usable key: off the curve, of small order or misspelt")]
    BadKey {
        /// In the transaction.
        key: PublicKey,
    } = 10,
}

/// What genesis decides.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Least first transfer to an unopened account, in coin; 0 to 10.
    pub opening_minimum: Coin,
    /// Fee of a transfer, in coin; 0 to 1.
    pub transfer_fee: Coin,
    /// Fee of a grant, in coin; 0 to 1.
    pub grant_session_fee: Coin,
    /// Fee of a revocation, in coin; 0 to 1.
    pub revoke_session_fee: Coin,
}

impl Params {
    /// Holds every field against its bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        use crate::params::COIN;
        within("accounts.opening_minimum", self.opening_minimum.get(), 0, 10 * COIN)?;
        within("accounts.transfer_fee", self.transfer_fee.get(), 0, COIN)?;
        within("accounts.grant_session_fee", self.grant_session_fee.get(), 0, COIN)?;
        within("accounts.revoke_session_fee", self.revoke_session_fee.get(), 0, COIN)
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            opening_minimum: Coin::new(10_000_000),
            transfer_fee: Coin::new(100_000),
            grant_session_fee: Coin::new(200_000),
            revoke_session_fee: Coin::new(100_000),
        }
    }
}
