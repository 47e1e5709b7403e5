//! Payments: what always holds. All violations are returned, not the first.

use super::{
    math::counted,
    schema::{
        ALLOCATION_EXPIRIES, ALLOCATIONS, CLAIMS, DEPOSITS, DRAWN, DRAWS, DUE, RECLAIMS, UNVERIFIED,
    },
    state::Stage,
};
use crate::{
    accounts::SESSIONS,
    credits::{self, HOLDINGS},
    error::Broken,
    invariants::{Findings, all},
    store::{Read, State},
};
use units::Credit;

/// Holds the whole state against the rules of this module.
pub(crate) fn check(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    check_deposits(state, findings)?;
    check_sessions(state, findings)?;
    check_claims(state, findings)
}

fn check_deposits(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let allocations = all(state, &ALLOCATIONS)?;
    let deposits = all(state, &DEPOSITS)?;
    for (payer, deposit) in &deposits {
        let own = allocations.iter().filter(|((owner, _), _)| owner == payer);
        let left = own.clone().map(|(_, allocation)| allocation.left());
        let left: Result<Vec<Credit>, _> = left.collect();
        let promised = left.and_then(Credit::total);
        let reserved = deposit.reserved;
        findings.require(promised == Ok(reserved) && reserved <= deposit.balance, || {
            format!("R2 payments: {payer} has promised {promised:?}, reserved {reserved}")
        });
        findings.require(own.clone().all(|((_, n), _)| *n < deposit.next_allocation), || {
            format!("R3 payments: {payer} has an allocation above its next number")
        });
        let locked = state.get(&HOLDINGS, payer)?.unwrap_or_default().locked;
        findings.require(locked == deposit.balance, || {
            format!("R1 payments: {payer} has deposited {}, locked {locked}", deposit.balance)
        });
    }
    let locked = all(state, &HOLDINGS)?;
    let locked = locked.iter().filter(|(_, holding)| !holding.locked.is_zero());
    findings.require(locked.clone().all(|(id, _)| state.has(&DEPOSITS, id)), || {
        "R1 payments: credits are locked without a deposit".to_owned()
    });
    let expiries = all(state, &ALLOCATION_EXPIRIES)?;
    let indexed = expiries.len() == allocations.len()
        && expiries.iter().all(|((expires, key), ())| {
            allocations.iter().any(|(id, record)| id == key && record.expires == *expires)
        });
    findings.require(indexed, || "R5 payments: expiries and allocations differ".to_owned());
    Ok(())
}

/// Limits of live allocations never exceed what their session has backed.
fn check_sessions(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let allocations = all(state, &ALLOCATIONS)?;
    for ((account, key), session) in all(state, &SESSIONS)? {
        let limits = allocations
            .iter()
            .filter(|((payer, _), record)| *payer == account && record.signer == key)
            .map(|(_, record)| record.limit);
        let limits = Credit::total(limits);
        findings.require(limits.is_ok_and(|limits| limits <= session.backed), || {
            format!("R3 payments: session {key} backs {}, promised {limits:?}", session.backed)
        });
    }
    Ok(())
}

fn check_claims(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let claims = all(state, &CLAIMS)?;
    let (draws, due) = (all(state, &DRAWS)?, all(state, &DUE)?);
    let owed: Result<Vec<Credit>, _> = claims.iter().map(|(_, record)| record.owed()).collect();
    let owed = owed.and_then(Credit::total);
    let escrow = credits::totals(state)?.escrow;
    findings.require(owed == Ok(escrow), || {
        format!("R11 payments: open claims are owed {owed:?}, escrow holds {escrow}")
    });
    let drawn = all(state, &DRAWN)?;
    findings.require(drawn.is_empty(), || {
        format!("R15 payments: {drawn:?} were drawn and not looked at")
    });
    let open: Vec<_> = claims.iter().filter(|(_, it)| it.stage <= Stage::Drawn).collect();
    for (operator, unverified) in all(state, &UNVERIFIED)? {
        let own = open.iter().filter(|(key, _)| key.0 == operator);
        let counted = own.map(|(_, record)| counted(record.totals.fee, record.canary_only));
        let counted = counted.collect::<Result<Vec<Credit>, _>>().and_then(Credit::total);
        findings.require(counted == Ok(unverified), || {
            format!("R16 payments: {operator} has {unverified} unverified, its claims {counted:?}")
        });
    }
    findings.require(open.iter().all(|(key, _)| state.has(&UNVERIFIED, &key.0)), || {
        "R16 payments: an open claim is not counted as unverified".to_owned()
    });
    let void = claims.iter().filter(|(_, it)| it.stage == Stage::Void);
    let void: Vec<_> = void.map(|(key, it)| (*key, it.lanes.div_ceil(8))).collect();
    let bytes = |lanes: &[u8]| u32::try_from(lanes.len()).unwrap_or(u32::MAX);
    let listed = all(state, &RECLAIMS)?.into_iter().map(|(key, it)| (key, bytes(&it.lanes)));
    let listed: Vec<_> = listed.collect();
    findings.require(void == listed, || {
        format!("R17 payments: void are {void:?}, reclaimed from are {listed:?}")
    });
    for (key, record) in claims {
        let waits_for_seed = draws.iter().any(|((_, waiting), ())| *waiting == key);
        let mut steps = due.iter().filter(|((_, waiting), ())| *waiting == key);
        let step = steps.next().map(|((at, _), ())| *at);
        let filed = record.stage == Stage::Filed;
        let held = record.holds > 0;
        // A held claim whose step has passed is in no queue (R15).
        let waits = step == record.due || (held && step.is_none());
        findings.require(waits_for_seed == filed && waits && steps.next().is_none(), || {
            format!("R12, R13, R15 payments: claim {key:?} waits for the wrong thing")
        });
        findings.require((record.operator, record.epoch) == key, || {
            format!("R11 payments: claim {key:?} names another operator or period")
        });
    }
    Ok(())
}
