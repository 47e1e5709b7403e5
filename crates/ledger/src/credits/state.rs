//! Credits: the stored records, and reading them.

use super::{
    math::Shares,
    schema::{Error, HOLDINGS, PRICE, TOTALS},
};
use crate::{
    error::Broken,
    store::{Corrupt, Read},
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::AccountId;
use serde::{Deserialize, Serialize};
use units::{Coin, Credit, NANO, UsdNano};

/// Where the price of a coin comes from (R8).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum PriceSource {
    /// Of one coin, for ever: a test price.
    Fixed(UsdNano) = 0,
}

impl PriceSource {
    /// The least price of a coin: a millionth of a dollar.
    pub const LEAST: UsdNano = UsdNano::new(1_000);
    /// The highest price of a coin: a million dollars.
    pub const MOST: UsdNano = UsdNano::new(1_000_000 * NANO);

    /// Holds a price against its bounds.
    ///
    /// # Errors
    /// [`Error::PriceOutOfBounds`].
    pub fn check(&self) -> Result<(), Error> {
        let Self::Fixed(price) = self;
        let inside = (Self::LEAST..=Self::MOST).contains(price);
        if inside { Ok(()) } else { Err(Error::PriceOutOfBounds) }
    }
}

/// The credits of one account.
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
pub struct Holding {
    /// May be deposited or redeemed.
    pub free: Credit,
    /// Deposited for payments. Invariant: equals the deposit in `payments`.
    pub locked: Credit,
    /// Coin in `remint` behind free and locked credits (R4).
    pub cost: Coin,
}

/// Credits ever made and destroyed.
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
pub struct Totals {
    /// Made by burning coin.
    pub minted: Credit,
    /// Destroyed by settlement.
    pub settled: Credit,
    /// Destroyed by redemption.
    pub redeemed: Credit,
    /// Charged to payers and not yet settled. Invariant: equals what open claims are owed.
    pub escrow: Credit,
}

/// A settlement that waits for coin (R7).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Payout {
    /// The operator's owner.
    pub to: AccountId,
    /// What was destroyed for it.
    pub credits: Credit,
    /// Who gets what.
    pub shares: Shares,
}

/// The credits of an account; nothing if it has none.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn holding(state: &impl Read, account: &AccountId) -> Result<Holding, Corrupt> {
    Ok(state.get(&HOLDINGS, account)?.unwrap_or_default())
}

/// Credits ever made and destroyed.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn totals(state: &impl Read) -> Result<Totals, Corrupt> {
    Ok(state.get(&TOTALS, &())?.unwrap_or_default())
}

/// The price of one coin (R8).
///
/// # Errors
/// [`Broken`] if there was no genesis.
pub fn price(state: &impl Read) -> Result<UsdNano, Broken> {
    let source = state.get(&PRICE, &())?.ok_or(Broken::Rule("the coin has no price"))?;
    let PriceSource::Fixed(price) = source;
    Ok(price)
}
