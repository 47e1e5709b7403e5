//! Staking: pure formulas.

use super::{schema::Params, state::Class};
use crate::{credits::math::coin_for_usd, params::Windows};
use units::{Coin, Millis, Overflow, UsdNano};

/// The least bond of a class in coin, rounded up: the floor is never missed by dust (R3).
///
/// # Errors
/// [`Overflow`] if the worth does not fit.
pub fn floor(class: Class, params: &Params, price: UsdNano) -> Result<Coin, Overflow> {
    coin_for_usd(params.floors.of(class), price)
}

/// The clock from which no claim may name a box key rotated away at `clock` (R6): what it
/// signed last falls into the current period, which is claimed in the window after its end.
///
/// # Errors
/// [`Overflow`] at the end of time.
pub fn key_ends(clock: Millis, windows: &Windows) -> Result<Millis, Overflow> {
    clock.checked_add(windows.epoch)?.checked_add(windows.claim)
}
