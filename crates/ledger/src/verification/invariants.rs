//! Verification: what always holds. All violations are returned, not the first.

use super::{
    schema::{
        AUDITORS, CONFLICT_OF, CONFLICTS, CONFLICTS_DUE, DELIVERED, FAULT_OF, FAULTS, LEAVING,
        POINT_OF, POINTS, POINTS_DUE, ROSTER, ROSTER_MAX, SEALED, SEATS, STANDINGS,
    },
    state::{Listing, Phase, Point, Seat},
};
use crate::{
    accounts::{self, Pot},
    disputes::{self, VERDICTS},
    error::Broken,
    invariants::{Findings, all},
    payments::CLAIMS,
    store::{Read, State},
};
use crypto::{AccountId, OperatorId};
use std::collections::BTreeMap;
use units::{Coin, Epoch};

type Points = Vec<((OperatorId, Epoch, u8), Point)>;

/// Holds the whole state against the rules of this module.
pub(crate) fn check(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let points = all(state, &POINTS)?;
    check_auditors(state, &points, findings)?;
    check_points(state, &points, findings)?;
    check_holds(state, &points, findings)?;
    check_conflicts(state, findings)?;
    check_faults(state, findings)
}

fn check_auditors(state: &State, points: &Points, findings: &mut Findings) -> Result<(), Broken> {
    let auditors = all(state, &AUDITORS)?;
    let bonds = Coin::total(auditors.iter().map(|(_, auditor)| auditor.bond));
    let held = accounts::pot(state, Pot::AuditorBonds)?;
    findings.require(bonds == Ok(held), || {
        format!("R3 verification: auditors have bonded {bonds:?}, the pot holds {held}")
    });
    let running = points.iter().filter(|(_, point)| point.phase != Phase::Ended);
    let seated = running
        .flat_map(|(key, point)| point.seats.iter().map(|seat| ((seat.auditor, *key), ())))
        .collect::<BTreeMap<_, _>>();
    let listed: BTreeMap<_, _> = all(state, &SEATS)?.into_iter().collect();
    findings
        .require(listed == seated, || "R4 verification: points and their seats differ".to_owned());
    let seats =
        |account: AccountId| seated.keys().filter(|(auditor, _)| *auditor == account).count();
    let mut roster = BTreeMap::new();
    let mut leaving = Vec::new();
    for (account, auditor) in &auditors {
        let counted = seats(*account);
        findings.require(u32::try_from(counted) == Ok(auditor.seats), || {
            format!("R9 verification: {account} has {counted} seats, not {}", auditor.seats)
        });
        let listing = Listing { bond: auditor.bond, since: auditor.since };
        roster.extend(auditor.models.iter().map(|model| ((*model, *account), listing)));
        leaving.extend(auditor.leaving.map(|due| ((due, *account), ())));
    }
    leaving.sort_unstable();
    let listed: BTreeMap<_, _> = all(state, &ROSTER)?.into_iter().collect();
    findings
        .require(listed == roster, || "R4 verification: rosters and auditors differ".to_owned());
    let mut sizes: BTreeMap<_, usize> = BTreeMap::new();
    for (model, _) in listed.keys() {
        let size = sizes.entry(*model).or_default();
        *size = size.saturating_add(1);
    }
    findings.require(sizes.values().all(|size| *size <= ROSTER_MAX), || {
        "R4 verification: a roster is too long".to_owned()
    });
    findings.require(all(state, &LEAVING)? == leaving, || {
        "R5 verification: notices and their queue differ".to_owned()
    });
    Ok(())
}

fn check_points(state: &State, points: &Points, findings: &mut Findings) -> Result<(), Broken> {
    let mut due = Vec::new();
    let mut receipts = BTreeMap::new();
    for ((operator, epoch, number), point) in points {
        if point.phase != Phase::Disputed {
            due.push(((point.due, (*operator, *epoch), *number), ()));
        }
        if let Some(subject) = &point.subject {
            receipts.insert(subject.receipt.message.hash(), (*epoch, *number));
        }
        let opened = !matches!(point.phase, Phase::Drawn | Phase::Ended);
        let ended = point.phase == Phase::Ended;
        let fits = point.subject.is_some() == opened && point.outcome.is_some() == ended;
        findings.require(fits, || {
            format!("R6 verification: point {number} of {operator} {epoch} has no receipt")
        });
        let sealed = |seat: &Seat| seat.commitment.is_some() || seat.finding.is_none();
        findings.require(point.seats.iter().all(sealed), || {
            format!("R8 verification: {operator} {epoch} {number}: revealed and not committed")
        });
        let receipt = point.receipt.filter(|_| point.phase == Phase::Disputed);
        if let Some(receipt) = receipt {
            findings.require(disputes::is_open(state, &receipt)?, || {
                format!("R8 verification: {receipt} is disputed by nobody")
            });
        }
    }
    due.sort_unstable();
    findings.require(all(state, &POINTS_DUE)? == due, || {
        "R6 verification: points and their queue differ".to_owned()
    });
    let known: BTreeMap<_, _> = all(state, &POINT_OF)?.into_iter().collect();
    findings.require(known == receipts, || {
        "R6 verification: points and their receipts differ".to_owned()
    });
    for (key, _) in all(state, &DELIVERED)? {
        let here = points.iter().find(|(point, _)| *point == key);
        let running = here.is_some_and(|(_, point)| point.phase != Phase::Ended);
        findings.require(running, || format!("R7 verification: content of {key:?} stays"));
    }
    for ((key, auditor), _) in all(state, &SEALED)? {
        let here = points.iter().find(|(point, _)| *point == key);
        let running = here.is_some_and(|(_, point)| point.phase != Phase::Ended);
        findings.require(running, || {
            format!("R17 verification: content of {key:?} for {auditor} stays")
        });
    }
    findings.require(all(state, &VERDICTS)?.is_empty(), || {
        "R12 verification: a verdict was not taken".to_owned()
    });
    Ok(())
}

/// A claim is held as often as it has points that have not ended.
fn check_holds(state: &State, points: &Points, findings: &mut Findings) -> Result<(), Broken> {
    for (key, claim) in all(state, &CLAIMS)? {
        let own = points.iter().filter(|((operator, epoch, _), _)| (*operator, *epoch) == key);
        let running = own.filter(|(_, point)| point.phase != Phase::Ended).count();
        findings.require(u8::try_from(running) == Ok(claim.holds), || {
            format!("R1 verification: claim {key:?} has {running} points, {} holds", claim.holds)
        });
    }
    Ok(())
}

fn check_conflicts(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let conflicts = all(state, &CONFLICTS)?;
    let mut receipts = BTreeMap::new();
    let mut due = Vec::new();
    for (id, conflict) in &conflicts {
        receipts.extend(conflict.sides.iter().map(|side| (side.receipt(), *id)));
        if !conflict.disputed {
            due.push(((conflict.due, *id), ()));
        }
        let answered = conflict.sides.iter().all(|side| side.trace_root.is_some());
        findings.require(answered == conflict.disputed, || {
            format!("R10 verification: conflict {id} goes on without an answer")
        });
    }
    due.sort_unstable();
    let known: BTreeMap<_, _> = all(state, &CONFLICT_OF)?.into_iter().collect();
    findings.require(known == receipts && all(state, &CONFLICTS_DUE)? == due, || {
        "R10 verification: conflicts, their receipts and their queue differ".to_owned()
    });
    Ok(())
}

fn check_faults(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let mut counts: BTreeMap<OperatorId, u64> = BTreeMap::new();
    for ((operator, number), fault) in all(state, &FAULTS)? {
        let count = counts.entry(operator).or_default();
        findings.require(number == *count, || {
            format!("R12 verification: fault {number} of {operator} is out of order")
        });
        *count = count.saturating_add(1);
        let spread = &fault.spread;
        let parts = [spread.burned, spread.victim, spread.reporter, spread.insurance];
        let half = spread.burned >= spread.taken.saturating_sub(spread.burned);
        findings.require(Coin::total(parts) == Ok(spread.taken) && half, || {
            format!("R13 verification: fault {number} of {operator} is spread wrongly")
        });
        let kept = match &fault.receipt {
            None => true,
            Some(receipt) => state.get(&FAULT_OF, receipt)? == Some(number),
        };
        findings.require(kept, || {
            format!("R12 verification: fault {number} of {operator} is not on its receipt")
        });
    }
    for (operator, standing) in all(state, &STANDINGS)? {
        let counted = counts.get(&operator).copied().unwrap_or_default();
        findings.require(counted == standing.faults, || {
            format!("R12 verification: {operator} has {counted} faults, not {}", standing.faults)
        });
    }
    let held = accounts::pot(state, Pot::Penalties)?;
    findings
        .require(held.is_zero(), || format!("R13 verification: {held} of a slash was not spread"));
    Ok(())
}
