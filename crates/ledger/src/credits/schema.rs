//! Credits: what may be sent, what is recorded, why a sender is refused.

use super::{
    math::Shares,
    state::{Holding, Payout, PriceSource, Totals},
};
use crate::{
    params::{COIN, OutOfBounds, share, within},
    store::Table,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::AccountId;
use serde::{Deserialize, Serialize};
use units::{BasisPoints, Coin, Credit, UsdNano};

/// Where the price comes from (R8): one record.
pub const PRICE: Table<(), PriceSource> = Table::new([2, 0], "credits.price");
/// Credits by account. Invariant: R1, R4.
pub const HOLDINGS: Table<AccountId, Holding> = Table::new([2, 1], "credits.holdings");
/// Credits ever made and destroyed: one record. Invariant: R1.
pub const TOTALS: Table<(), Totals> = Table::new([2, 2], "credits.totals");
/// Payouts that `remint` could not cover yet, oldest first (R7).
pub const PAYOUTS: Table<u64, Payout> = Table::new([2, 3], "credits.payouts");
/// Number of the next queued payout: one record. Invariant: above all keys of [`PAYOUTS`].
pub const QUEUE: Table<(), u64> = Table::new([2, 4], "credits.queue");

/// Transactions. Numbers are on the wire: never reuse one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tx {
    /// 0: Makes credits by burning coin (R3).
    Mint {
        /// What is given.
        coin: Coin,
        /// The least that is accepted for it.
        at_least: Credit,
    } = 0,
    /// 1: Turns free credits back into coin (R5).
    Redeem {
        /// What is given.
        amount: Credit,
        /// The least that is accepted for it.
        at_least: Coin,
    } = 1,
}

impl Tx {
    /// The fixed fee of the kind.
    #[must_use]
    pub const fn fee(&self, params: &Params) -> Coin {
        match self {
            Self::Mint { .. } => params.mint_fee,
            Self::Redeem { .. } => params.redeem_fee,
        }
    }
}

/// Facts for indexers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Event {
    /// Credits were made.
    Minted {
        /// For whom.
        account: AccountId,
        /// Into `remint`.
        coin: Coin,
        /// Into `stability`.
        spread: Coin,
        /// Made.
        credits: Credit,
        /// Of one coin.
        price: UsdNano,
    } = 0,
    /// Credits were turned back into coin.
    Redeemed {
        /// By whom.
        account: AccountId,
        /// Destroyed.
        credits: Credit,
        /// Paid.
        coin: Coin,
    } = 1,
    /// Credits were settled and paid out in coin.
    Paid {
        /// The operator's owner.
        to: AccountId,
        /// Destroyed.
        credits: Credit,
        /// Who got what.
        shares: Shares,
    } = 2,
    /// Credits were settled, but `remint` could not cover them: the payout waits (R7).
    Queued {
        /// The operator's owner.
        to: AccountId,
        /// Destroyed.
        credits: Credit,
        /// Its number in the queue.
        number: u64,
    } = 3,
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
    /// R3, R5.
    #[error("the amount is zero; give at least one billionth")]
    ZeroAmount = 0,
    /// R3, R5.
    #[error("the amount is worth less than one billionth of the other unit; give more")]
    TooSmall = 1,
    /// R3.
    #[error("{coin} makes {made} now, less than the {at_least} asked for")]
    MintBelowLimit {
        /// Given.
        coin: Coin,
        /// What it makes at the price.
        made: Credit,
        /// Asked.
        at_least: Credit,
    } = 2,
    /// R5.
    #[error("{amount} pays {paid} now, less than the {at_least} asked for")]
    RedeemBelowLimit {
        /// Given.
        amount: Credit,
        /// What it pays.
        paid: Coin,
        /// Asked.
        at_least: Coin,
    } = 3,
    /// R2, R5.
    #[error("the account has {free} free, {amount} is needed; mint or withdraw first")]
    Insufficient {
        /// Free.
        free: Credit,
        /// Asked.
        amount: Credit,
    } = 4,
    /// R5, R7.
    #[error("the remint pot holds {held} now, {amount} is needed; try again later")]
    RemintShort {
        /// In the pot.
        held: Coin,
        /// Asked.
        amount: Coin,
    } = 5,
    /// R8, at genesis.
    #[error("the price of a coin must lie between 0.000001 and 1,000,000 USD")]
    PriceOutOfBounds = 6,
}

/// What genesis decides.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Share of minted coin that goes to `stability`; 0 to 500 basis points.
    pub mint_spread: BasisPoints,
    /// Share of every settlement that the network takes; 500 to 1,500 basis points.
    pub take: BasisPoints,
    /// What becomes of the take.
    pub take_split: TakeSplit,
    /// Fee of a mint, in coin; 0 to 1.
    pub mint_fee: Coin,
    /// Fee of a redemption, in coin; 0 to 1.
    pub redeem_fee: Coin,
}

/// What becomes of the take, in basis points of it; together the whole.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct TakeSplit {
    /// Burned; also gets what rounding leaves over. At least 5,000.
    pub burned: BasisPoints,
    /// To `audit`: audits and watchers.
    pub audit: BasisPoints,
    /// To `treasury`.
    pub treasury: BasisPoints,
    /// To `validators`.
    pub validators: BasisPoints,
    /// To `insurance`.
    pub insurance: BasisPoints,
}

impl Params {
    /// Holds every field against its bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        within("credits.mint_spread", self.mint_spread.get().into(), 0, 500)?;
        within("credits.take", self.take.get().into(), 500, 1_500)?;
        let TakeSplit { burned, audit, treasury, validators, insurance } = self.take_split;
        let whole: u128 = [burned, audit, treasury, validators, insurance]
            .iter()
            .fold(0, |whole, part| u128::from(part.get()).saturating_add(whole));
        within("credits.take_split", whole, 10_000, 10_000)?;
        // Usage can only be rewarded below what it burns: the burned half is what makes that hold.
        within("credits.take_split.burned", burned.get().into(), 5_000, 10_000)?;
        within("credits.mint_fee", self.mint_fee.get(), 0, COIN)?;
        within("credits.redeem_fee", self.redeem_fee.get(), 0, COIN)
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            mint_spread: share(25),
            take: share(1_000),
            take_split: TakeSplit {
                burned: share(5_000),
                audit: share(2_000),
                treasury: share(1_500),
                validators: share(1_000),
                insurance: share(500),
            },
            mint_fee: Coin::new(200_000),
            redeem_fee: Coin::new(200_000),
        }
    }
}
