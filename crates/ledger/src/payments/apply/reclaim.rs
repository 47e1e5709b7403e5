//! Payments: what the payers of a void claim have back.
//!
//! Rule: R17. Anybody reclaims for any payer: it goes into the payer's own deposit.

use super::{
    super::{
        math::reclaimable,
        schema::{Error, RECLAIMS, Reclaim},
        state::{Stage, claim},
    },
    settlement::give_back,
};
use crate::{
    context::Context,
    error::{Broken, Failure},
    store::Read,
};

pub(super) fn reclaim(ctx: &mut Context<'_>, reclaim: &Reclaim) -> Result<(), Failure> {
    let Reclaim { operator, epoch, range, lane_index, .. } = *reclaim;
    let key = (operator, epoch);
    let record = claim(ctx, &operator, epoch)?;
    let record = record.ok_or(Error::UnknownClaim { operator, epoch })?;
    if record.stage != Stage::Void {
        return Err(Error::NotVoid { stage: record.stage }.into());
    }
    // A claim that points still hold is kept for longer, but not for its payers.
    let ended = record.due.ok_or(Broken::Rule("a void claim has no end"))?;
    if ctx.clock() >= ended {
        return Err(Error::ReclaimedTooLate { ended }.into());
    }
    if !record.has_range(&range, lane_index, &reclaim.range_path) {
        return Err(Error::NotALane { index: lane_index }.into());
    }
    let reclaims = ctx.get(&RECLAIMS, &key)?;
    let mut reclaims = reclaims.ok_or(Broken::Rule("a void claim has no list of lanes"))?;
    if reclaims.has(lane_index) {
        return Err(Error::ReclaimedBefore { index: lane_index }.into());
    }
    let before = reclaims.refunded_to(&range);
    let amount = reclaimable(&record, range.delta, before).map_err(|_| Broken::Overflow)?;
    if amount.is_zero() {
        return Err(Error::NothingToReclaim { index: lane_index }.into());
    }
    reclaims.note(lane_index);
    ctx.put(&RECLAIMS, &key, &reclaims)?;
    give_back(ctx, key, range.payer, amount)
}
