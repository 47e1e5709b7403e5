//! The one multiply-and-divide of the network, exact through a 256-bit intermediate.
//!
//! Rules: the caller names the rounding, so that a reader sees who gains the dust.
//! Never here: a result that wrapped.

use ruint::aliases::U256;

/// A sum, difference or product that does not fit its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("arithmetic overflow")]
pub struct Overflow;

/// Which way a division rounds. Money rounds against whoever asks for it (Balancer lost
/// 128 M USD in 2025 to repeated rounding in the caller's favour).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Towards zero: the dust stays with the payer or the pot.
    Down,
    /// Away from zero: the dust goes to the payee or the pot.
    Up,
}

/// `a · b / c`, exact before the one rounding.
///
/// # Errors
/// [`Overflow`] if `c` is zero or the quotient exceeds 128 bits.
pub fn mul_div(a: u128, b: u128, c: u128, rounding: Rounding) -> Result<u128, Overflow> {
    if c == 0 {
        return Err(Overflow);
    }
    let product = U256::from(a).checked_mul(U256::from(b)).ok_or(Overflow)?;
    let divisor = U256::from(c);
    let (quotient, remainder) = product.div_rem(divisor);
    let bump = rounding == Rounding::Up && !remainder.is_zero();
    let quotient = if bump { quotient.checked_add(U256::ONE).ok_or(Overflow)? } else { quotient };
    u128::try_from(quotient).map_err(|_| Overflow)
}
