//! Tells gateways where their receipts stand in claims that are on the ledger.
//!
//! Rules: a path is sent on every new connection until the gateway says that it is stored, and
//! once per connection; a claim's tree is rebuilt from the claim and the receipts on disk, one
//! tree at a time. Never here: whether a claim was taken.

use crate::{
    node::{Node, Phase},
    records::Undelivered,
};
use client::{
    store::StoreError,
    wire::{self, FromBox, MAX_PATHS, Paths},
};
use crypto::{
    Digest, PublicKey,
    merkle_sum::{Leaf, SumTree},
};
use ledger::{payments::schema::ReceiptKey, verification::PlacedLeaf};
use std::{sync::Arc, time::Duration};
use units::{Credit, Epoch, List};

/// Pause after the records failed.
const PAUSE: Duration = Duration::from_secs(10);

/// Sends what is owed to one gateway, and again after each claim, until the connection ends.
pub(crate) async fn deliver(node: Arc<Node>, gateway: PublicKey, sender: link::Sender) {
    let mut filed = node.filed.subscribe();
    let mut after: Option<Undelivered> = None;
    let mut tree: Option<ClaimTree> = None;
    loop {
        match page(&node, gateway, after, tree.take()).await {
            Ok(Some(page)) => {
                after = page.last;
                tree = page.tree;
                if let Some(paths) = page.paths
                    && sender.send(wire::encode(&FromBox::Paths(paths))).await.is_err()
                {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "paths cannot be read");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        tokio::select! {
            // The node outlives its connections.
            changed = filed.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
            () = node.reached(Phase::Closing) => return,
        }
    }
}

/// A part of what is owed, all of one claim.
struct Page {
    /// Nothing if the claim cannot be rebuilt.
    paths: Option<Paths>,
    last: Option<Undelivered>,
    tree: Option<ClaimTree>,
}

/// The next part after `after`; rebuilding a tree takes time, so it is done on another thread.
async fn page(
    node: &Arc<Node>,
    gateway: PublicKey,
    after: Option<Undelivered>,
    tree: Option<ClaimTree>,
) -> Result<Option<Page>, StoreError> {
    let (node, operator) = (Arc::clone(node), node.operator);
    let work = move || {
        let mut owed = node.records.owed(&gateway, after.as_ref(), MAX_PATHS)?;
        let Some(first) = owed.first().copied() else { return Ok(None) };
        owed.retain(|owed| (owed.epoch, owed.root) == (first.epoch, first.root));
        let last = owed.last().copied();
        let tree = match tree.filter(|tree| (tree.epoch, tree.root) == (first.epoch, first.root)) {
            Some(tree) => Some(tree),
            None => ClaimTree::read(&node, first.epoch, first.root)?,
        };
        let paths = tree.as_ref().map(|tree| Paths {
            operator,
            epoch: first.epoch,
            root: first.root,
            paths: List::new(owed.iter().filter_map(|owed| tree.of(owed)).collect())
                .unwrap_or_default(),
        });
        Ok(Some(Page { paths, last, tree }))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string())))
}

/// The Merkle-sum tree of one claim.
pub(crate) struct ClaimTree {
    epoch: Epoch,
    root: Digest,
    leaves: Vec<Leaf<ReceiptKey>>,
    /// Where each leaf ends in the sum of the fees.
    ends: Vec<Credit>,
    tree: SumTree,
}

impl ClaimTree {
    /// Rebuilds it; nothing if its parts are gone or do not give its root.
    pub(crate) fn read(
        node: &Node,
        epoch: Epoch,
        root: Digest,
    ) -> Result<Option<Self>, StoreError> {
        let Some(claim) = node.records.claim(epoch, root)? else { return Ok(None) };
        let mut leaves = Vec::new();
        for lane in claim.lanes.iter() {
            let id = lane.voucher.message.lane_id();
            let answers = node.records.answers(id, lane.first..=lane.last)?;
            leaves.extend(answers.iter().map(|answered| node.leaf(&answered.receipt.message, id)));
        }
        let tree = SumTree::new(&leaves).ok().filter(|tree| tree.root() == root);
        let mut sum = 0_u128;
        let end = |leaf: &Leaf<ReceiptKey>| {
            sum = sum.saturating_add(leaf.fee.get());
            Credit::new(sum)
        };
        let ends = leaves.iter().map(end).collect();
        if tree.is_none() {
            tracing::error!(%epoch, %root, "the receipts on disk do not give a claim's root");
        }
        Ok(tree.map(|tree| Self { epoch, root, leaves, ends, tree }))
    }

    /// The leaf in whose part of the fees `at` lies.
    pub(crate) fn at(&self, at: Credit) -> Option<PlacedLeaf> {
        self.placed(self.ends.partition_point(|end| *end <= at))
    }

    fn of(&self, owed: &Undelivered) -> Option<PlacedLeaf> {
        let Undelivered { lane, sequence, .. } = *owed;
        let key = ReceiptKey { payer: lane.payer, lane: lane.index, sequence };
        self.placed(self.leaves.binary_search_by_key(&key, |leaf| leaf.key).ok()?)
    }

    fn placed(&self, index: usize) -> Option<PlacedLeaf> {
        let leaf = self.leaves.get(index)?.clone();
        Some(PlacedLeaf { leaf, path: self.tree.path(u64::try_from(index).ok()?).ok()? })
    }
}
