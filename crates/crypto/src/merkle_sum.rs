//! Merkle-sum trees: each node carries the sums of what lies below, so that a root fixes totals.
//!
//! ```text
//!   leaf  = H(key ‖ item ‖ sums)            sums = (fee, work units, count = 1)
//!   node  = H(left ‖ left sums ‖ right ‖ right sums)
//!   root  = H(count ‖ top ‖ totals)
//! ```
//! Rules: leaves are sorted by key without repeats, so that one claim cannot hold a receipt twice
//! and a gap can be shown by two neighbours; sums are added with checks, so that no overflow hides
//! an amount; the shape is that of [`crate::merkle`].
//! Never here: what a key or an item means.

use crate::merkle::{BadProof, split};
use crate::{Digest, Domain, hash_of};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use units::{Credit, List, Overflow, WorkUnits};

/// Siblings in one path: the depth of a tree with 2^63 leaves.
pub const MAX_DEPTH: usize = 63;

/// What a subtree adds up to.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Sums {
    /// Fees, in credits.
    pub fee: Credit,
    /// Work units.
    pub work: WorkUnits,
    /// Leaves.
    pub count: u64,
}

impl Sums {
    /// Field by field.
    ///
    /// # Errors
    /// [`Overflow`] if one field does not fit.
    pub fn checked_add(&self, other: &Self) -> Result<Self, Overflow> {
        Ok(Self {
            fee: self.fee.checked_add(other.fee)?,
            work: self.work.checked_add(other.work)?,
            count: self.count.checked_add(other.count).ok_or(Overflow)?,
        })
    }
}

/// One leaf.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Leaf<K> {
    /// Where it stands; leaves are sorted by it.
    pub key: K,
    /// What it commits to.
    pub item: Digest,
    /// Its fee.
    pub fee: Credit,
    /// Its work units.
    pub work: WorkUnits,
}

impl<K: BorshSerialize> Leaf<K> {
    fn node(&self) -> Node {
        let sums = Sums { fee: self.fee, work: self.work, count: 1 };
        Node { digest: hash_of(Domain::SumLeaf, self), sums }
    }
}

/// A subtree: its digest and its sums.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Node {
    /// Over all that lies below.
    pub digest: Digest,
    /// Of all that lies below.
    pub sums: Sums,
}

/// Why a tree cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLeaves {
    /// Two neighbours are equal or in the wrong order.
    #[error("leaves must be sorted by key without repeats")]
    Order,
    /// The totals do not fit.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

fn join(left: &Node, right: &Node) -> Result<Node, Overflow> {
    let sums = left.sums.checked_add(&right.sums)?;
    Ok(Node { digest: hash_of(Domain::SumNode, &(left, right)), sums })
}

/// The level above: neighbours joined, an odd last one taken over. This gives the shape of
/// [`crate::merkle`], whose left parts are whole.
fn level_above(nodes: &[Node]) -> Result<Vec<Node>, Overflow> {
    let pair = |pair: &[Node]| match pair {
        [left, right] => join(left, right),
        rest => Ok(rest.first().copied().unwrap_or_default()),
    };
    nodes.chunks(2).map(pair).collect()
}

fn bind(top: &Node) -> Digest {
    hash_of(Domain::SumRoot, &(top.sums.count, top))
}

/// A tree over sorted leaves. Holds every node, so that a path costs its length.
#[derive(Clone, Debug)]
pub struct SumTree {
    /// The leaves first, then each level above.
    levels: Vec<Vec<Node>>,
    top: Node,
}

impl SumTree {
    /// Builds the tree.
    ///
    /// # Errors
    /// [`BadLeaves`] for unsorted or repeated keys, or totals that do not fit.
    pub fn new<K: Ord + BorshSerialize>(leaves: &[Leaf<K>]) -> Result<Self, BadLeaves> {
        if !leaves.is_sorted_by(|left, right| left.key < right.key) {
            return Err(BadLeaves::Order);
        }
        let mut levels = Vec::new();
        let mut level: Vec<Node> = leaves.iter().map(Leaf::node).collect();
        while level.len() > 1 {
            let above = level_above(&level)?;
            levels.push(level);
            level = above;
        }
        let top = level.first().copied().unwrap_or_default();
        levels.push(level);
        Ok(Self { levels, top })
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Digest {
        bind(&self.top)
    }

    /// The totals.
    #[must_use]
    pub const fn totals(&self) -> Sums {
        self.top.sums
    }

    /// The path of leaf `index`.
    ///
    /// # Errors
    /// [`BadProof::Range`] if there is no such leaf.
    pub fn path(&self, index: u64) -> Result<SumPath, BadProof> {
        let mut at = usize::try_from(index).map_err(|_| BadProof::Range)?;
        if at >= self.levels.first().map_or(0, Vec::len) {
            return Err(BadProof::Range);
        }
        let mut siblings = Vec::new();
        for level in &self.levels {
            // An odd last node has none and is itself the node above.
            siblings.extend(level.get(at ^ 1));
            at >>= 1;
        }
        let siblings = List::new(siblings).map_err(|_| BadProof::Length)?;
        Ok(SumPath { index, siblings })
    }
}

/// Proof that a leaf stands at an index under a root with given totals.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SumPath {
    /// Which leaf.
    pub index: u64,
    /// The other subtree at each level, lowest first.
    pub siblings: List<Node, MAX_DEPTH>,
}

impl SumPath {
    /// Checks `leaf` against a root and its totals.
    ///
    /// # Errors
    /// [`BadProof`], which says what does not fit.
    pub fn verify<K: BorshSerialize>(
        &self,
        root: &Digest,
        totals: &Sums,
        leaf: &Leaf<K>,
    ) -> Result<(), BadProof> {
        if self.index >= totals.count {
            return Err(BadProof::Range);
        }
        let mut siblings = self.siblings.iter().rev();
        let top = descend(totals.count, self.index, leaf.node(), &mut siblings)?;
        if siblings.next().is_some() {
            return Err(BadProof::Length);
        }
        if top.sums == *totals && bind(&top) == *root { Ok(()) } else { Err(BadProof::Root) }
    }

    /// What stands before this leaf, by a path that was checked against `count` leaves: a leaf's
    /// range in the sum of fees begins there.
    ///
    /// # Errors
    /// [`BadProof`] for a path that no check can have accepted.
    pub fn before(&self, count: u64) -> Result<Sums, BadProof> {
        if self.index >= count {
            return Err(BadProof::Range);
        }
        let mut sums = Sums::default();
        let (mut count, mut index) = (count, self.index);
        let mut siblings = self.siblings.iter().rev();
        while count > 1 {
            let sibling = siblings.next().ok_or(BadProof::Length)?;
            let at = split(count);
            if index < at {
                count = at;
            } else {
                sums = sums.checked_add(&sibling.sums).map_err(|_| BadProof::Length)?;
                (count, index) = (count.saturating_sub(at), index.saturating_sub(at));
            }
        }
        Ok(sums)
    }
}

/// Rebuilds the top of `count` leaves from the one at `index`, siblings highest first.
fn descend<'a>(
    count: u64,
    index: u64,
    leaf: Node,
    siblings: &mut impl Iterator<Item = &'a Node>,
) -> Result<Node, BadProof> {
    if count <= 1 {
        return Ok(leaf);
    }
    let sibling = siblings.next().ok_or(BadProof::Length)?;
    let at = split(count);
    let joined = if index < at {
        join(&descend(at, index, leaf, siblings)?, sibling)
    } else {
        let rest = count.saturating_sub(at);
        join(sibling, &descend(rest, index.saturating_sub(at), leaf, siblings)?)
    };
    joined.map_err(|_| BadProof::Root)
}
