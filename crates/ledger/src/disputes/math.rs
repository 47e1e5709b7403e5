//! Disputes: pure formulas.

use super::{
    schema::{Finding, LEVELS, Params, Reference},
    state::{Load, Node, Tree},
};
use crate::{
    credits::math::coin_for_usd,
    payments::messages::{Finish, Receipt, fee},
    verifier::{ModelFacts, Reach, Task},
};
use crypto::{Digest, Domain, hash_of, merkle};
use units::{Coin, Millis, Overflow, Price, Rounding, UsdNano, WorkUnits, mul_div};

/// Multiply-adds in a unit of work.
const WORK_UNIT: u128 = 1 << 20;
/// Moves of the operator in the longest line, the opening of its leaf not counted.
const DEFENDER_MOVES: u128 = 11;
/// Doublings of a bond after which it no longer grows: no account has so much coin.
const DOUBLINGS_MAX: u32 = 40;
/// Seconds of an hour, in ms.
const HOUR: u128 = 3_600_000;

/// Work of a run: ⌈(a·T + h·n_out + p·pairs) / 2^20⌉ with T = n_in + max(n_out, 1) − 1 and pairs
/// T(T + 1)/2, or n_in² where every position attends to all.
///
/// # Errors
/// [`Overflow`] never for coefficients that the machine gate computed.
pub fn work_units(facts: &ModelFacts, n_in: u32, n_out: u32) -> Result<WorkUnits, Overflow> {
    let input = u128::from(n_in);
    let positions = input.checked_add(n_out.max(1).into()).and_then(|sum| sum.checked_sub(1));
    let positions = positions.ok_or(Overflow)?;
    let pairs = match facts.reach {
        Reach::Causal => mul_div(positions, positions.saturating_add(1), 2, Rounding::Down)?,
        Reach::Full => input.saturating_mul(input),
    };
    let parts = [
        u128::from(facts.per_position).checked_mul(positions),
        u128::from(facts.per_output).checked_mul(n_out.into()),
        u128::from(facts.per_pair).checked_mul(pairs),
    ];
    let sum = parts.into_iter().try_fold(0_u128, |sum, part| sum.checked_add(part?));
    let units = sum.ok_or(Overflow)?.div_ceil(WORK_UNIT);
    u64::try_from(units).map(WorkUnits::new).map_err(|_| Overflow)
}

/// Time that some work takes on hardware of a class, rounded up.
///
/// # Errors
/// [`Overflow`] if it does not fit.
pub fn time_of(work: WorkUnits, reference: &Reference) -> Result<Millis, Overflow> {
    let ms = mul_div(work.get().into(), 1_000, reference.speed.into(), Rounding::Up)?;
    u64::try_from(ms).map(Millis::new).map_err(|_| Overflow)
}

/// A party's time in a line: the base and a multiple of its open work, at most the longest (R11).
/// Work beyond any number gets the longest.
#[must_use]
pub fn allowance(work: WorkUnits, reference: &Reference, params: &Params) -> Millis {
    let time = time_of(work, reference).map_or(u64::MAX, Millis::get);
    let time = time.saturating_mul(params.work_factor).saturating_add(params.clock.get());
    Millis::new(time).min(params.clock_max)
}

/// What defending one line costs an operator at most: its moves, and one re-execution (R13).
///
/// # Errors
/// [`Overflow`] if it does not fit.
pub fn defender_cost(
    work: WorkUnits,
    reference: &Reference,
    price: UsdNano,
    params: &Params,
) -> Result<Coin, Overflow> {
    let ms = time_of(work, reference)?;
    let compute = reference.hour.mul_div(ms.get().into(), HOUR, Rounding::Up)?;
    let moves = params.move_fee.mul_div(DEFENDER_MOVES, 1, Rounding::Up)?;
    Coin::total([moves, params.step_fee, coin_for_usd(compute, price)?])
}

/// A challenger's bond: a multiple of the operator's cost, doubled for each line that the account
/// stands behind already (R13).
///
/// # Errors
/// [`Overflow`] if it does not fit.
pub fn bond(cost: Coin, open: u32, params: &Params) -> Result<Coin, Overflow> {
    let doubled = 1_u128.checked_shl(open.min(DOUBLINGS_MAX)).ok_or(Overflow)?;
    cost.mul_div(params.bond_factor, 1, Rounding::Up)?.mul_div(doubled, 1, Rounding::Up)
}

/// By what equal findings are told (R4).
#[must_use]
pub fn finding_id(finding: &Finding) -> Digest {
    hash_of(Domain::Finding, finding)
}

/// Whether a run of the model ends so, takes such an input, and costs what the receipt says (R3).
/// `work` is that of the receipt's lengths.
#[must_use]
pub fn is_possible(receipt: &Receipt, facts: &ModelFacts, work: WorkUnits, price: Price) -> bool {
    let ends = match facts.task {
        Task::Embed => receipt.finish == Finish::Stop,
        Task::Generate => receipt.n_out > 0 || receipt.finish == Finish::Cancelled,
    };
    ends && receipt.n_in <= facts.max_input
        && receipt.work_units == work
        && fee(price, work) == Ok(receipt.fee)
}

/// Whether a re-execution of an honest party can have found this against the receipt (R4): an
/// answer that was cancelled is compared up to its length, and only it can have been found so.
#[must_use]
pub fn is_comparable(finding: &Finding, receipt: &Receipt) -> bool {
    let cancelled = receipt.finish == Finish::Cancelled;
    let longer = finding.n_out > receipt.n_out;
    let alike = finding.n_out == receipt.n_out;
    let empty = finding.n_out == 0 && receipt.n_out > 0;
    if finding.finish == Finish::Cancelled && !(cancelled && alike) {
        return false;
    }
    !(empty || cancelled && longer)
}

/// What the finish rule says against the receipt (R9): `after` is why a run ends after the last
/// token that both have, if it does.
#[must_use]
pub fn ends_wrongly(receipt: &Receipt, found: u32, after: Option<Finish>) -> bool {
    if found < receipt.n_out {
        return after.is_some();
    }
    receipt.finish != Finish::Cancelled && after != Some(receipt.finish)
}

/// The first part in which the parties differ, as a node of its own (R6): everything left of it is
/// agreed, because equal tops are over equal leaves. `None` if nothing differs.
#[must_use]
pub fn first_difference(
    node: &Node,
    tree: Tree,
    defender: &[Digest],
    challenger: &[Digest],
) -> Option<Node> {
    let mut first = node.first;
    let both = defender.iter().zip(challenger);
    for (count, (ours, theirs)) in merkle::widths(node.count, LEVELS).into_iter().zip(both) {
        if ours != theirs {
            let tops = super::state::Tops { defender: *ours, challenger: *theirs };
            return Some(Node { tree, first, count, tops: Some(tops) });
        }
        first = first.saturating_add(count);
    }
    None
}

/// A load with one more dispute.
///
/// # Errors
/// [`Overflow`] if the work does not fit.
pub fn loaded(load: &Load, work: WorkUnits) -> Result<Load, Overflow> {
    let disputes = load.disputes.checked_add(1).ok_or(Overflow)?;
    let work = load.work.checked_add(work)?;
    Ok(Load { disputes, work, peak: load.peak.max(work) })
}

/// A load with one dispute fewer; the peak goes with the last one.
///
/// # Errors
/// [`Overflow`] if there is no such dispute.
pub fn unloaded(load: &Load, work: WorkUnits) -> Result<Load, Overflow> {
    let disputes = load.disputes.checked_sub(1).ok_or(Overflow)?;
    let work = load.work.checked_sub(work)?;
    Ok(if disputes == 0 { Load::default() } else { Load { disputes, work, peak: load.peak } })
}
