//! Payments: pure formulas.

use super::{schema::Params, state::ClaimRecord};
use crate::params::Windows;
use units::{Coin, Credit, Millis, Overflow, Rounding};

/// The fee of a claim: fixed, plus per lane.
///
/// # Errors
/// [`Overflow`] only under parameters beyond their bounds.
pub fn claim_fee(lanes: usize, params: &Params) -> Result<Coin, Overflow> {
    let lanes = u128::try_from(lanes).map_err(|_| Overflow)?;
    let per_lane = params.claim_lane_fee.mul_div(lanes, 1, Rounding::Up)?;
    params.claim_fee.checked_add(per_lane)
}

/// The part of a claim's fee that is paid first, rounded down: the dust waits with the rest
/// (R13).
///
/// # Errors
/// Never: a share is at most the whole.
pub fn base(fee: Credit, params: &Params) -> Result<Credit, Overflow> {
    params.base_pay.of(fee.get(), Rounding::Down).map(Credit::new)
}

/// The clock at which the base of a claim is paid, whose seed came at `drawn` (R13).
///
/// # Errors
/// [`Overflow`] at the end of time.
pub fn base_due(drawn: Millis, windows: &Windows) -> Result<Millis, Overflow> {
    Millis::total([drawn, windows.open, windows.commit, windows.reveal])
}

/// The clock at which the rest is paid: the end of the challenge window after filing, or the
/// base's if that is later (R13).
///
/// # Errors
/// [`Overflow`] at the end of time.
pub fn rest_due(filed: Millis, base_due: Millis, windows: &Windows) -> Result<Millis, Overflow> {
    Ok(filed.checked_add(windows.challenge)?.max(base_due))
}

/// What a claim's fee counts as unverified work (R16): twice, if some of its receipts may never be
/// opened.
///
/// # Errors
/// [`Overflow`] if it does not fit.
pub fn counted(fee: Credit, canary_only: bool) -> Result<Credit, Overflow> {
    if canary_only { fee.checked_add(fee) } else { Ok(fee) }
}

/// What the payer of a lane reclaims of a void claim (R17): the lane's share of what was not paid,
/// less what was refunded to it; rounded down, the dust is forfeited. Never more than is left.
///
/// # Errors
/// [`Overflow`] never: a share is at most the whole.
pub fn reclaimable(
    claim: &ClaimRecord,
    delta: Credit,
    refunded: Credit,
) -> Result<Credit, Overflow> {
    let (fee, unpaid) = (claim.totals.fee, claim.totals.fee.checked_sub(claim.paid)?);
    let share = delta.mul_div(unpaid.get(), fee.get().max(1), Rounding::Down)?;
    Ok(share.saturating_sub(refunded).min(claim.owed()?))
}
