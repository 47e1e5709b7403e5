//! Verification: a receipt that a claim leaves out.
//!
//! Rule: R11.

use super::{
    super::schema::{Error, FAULT_OF, Omission, PlacedLeaf},
    super::state::{Cause, Evidence},
    penalties::{Charge, Work, convict},
};
use crate::{
    context::Context,
    disputes,
    error::Failure,
    payments::{self, ClaimRecord, LaneRange, Stage, messages::ReceiptKey},
    store::Read,
};
use crypto::{AccountId, Digest};

pub(super) fn file(
    ctx: &mut Context<'_>,
    reporter: AccountId,
    omission: &Omission,
) -> Result<(), Failure> {
    let (exhibit, epoch) = (&omission.exhibit, omission.epoch);
    let receipt = &exhibit.receipt.message;
    let operator = receipt.operator;
    let claim = payments::claim(ctx, &operator, epoch)?;
    let claim = claim.ok_or(Error::UnknownClaim { operator, epoch })?;
    let ended = claim.filed.checked_add(ctx.params().windows.challenge)?;
    if ctx.clock() >= ended {
        return Err(Error::TooLate { ended }.into());
    }
    let id = receipt.hash();
    // One failed claim is punished once for all it leaves out.
    if claim.stage == Stage::Void || ctx.has(&FAULT_OF, &id) {
        return Err(Error::Punished { receipt: id }.into());
    }
    let record = disputes::apply::disputed(ctx, id, &exhibit.subject())?;
    if record.request != exhibit.request.message {
        return Err(disputes::Error::Mismatch.into());
    }
    let (payer, lane) = (record.request.payer, record.request.lane);
    let key = ReceiptKey { payer, lane, sequence: receipt.sequence };
    check_range(&claim, omission, &key)?;
    if !is_missing(&claim, &omission.around, &key, id)? {
        return Err(Error::NotMissing.into());
    }
    let charge = Charge {
        operator,
        cause: Cause::Omission,
        evidence: Evidence::Omission { epoch },
        done: claim.filed,
        work: Some(Work::of(&record.request, receipt)),
        claim: Some(epoch),
        reporter: Some(reporter),
    };
    convict(ctx, charge)
}

/// The receipt's lane was claimed over its place.
fn check_range(claim: &ClaimRecord, omission: &Omission, key: &ReceiptKey) -> Result<(), Error> {
    let Omission { range, lane_index, range_path, .. } = omission;
    let LaneRange { payer, lane, first, last, .. } = *range;
    let here = (payer, lane) == (key.payer, key.lane) && (first..=last).contains(&key.sequence);
    let shown = claim.has_range(range, *lane_index, range_path);
    if here && shown { Ok(()) } else { Err(Error::WrongRange) }
}

/// Leaves are sorted by key: what would lie between two neighbours is not there.
fn is_missing(
    claim: &ClaimRecord,
    around: &[PlacedLeaf],
    key: &ReceiptKey,
    receipt: Digest,
) -> Result<bool, Error> {
    for PlacedLeaf { leaf, path } in around {
        path.verify(&claim.root, &claim.totals, leaf).map_err(|_| Error::BadPath)?;
    }
    let last = claim.totals.count.saturating_sub(1);
    Ok(match around {
        [one] if one.leaf.key == *key => one.leaf.item != receipt,
        [one] => {
            let (at, index) = (&one.leaf.key, one.path.index);
            index == 0 && key < at || index == last && key > at
        }
        [one, other] => {
            let neighbours = one.path.index.checked_add(1) == Some(other.path.index);
            neighbours && one.leaf.key < *key && *key < other.leaf.key
        }
        _ => false,
    })
}
