//! Disputes: what always holds. All violations are returned, not the first.

use super::{
    math::finding_id,
    schema::{CHALLENGERS, CLOSING, DISPUTES, DUE, FINDINGS, FORGET, LINES, LOADS},
    state::Load,
};
use crate::{
    accounts::{self, Pot},
    error::Broken,
    invariants::{Findings, all},
    store::{Read, State},
};
use std::collections::BTreeMap;
use units::{Coin, WorkUnits};

/// Holds the whole state against the rules of this module.
pub(crate) fn check(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let lines = all(state, &LINES)?;
    let bonds = lines.iter().flat_map(|(_, line)| line.backers.iter().map(|backer| backer.bond));
    let (bonds, held) = (Coin::total(bonds), accounts::pot(state, Pot::DisputeBonds)?);
    findings.require(bonds == Ok(held), || {
        format!("R13 disputes: open bonds are {bonds:?}, the pot holds {held}")
    });
    let due = all(state, &DUE)?;
    let queued = due.len() == lines.len()
        && due
            .iter()
            .all(|((at, key), ())| lines.iter().any(|(id, line)| id == key && line.due == *at));
    findings.require(queued, || "R12 disputes: lines and their queue differ".to_owned());
    for (key, line) in &lines {
        let backers = line.backers.len();
        let alone = line.phase.coarse().is_none() || backers == 1;
        findings.require(backers > 0 && alone, || {
            format!("R7 disputes: line {key:?} has {backers} challengers")
        });
        let known = state.has(&DISPUTES, &key.0);
        findings.require(known, || format!("R5 disputes: line {key:?} has no dispute"));
    }
    let mut stands: BTreeMap<_, u32> = BTreeMap::new();
    for backer in lines.iter().flat_map(|(_, line)| line.backers.iter()) {
        let stands = stands.entry(backer.account).or_default();
        *stands = stands.saturating_add(1);
    }
    let counted: BTreeMap<_, _> = all(state, &CHALLENGERS)?.into_iter().collect();
    findings.require(stands == counted, || {
        format!("R13 disputes: challengers stand behind {stands:?} lines, not {counted:?}")
    });
    for ((receipt, finding), number) in all(state, &FINDINGS)? {
        let line = state.get(&LINES, &(receipt, number))?;
        findings.require(line.is_some_and(|line| finding_id(&line.finding) == finding), || {
            format!("R4 disputes: finding {finding} points to a line that has another")
        });
    }
    check_disputes(state, findings)
}

fn check_disputes(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let disputes = all(state, &DISPUTES)?;
    let forgotten = all(state, &FORGET)?;
    for (receipt, record) in &disputes {
        let open = state.scan(&LINES, receipt, usize::MAX)?.len();
        findings.require(u32::try_from(open) == Ok(record.open), || {
            format!("R14 disputes: {receipt} has {open} open lines, not {}", record.open)
        });
        findings.require(record.receipt.hash() == *receipt, || {
            format!("R1 disputes: {receipt} is another receipt")
        });
        let ends = record.open > 0
            || record.proven.is_some()
            || forgotten.iter().any(|((_, queued), ())| queued == receipt);
        findings.require(ends, || format!("R14 disputes: {receipt} is never forgotten"));
        let closing = state.has(&CLOSING, receipt);
        findings.require(closing == (record.open > 0 && record.proven.is_some()), || {
            format!("R14 disputes: {receipt} is proven and its lines stay open")
        });
    }
    let mut operators: Vec<_> = disputes.iter().map(|(_, d)| d.receipt.operator).collect();
    operators.extend(all(state, &LOADS)?.into_iter().map(|(operator, _)| operator));
    operators.sort_unstable();
    operators.dedup();
    for operator in operators {
        let open = disputes.iter().filter(|(_, d)| d.receipt.operator == operator && d.open > 0);
        let work = WorkUnits::total(open.clone().map(|(_, dispute)| dispute.work));
        let load: Load = super::state::load(state, &operator)?;
        let counted = u32::try_from(open.count()) == Ok(load.disputes);
        findings.require(counted && work == Ok(load.work) && load.work <= load.peak, || {
            format!("R11 disputes: {operator} has {load:?} to defend, not {work:?}")
        });
    }
    Ok(())
}
