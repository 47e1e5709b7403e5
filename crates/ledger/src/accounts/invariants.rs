//! Accounts: what always holds. All violations are returned, not the first.

use super::{
    math::existing,
    schema::{ACCOUNTS, POTS, SESSIONS},
    state::supply,
};
use crate::{
    error::Broken,
    invariants::{Findings, all},
    store::State,
};
use units::Coin;

/// Holds the whole state against the rules of this module.
pub(crate) fn check(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let balances = all(state, &ACCOUNTS)?;
    let pots = all(state, &POTS)?;
    let held = balances.iter().map(|(_, account)| account.balance);
    let held = Coin::total(held.chain(pots.iter().map(|(_, coin)| *coin)));
    let exists = existing(&supply(state)?);
    findings.require(held.is_ok() && held == exists, || {
        format!("R2 accounts: balances and pots hold {held:?}, supply says {exists:?}")
    });
    for ((account, key), session) in all(state, &SESSIONS)? {
        findings.require(session.fees_spent <= session.fee_cap, || {
            format!("R7 accounts: session {key} of {account} overspent its fee cap")
        });
        findings.require(session.backed <= session.spend_cap, || {
            format!("R8 accounts: session {key} of {account} backs more than its spend cap")
        });
        findings.require(balances.iter().any(|(id, _)| *id == account), || {
            format!("R7 accounts: session {key} belongs to no account")
        });
    }
    Ok(())
}
