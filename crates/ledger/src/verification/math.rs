//! Verification: pure formulas.

use super::{
    schema::{Content, Delivery, Params},
    state::{Cause, Correlation, Grade, Spread, Standing},
};
use crate::{
    credits::math::{coin_for_usd, coin_worth, credit_worth},
    disputes::moves::Finding,
    payments::messages::{Finish, Receipt},
};
use crypto::{AccountId, Digest, Domain, ModelId, Seed, hash_of};
use units::{BasisPoints, Coin, Credit, Millis, Overflow, Rounding, UsdNano, mul_div};

/// A whole in hundredths of a per cent.
const WHOLE: u128 = 10_000;
/// By how much the slash grows at most: Ethereum's proportional slashing, threefold.
const CORRELATION_FACTOR: u128 = 3;
/// Audits whose pay stands behind a finding.
const AUDITS_AT_STAKE: u128 = 20;
/// Fraction bits of [`neg_log2`].
const LOG_BITS: u32 = 40;

/// What an auditor commits to: H(finding ‖ auditor ‖ its own salt). The account in it makes a
/// copied commitment worthless (R8).
#[must_use]
pub fn commitment(finding: &Finding, auditor: &AccountId, salt: &Digest) -> Digest {
    hash_of(Domain::FindingCommit, &(finding, auditor, salt))
}

/// With which probability a claim is audited (R1): clamp(2γV / (qL), floor, 1), rounded up. V is
/// the unverified value with this claim, L the burned part of what can be slashed.
///
/// # Errors
/// [`Overflow`] if a worth does not fit.
pub fn probability(
    value: Credit,
    bond: Coin,
    price: UsdNano,
    params: &Params,
) -> Result<BasisPoints, Overflow> {
    let loss = at_stake(bond, price, params)?;
    if loss.is_zero() {
        return Ok(BasisPoints::WHOLE);
    }
    // 2γV / (qL) in ten thousandths.
    let twice = value.mul_div(u128::from(params.saving.get()), WHOLE, Rounding::Up)?;
    let twice = twice.checked_add(twice)?;
    let loss = loss.mul_div(u128::from(params.detection.get()), WHOLE, Rounding::Down)?;
    if loss.is_zero() {
        return Ok(BasisPoints::WHOLE);
    }
    let share = mul_div(twice.get(), WHOLE, loss.get(), Rounding::Up).unwrap_or(WHOLE);
    let share = share.clamp(params.audit_floor.get().into(), WHOLE);
    let share = u16::try_from(share).map_err(|_| Overflow)?;
    Ok(BasisPoints::new(share).unwrap_or(BasisPoints::WHOLE))
}

/// What a slash of all of a bond would burn, in credits: the part that a cheat cannot win back
/// by reporting itself.
fn at_stake(bond: Coin, price: UsdNano, params: &Params) -> Result<Credit, Overflow> {
    let burned = params.burned.of(bond.get(), Rounding::Down).map(Coin::new)?;
    credit_worth(burned, price)
}

/// Most unverified work of an operator (R2): qL / (2γ), at which it would be audited for certain,
/// halved for each level of probation that is still to come. Rounded down.
///
/// # Errors
/// [`Overflow`] if a worth does not fit.
pub fn value_cap(
    bond: Coin,
    price: UsdNano,
    levels_left: u8,
    params: &Params,
) -> Result<Credit, Overflow> {
    let loss = at_stake(bond, price, params)?;
    let twice = u128::from(params.saving.get()).saturating_mul(2).max(1);
    let cap = loss.mul_div(params.detection.get().into(), twice, Rounding::Down)?;
    let divisor = 1_u128.checked_shl(levels_left.into()).ok_or(Overflow)?;
    cap.mul_div(1, divisor, Rounding::Down)
}

/// Doublings of the value cap that are still to come (R15): one per so many passed audits, the
/// last not before the probation's least length has passed.
#[must_use]
pub fn levels_left(standing: &Standing, clock: Millis, params: &Params) -> u8 {
    let earned = standing.passed.checked_div(params.passes_per_level.into()).unwrap_or(u64::MAX);
    let earned = u8::try_from(earned).unwrap_or(u8::MAX);
    let left = params.probation_levels.saturating_sub(earned);
    let young = clock.saturating_sub(standing.since) < params.probation;
    if young { left.max(1.min(params.probation_levels)) } else { left }
}

/// The place of a point in the sum of a claim's fees (R1): uniform, so that a receipt is drawn
/// with probability ∝ its fee. The bias is at most 2^-63 of the fee.
///
/// # Errors
/// Never: the place is below the fee.
pub fn place(seed: &Seed, fee: Credit, parts: &[&[u8]]) -> Result<Credit, Overflow> {
    let draw = u128::from(seed.below(u64::MAX, parts));
    fee.mul_div(draw, u128::from(u64::MAX), Rounding::Down)
}

/// An auditor's score in a draw (R4), low ones first: an exponential race, −log2(u) / bond, in
/// which each wins with probability ∝ its bond, and one that leaves changes nothing among the
/// others (Efraimidis and Spirakis 2006).
#[must_use]
pub fn score(seed: &Seed, bond: Coin, parts: &[&[u8]]) -> u128 {
    let draw = seed.below(u64::MAX, parts).saturating_add(1);
    let race = u128::from(neg_log2(draw)) << 60;
    race.checked_div(bond.get()).unwrap_or(u128::MAX)
}

/// −log2(x / 2^64) with 40 fraction bits, rounded up; `x` is at least 1. By repeated squaring.
#[must_use]
pub fn neg_log2(x: u64) -> u64 {
    let zeros = x.max(1).leading_zeros();
    // The mantissa in [1, 2) with 63 fraction bits.
    let mut mantissa = u128::from(x.max(1)) << zeros;
    let mut fraction = 0_u64;
    for _ in 0..LOG_BITS {
        mantissa = mantissa.saturating_mul(mantissa) >> 63;
        let bit = u64::from(mantissa >= 1 << 64);
        mantissa >>= bit;
        fraction = fraction << 1 | bit;
    }
    // log2(x) = 63 − zeros + fraction, so −log2(x / 2^64) = zeros + 1 − fraction.
    let whole = u64::from(zeros).saturating_add(1) << LOG_BITS;
    whole.saturating_sub(fraction)
}

/// The pay of one audit (R9): a share of the receipt's fee and what commitment and reveal cost,
/// whatever was found.
///
/// # Errors
/// [`Overflow`] if the worth does not fit.
pub fn audit_pay(fee: Credit, price: UsdNano, params: &Params) -> Result<Coin, Overflow> {
    let work = coin_worth(fee.mul_div(params.audit_pay.into(), 100, Rounding::Down)?, price)?;
    Coin::total([work, params.audit_fee, params.audit_fee])
}

/// What stands behind a finding that differs from the receipt, at most (R8): a challenger's bond,
/// and no less than twenty audits pay, so that copying what operators leak loses as soon as one
/// leak in twenty is bait.
///
/// # Errors
/// [`Overflow`] if it does not fit.
pub fn stake(bond: Coin, pay: Coin) -> Result<Coin, Overflow> {
    Ok(pay.mul_div(AUDITS_AT_STAKE, 1, Rounding::Up)?.max(bond))
}

/// The least bond of an auditor, in coin (R3).
///
/// # Errors
/// [`Overflow`] if it does not fit.
pub fn least_bond(price: UsdNano, params: &Params) -> Result<Coin, Overflow> {
    coin_for_usd(params.auditor_bond, price)
}

/// Whether a re-execution has found what the receipt says (R8). A cancelled answer proves nothing
/// by its length.
#[must_use]
pub fn matches(finding: &Finding, trace_root: Digest, receipt: &Receipt) -> bool {
    finding.trace_root == trace_root
        && finding.output_commit == receipt.output_commit
        && finding.n_out == receipt.n_out
        && (finding.finish == receipt.finish || receipt.finish == Finish::Cancelled)
}

/// A receipt as a finding against one that contradicts it (R10). One that was cancelled says
/// nothing of its end: of equal length it takes the other's.
#[must_use]
pub fn duel_finding(trace_root: Digest, receipt: &Receipt, against: &Receipt) -> Finding {
    let finish = match receipt.finish {
        Finish::Cancelled if receipt.n_out == against.n_out => against.finish,
        Finish::Cancelled => Finish::Stop,
        known => known,
    };
    let Receipt { output_commit, n_out, .. } = *receipt;
    Finding { trace_root, output_commit, n_out, finish }
}

/// Whether a receipt that is right wins its challenge of one that contradicts it, whatever that is
/// (R10). A shorter one that was cancelled may not: it cannot show an output that lies under a
/// trace which does not.
#[must_use]
pub fn must_win(receipt: &Receipt, against: &Receipt) -> bool {
    receipt.finish != Finish::Cancelled || receipt.n_out >= against.n_out
}

/// Whether two answers to the same work end in ways that cannot both be right (R10): the shorter
/// says that it is complete, or both do and differ in why.
#[must_use]
pub fn contradict_in_end(one: &Receipt, other: &Receipt) -> bool {
    let (shorter, longer) = if one.n_out <= other.n_out { (one, other) } else { (other, one) };
    if shorter.n_out == longer.n_out {
        let judged = |receipt: &Receipt| receipt.finish != Finish::Cancelled;
        return judged(shorter) && judged(longer) && shorter.finish != longer.finish;
    }
    shorter.finish != Finish::Cancelled
}

/// The fee of a delivery: fixed, plus per started KiB of token ids or sealed bytes.
///
/// # Errors
/// [`Overflow`] only under parameters beyond their bounds.
pub fn delivery_fee(delivery: &Delivery, params: &Params) -> Result<Coin, Overflow> {
    let kib = match delivery {
        Delivery::Open(Content { input, output, .. }) => {
            input.len().saturating_add(output.len()).div_ceil(256)
        }
        Delivery::Sealed { content, .. } => content.len().div_ceil(1_024),
    };
    let kib = u128::try_from(kib).map_err(|_| Overflow)?;
    let sized = params.deliver_fee_per_kib.mul_div(kib, 1, Rounding::Up)?;
    params.deliver_fee.checked_add(sized)
}

/// By how much a slash grows with the bonds at fault lately, in ten thousandths (R13): up to
/// fourfold when all of the network's are.
///
/// # Errors
/// [`Overflow`] never, by the clamp.
pub fn correlated(recent: &Correlation, all_bonds: Coin) -> Result<u32, Overflow> {
    if all_bonds.is_zero() {
        return u32::try_from(WHOLE).map_err(|_| Overflow);
    }
    let share = mul_div(recent.bonds.get(), WHOLE, all_bonds.get(), Rounding::Down)?.min(WHOLE);
    let grown = WHOLE.saturating_add(share.saturating_mul(CORRELATION_FACTOR));
    u32::try_from(grown).map_err(|_| Overflow)
}

/// How grave a fault is (R12). It is a repeated one if it was done after an earlier one was found,
/// so that a cheat's choice and not one broken chip makes the pattern. One wrong step cannot tell
/// wrong weights from a flipped bit; a second one at the same op of the same model can.
#[must_use]
pub fn grade(
    cause: &Cause,
    standing: &Standing,
    model: Option<ModelId>,
    done: Millis,
    clock: Millis,
    params: &Params,
) -> Grade {
    let memory = params.fault_memory;
    let last = standing.last_fault.filter(|last| clock.saturating_sub(*last) < memory);
    let again = match (cause.weights(), model, standing.weights) {
        (Some(op), Some(model), Some(known)) => last.is_some() && known == (model, op),
        _ => false,
    };
    match cause {
        Cause::Disputed(crate::disputes::Cause::NoAnswer { flood: true }) => Grade::Silence,
        Cause::Equivocation => Grade::Total,
        _ if again => Grade::Total,
        Cause::Omission => Grade::Pattern,
        _ if last.is_some_and(|last| done >= last) => Grade::Pattern,
        _ => Grade::First,
    }
}

/// What the rules ask for (R12): of the bond by grade, and at least twice the value ÷ the
/// probability of its audit, so that no cheat pays in expectation, not even one that floods
/// itself with disputes to keep silent in the one that counts.
///
/// # Errors
/// [`Overflow`] if a worth does not fit.
pub fn wanted(
    grade: Grade,
    bond: Coin,
    (value, probability): (Credit, BasisPoints),
    correlation: u32,
    price: UsdNano,
    params: &Params,
) -> Result<Coin, Overflow> {
    let of_bond = |share: BasisPoints| share.of(bond.get(), Rounding::Up).map(Coin::new);
    let deterrent = || {
        let chance = u128::from(probability.get()).max(1);
        let dollars = value.mul_div(WHOLE.saturating_mul(2), chance, Rounding::Up)?;
        coin_for_usd(UsdNano::new(dollars.get()), price)
    };
    let base = match grade {
        Grade::Silence => of_bond(params.silence)?.max(deterrent()?),
        Grade::First => of_bond(params.first_fault)?.max(deterrent()?),
        Grade::Pattern => of_bond(params.pattern)?.max(deterrent()?),
        Grade::Total => return Ok(bond),
    };
    base.mul_div(correlation.into(), WHOLE, Rounding::Up)
}

/// Who gets what of a slash (R13). The burned share rounds up; insurance gets what is left.
///
/// # Errors
/// [`Overflow`] if a worth does not fit.
pub fn spread(
    taken: Coin,
    harmed: Coin,
    reported: bool,
    price: UsdNano,
    params: &Params,
) -> Result<Spread, Overflow> {
    let burned = params.burned.of(taken.get(), Rounding::Up).map(Coin::new)?;
    let rest = taken.checked_sub(burned)?;
    let victim = rest.min(harmed);
    let rest = rest.checked_sub(victim)?;
    let most = coin_worth(Credit::new(params.reporter_most.get()), price)?;
    let share = params.reporter.of(taken.get(), Rounding::Down).map(Coin::new)?;
    let reporter = if reported { rest.min(share).min(most) } else { Coin::ZERO };
    let insurance = rest.checked_sub(reporter)?;
    Ok(Spread { taken, burned, victim, reporter, insurance })
}
