//! Payments: filing a claim.
//!
//! Rules: R6 to R12. Everything is checked before anything is written; the signatures, which
//! cost most, come last and are checked together.

use super::{
    super::{
        math::counted,
        schema::{
            ALLOCATIONS, CLAIMED, CLAIMS, Claim, DEPOSITS, DRAWS, Error, Event, LANES, LaneClaim,
            LaneId, UNVERIFIED, Voucher,
        },
        state::{
            Allocation, Audit, ClaimRecord, Lane, LaneRange, Stage, deposit, lane, unverified,
        },
    },
    live,
};
use crate::{
    context::{Context, Sender},
    credits,
    error::{Broken, Failure},
    staking::{self, BoxKey, Operator},
    store::Read,
};
use crypto::{AccountId, Digest, PublicKey, Signature, merkle};
use std::collections::BTreeMap;
use units::{BasisPoints, Credit, Overflow, Round};

/// What the lanes of a claim come to, once checked.
#[derive(Default)]
struct Tally {
    /// New records of the lanes.
    lanes: Vec<(LaneId, Lane)>,
    /// Allocations drawn on, with what is cashed on them.
    allocations: BTreeMap<(AccountId, u64), Allocation>,
    /// Taken from each payer.
    payers: BTreeMap<AccountId, Credit>,
    /// Leaves of the ranges.
    ranges: Vec<Digest>,
    /// Signatures still to be checked, in the order of the lanes.
    signatures: Vec<(PublicKey, Digest, Signature)>,
    fee: Credit,
    count: u64,
}

pub(super) fn file(ctx: &mut Context<'_>, sender: &Sender, claim: &Claim) -> Result<(), Failure> {
    let (operator, box_key) = check_claimant(ctx, sender, claim)?;
    let tally = tally(ctx, claim)?;
    let fee = claim.totals.fee;
    if tally.fee != fee {
        return Err(Error::FeeMismatch { deltas: tally.fee, fee }.into()); // R10
    }
    let count = claim.totals.count;
    if tally.count != count {
        return Err(Error::CountMismatch { ranges: tally.count, count }.into()); // R10
    }
    check_signatures(ctx, &tally.signatures)?;
    let record = record(ctx, claim, &operator, &box_key, &tally)?;
    write(ctx, &record, &tally)?;
    let ClaimRecord { operator, epoch, draw_round, .. } = record;
    ctx.emit(Event::ClaimFiled { operator, epoch, fee, receipts: count, draw_round });
    Ok(())
}

/// R6: who may claim what, and under which box key.
fn check_claimant(
    ctx: &Context<'_>,
    sender: &Sender,
    claim: &Claim,
) -> Result<(Operator, BoxKey), Failure> {
    let Claim { operator: id, key_epoch, epoch, .. } = *claim;
    let operator = staking::operator(ctx, &id)?;
    let operator = operator.ok_or(Error::UnknownOperator { operator: id })?;
    if operator.owner != sender.account {
        return Err(Error::NotTheOwner { operator: id }.into());
    }
    let current = ctx.epoch();
    if epoch >= current {
        return Err(Error::PeriodOpen { epoch, current }.into());
    }
    if let Some(last) = ctx.get(&CLAIMED, &id)?
        && epoch <= last
    {
        return Err(Error::AlreadyClaimed { epoch, last }.into());
    }
    let box_key = staking::box_key(ctx, &id, key_epoch)?;
    let box_key = box_key.filter(|key| key.is_good_for_claims(ctx.clock()));
    let box_key = box_key.ok_or(Error::BadKeyEpoch { key_epoch })?;
    // A claim binds the bond to its root: of the owner's hot keys only the box's own may do it.
    let current = staking::apply::current_key(ctx, id, &operator)?;
    let own = [*sender.account.get(), box_key.key, current.key];
    if !own.contains(&sender.signer) {
        return Err(Error::NotTheBoxKey { key: sender.signer }.into());
    }
    Ok((operator, box_key))
}

/// Checks every lane but for its signature, and adds up (R7–R9).
fn tally(ctx: &Context<'_>, claim: &Claim) -> Result<Tally, Failure> {
    if claim.lanes.is_empty() {
        return Err(Error::NoLanes.into()); // R7
    }
    let mut tally = Tally::default();
    let mut previous: Option<LaneId> = None;
    for (index, lane_claim) in (0..).zip(claim.lanes.iter()) {
        let id = lane_claim.voucher.message.lane_id();
        check_voucher(ctx, claim, index, &lane_claim.voucher.message)?;
        if previous.is_some_and(|earlier| earlier >= id) {
            return Err(Error::LaneOrder { index }.into()); // R7
        }
        previous = Some(id);
        let count = check_range(ctx, index, id, lane_claim)?;
        draw_on(ctx, &mut tally, index, lane_claim)?;
        add(&mut tally, id, lane_claim, count)?;
    }
    Ok(tally)
}

/// R9: the voucher is for this chain and operator and acknowledges a receipt.
fn check_voucher(
    ctx: &Context<'_>,
    claim: &Claim,
    index: u32,
    voucher: &Voucher,
) -> Result<(), Error> {
    if voucher.chain != ctx.chain() {
        let (named, expected) = (voucher.chain, ctx.chain());
        return Err(Error::WrongChain { index, named, expected });
    }
    if voucher.operator != claim.operator {
        return Err(Error::WrongOperator { index, named: voucher.operator });
    }
    if voucher.acknowledgement.is_none() {
        return Err(Error::Unacknowledged { index });
    }
    Ok(())
}

/// R8: the range follows on, the delta is what the voucher adds. Returns how many receipts.
fn check_range(
    ctx: &Context<'_>,
    index: u32,
    id: LaneId,
    lane_claim: &LaneClaim,
) -> Result<u64, Failure> {
    let LaneClaim { ref voucher, first, last, delta } = *lane_claim;
    let claimed = lane(ctx, &id)?;
    let cumulative = voucher.message.cumulative;
    let wrong = Error::WrongRange { index, first, last, claimed: claimed.sequence };
    let follows = claimed.sequence.checked_add(1) == Some(first);
    if !follows || last != voucher.message.sequence || last < first {
        return Err(wrong.into());
    }
    if cumulative <= claimed.cumulative {
        return Err(Error::StaleVoucher { index, cumulative, claimed: claimed.cumulative }.into());
    }
    let added = cumulative.checked_sub(claimed.cumulative)?;
    if delta != added {
        return Err(Error::WrongDelta { index, given: delta, added }.into());
    }
    let minimum = ctx.params().payments.cashable_minimum;
    if delta < minimum {
        return Err(Error::BelowMinimum { index, delta, minimum }.into());
    }
    Ok(last.checked_sub(claimed.sequence).ok_or(Overflow)?)
}

/// R9: the allocation is this operator's, names the voucher's key, and has enough left. Several
/// lanes may draw on one: what earlier lanes took is already counted.
fn draw_on(
    ctx: &Context<'_>,
    tally: &mut Tally,
    index: u32,
    lane_claim: &LaneClaim,
) -> Result<(), Failure> {
    let voucher = &lane_claim.voucher.message;
    let (payer, number, delta) = (voucher.payer, voucher.allocation, lane_claim.delta);
    let mut allocation = match tally.allocations.get(&(payer, number)) {
        Some(drawn) => *drawn,
        None => live(ctx, payer, number)?,
    };
    if allocation.operator != voucher.operator {
        return Err(Error::WrongAllocation { index, allocation: number }.into());
    }
    if allocation.signer != voucher.session_key {
        return Err(Error::WrongSigner { index, key: voucher.session_key }.into());
    }
    let left = allocation.left()?;
    if delta > left {
        return Err(Error::OverLimit { index, delta, left }.into());
    }
    allocation.cashed = allocation.cashed.checked_add(delta)?;
    tally.allocations.insert((payer, number), allocation);
    Ok(())
}

fn add(tally: &mut Tally, id: LaneId, lane_claim: &LaneClaim, count: u64) -> Result<(), Overflow> {
    let LaneClaim { ref voucher, last, delta, .. } = *lane_claim;
    tally.ranges.push(LaneRange::of(lane_claim).leaf());
    let cumulative = voucher.message.cumulative;
    tally.lanes.push((id, Lane { sequence: last, cumulative }));
    let taken = tally.payers.entry(id.payer).or_default();
    *taken = taken.checked_add(delta)?;
    let signed = (voucher.message.session_key, voucher.message.hash(), voucher.signature);
    tally.signatures.push(signed);
    tally.fee = tally.fee.checked_add(delta)?;
    tally.count = tally.count.checked_add(count).ok_or(Overflow)?;
    Ok(())
}

/// R9: all at once; one by one only to name the first that does not hold.
fn check_signatures(
    ctx: &Context<'_>,
    signed: &[(PublicKey, Digest, Signature)],
) -> Result<(), Failure> {
    let signatures = ctx.ports().signatures;
    if signatures.verify_all(signed) {
        return Ok(());
    }
    let bad = (0..)
        .zip(signed)
        .find(|(_, (key, digest, signature))| !signatures.verify(key, digest, signature));
    match bad {
        Some((index, _)) => Err(Error::BadSignature { index }.into()),
        None => Err(Broken::Rule("a batch of good signatures does not hold").into()),
    }
}

/// R11, R12
fn record(
    ctx: &Context<'_>,
    claim: &Claim,
    operator: &Operator,
    box_key: &BoxKey,
    tally: &Tally,
) -> Result<ClaimRecord, Failure> {
    let delay = Round::new(ctx.params().windows.draw_delay);
    Ok(ClaimRecord {
        operator: claim.operator,
        owner: operator.owner,
        box_key: box_key.key,
        key_epoch: claim.key_epoch,
        bond: operator.bond,
        epoch: claim.epoch,
        root: claim.root,
        totals: claim.totals,
        ranges_root: merkle::root(&tally.ranges),
        lanes: u32::try_from(claim.lanes.len()).map_err(|_| Overflow)?,
        canary_only: claim.canary_only,
        filed_height: ctx.now().height,
        filed: ctx.clock(),
        draw_round: ctx.round().checked_add(delay)?,
        drawn: None,
        stage: Stage::Filed,
        paid: Credit::ZERO,
        returned: Credit::ZERO,
        audit: Audit::Pending,
        probability: BasisPoints::ZERO,
        holds: 0,
        due: None,
    })
}

/// R11: from the deposits to escrow.
fn write(ctx: &mut Context<'_>, record: &ClaimRecord, tally: &Tally) -> Result<(), Failure> {
    for (id, lane) in &tally.lanes {
        ctx.put(&LANES, id, lane)?;
    }
    for (key, allocation) in &tally.allocations {
        ctx.put(&ALLOCATIONS, key, allocation)?;
    }
    for (payer, taken) in &tally.payers {
        let mut deposit = deposit(ctx, payer)?;
        let balance = deposit.balance.checked_sub(*taken);
        deposit.balance = balance.map_err(|_| Broken::Overflow)?;
        let reserved = deposit.reserved.checked_sub(*taken);
        deposit.reserved = reserved.map_err(|_| Broken::Overflow)?;
        ctx.put(&DEPOSITS, payer, &deposit)?;
        credits::apply::charge(ctx, *payer, *taken)?;
    }
    let key = (record.operator, record.epoch);
    let counted = counted(record.totals.fee, record.canary_only)?;
    let open = unverified(ctx, &record.operator)?.checked_add(counted)?;
    ctx.put(&UNVERIFIED, &record.operator, &open)?; // R16
    ctx.put(&CLAIMED, &record.operator, &record.epoch)?;
    ctx.put(&CLAIMS, &key, record)?;
    ctx.put(&DRAWS, &(record.draw_round, key), &())
}
