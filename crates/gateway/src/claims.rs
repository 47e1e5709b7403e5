//! Operators' claims over this account's lanes: a void one is reclaimed, and one that leaves out a
//! receipt is reported.
//!
//! ```text
//!   filed ─▶ every receipt has its place? ── no, and it shows ──▶ Omission ─▶ void
//!              │ yes, or nothing can be shown                                  │
//!              ▼                                                               ▼
//!            final ─▶ its receipts are forgotten ◀──────────────────────── Reclaim
//! ```
//! Rules: what is to be done is read from the ledger at every look, so a restart loses nothing; the
//! lanes of a claim come from a node and are held against the root that the ledger keeps, so that
//! a silent operator is not needed; a refusal costs a fee, so it is not repeated.
//! Never here: whether a claim is void; what shows an omission.

use crate::{
    funds::Funds,
    lanes::Lanes,
    omissions::{Known, Place},
    store::Records,
};
use client::{
    follow::Follower,
    rpc::{Rpc, RpcError},
    store::StoreError,
    transactions::SendError,
};
use crypto::{AccountId, OperatorId, merkle};
use ledger::{
    Call, Params,
    payments::{
        self, CLAIMS, ClaimRecord, LaneRange, RECLAIMS, Reclaim, Stage,
        messages::{Claim, LaneId},
    },
    verification::{self, Exhibit, Omission, POINTS, PlacedLeaf},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::sleep;
use units::{Epoch, List, Millis};

/// Looks within one challenge window: what is found in it is filed in it.
const LOOKS_PER_WINDOW: u64 = 8;
/// Shortest and longest pause between two looks, in ms.
const PAUSE_MS: (u64, u64) = (500, 60_000);
/// Claims that are being watched; beyond them new ones wait.
const MAX_WATCHED: usize = 16_384;

type ClaimKey = (OperatorId, Epoch);

/// Why a look ended early; the next one begins anew.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A claim that is not dealt with yet.
#[derive(Debug, Clone, Default)]
struct Watched {
    /// The account's lanes in it, with their places.
    own: Vec<(u32, LaneRange)>,
    /// Whether nothing more is to be found out about its receipts.
    checked: bool,
}

/// Where the gateway's money and records are.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) rpc: Rpc,
    pub(crate) follower: Follower,
    pub(crate) account: AccountId,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) funds: Arc<Funds>,
    pub(crate) records: Records,
}

/// Looks after the claims over the lanes of an account.
#[derive(Debug)]
pub(crate) struct Claims {
    books: Books,
    window: Millis,
    pause: Duration,
    watched: BTreeMap<ClaimKey, Watched>,
    /// Dealt with, behind one that is not.
    done: BTreeSet<ClaimKey>,
}

impl Claims {
    pub(crate) fn new(books: Books, params: &Params) -> Self {
        let window = params.windows.challenge;
        let pause = (window.get() / LOOKS_PER_WINDOW).clamp(PAUSE_MS.0, PAUSE_MS.1);
        let pause = Duration::from_millis(pause);
        Self { books, window, pause, watched: BTreeMap::new(), done: BTreeSet::new() }
    }

    /// Looks again and again, for ever.
    pub(crate) async fn keep(mut self) {
        loop {
            for operator in self.books.lanes.operators() {
                if let Err(error) = self.look(operator).await {
                    tracing::warn!(%operator, %error, "the claims of an operator wait");
                }
            }
            sleep(self.pause).await;
        }
    }

    async fn look(&mut self, operator: OperatorId) -> Result<(), LookError> {
        let looked = self.books.records.looked(&operator)?;
        let (mut behind, mut gap) = (looked, false);
        for (key, record) in self.books.rpc.records(&CLAIMS, &operator).await? {
            if looked.is_some_and(|looked| key.1 <= looked) {
                continue;
            }
            let over = self.done.contains(&key) || self.see(key, &record).await?;
            gap |= !over;
            if gap && over {
                self.done.insert(key);
            } else if over {
                self.done.remove(&key);
                behind = Some(key.1);
            }
        }
        match behind {
            Some(epoch) if behind != looked => {
                Ok(self.books.records.put_looked(operator, epoch).await?)
            }
            _ => Ok(()),
        }
    }

    /// Does what a claim asks for; whether that was all.
    async fn see(&mut self, key: ClaimKey, record: &ClaimRecord) -> Result<bool, LookError> {
        let Some(watched) = self.watch(key, record).await? else { return Ok(false) };
        let over = match record.stage {
            _ if watched.own.is_empty() => true,
            Stage::Void => self.reclaim(key, record, &watched.own).await?,
            Stage::Settled => true,
            Stage::Filed | Stage::Drawn | Stage::BasePaid => {
                if !watched.checked && self.check(key, record, &watched.own).await? {
                    self.watched.insert(key, Watched { checked: true, ..watched.clone() });
                }
                false
            }
        };
        if over {
            for (_, range) in &watched.own {
                let lane = lane_of(key.0, range);
                while !self.books.records.forget_receipts(&lane, range.last).await? {}
            }
            self.watched.remove(&key);
        }
        Ok(over)
    }

    /// The account's lanes in a claim; nothing if there is no room to watch it.
    async fn watch(
        &mut self,
        key: ClaimKey,
        record: &ClaimRecord,
    ) -> Result<Option<Watched>, LookError> {
        if let Some(known) = self.watched.get(&key) {
            return Ok(Some(known.clone()));
        }
        if self.watched.len() >= MAX_WATCHED {
            return Ok(None);
        }
        let filed = self.filed(key, record).await?;
        let lanes = filed.iter().flat_map(|claim| claim.lanes.iter());
        let ranges = (0..).zip(lanes.map(LaneRange::of));
        let own = ranges.filter(|(_, range)| range.payer == self.books.account).collect();
        let watched = Watched { own, checked: false };
        self.watched.insert(key, watched.clone());
        Ok(Some(watched))
    }

    /// A claim with its lanes, if a node has them and they are what the ledger holds.
    async fn filed(&self, key: ClaimKey, record: &ClaimRecord) -> Result<Option<Claim>, RpcError> {
        let claim = self.books.rpc.claim(&key.0, key.1).await?;
        let holds = |claim: &Claim| merkle::root(&claim.range_leaves()) == record.ranges_root;
        if claim.as_ref().is_some_and(holds) {
            return Ok(claim);
        }
        tracing::error!(operator = %key.0, epoch = %key.1, "the node knows no lanes of a claim");
        Ok(None)
    }

    /// Takes back the lanes of a void claim; whether that is all.
    async fn reclaim(
        &self,
        key: ClaimKey,
        record: &ClaimRecord,
        own: &[(u32, LaneRange)],
    ) -> Result<bool, LookError> {
        let Some(reclaims) = self.books.rpc.record(&RECLAIMS, &key).await? else { return Ok(true) };
        let Some(claim) = self.filed(key, record).await? else { return Ok(true) };
        for (index, _) in own.iter().filter(|(index, _)| !reclaims.has(*index)) {
            let Some(reclaim) = Reclaim::of(&claim, *index) else { continue };
            let call = Call::Payments(payments::Tx::Reclaim(Box::new(reclaim)));
            self.send(key, *index, call, "reclaim").await?;
        }
        Ok(true)
    }

    /// Sends what is filed about one lane of a claim. A refusal is final.
    async fn send(
        &self,
        (operator, epoch): ClaimKey,
        index: u32,
        call: Call,
        what: &'static str,
    ) -> Result<(), SendError> {
        match self.books.funds.send(call).await {
            Ok(()) => tracing::info!(%operator, %epoch, index, what, "filed"),
            Err(SendError::Rejected(why)) => {
                tracing::warn!(%operator, %epoch, index, what, reason = why.message, "refused");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Holds a claim against the receipts in the account's lanes; whether nothing more is to be
    /// found out.
    async fn check(
        &self,
        key: ClaimKey,
        record: &ClaimRecord,
        own: &[(u32, LaneRange)],
    ) -> Result<bool, LookError> {
        let (operator, epoch) = key;
        let known = self.known(key, record, own).await?;
        let mut unknown = 0_usize;
        for (index, range) in own {
            let lane = lane_of(operator, range);
            for exhibit in self.books.records.receipts(&lane, range.first..=range.last)? {
                let receipt = &exhibit.receipt.message;
                let leaf = receipt.leaf(lane.payer, lane.index);
                match known.place(record.totals.count, &leaf.key, leaf.item) {
                    Place::Own => {}
                    Place::Missing(around) => {
                        return self.report(key, record, *index, exhibit, around).await;
                    }
                    Place::Unknown => unknown = unknown.saturating_add(1),
                }
            }
        }
        let left = record.filed.get().saturating_add(self.window.get());
        let left = left.saturating_sub(self.books.follower.seen().clock.get());
        if unknown > 0 && u128::from(left) <= self.pause.as_millis() {
            tracing::error!(
                %operator, %epoch, unknown,
                "the operator did not say where receipts stand in its claim: no omission can be \
                 shown; a drawn receipt that is not there cannot be opened all the same"
            );
            return Ok(true);
        }
        Ok(unknown == 0)
    }

    /// Leaves of a claim: those that the operator sent, and drawn receipts that were opened.
    async fn known(
        &self,
        key: ClaimKey,
        record: &ClaimRecord,
        own: &[(u32, LaneRange)],
    ) -> Result<Known, LookError> {
        let mut known = Known::default();
        for (_, range) in own {
            let lane = lane_of(key.0, range);
            for stored in self.books.records.paths(&lane, range.first..=range.last)? {
                if (stored.epoch, stored.root) == (key.1, record.root) {
                    known.add(record, stored.placed);
                }
            }
        }
        for (_, point) in self.books.rpc.records(&POINTS, &key).await? {
            let Some(subject) = point.subject else { continue };
            let (request, receipt) = (subject.request.message, subject.receipt.message);
            let leaf = receipt.leaf(request.payer, request.lane);
            if let Some(claimed) = subject.claimed {
                known.add(record, PlacedLeaf { leaf, path: claimed.path });
            }
        }
        Ok(known)
    }

    /// Reports a receipt that a claim leaves out. One is enough: the claim is void then.
    async fn report(
        &self,
        key: ClaimKey,
        record: &ClaimRecord,
        index: u32,
        exhibit: Exhibit,
        around: List<PlacedLeaf, 2>,
    ) -> Result<bool, LookError> {
        let Some(claim) = self.filed(key, record).await? else { return Ok(true) };
        let Some(Reclaim { epoch, range, lane_index, range_path, .. }) = Reclaim::of(&claim, index)
        else {
            return Ok(true);
        };
        tracing::warn!(operator = %key.0, %epoch, "a claim leaves out a receipt");
        let omission = Omission { epoch, exhibit, range, lane_index, range_path, around };
        let call = Call::Verification(verification::Tx::Omission(Box::new(omission)));
        self.send(key, index, call, "omission").await?;
        Ok(true)
    }
}

const fn lane_of(operator: OperatorId, range: &LaneRange) -> LaneId {
    LaneId { payer: range.payer, operator, index: range.lane }
}
