//! Staking: what `verification` asks for after a fault, and the count of who serves a model.
//!
//! Rules: R10 to R12. Never here: what a fault is or costs.

use super::{
    super::{
        schema::{DISCIPLINE, Event, SERVERS, SERVING_OWNERS, UNBONDING, UNBONDING_OF},
        state::{Operator, bond_at, discipline, operator},
    },
    UNBONDINGS_MAX, set_bond,
};
use crate::{
    accounts::{
        Pot,
        apply::{Purse, move_coin},
    },
    context::Context,
    error::{Broken, Failure},
    store::Read,
};
use crypto::{ModelId, OperatorId};
use std::collections::BTreeSet;
use units::{Coin, Millis, Overflow};

/// Moves up to `wanted` of what stood behind a fault at clock `done` into `penalties`, and says
/// how much that was (R10).
pub(crate) fn slash(
    ctx: &mut Context<'_>,
    id: OperatorId,
    done: Millis,
    wanted: Coin,
) -> Result<Coin, Failure> {
    let mut record = existing(ctx, id)?;
    let limit = wanted.min(bond_at(ctx, &id, done)?);
    let from_bond = limit.min(record.bond);
    let mut left = own(limit.checked_sub(from_bond))?;
    let unbonding = ctx.params().staking.unbonding;
    for ((_, due, number), ()) in ctx.scan(&UNBONDING_OF, &id, UNBONDINGS_MAX.into())? {
        // What waited already when the fault was done did not stand behind it.
        if due.saturating_sub(unbonding) <= done || left.is_zero() {
            continue;
        }
        let waiting = ctx.get(&UNBONDING, &(due, number))?;
        let mut waiting = waiting.ok_or(Broken::Rule("a waiting bond is indexed only"))?;
        let part = left.min(waiting.amount);
        left = own(left.checked_sub(part))?;
        waiting.amount = own(waiting.amount.checked_sub(part))?;
        record.unbonding = own(record.unbonding.checked_sub(part))?;
        if waiting.amount.is_zero() {
            record.unbondings = record.unbondings.saturating_sub(1);
            ctx.remove(&UNBONDING, &(due, number));
            ctx.remove(&UNBONDING_OF, &(id, due, number));
        } else {
            ctx.put(&UNBONDING, &(due, number), &waiting)?;
        }
    }
    let taken = own(limit.checked_sub(left))?;
    if taken.is_zero() {
        return Ok(taken);
    }
    let bond = own(record.bond.checked_sub(from_bond))?;
    move_coin(ctx, Purse::Pot(Pot::Bonds), Purse::Pot(Pot::Penalties), taken)?;
    ctx.emit(Event::BondSlashed { operator: id, amount: taken });
    set_bond(ctx, id, record, bond)?;
    Ok(taken)
}

/// Keeps an operator from filing claims until a clock (R11). A longer jail stays.
pub(crate) fn jail(ctx: &mut Context<'_>, id: OperatorId, until: Millis) -> Result<(), Failure> {
    let mut record = discipline(ctx, &id)?;
    if until <= record.jailed_until {
        return Ok(());
    }
    record.jailed_until = until;
    ctx.put(&DISCIPLINE, &id, &record)?;
    ctx.emit(Event::Jailed { operator: id, until });
    Ok(())
}

/// Ends an operator for ever (R11).
pub(crate) fn tombstone(ctx: &mut Context<'_>, id: OperatorId) -> Result<(), Failure> {
    let mut record = discipline(ctx, &id)?;
    if record.tombstoned {
        return Ok(());
    }
    let operator = existing(ctx, id)?;
    uncount(ctx, id, &operator)?;
    record.tombstoned = true;
    ctx.put(&DISCIPLINE, &id, &record)?;
    ctx.emit(Event::Tombstoned { operator: id });
    Ok(())
}

/// The models that count as served by this operator (R12).
fn served(
    ctx: &Context<'_>,
    id: OperatorId,
    record: Option<&Operator>,
) -> Result<BTreeSet<ModelId>, Failure> {
    let bonded = record.filter(|record| !record.bond.is_zero());
    let models = bonded.map(|record| record.profile.models.iter().copied().collect());
    let out = discipline(ctx, &id)?.tombstoned;
    Ok(models.filter(|_| !out).unwrap_or_default())
}

/// Counts a changed operator anew: what it no longer serves, and what it serves from now on.
pub(super) fn recount(
    ctx: &mut Context<'_>,
    id: OperatorId,
    before: Option<&Operator>,
    after: &Operator,
) -> Result<(), Failure> {
    let (was, is) = (served(ctx, id, before)?, served(ctx, id, Some(after))?);
    for model in was.difference(&is) {
        leave(ctx, *model, after)?;
    }
    for model in is.difference(&was) {
        let key = (*model, after.owner);
        let count = ctx.get(&SERVERS, &key)?.unwrap_or_default();
        ctx.put(&SERVERS, &key, &count.checked_add(1).ok_or(Overflow)?)?;
        if count == 0 {
            let owners = ctx.get(&SERVING_OWNERS, model)?.unwrap_or_default();
            ctx.put(&SERVING_OWNERS, model, &owners.checked_add(1).ok_or(Overflow)?)?;
        }
    }
    Ok(())
}

fn uncount(ctx: &mut Context<'_>, id: OperatorId, record: &Operator) -> Result<(), Failure> {
    for model in served(ctx, id, Some(record))? {
        leave(ctx, model, record)?;
    }
    Ok(())
}

/// One operator of the owner less serves the model.
fn leave(ctx: &mut Context<'_>, model: ModelId, record: &Operator) -> Result<(), Failure> {
    const MISCOUNT: Broken = Broken::Rule("a model is served by fewer than none");
    let key = (model, record.owner);
    let count = ctx.get(&SERVERS, &key)?.unwrap_or_default();
    let left = count.checked_sub(1).ok_or(MISCOUNT)?;
    if left > 0 {
        return ctx.put(&SERVERS, &key, &left);
    }
    ctx.remove(&SERVERS, &key);
    let owners = ctx.get(&SERVING_OWNERS, &model)?.unwrap_or_default();
    match owners.checked_sub(1).ok_or(MISCOUNT)? {
        0 => ctx.remove(&SERVING_OWNERS, &model),
        left => ctx.put(&SERVING_OWNERS, &model, &left)?,
    }
    Ok(())
}

fn existing(ctx: &Context<'_>, id: OperatorId) -> Result<Operator, Failure> {
    Ok(operator(ctx, &id)?.ok_or(Broken::Rule("a fault is of no operator"))?)
}

/// Arithmetic on the ledger's own books: it fails for no sender's reason.
fn own<T>(result: Result<T, Overflow>) -> Result<T, Broken> {
    result.map_err(|_| Broken::Overflow)
}
