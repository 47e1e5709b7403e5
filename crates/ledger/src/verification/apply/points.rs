//! Verification: a drawn point, from its opening to its end.
//!
//! Rules: R6, R8, R9, R16. Whoever is silent is treated by default: an operator is at fault, an
//! auditor is replaced.

use super::{
    super::{
        math::{audit_pay, commitment, matches, stake},
        schema::{
            ClaimKey, Error, Event, FAULT_OF, LEAVES_MAX, Opening, Outcome, POINT_OF, POINTS,
            POINTS_DUE, STANDINGS,
        },
        state::{Cause, Phase, Point, Seat, auditor, point, standing},
    },
    auditors, content, penalties,
};
use crate::{
    context::{Context, Sender},
    credits,
    disputes::{
        self,
        apply::Backing,
        math::{bond, defender_cost, is_comparable},
        moves::{Finding, Subject},
    },
    error::{Broken, Failure},
    payments::{self, Audit, messages::AuditMode},
    staking,
    store::Read,
};
use crypto::{AccountId, Digest, Domain, OperatorId, hash};
use units::{Coin, Epoch, List, Millis};

/// Most points that one block looks at.
const DUE_PER_BLOCK: usize = 128;

/// A point: operator, period, number.
pub(super) type PointKey = (OperatorId, Epoch, u8);

const fn claim_of(key: PointKey) -> ClaimKey {
    (key.0, key.1)
}

/// R6: whoever has a drawn receipt opens it.
pub(super) fn open(ctx: &mut Context<'_>, opening: &Opening) -> Result<(), Failure> {
    let subject = opening.subject();
    let receipt = &opening.receipt.message;
    let (operator, epoch) = (receipt.operator, opening.epoch);
    let claim = payments::claim(ctx, &operator, epoch)?;
    let claim = claim.ok_or(Error::UnknownClaim { operator, epoch })?;
    let id = receipt.hash();
    let record = disputes::apply::disputed(ctx, id, &subject)?;
    if record.request != opening.request.message {
        return Err(disputes::Error::Mismatch.into());
    }
    let before = opening.path.before(claim.totals.count).map_err(|_| Error::BadPath)?.fee;
    let behind = before.checked_add(receipt.fee)?;
    let points = ctx.scan(&POINTS, &(operator, epoch), LEAVES_MAX.into())?;
    let here =
        |point: &Point| point.phase == Phase::Drawn && point.at >= before && point.at < behind;
    // A receipt that two claims hold opens the first only.
    if ctx.has(&POINT_OF, &id) {
        return Err(Error::NotDrawn.into());
    }
    let mut drawn = points.into_iter().filter(|(_, point)| here(point));
    let (key, mut first) = drawn.next().ok_or(Error::NotDrawn)?;
    for (key, mut other) in drawn {
        other.receipt = Some(id);
        end(ctx, key, other, Outcome::Merged)?;
    }
    first.receipt = Some(id);
    first.subject = Some(subject);
    ctx.put(&POINT_OF, &id, &(epoch, key.2))?;
    if ctx.has(&FAULT_OF, &id) {
        // R12: it was found wrong before; its claim still fails.
        return fail(ctx, key, first, Cause::NotOpened);
    }
    if record.request.audit_mode == AuditMode::CanaryOnly {
        return if claim.canary_only {
            end(ctx, key, first, Outcome::NeverOpened)
        } else {
            fail(ctx, key, first, Cause::Undeclared)
        };
    }
    let model = record.request.body.model;
    if staking::serving_owners(ctx, &model)? < ctx.params().verification.audited_owners {
        return end(ctx, key, first, Outcome::ModelNotAudited);
    }
    let count = usize::from(ctx.params().verification.auditors);
    let seats = auditors::draw(ctx, &claim, model, key, count, &[])?;
    if seats.is_empty() {
        return end(ctx, key, first, Outcome::NoAuditor);
    }
    first.seats = seated(seats)?;
    let commit_until = enter(ctx, key, first, Phase::Committing, ctx.params().windows.commit)?;
    let point = key.2;
    ctx.emit(Event::PointOpened { operator, epoch, point, receipt: id, model, commit_until });
    Ok(())
}

/// R8
pub(super) fn commit(
    ctx: &mut Context<'_>,
    sender: &Sender,
    key: PointKey,
    commitment: Digest,
) -> Result<(), Failure> {
    let mut point = in_phase(ctx, key, &[Phase::Committing, Phase::Delivering])?;
    let mut seats = point.seats.into_vec();
    let seat = own_seat(ctx, sender, &mut seats)?;
    if seat.commitment.is_some() {
        return Err(Error::Repeated.into());
    }
    seat.commitment = Some(commitment);
    let all = seats.iter().all(|seat| seat.commitment.is_some());
    point.seats = list(seats)?;
    if all {
        return reveals_open(ctx, key, point);
    }
    if point.phase == Phase::Delivering && content::mode_of(&point)? == AuditMode::Sealed {
        return content::go_on(ctx, key, point); // Its own demand needs no answer any more.
    }
    ctx.put(&POINTS, &key, &point)
}

/// R8: one that did not commit has nothing to reveal.
pub(super) fn reveal(
    ctx: &mut Context<'_>,
    sender: &Sender,
    key: PointKey,
    finding: &Finding,
    salt: &Digest,
) -> Result<(), Failure> {
    let mut point = in_phase(ctx, key, &[Phase::Revealing])?;
    let receipt = &subject(&point)?.receipt.message;
    let comparable = is_comparable(finding, receipt);
    let mut seats = point.seats.into_vec();
    let seat = own_seat(ctx, sender, &mut seats)?;
    if seat.finding.is_some() {
        return Err(Error::Repeated.into());
    }
    if seat.commitment != Some(commitment(finding, &seat.auditor, salt)) {
        return Err(Error::NotCommitted.into());
    }
    if !comparable {
        return Err(disputes::Error::BadFinding.into());
    }
    seat.finding = Some(*finding);
    point.seats = list(seats)?;
    settle_or_wait(ctx, key, point)
}

/// R8: whoever has it shows the trace behind a drawn receipt.
pub(super) fn reveal_trace(
    ctx: &mut Context<'_>,
    key: PointKey,
    trace_root: Digest,
    salt: &Digest,
) -> Result<(), Failure> {
    let mut point = in_phase(ctx, key, &[Phase::Revealing])?;
    if point.trace_root.is_some() {
        return Err(Error::Repeated.into());
    }
    check_trace(subject(&point)?, trace_root, salt)?;
    point.trace_root = Some(trace_root);
    settle_or_wait(ctx, key, point)
}

/// Root and salt make the commitment in the receipt.
pub(super) fn check_trace(
    subject: &Subject,
    trace_root: Digest,
    salt: &Digest,
) -> Result<(), Error> {
    let commit = hash(Domain::TraceCommit, &[trace_root.as_bytes(), salt.as_bytes()]);
    let stated = subject.receipt.message.trace_commit;
    if commit == stated { Ok(()) } else { Err(Error::WrongTrace) }
}

/// What becomes of points whose time is over.
pub(super) fn look_at_due(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let clock = ctx.clock();
    for ((due, claim, number), ()) in ctx.scan(&POINTS_DUE, &(), DUE_PER_BLOCK)? {
        if due > clock {
            break;
        }
        let key = (claim.0, claim.1, number);
        let point = existing_own(ctx, key)?;
        // What an earlier one of this block has moved on is looked at in its new time.
        if point.due != due {
            continue;
        }
        match point.phase {
            Phase::Drawn => fail(ctx, key, point, Cause::NotOpened)?,
            Phase::Committing => commits_end(ctx, key, point)?,
            Phase::Delivering => fail(ctx, key, point, Cause::NotDelivered)?,
            Phase::Revealing => settle(ctx, key, point)?,
            Phase::Disputed => return Err(Broken::Rule("a disputed point is due").into()),
            Phase::Ended => {
                ctx.remove(&POINTS, &key);
                ctx.remove(&POINTS_DUE, &(due, claim, number));
            }
        }
    }
    Ok(())
}

/// R9: replaces those who have not committed, once; then goes on with those who have.
fn commits_end(ctx: &mut Context<'_>, key: PointKey, mut point: Point) -> Result<(), Failure> {
    let all: Vec<AccountId> = point.seats.iter().map(|seat| seat.auditor).collect();
    let (mut seats, missing): (Vec<Seat>, Vec<Seat>) =
        point.seats.into_vec().into_iter().partition(|seat| seat.commitment.is_some());
    for seat in &missing {
        auditors::miss(ctx, seat.auditor, key)?;
    }
    if !point.replaced {
        let model = subject_of(point.subject.as_ref())?.request.message.body.model;
        let claim = payments::apply::existing(ctx, claim_of(key))?;
        let fresh = auditors::draw(ctx, &claim, model, key, missing.len(), &all)?;
        point.replaced = true;
        if !fresh.is_empty() {
            seats.extend(seated(fresh)?.into_vec());
            point.seats = list(seats)?;
            enter(ctx, key, point, Phase::Committing, ctx.params().windows.commit)?;
            return Ok(());
        }
    }
    point.seats = list(seats)?;
    if point.seats.is_empty() {
        return end(ctx, key, point, Outcome::NoAuditor);
    }
    reveals_open(ctx, key, point)
}

fn reveals_open(ctx: &mut Context<'_>, key: PointKey, point: Point) -> Result<(), Failure> {
    let until = enter(ctx, key, point, Phase::Revealing, ctx.params().windows.reveal)?;
    let (operator, epoch, point) = key;
    ctx.emit(Event::RevealOpen { operator, epoch, point, reveal_until: until });
    Ok(())
}

fn settle_or_wait(ctx: &mut Context<'_>, key: PointKey, point: Point) -> Result<(), Failure> {
    let all = point.trace_root.is_some() && point.seats.iter().all(|seat| seat.finding.is_some());
    if all { settle(ctx, key, point) } else { ctx.put(&POINTS, &key, &point) }
}

/// R8, R9: pays who has revealed; findings that differ from the receipt become disputes.
fn settle(ctx: &mut Context<'_>, key: PointKey, mut point: Point) -> Result<(), Failure> {
    let subject = subject(&point)?.clone();
    let mut seats = Vec::new();
    for seat in point.seats.into_vec() {
        if seat.finding.is_some() {
            auditors::pay(ctx, seat.auditor, subject.receipt.message.fee)?;
            seats.push(seat);
        } else {
            auditors::miss(ctx, seat.auditor, key)?;
        }
    }
    point.seats = list(seats)?;
    let Some(trace_root) = point.trace_root else {
        return fail(ctx, key, point, Cause::NotRevealed);
    };
    let mut disputed = false;
    for seat in point.seats.clone().iter() {
        let Some(finding) = seat.finding else { continue };
        if !matches(&finding, trace_root, &subject.receipt.message) {
            disputed |= challenge(ctx, key, seat.auditor, &subject, &finding)?;
        }
    }
    if !disputed {
        let found = !point.seats.is_empty();
        return end(ctx, key, point, if found { Outcome::Passed } else { Outcome::NoAuditor });
    }
    ctx.remove(&POINTS_DUE, &(point.due, claim_of(key), key.2));
    (point.phase, point.due) = (Phase::Disputed, ctx.clock());
    ctx.put(&POINTS, &key, &point)
}

/// R8: in the auditor's name, with a part of its bond behind it. Whether there is a dispute: a
/// finding that no run can have opens none.
fn challenge(
    ctx: &mut Context<'_>,
    key: PointKey,
    account: AccountId,
    subject: &Subject,
    finding: &Finding,
) -> Result<bool, Failure> {
    let receipt = subject.receipt.message.hash();
    let record = disputes::apply::disputed(ctx, receipt, subject)?;
    let operator = staking::operator(ctx, &key.0)?;
    let operator = operator.ok_or(Broken::Rule("a claim is of no operator"))?;
    let rules = &ctx.params().disputes;
    let reference = rules.references.of(operator.class);
    let price = credits::price(ctx)?;
    let pay = audit_pay(subject.receipt.message.fee, price, &ctx.params().verification);
    let cost = defender_cost(record.work, reference, price, rules);
    let wanted = cost.and_then(|cost| stake(bond(cost, 0, rules)?, pay?));
    let wanted = wanted.map_err(|_| Broken::Overflow)?;
    let posted: Coin = auditors::post(ctx, account, wanted)?;
    let backing = Backing::Posted(posted);
    match disputes::apply::open(ctx, account, subject, finding, backing) {
        Ok(_) => {
            let (operator, epoch, point) = key;
            ctx.emit(Event::Mismatch { operator, epoch, point, receipt, auditor: account });
            Ok(true)
        }
        Err(Failure::Rejected(_)) => {
            auditors::unpost(ctx, account, posted)?;
            Ok(false)
        }
        Err(broken) => Err(broken),
    }
}

/// A point in which the operator is at fault.
pub(super) fn fail(
    ctx: &mut Context<'_>,
    key: PointKey,
    point: Point,
    cause: Cause,
) -> Result<(), Failure> {
    penalties::of_point(ctx, key, &point, cause, None)?;
    end(ctx, key, point, Outcome::Failed)
}

/// The disputes of a point have ended, none of them against the operator.
pub(super) fn withstood(ctx: &mut Context<'_>, key: PointKey, point: Point) -> Result<(), Failure> {
    end(ctx, key, point, Outcome::Passed)
}

/// Ends a point and its hold on the claim.
pub(super) fn end(
    ctx: &mut Context<'_>,
    key: PointKey,
    mut point: Point,
    outcome: Outcome,
) -> Result<(), Failure> {
    for seat in point.seats.iter() {
        auditors::unseat(ctx, seat.auditor, key)?;
    }
    if let Some(subject) = point.subject.take() {
        ctx.remove(&POINT_OF, &subject.receipt.message.hash());
        content::forget(ctx, key)?;
    }
    point.outcome = Some(outcome);
    enter(ctx, key, point, Phase::Ended, ctx.params().payments.claim_retention)?;
    let (operator, epoch, point) = key;
    ctx.emit(Event::PointEnded { operator, epoch, point, outcome });
    if outcome == Outcome::Passed {
        let entered = staking::operator(ctx, &operator)?.map(|record| record.registered);
        let mut known = standing(ctx, &operator, entered.unwrap_or_default())?;
        known.passed = known.passed.saturating_add(1);
        ctx.put(&STANDINGS, &operator, &known)?; // R15
    }
    let points = ctx.scan(&POINTS, &(operator, epoch), LEAVES_MAX.into())?;
    let any = |outcome| points.iter().any(|(_, point)| point.outcome == Some(outcome));
    let audit = if any(Outcome::Failed) {
        Audit::Failed
    } else if any(Outcome::Passed) {
        Audit::Passed
    } else {
        Audit::Unaudited
    };
    payments::apply::release(ctx, (operator, epoch), audit)
}

/// Takes a point to a phase that lasts so long; returns until when.
pub(super) fn enter(
    ctx: &mut Context<'_>,
    key: PointKey,
    mut point: Point,
    phase: Phase,
    time: Millis,
) -> Result<Millis, Failure> {
    let until = ctx.clock().checked_add(time).map_err(|_| Broken::Overflow)?;
    ctx.remove(&POINTS_DUE, &(point.due, claim_of(key), key.2));
    ctx.put(&POINTS_DUE, &(until, claim_of(key), key.2), &())?;
    (point.phase, point.due) = (phase, until);
    ctx.put(&POINTS, &key, &point)?;
    Ok(until)
}

/// The sender's seat: by the auditor's account, with its own key or the one it enlisted.
pub(super) fn own_seat<'a>(
    ctx: &Context<'_>,
    sender: &Sender,
    seats: &'a mut [Seat],
) -> Result<&'a mut Seat, Failure> {
    let account = sender.account;
    let seat = seats.iter_mut().find(|seat| seat.auditor == account);
    let seat = seat.ok_or(Error::NotTheAuditor { account })?;
    let hot = auditor(ctx, &account)?.is_some_and(|record| record.key == sender.signer);
    if sender.is_owner() || hot {
        return Ok(seat);
    }
    Err(Error::NotTheAuditorsKey { key: sender.signer }.into())
}

pub(super) fn in_phase(
    ctx: &Context<'_>,
    key: PointKey,
    phases: &[Phase],
) -> Result<Point, Failure> {
    let point = existing(ctx, key)?;
    let phase = point.phase;
    if phases.contains(&phase) { Ok(point) } else { Err(Error::WrongPhase { phase }.into()) }
}

pub(super) fn existing(ctx: &Context<'_>, key: PointKey) -> Result<Point, Failure> {
    Ok(point(ctx, &key.0, key.1, key.2)?.ok_or(Error::UnknownPoint)?)
}

/// A point that the ledger's own records name.
pub(super) fn existing_own(ctx: &Context<'_>, key: PointKey) -> Result<Point, Failure> {
    let point = point(ctx, &key.0, key.1, key.2)?;
    Ok(point.ok_or(Broken::Rule("a record names a point that is not there"))?)
}

pub(super) fn subject(point: &Point) -> Result<&Subject, Broken> {
    subject_of(point.subject.as_ref())
}

fn subject_of(subject: Option<&Subject>) -> Result<&Subject, Broken> {
    subject.ok_or(Broken::Rule("an opened point has no receipt"))
}

fn seated(accounts: Vec<AccountId>) -> Result<List<Seat, 4>, Broken> {
    let seat = |auditor| Seat { auditor, commitment: None, finding: None, reply: None };
    list(accounts.into_iter().map(seat).collect())
}

pub(super) fn list<T, const MAX: usize>(elements: Vec<T>) -> Result<List<T, MAX>, Broken> {
    List::new(elements).map_err(|_| Broken::Overflow)
}
