//! Payments: what becomes of a filed claim without anybody's doing.
//!
//! Rules: R12 to R17. Each block takes a bounded number of steps, oldest first.

use super::super::{
    math::{base, base_due, counted, rest_due},
    schema::{CLAIMS, DEPOSITS, DRAWN, DRAWS, DUE, Event, READY, RECLAIMS, UNVERIFIED},
    state::{Audit, ClaimRecord, LaneRefund, Reclaims, Stage, claim, deposit, unverified},
};
use crate::{
    context::Context,
    credits,
    error::{Broken, Failure},
    store::Read,
};
use crypto::{AccountId, OperatorId};
use units::{BasisPoints, Credit, Epoch, Millis};

/// Most claims whose draw one block takes up (R12).
const DRAWN_PER_BLOCK: usize = 256;
/// Most claims that one block takes a step further (R13).
const STEPS_PER_BLOCK: usize = 256;

type ClaimKey = (OperatorId, Epoch);

/// Takes up the claims whose seed has come (R12).
pub(crate) fn begin_block(ctx: &mut Context<'_>) -> Result<(), Failure> {
    for round in ctx.fresh_seeds().to_vec() {
        if !ctx.scan(&DRAWS, &round, 1)?.is_empty() {
            ctx.put(&READY, &round, &())?;
        }
    }
    let mut left = DRAWN_PER_BLOCK;
    while let Some((round, ())) = ctx.scan(&READY, &(), 1)?.pop() {
        let waiting = ctx.scan(&DRAWS, &round, left)?;
        left = left.saturating_sub(waiting.len());
        for (key, ()) in waiting {
            ctx.remove(&DRAWS, &key);
            draw(ctx, key.1)?;
        }
        if left == 0 {
            break; // The rest of this round follows in the next block.
        }
        ctx.remove(&READY, &round);
    }
    Ok(())
}

fn draw(ctx: &mut Context<'_>, key: ClaimKey) -> Result<(), Failure> {
    let mut record = existing(ctx, key)?;
    let drawn = ctx.clock();
    let due = base_due(drawn, &ctx.params().windows).map_err(|_| Broken::Overflow)?;
    record.drawn = Some(drawn);
    record.stage = Stage::Drawn;
    record.due = Some(due);
    ctx.put(&CLAIMS, &key, &record)?;
    ctx.put(&DUE, &(due, key), &())?;
    ctx.put(&DRAWN, &key, &())?;
    ctx.emit(Event::ClaimDrawn { operator: key.0, epoch: key.1, base_due: due });
    Ok(())
}

/// Takes each claim that is due one step further (R13, R14).
pub(super) fn pay_due(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let clock = ctx.clock();
    for (due, ()) in ctx.scan(&DUE, &(), STEPS_PER_BLOCK)? {
        if due.0 > clock {
            break;
        }
        ctx.remove(&DUE, &due);
        step(ctx, due.0, due.1)?;
    }
    Ok(())
}

fn step(ctx: &mut Context<'_>, due: Millis, key: ClaimKey) -> Result<(), Failure> {
    let record = existing(ctx, key)?;
    match record.stage {
        Stage::Filed => Err(Broken::Rule("a claim is due before its draw").into()),
        // R15: the last release puts it back into the queue.
        _ if record.holds > 0 => Ok(()),
        Stage::Drawn => pay_base(ctx, due, key, record),
        Stage::BasePaid => pay_rest(ctx, due, key, record),
        Stage::Settled => {
            ctx.remove(&CLAIMS, &key); // R14
            Ok(())
        }
        Stage::Void => forget_void(ctx, key, &record),
    }
}

/// R14, R17: what nobody has reclaimed is forfeited with the record.
fn forget_void(ctx: &mut Context<'_>, key: ClaimKey, record: &ClaimRecord) -> Result<(), Failure> {
    let amount = record.owed().map_err(|_| Broken::Overflow)?;
    ctx.remove(&CLAIMS, &key);
    ctx.remove(&RECLAIMS, &key);
    if amount.is_zero() {
        return Ok(());
    }
    credits::apply::forfeit(ctx, record.owner, amount)?;
    ctx.emit(Event::Forfeited { operator: key.0, epoch: key.1, amount });
    Ok(())
}

fn pay_base(
    ctx: &mut Context<'_>,
    due: Millis,
    key: ClaimKey,
    mut record: ClaimRecord,
) -> Result<(), Failure> {
    let amount = base(record.totals.fee, &ctx.params().payments);
    let owed = record.owed().map_err(|_| Broken::Overflow)?;
    let amount = amount.map_err(|_| Broken::Overflow)?.min(owed);
    let next = rest_due(record.filed, due, &ctx.params().windows);
    let next = next.map_err(|_| Broken::Overflow)?;
    verified(ctx, &record)?;
    record.stage = Stage::BasePaid;
    record.paid = amount;
    record.due = Some(next);
    credits::apply::settle(ctx, record.owner, amount)?;
    ctx.put(&CLAIMS, &key, &record)?;
    ctx.put(&DUE, &(next, key), &())?;
    ctx.emit(Event::BasePaid { operator: key.0, epoch: key.1, amount });
    Ok(())
}

fn pay_rest(
    ctx: &mut Context<'_>,
    due: Millis,
    key: ClaimKey,
    mut record: ClaimRecord,
) -> Result<(), Failure> {
    let amount = record.owed().map_err(|_| Broken::Overflow)?;
    let next = due.checked_add(ctx.params().payments.claim_retention);
    let next = next.map_err(|_| Broken::Overflow)?;
    record.stage = Stage::Settled;
    record.paid = record.paid.checked_add(amount).map_err(|_| Broken::Overflow)?;
    record.due = Some(next);
    credits::apply::settle(ctx, record.owner, amount)?;
    ctx.put(&CLAIMS, &key, &record)?;
    ctx.put(&DUE, &(next, key), &())?;
    ctx.emit(Event::ClaimSettled { operator: key.0, epoch: key.1, amount });
    Ok(())
}

/// R16: what the claim counts is no longer unverified.
fn verified(ctx: &mut Context<'_>, record: &ClaimRecord) -> Result<(), Failure> {
    let counted = counted(record.totals.fee, record.canary_only).map_err(|_| Broken::Overflow)?;
    let open = unverified(ctx, &record.operator)?.checked_sub(counted);
    let open = open.map_err(|_| Broken::Overflow)?;
    if open.is_zero() {
        ctx.remove(&UNVERIFIED, &record.operator);
        return Ok(());
    }
    ctx.put(&UNVERIFIED, &record.operator, &open)
}

/// Writes what the draw came to, and holds the claim while `holds` points are looked at (R15).
pub(crate) fn hold(
    ctx: &mut Context<'_>,
    key: ClaimKey,
    audit: Audit,
    probability: BasisPoints,
    holds: u8,
) -> Result<(), Failure> {
    let mut record = existing(ctx, key)?;
    (record.audit, record.probability, record.holds) = (audit, probability, holds);
    ctx.put(&CLAIMS, &key, &record)
}

/// Ends one hold; with the last one `audit` says what came of all, and a step that was due
/// meanwhile is taken in this block (R15).
pub(crate) fn release(ctx: &mut Context<'_>, key: ClaimKey, audit: Audit) -> Result<(), Failure> {
    let mut record = existing(ctx, key)?;
    record.holds = record.holds.checked_sub(1).ok_or(Broken::Rule("a claim is not held"))?;
    if record.holds == 0 {
        if record.stage != Stage::Void {
            record.audit = audit;
        }
        let due = record.due.ok_or(Broken::Rule("a held claim has no next step"))?;
        ctx.put(&DUE, &(due, key), &())?;
    }
    ctx.put(&CLAIMS, &key, &record)
}

/// Ends a claim that failed: nothing more is paid on it, and its payers reclaim what it is still
/// owed (R15, R17). The payer of the wrong receipt, where one is known, has its fee back at once,
/// as far as so much is owed; returns how much that is. One that is settled or void already stays
/// as it is.
pub(crate) fn void(
    ctx: &mut Context<'_>,
    key: ClaimKey,
    wrong: Option<LaneRefund>,
) -> Result<Credit, Failure> {
    let mut record = existing(ctx, key)?;
    match record.stage {
        Stage::Settled | Stage::Void => return Ok(Credit::ZERO),
        Stage::Filed | Stage::Drawn => verified(ctx, &record)?,
        Stage::BasePaid => {}
    }
    let owed = record.owed().map_err(|_| Broken::Overflow)?;
    let refunded = wrong.map(|wrong| LaneRefund { amount: wrong.amount.min(owed), ..wrong });
    let until = ctx.clock().checked_add(ctx.params().payments.claim_retention);
    let until = until.map_err(|_| Broken::Overflow)?;
    match record.due {
        Some(due) => ctx.remove(&DUE, &(due, key)),
        None => ctx.remove(&DRAWS, &(record.draw_round, key)),
    }
    (record.stage, record.audit, record.due) = (Stage::Void, Audit::Failed, Some(until));
    let back = refunded.map_or(Credit::ZERO, |refunded| refunded.amount);
    let left = owed.checked_sub(back).map_err(|_| Broken::Overflow)?;
    ctx.put(&CLAIMS, &key, &record)?;
    ctx.put(&DUE, &(until, key), &())?;
    ctx.put(&RECLAIMS, &key, &Reclaims::new(record.lanes, refunded))?;
    if let Some(LaneRefund { payer, amount, .. }) = refunded {
        give_back(ctx, key, payer, amount)?;
    }
    ctx.emit(Event::ClaimVoid { operator: key.0, epoch: key.1, left, until });
    Ok(back)
}

/// From what a claim is owed into a payer's deposit.
pub(super) fn give_back(
    ctx: &mut Context<'_>,
    key: ClaimKey,
    payer: AccountId,
    amount: Credit,
) -> Result<(), Failure> {
    if amount.is_zero() {
        return Ok(());
    }
    let mut record = existing(ctx, key)?;
    record.returned = record.returned.checked_add(amount).map_err(|_| Broken::Overflow)?;
    let mut deposit = deposit(ctx, &payer)?;
    deposit.balance = deposit.balance.checked_add(amount).map_err(|_| Broken::Overflow)?;
    ctx.put(&CLAIMS, &key, &record)?;
    ctx.put(&DEPOSITS, &payer, &deposit)?;
    credits::apply::refund(ctx, payer, amount)?;
    ctx.emit(Event::Refunded { operator: key.0, epoch: key.1, payer, amount });
    Ok(())
}

/// A claim that must be there.
pub(crate) fn existing(ctx: &Context<'_>, key: ClaimKey) -> Result<ClaimRecord, Broken> {
    claim(ctx, &key.0, key.1)?.ok_or(Broken::Rule("a step is due for a claim that is not there"))
}
