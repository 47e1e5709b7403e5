//! Verification: verdicts, and what a fault costs.
//!
//! Rules: R12 to R15.

use super::{
    super::{
        math::{correlated, grade, spread, wanted},
        schema::{CONFLICT_OF, CORRELATION, Event, FAULT_OF, FAULTS, POINT_OF, STANDINGS},
        state::{Cause, Correlation, Evidence, Fault, Grade, Phase, Point, Spread, standing},
    },
    conflicts,
    points::{self, PointKey},
};
use crate::{
    accounts::{
        self, Pot,
        apply::{Purse, burn, move_coin},
    },
    context::Context,
    credits,
    disputes::{self, Party, VERDICTS, Verdict},
    error::{Broken, Failure},
    params::DAY,
    payments::{self, LaneRefund, Stage},
    staking,
    store::Read,
};
use crypto::{AccountId, Digest, ModelId, OperatorId};
use units::{BasisPoints, Credit, Epoch, Millis};

/// Who is at fault for what, and who bore it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charge {
    pub(super) operator: OperatorId,
    pub(super) cause: Cause,
    pub(super) evidence: Evidence,
    /// Bonds of this clock answer for it.
    pub(super) done: Millis,
    pub(super) work: Option<Work>,
    /// The period of the claim that fails with it.
    pub(super) claim: Option<Epoch>,
    pub(super) reporter: Option<AccountId>,
}

/// A receipt that is at fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub(super) receipt: Digest,
    pub(super) model: ModelId,
    pub(super) payer: AccountId,
    pub(super) lane: u32,
    pub(super) fee: Credit,
}

impl Work {
    /// From request and receipt.
    pub(super) fn of(
        request: &payments::messages::Request,
        receipt: &payments::messages::Receipt,
    ) -> Self {
        let (payer, lane, model) = (request.payer, request.lane, request.body.model);
        Self { receipt: receipt.hash(), model, payer, lane, fee: receipt.fee }
    }
}

/// R12: takes what `disputes` has decided.
pub(super) fn take_verdicts(ctx: &mut Context<'_>) -> Result<(), Failure> {
    for (number, verdict) in ctx.scan(&VERDICTS, &(), usize::MAX)? {
        ctx.remove(&VERDICTS, &number);
        judge(ctx, &verdict)?;
    }
    Ok(())
}

fn judge(ctx: &mut Context<'_>, verdict: &Verdict) -> Result<(), Failure> {
    let Verdict { receipt, operator, line, challenger, loser, cause, .. } = *verdict;
    let lost = loser == Party::Defender;
    let point = ctx.get(&POINT_OF, &receipt)?.map(|(epoch, number)| (operator, epoch, number));
    if let Some(key) = point {
        let point = points::existing_own(ctx, key)?;
        if lost {
            // R13: an auditor is paid for its work, never for what it finds.
            let drawn = point.seats.iter().any(|seat| seat.auditor == challenger);
            let reporter = Some(challenger).filter(|_| !drawn);
            of_point(ctx, key, &point, Cause::Disputed(cause), reporter)?;
            points::end(ctx, key, point, super::super::Outcome::Failed)?;
        } else if point.phase == Phase::Disputed && !disputes::is_open(ctx, &receipt)? {
            points::withstood(ctx, key, point)?;
        }
    } else if lost {
        let record = disputes::dispute(ctx, &receipt)?;
        let record = record.ok_or(Broken::Rule("a verdict is on no dispute"))?;
        let window = ctx.params().windows.challenge;
        let conflict = ctx.get(&CONFLICT_OF, &receipt)?;
        let reporter = match conflict {
            None => Some(challenger),
            Some(id) => conflicts::reporter(ctx, id, challenger)?,
        };
        let evidence = conflict.map_or(Evidence::Dispute { line }, |id| Evidence::Conflict { id });
        let work = Some(Work::of(&record.request, &record.receipt));
        let (cause, done) = (Cause::Disputed(cause), record.ends.saturating_sub(window));
        convict(ctx, Charge { operator, cause, evidence, done, work, claim: None, reporter })?;
    }
    conflicts::look_at(ctx, receipt)
}

/// A fault at a point of a claim, which fails with it.
pub(super) fn of_point(
    ctx: &mut Context<'_>,
    key: PointKey,
    point: &Point,
    cause: Cause,
    reporter: Option<AccountId>,
) -> Result<(), Failure> {
    let (operator, epoch, number) = key;
    let claim = payments::apply::existing(ctx, (operator, epoch))?;
    let evidence = Evidence::Point { epoch, point: number };
    let subject = point.subject.as_ref();
    let work = subject.map(|it| Work::of(&it.request.message, &it.receipt.message));
    let (done, claim) = (claim.filed, Some(epoch));
    convict(ctx, Charge { operator, cause, evidence, done, work, claim, reporter })
}

/// Punishes a fault: once for each receipt, and silence once for each claim (R12).
pub(super) fn convict(ctx: &mut Context<'_>, charge: Charge) -> Result<(), Failure> {
    let Charge { operator, cause, done, work, .. } = charge;
    let floor = ctx.params().verification.audit_floor;
    let mut refunded = Credit::ZERO;
    let mut at_stake = (work.map_or(Credit::ZERO, |work| work.fee), floor);
    let mut failed = false;
    if let Some(epoch) = charge.claim {
        let key = (operator, epoch);
        let claim = payments::apply::existing(ctx, key)?;
        failed = claim.stage == Stage::Void;
        at_stake = (claim.totals.fee, claim.probability.max(floor));
        let wrong =
            work.map(|work| LaneRefund { payer: work.payer, lane: work.lane, amount: work.fee });
        refunded = payments::apply::void(ctx, key, wrong)?;
    }
    let known = work.is_some_and(|work| ctx.has(&FAULT_OF, &work.receipt));
    if known || failed && cause.is_silence() {
        return Ok(());
    }
    let record = staking::operator(ctx, &operator)?;
    let record = record.ok_or(Broken::Rule("a fault is of no operator"))?;
    let before = standing(ctx, &operator, record.registered)?;
    let rules = &ctx.params().verification;
    let model = work.map(|work| work.model);
    let grade = grade(&cause, &before, model, done, ctx.clock(), rules);
    // Payers of a claim that was void before reclaim all of their lanes.
    let paid = work.map_or(Credit::ZERO, |work| work.fee);
    let harmed = if failed { Credit::ZERO } else { paid.saturating_sub(refunded) };
    let fault = fine(ctx, &charge, grade, at_stake, (refunded, harmed))?;

    let number = before.faults;
    ctx.put(&FAULTS, &(operator, number), &fault)?;
    if let Some(work) = work {
        ctx.put(&FAULT_OF, &work.receipt, &number)?;
    }
    let mut after = before;
    after.faults = number.checked_add(1).ok_or(Broken::Overflow)?;
    if grade != Grade::Silence {
        // R14, R15
        let clock = ctx.clock();
        (after.since, after.passed, after.last_fault) = (clock, 0, Some(clock));
        after.weights = cause.weights().and_then(|op| Some((model?, op))).or(before.weights);
        let until = clock.checked_add(ctx.params().verification.jail);
        staking::apply::jail(ctx, operator, until.map_err(|_| Broken::Overflow)?)?;
    }
    ctx.put(&STANDINGS, &operator, &after)?;
    if grade == Grade::Total {
        staking::apply::tombstone(ctx, operator)?;
    }
    let Fault { evidence, spread, .. } = fault;
    ctx.emit(Event::Slashed { operator, fault: number, cause, evidence, spread });
    Ok(())
}

/// R12, R13: slashes, and spreads what was taken.
fn fine(
    ctx: &mut Context<'_>,
    charge: &Charge,
    grade: Grade,
    (value, probability): (Credit, BasisPoints),
    (refunded, harmed): (Credit, Credit),
) -> Result<Fault, Failure> {
    let Charge { operator, cause, evidence, done, work, .. } = *charge;
    let own = |_| Broken::Overflow;
    let clock = ctx.clock();
    // No longer than bonds are remembered: a dispute may outlast its window.
    let kept = ctx.params().windows.challenge.checked_add(DAY).map_err(own)?;
    let answers = done.max(clock.saturating_sub(kept));
    let bond = staking::bond_at(ctx, &operator, answers)?;
    let all = accounts::pot(ctx, Pot::Bonds)?;
    let mut recent = ctx.get(&CORRELATION, &())?.unwrap_or_default();
    let old = clock.saturating_sub(recent.since) > ctx.params().windows.challenge;
    if old || recent.bonds.is_zero() {
        recent = Correlation { since: clock, ..Correlation::default() };
    }
    let silence = grade == Grade::Silence;
    let alone = Correlation::default();
    let correlation = correlated(if silence { &alone } else { &recent }, all).map_err(own)?;
    if !silence {
        recent.bonds = recent.bonds.checked_add(bond).map_err(own)?;
        ctx.put(&CORRELATION, &(), &recent)?;
    }
    let (price, rules) = (credits::price(ctx)?, &ctx.params().verification);
    let wanted =
        wanted(grade, bond, (value, probability), correlation, price, rules).map_err(own)?;
    let owner = staking::operator(ctx, &operator)?.map(|record| record.owner);
    let reporter = charge.reporter.filter(|reporter| Some(*reporter) != owner);
    let harmed = credits::math::coin_worth(harmed, price).map_err(own)?;

    let taken = staking::apply::slash(ctx, operator, answers, wanted)?;
    let rules = &ctx.params().verification;
    let spread = spread(taken, harmed, reporter.is_some(), price, rules).map_err(own)?;
    let payer = work.map(|work| work.payer);
    pay_out(ctx, &spread, payer, reporter)?;
    Ok(Fault {
        cause,
        grade,
        evidence,
        receipt: work.map(|work| work.receipt),
        payer,
        done,
        found: clock,
        value,
        probability,
        correlation,
        wanted,
        spread,
        refunded,
        reporter,
    })
}

/// R13
fn pay_out(
    ctx: &mut Context<'_>,
    spread: &Spread,
    payer: Option<AccountId>,
    reporter: Option<AccountId>,
) -> Result<(), Failure> {
    let pot = Purse::Pot(Pot::Penalties);
    burn(ctx, pot, spread.burned)?;
    if let Some(payer) = payer {
        move_coin(ctx, pot, Purse::Account(payer), spread.victim)?;
    }
    if let Some(reporter) = reporter {
        move_coin(ctx, pot, Purse::Account(reporter), spread.reporter)?;
    }
    move_coin(ctx, pot, Purse::Pot(Pot::Insurance), spread.insurance)
}
