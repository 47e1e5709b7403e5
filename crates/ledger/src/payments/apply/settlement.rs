//! Payments: what becomes of a filed claim without anybody's doing.
//!
//! Rules: R12 to R14. Each block takes a bounded number of steps, oldest first.

use super::super::{
    math::{base, base_due, rest_due},
    schema::{CLAIMS, DRAWS, DUE, Event, READY},
    state::{ClaimRecord, Stage, claim},
};
use crate::{
    context::Context,
    credits,
    error::{Broken, Failure},
    store::Read,
};
use crypto::OperatorId;
use units::{Epoch, Millis};

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
    ctx.put(&CLAIMS, &key, &record)?;
    ctx.put(&DUE, &(due, key), &())?;
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
        Stage::Drawn => pay_base(ctx, due, key, record),
        Stage::BasePaid => pay_rest(ctx, due, key, record),
        Stage::Settled => {
            ctx.remove(&CLAIMS, &key); // R14
            Ok(())
        }
    }
}

fn pay_base(
    ctx: &mut Context<'_>,
    due: Millis,
    key: ClaimKey,
    mut record: ClaimRecord,
) -> Result<(), Failure> {
    let amount = base(record.totals.fee, &ctx.params().payments);
    let amount = amount.map_err(|_| Broken::Overflow)?;
    let next = rest_due(record.filed, due, &ctx.params().windows);
    let next = next.map_err(|_| Broken::Overflow)?;
    record.stage = Stage::BasePaid;
    record.paid = amount;
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
    let amount = record.totals.fee.checked_sub(record.paid).map_err(|_| Broken::Overflow)?;
    let next = due.checked_add(ctx.params().payments.claim_retention);
    let next = next.map_err(|_| Broken::Overflow)?;
    record.stage = Stage::Settled;
    record.paid = record.totals.fee;
    credits::apply::settle(ctx, record.owner, amount)?;
    ctx.put(&CLAIMS, &key, &record)?;
    ctx.put(&DUE, &(next, key), &())?;
    ctx.emit(Event::ClaimSettled { operator: key.0, epoch: key.1, amount });
    Ok(())
}

fn existing(ctx: &Context<'_>, key: ClaimKey) -> Result<ClaimRecord, Broken> {
    claim(ctx, &key.0, key.1)?.ok_or(Broken::Rule("a step is due for a claim that is not there"))
}
