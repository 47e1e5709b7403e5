//! Accounts: pure formulas.

use super::state::Supply;
use units::{Coin, Overflow};

/// Coin that exists: genesis + minted − burned (R2). Exact.
///
/// # Errors
/// [`Overflow`] if more was burned than made, which R1 excludes.
pub fn existing(supply: &Supply) -> Result<Coin, Overflow> {
    supply.genesis.checked_add(supply.minted)?.checked_sub(supply.burned)
}
