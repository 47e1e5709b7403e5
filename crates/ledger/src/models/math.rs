//! Models: pure formulas.

use super::schema::Params;
use units::{Coin, Overflow, Rounding};

/// One KiB.
const KIB: u128 = 1_024;

/// The fee of a publication: fixed, plus per started KiB of manifest and graph (R6).
///
/// # Errors
/// [`Overflow`] only under parameters beyond their bounds.
pub fn publish_fee(manifest: usize, graph: usize, params: &Params) -> Result<Coin, Overflow> {
    let bytes = manifest.checked_add(graph).ok_or(Overflow)?;
    let bytes = u128::try_from(bytes).map_err(|_| Overflow)?;
    let started = params.publish_fee_per_kib.mul_div(bytes.div_ceil(KIB), 1, Rounding::Up)?;
    params.publish_fee.checked_add(started)
}

/// Whether a text is a name (R4).
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let first = text.bytes().next().is_some_and(plain);
    first && text.bytes().all(|byte| plain(byte) || byte == b'-' || byte == b'.')
}
