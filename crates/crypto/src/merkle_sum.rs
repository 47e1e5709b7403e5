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

use crate::merkle::{BadProof, halves, split};
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

fn top(nodes: &[Node]) -> Result<Node, Overflow> {
    match nodes {
        [] => Ok(Node::default()),
        [only] => Ok(*only),
        _ => {
            let (left, right) = halves(nodes);
            join(&top(left)?, &top(right)?)
        }
    }
}

fn bind(top: &Node) -> Digest {
    hash_of(Domain::SumRoot, &(top.sums.count, top))
}

/// A tree over sorted leaves.
#[derive(Clone, Debug)]
pub struct SumTree {
    nodes: Vec<Node>,
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
        let nodes: Vec<Node> = leaves.iter().map(Leaf::node).collect();
        let top = top(&nodes)?;
        Ok(Self { nodes, top })
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
        let at = usize::try_from(index).map_err(|_| BadProof::Range)?;
        if at >= self.nodes.len() {
            return Err(BadProof::Range);
        }
        let mut siblings = Vec::new();
        climb(&self.nodes, at, &mut siblings).map_err(|_| BadProof::Root)?;
        let siblings = List::new(siblings).map_err(|_| BadProof::Length)?;
        Ok(SumPath { index, siblings })
    }
}

/// Collects the siblings of leaf `at`, lowest first.
fn climb(nodes: &[Node], at: usize, siblings: &mut Vec<Node>) -> Result<(), Overflow> {
    if nodes.len() <= 1 {
        return Ok(());
    }
    let (left, right) = halves(nodes);
    if at < left.len() {
        climb(left, at, siblings)?;
        siblings.push(top(right)?);
    } else {
        climb(right, at.saturating_sub(left.len()), siblings)?;
        siblings.push(top(left)?);
    }
    Ok(())
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
