//! Files one claim per ledger period, and follows each until the ledger has forgotten it.
//!
//! ```text
//!   receipts that vouchers pay for ─▶ claim on disk ─▶ transaction ─▶ on the ledger ─▶ paths owed
//!                                                          settled ─▶ openings pruned
//!                                                        forgotten ─▶ receipts, claim pruned
//! ```
//! Rules: what was claimed is what the chain's lane records say, so a claim whose fate a kill
//! left open is neither lost nor sent twice with another content; a claim is on disk before it
//! is sent, because its receipts' paths can be rebuilt from nothing else; a lane whose
//! allocation, or for which the value cap, would make the ledger refuse the whole claim is left
//! out; the dearest lanes go first. Never here: what the ledger checks again.

use crate::{
    node::{Node, Phase},
    records::{Undelivered, holds_unseen},
};
use client::{caps, rpc::RpcError, store::StoreError, transactions::SendError};
use crypto::{
    AccountId, Signed,
    merkle_sum::{BadLeaves, Leaf, SumTree},
};
use ledger::{
    Call, Params,
    disputes::LOADS,
    payments::{
        self, ALLOCATIONS, CLAIMS, ClaimRecord, LANES, Stage,
        math::counted,
        schema::{Claim, LaneClaim, LaneId, MAX_CLAIM_LANES, ReceiptKey, Voucher},
    },
    staking::BOX_KEYS,
    tables::PARAMS,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use units::{Credit, Epoch, List, Millis, Overflow};

/// Pause after the node failed.
const RETRY: Duration = Duration::from_secs(2);
/// Most periods left out after the ledger refused claims in a row: each refusal costs a fee.
const MAX_SKIPPED: u64 = 64;
/// Receipts of one claim, unless one lane alone has more.
const MAX_CLAIM_RECEIPTS: u64 = 1 << 18;
/// How long after filing at the latest the ledger applies a claim, on its clock.
const FILING: Millis = Millis::new(10_000);
/// Records that one write prunes.
const PRUNED_AT_ONCE: usize = 1_024;

/// Why a period's claim was not filed.
#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the receipts make no tree: {0}")]
    Tree(#[from] BadLeaves),
}

impl From<RpcError> for ClaimError {
    fn from(error: RpcError) -> Self {
        Self::Send(error.into())
    }
}

impl From<Overflow> for ClaimError {
    fn from(error: Overflow) -> Self {
        Self::Tree(error.into())
    }
}

/// Files claims until the box stops.
pub(crate) async fn run(node: Arc<Node>) {
    let mut follower = node.follower.clone();
    let (mut dealt_with, mut refused) = (Epoch::ZERO, 0_u32);
    loop {
        let seen = tokio::select! {
            seen = follower.next() => seen,
            () = node.reached(Phase::Stopping) => return,
        };
        let epoch = node.epoch(seen.clock);
        if epoch <= dealt_with {
            continue;
        }
        match settle(&node, epoch).await {
            Ok(()) => (dealt_with, refused) = (epoch, 0),
            Err(ClaimError::Send(SendError::Rejected(why))) => {
                let skipped = MAX_SKIPPED.min(1 << refused.min(6));
                tracing::error!(code = why.code, reason = why.message, skipped, "claim refused");
                refused = refused.saturating_add(1);
                dealt_with = Epoch::new(epoch.get().saturating_add(skipped - 1));
            }
            Err(error) => {
                tracing::warn!(%error, "the claim of a period waits");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Looks after the claims that were sent, then files the one of the period before `current`.
async fn settle(node: &Node, current: Epoch) -> Result<(), ClaimError> {
    let on_ledger: BTreeMap<Epoch, ClaimRecord> = node
        .rpc
        .records(&CLAIMS, &node.operator)
        .await?
        .into_iter()
        .map(|((_, epoch), record)| (epoch, record))
        .collect();
    follow_up(node, &on_ledger).await?;
    let Ok(epoch) = current.checked_sub(Epoch::new(1)) else { return Ok(()) };
    if on_ledger.last_key_value().is_some_and(|(last, _)| *last >= epoch) {
        return Ok(());
    }
    let Some(claim) = build(node, epoch).await? else { return Ok(()) };
    node.records.put_claim(&claim).await?;
    let (lanes, fee) = (claim.lanes.len(), claim.totals.fee);
    let call = Call::Payments(payments::Tx::FileClaim(claim.clone()));
    node.sender.lock().await.send(call).await?;
    let record = node.rpc.record(&CLAIMS, &(node.operator, epoch)).await?;
    if record.is_none_or(|record| record.root != claim.root) {
        return Ok(()); // An earlier one of ours came first; the next period looks after it.
    }
    tracing::info!(%epoch, lanes, receipts = claim.totals.count, %fee, "a claim is on the ledger");
    taken(node, &claim).await
}

/// What becomes of the claims on disk, by what the ledger holds.
async fn follow_up(
    node: &Node,
    on_ledger: &BTreeMap<Epoch, ClaimRecord>,
) -> Result<(), ClaimError> {
    // A dispute that began in the window may outlast it, and needs what stands behind its receipt.
    let load = node.rpc.record(&LOADS, &node.operator).await?;
    let disputed = load.is_some_and(|load| load.disputes > 0);
    for claim in node.records.claims()? {
        match on_ledger.get(&claim.epoch) {
            Some(record) if record.root == claim.root => {
                taken(node, &claim).await?;
                if record.stage == Stage::Settled && !disputed {
                    prune(node, &claim, Pruned::Openings).await?;
                }
            }
            _ => follow_up_missing(node, &claim).await?,
        }
    }
    Ok(())
}

/// A claim that the ledger does not hold: forgotten after it was settled, overtaken by another
/// one, or still on its way.
async fn follow_up_missing(node: &Node, claim: &Claim) -> Result<(), ClaimError> {
    let Some(lane) = claim.lanes.first() else { return Ok(()) };
    let id = lane.voucher.message.lane_id();
    let claimed = node.rpc.record(&LANES, &id).await?.unwrap_or_default();
    if claimed.sequence < lane.first {
        return Ok(()); // On its way, or never taken: its receipts will be in a later claim.
    }
    if node.records.is_taken(claim.epoch, claim.root)? {
        prune(node, claim, Pruned::Everything).await?;
    }
    Ok(node.records.drop_claim(claim.epoch, claim.root).await?)
}

/// A claim is on the ledger: what it claims no longer weighs on allocations, and its receipts'
/// gateways need their paths.
async fn taken(node: &Node, claim: &Claim) -> Result<(), ClaimError> {
    if node.records.is_taken(claim.epoch, claim.root)? {
        return Ok(());
    }
    let mut owed = Vec::new();
    for lane in claim.lanes.iter() {
        let id = lane.voucher.message.lane_id();
        for answered in node.records.answers(id, lane.first..=lane.last)? {
            let sequence = answered.receipt.message.sequence;
            let (epoch, root) = (claim.epoch, claim.root);
            owed.push((answered.gateway, Undelivered { epoch, root, lane: id, sequence }));
        }
    }
    node.records.take_claim(claim.epoch, claim.root, owed).await?;
    for key in claim.lanes.iter().map(|lane| allocation_of(&lane.voucher)).collect::<BTreeSet<_>>()
    {
        node.lanes.allocations.learn(key, node.rpc.record(&ALLOCATIONS, &key).await?);
    }
    for lane in claim.lanes.iter() {
        let id = lane.voucher.message.lane_id();
        let claimed = node.rpc.record(&LANES, &id).await?.unwrap_or_default();
        node.lanes.allocations.claimed(&id, claimed);
    }
    node.filed.send_modify(|count| *count = count.wrapping_add(1));
    Ok(())
}

enum Pruned {
    /// What is needed only while a receipt can be drawn or disputed.
    Openings,
    /// That, and the receipts.
    Everything,
}

/// Prunes in steps, so that no write is long.
async fn prune(node: &Node, claim: &Claim, what: Pruned) -> Result<(), ClaimError> {
    for lane in claim.lanes.iter() {
        let id = lane.voucher.message.lane_id();
        let range = || lane.first..=lane.last;
        while !node.records.prune_openings(id, range(), PRUNED_AT_ONCE).await? {}
        if matches!(what, Pruned::Everything) {
            while !node.records.prune_answers(id, range(), PRUNED_AT_ONCE).await? {}
        }
    }
    if matches!(what, Pruned::Everything) {
        let epoch = claim.epoch;
        while !node.records.prune_owed(epoch, PRUNED_AT_ONCE).await? {}
    }
    Ok(())
}

fn allocation_of(voucher: &Signed<Voucher>) -> (AccountId, u64) {
    (voucher.message.payer, voucher.message.allocation)
}

/// The claim of an epoch over all that vouchers pay for, or nothing.
async fn build(node: &Node, epoch: Epoch) -> Result<Option<Claim>, ClaimError> {
    let Some(params) = node.rpc.record(&PARAMS, &()).await? else { return Ok(None) };
    let mut due = due(node, &params).await?;
    // The claim names one box key; older ones first, because their days are numbered.
    let Some(key_epoch) = due.iter().map(|due| due.key_epoch).min() else { return Ok(None) };
    due.retain(|due| due.key_epoch == key_epoch);
    due.sort_by_key(|due| std::cmp::Reverse(due.claim.delta));
    let due = within_cap(node, &params, cover(node, due).await?).await?;
    let lanes: BTreeMap<LaneId, Due> =
        due.into_iter().map(|due| (due.claim.voucher.message.lane_id(), due)).collect();
    if lanes.is_empty() {
        return Ok(None);
    }
    let leaves: Vec<_> = lanes.values().flat_map(|due| due.leaves.iter().cloned()).collect();
    let tree = SumTree::new(&leaves)?;
    let canary_only = lanes.values().any(|due| due.canary_only);
    let lanes = lanes.into_values().map(|due| due.claim).collect();
    Ok(Some(Claim {
        operator: node.operator,
        key_epoch,
        epoch,
        root: tree.root(),
        totals: tree.totals(),
        lanes: List::new(lanes).unwrap_or_default(),
        canary_only,
    }))
}

/// A lane that can be claimed.
struct Due {
    claim: LaneClaim,
    key_epoch: u32,
    leaves: Vec<Leaf<ReceiptKey>>,
    /// Whether a receipt in it is never opened.
    canary_only: bool,
}

/// Every lane whose voucher pays for more than the ledger has paid.
async fn due(node: &Node, params: &Params) -> Result<Vec<Due>, ClaimError> {
    let minimum = params.payments.cashable_minimum;
    let mut due = Vec::new();
    for voucher in node.lanes.vouchers().await {
        let id = voucher.message.lane_id();
        if voucher.message.sequence <= node.lanes.allocations.claimed_of(&id).sequence {
            continue;
        }
        let claimed = node.rpc.record(&LANES, &id).await?.unwrap_or_default();
        node.lanes.allocations.claimed(&id, claimed);
        let delta = voucher.message.cumulative.saturating_sub(claimed.cumulative);
        let (first, last) = (claimed.sequence.saturating_add(1), voucher.message.sequence);
        if first > last || delta < minimum {
            continue;
        }
        let claim = LaneClaim { voucher, first, last, delta };
        match leaves_of(node, claim)? {
            Some(lane) => due.push(lane),
            None => tracing::error!(lane = id.index, payer = %id.payer, "receipts do not add up"),
        }
    }
    Ok(due)
}

/// The leaves of a lane's range, if the receipts on disk are what the voucher pays for.
fn leaves_of(node: &Node, claim: LaneClaim) -> Result<Option<Due>, ClaimError> {
    let id = claim.voucher.message.lane_id();
    let answers = node.records.answers(id, claim.first..=claim.last)?;
    let receipts = answers.iter().map(|answered| &answered.receipt.message);
    let fees = Credit::total(receipts.clone().map(|receipt| receipt.fee))?;
    let whole = (claim.first..=claim.last).eq(receipts.clone().map(|receipt| receipt.sequence));
    let Some(key_epoch) = receipts.clone().map(|receipt| receipt.key_epoch).next() else {
        return Ok(None);
    };
    if !whole || fees != claim.delta {
        return Ok(None);
    }
    let leaves = receipts.map(|receipt| node.leaf(receipt, id)).collect();
    Ok(Some(Due { claim, key_epoch, leaves, canary_only: holds_unseen(&answers) }))
}

/// Those that the ledger will take: covered by live allocations, under a key good for claims,
/// within the bounds of one claim.
async fn cover(node: &Node, due: Vec<Due>) -> Result<Vec<Due>, ClaimError> {
    let soon = node.follower.seen().clock.checked_add(FILING).unwrap_or(Millis::MAX);
    let mut left: BTreeMap<(AccountId, u64), Credit> = BTreeMap::new();
    let mut receipts = 0_u64;
    let mut covered = Vec::new();
    for lane in due.into_iter().take(MAX_CLAIM_LANES) {
        let key_record = node.rpc.record(&BOX_KEYS, &(node.operator, lane.key_epoch)).await?;
        if !key_record.is_some_and(|record| record.is_good_for_claims(soon)) {
            tracing::error!(key_epoch = lane.key_epoch, "receipts of a box key that has ended");
            continue;
        }
        let key = allocation_of(&lane.claim.voucher);
        let available = match left.get(&key) {
            Some(available) => *available,
            None => {
                let record = node.rpc.record(&ALLOCATIONS, &key).await?;
                node.lanes.allocations.learn(key, record);
                let live = record.filter(|record| soon < record.expires);
                live.map_or(Ok(Credit::ZERO), |record| record.left())?
            }
        };
        let count = u64::try_from(lane.leaves.len()).unwrap_or(u64::MAX);
        let full = receipts > 0 && receipts.saturating_add(count) > MAX_CLAIM_RECEIPTS;
        match available.checked_sub(lane.claim.delta) {
            Ok(rest) if !full => {
                left.insert(key, rest);
                receipts = receipts.saturating_add(count);
                covered.push(lane);
            }
            Ok(_) => {}
            Err(_) => {
                left.insert(key, available);
                let (due, allocation) = (lane.claim.delta, key.1);
                tracing::warn!(%due, %available, allocation, "an allocation no longer covers");
            }
        }
    }
    Ok(covered)
}

/// Those that fit under the value cap together: a claim above it is refused, and would be again for
/// ever. What is never opened goes first, because it makes all count twice.
async fn within_cap(
    node: &Node,
    params: &Params,
    mut due: Vec<Due>,
) -> Result<Vec<Due>, ClaimError> {
    let clock = node.follower.seen().clock;
    let cap = caps::cap(&node.rpc, params, &node.operator, clock).await?;
    let Some(left) = cap.and_then(|cap| Some(cap.value?.saturating_sub(cap.unverified))) else {
        return Ok(due);
    };
    let all = due.len();
    loop {
        let unseen = due.iter().rposition(|lane| lane.canary_only);
        let fees = Credit::total(due.iter().map(|lane| lane.claim.delta))?;
        if counted(fees, unseen.is_some())? <= left {
            break;
        }
        // The rest is worth most.
        due.remove(unseen.unwrap_or(due.len().saturating_sub(1)));
    }
    if due.len() < all {
        tracing::warn!(lanes = all - due.len(), %left, "the value cap leaves no room yet");
    }
    Ok(due)
}
