//! Verification: which claims may be filed, and what a seed draws from them.
//!
//! Rules: R1, R2, R14.

use super::super::{
    math::{place, probability},
    schema::{ClaimKey, Error, Event, POINTS, POINTS_DUE},
    state::{Phase, Point, value_cap},
};
use crate::{
    clock::SEEDS,
    context::Context,
    credits,
    error::{Broken, Failure},
    payments::{self, Audit, ClaimRecord, DRAWN},
    staking,
    store::Read,
};
use crypto::Seed;
use units::{BasisPoints, Credit, List};

/// Whether a claim may be filed: not by who is jailed or out (R14), nor over the value cap (R2).
pub(crate) fn admit(ctx: &Context<'_>, tx: &payments::Tx) -> Result<(), Failure> {
    let payments::Tx::FileClaim(claim) = tx else { return Ok(()) };
    let operator = claim.operator;
    // Of an unknown operator `payments` says so.
    let Some(cap) = value_cap(ctx, &operator, ctx.clock())? else { return Ok(()) };
    if cap.tombstoned {
        return Err(staking::Error::Tombstoned { operator }.into());
    }
    if cap.jailed_until > ctx.clock() {
        return Err(Error::Jailed { operator, until: cap.jailed_until }.into());
    }
    let counted = payments::math::counted(claim.totals.fee, claim.canary_only)?;
    let value = cap.unverified.checked_add(counted)?;
    match cap.value {
        Some(cap) if value > cap => Err(Error::OverValueCap { value, cap }.into()),
        _ => Ok(()),
    }
}

/// Draws from the claims whose seed this block has brought.
pub(crate) fn begin_block(ctx: &mut Context<'_>) -> Result<(), Failure> {
    // As many as `payments` takes up in a block.
    for (key, ()) in ctx.scan(&DRAWN, &(), usize::MAX)? {
        ctx.remove(&DRAWN, &key);
        draw(ctx, key)?;
    }
    Ok(())
}

/// R1
fn draw(ctx: &mut Context<'_>, key: ClaimKey) -> Result<(), Failure> {
    let leaves = ctx.params().verification.leaves;
    if leaves == 0 {
        return payments::apply::hold(ctx, key, Audit::Off, BasisPoints::ZERO, 0);
    }
    let claim = payments::apply::existing(ctx, key)?;
    let value = payments::unverified(ctx, &key.0)?;
    let (price, params) = (credits::price(ctx)?, &ctx.params().verification);
    let chance = probability(value, claim.bond, price, params).map_err(|_| Broken::Overflow)?;
    let seed = seed(ctx, &claim)?;
    let (operator, epoch) = (key.0, key.1);
    let parts = [operator.as_bytes().as_slice(), &epoch.get().to_le_bytes()];
    let whole = u64::from(BasisPoints::WHOLE.get());
    if seed.below(whole, &[b"claim", parts[0], parts[1]]) >= u64::from(chance.get()) {
        ctx.emit(Event::PassedOver { operator, epoch, probability: chance });
        return payments::apply::hold(ctx, key, Audit::PassedOver, chance, 0);
    }
    payments::apply::hold(ctx, key, Audit::Running, chance, leaves)?;
    let open_until = ctx.clock().checked_add(ctx.params().windows.open);
    let open_until = open_until.map_err(|_| Broken::Overflow)?;
    for point in 0..leaves {
        let named: [&[u8]; 4] = [b"point", parts[0], parts[1], &[point]];
        let at = place(&seed, claim.totals.fee, &named).map_err(|_| Broken::Overflow)?;
        ctx.put(&POINTS, &(operator, epoch, point), &drawn(at, open_until))?;
        ctx.put(&POINTS_DUE, &(open_until, key, point), &())?;
        ctx.emit(Event::PointDrawn { operator, epoch, point, at, probability: chance, open_until });
    }
    Ok(())
}

const fn drawn(at: Credit, due: units::Millis) -> Point {
    Point {
        at,
        phase: Phase::Drawn,
        due,
        receipt: None,
        subject: None,
        seats: List::empty(),
        replaced: false,
        demanded: false,
        trace_root: None,
        outcome: None,
    }
}

/// The seed that draws from a claim.
pub(super) fn seed(ctx: &Context<'_>, claim: &ClaimRecord) -> Result<Seed, Failure> {
    let record = ctx.get(&SEEDS, &claim.draw_round)?;
    Ok(record.ok_or(Broken::Rule("the seed of a drawn claim is forgotten"))?.seed)
}
