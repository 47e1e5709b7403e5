//! Credits: pure formulas. One credit is one dollar; prices are dollars per coin, both in
//! billionths, so worth = amount · price / 10^9.

use super::{
    schema::{Params, TakeSplit},
    state::Holding,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use units::{Coin, Credit, NANO, Overflow, Rounding, UsdNano, mul_div};

/// Credits for coin, rounded down: the dust stays in `remint` (R3).
///
/// # Errors
/// [`Overflow`] if the worth does not fit.
pub fn credit_worth(coin: Coin, price: UsdNano) -> Result<Credit, Overflow> {
    mul_div(coin.get(), price.get(), NANO, Rounding::Down).map(Credit::new)
}

/// Coin for credits, rounded down: the dust stays in `remint` (R5, R6).
///
/// # Errors
/// [`Overflow`] if the worth does not fit.
pub fn coin_worth(credits: Credit, price: UsdNano) -> Result<Coin, Overflow> {
    mul_div(credits.get(), NANO, price.get(), Rounding::Down).map(Coin::new)
}

/// Coin for an amount in dollars, rounded up: a deposit is never short by dust.
///
/// # Errors
/// [`Overflow`] if the worth does not fit.
pub fn coin_for_usd(amount: UsdNano, price: UsdNano) -> Result<Coin, Overflow> {
    mul_div(amount.get(), NANO, price.get(), Rounding::Up).map(Coin::new)
}

/// The spread of a mint, rounded up: never less than its share (R3).
///
/// # Errors
/// Never: a share is at most the whole.
pub fn spread(coin: Coin, params: &Params) -> Result<Coin, Overflow> {
    params.mint_spread.of(coin.get(), Rounding::Up).map(Coin::new)
}

/// The part of an account's cost that `amount` of its credits carries (R4).
///
/// # Errors
/// [`Overflow`] if the account holds less than `amount`.
pub fn cost_of(holding: &Holding, amount: Credit, rounding: Rounding) -> Result<Coin, Overflow> {
    let held = holding.free.checked_add(holding.locked)?;
    if amount > held {
        return Err(Overflow);
    }
    if held.is_zero() {
        return Ok(Coin::ZERO);
    }
    holding.cost.mul_div(amount.get(), held.get(), rounding)
}

/// Who gets what of one settlement. Invariant: sums to the coin that was split.
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
pub struct Shares {
    /// To the operator's owner.
    pub operator: Coin,
    /// Burned, with what rounding leaves over.
    pub burned: Coin,
    /// To `audit`.
    pub audit: Coin,
    /// To `treasury`.
    pub treasury: Coin,
    /// To `validators`.
    pub validators: Coin,
    /// To `insurance`.
    pub insurance: Coin,
}

impl Shares {
    /// The coin that was split.
    ///
    /// # Errors
    /// [`Overflow`] never for shares that [`split`] made.
    pub fn total(&self) -> Result<Coin, Overflow> {
        let Self { operator, burned, audit, treasury, validators, insurance } = *self;
        Coin::total([operator, burned, audit, treasury, validators, insurance])
    }
}

/// Splits a settlement (R6): the take rounds up, against the operator; each share of it rounds
/// down; what that leaves over is burned. Exact: the shares sum to `coin`.
///
/// # Errors
/// [`Overflow`] only for a split that is no whole.
pub fn split(coin: Coin, params: &Params) -> Result<Shares, Overflow> {
    let take = params.take.of(coin.get(), Rounding::Up).map(Coin::new)?;
    let TakeSplit { audit, treasury, validators, insurance, .. } = params.take_split;
    let part = |share: units::BasisPoints| share.of(take.get(), Rounding::Down).map(Coin::new);
    let (audit, treasury) = (part(audit)?, part(treasury)?);
    let (validators, insurance) = (part(validators)?, part(insurance)?);
    let kept = Coin::total([audit, treasury, validators, insurance])?;
    Ok(Shares {
        operator: coin.checked_sub(take)?,
        burned: take.checked_sub(kept)?,
        audit,
        treasury,
        validators,
        insurance,
    })
}
