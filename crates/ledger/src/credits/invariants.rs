//! Credits: what always holds. All violations are returned, not the first.

use super::{
    schema::{HOLDINGS, PAYOUTS, QUEUE},
    state::totals,
};
use crate::{
    accounts::{self, Pot},
    error::Broken,
    invariants::{Findings, all},
    store::{Read, State},
};
use units::{Coin, Credit};

/// Holds the whole state against the rules of this module.
pub(crate) fn check(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let holdings = all(state, &HOLDINGS)?;
    let totals = totals(state)?;
    let held = holdings.iter().flat_map(|(_, holding)| [holding.free, holding.locked]);
    let held = Credit::total(held.chain([totals.escrow]));
    let outstanding = totals
        .minted
        .checked_sub(totals.settled)
        .and_then(|left| left.checked_sub(totals.redeemed));
    findings.require(held.is_ok() && held == outstanding, || {
        format!("R1 credits: held and escrowed {held:?}, outstanding {outstanding:?}")
    });
    let cost = Coin::total(holdings.iter().map(|(_, holding)| holding.cost));
    let remint = accounts::pot(state, Pot::Remint)?;
    findings.require(cost.is_ok_and(|cost| cost <= remint), || {
        format!("R9 credits: cost {cost:?} exceeds the remint pot, {remint}")
    });
    let next = state.get(&QUEUE, &())?.unwrap_or_default();
    findings.require(all(state, &PAYOUTS)?.iter().all(|(number, _)| *number < next), || {
        format!("R7 credits: a queued payout has a number not below {next}")
    });
    Ok(())
}
