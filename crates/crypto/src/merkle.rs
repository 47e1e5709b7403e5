//! Merkle trees with proofs of contiguous ranges.
//!
//! ```text
//!            root = H(count ‖ top)
//!             top
//!          /       \
//!        n01        l2        n leaves split at the largest power of two below n (RFC 6962),
//!       /   \                 so no leaf is ever doubled and the shape follows from the count
//!     l0     l1
//! ```
//! Rules: leaves, nodes and roots have separate domains; the count is part of the root, and who
//! verifies brings the count that the rule demands, never one that a party claims.
//! Never here: the values behind the leaves.

use crate::{Digest, Domain, Salt, Tree, hash, hash_bytes};
use borsh::{BorshDeserialize, BorshSerialize};
use core::ops::Range;
use serde::{Deserialize, Serialize};
use units::List;

/// Digests in one proof: two outer paths of a tree with 2^63 leaves.
pub const MAX_SIBLINGS: usize = 126;

/// A proof that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// The range is empty or reaches beyond the leaves.
    #[error("the range does not lie inside the tree")]
    Range,
    /// Digests are missing or left over.
    #[error("the proof has the wrong length")]
    Length,
    /// The root that follows is another one.
    #[error("the proof leads to another root")]
    Root,
}

/// The leaf of some bytes.
#[must_use]
pub fn leaf(data: &[u8]) -> Digest {
    hash_bytes(Domain::MerkleLeaf, data)
}

/// The leaf of some bytes under a request's salt.
#[must_use]
pub fn salted_leaf(salt: &Salt, tree: Tree, index: u64, data: &[u8]) -> Digest {
    hash(Domain::SaltedLeaf, &[salt.of_leaf(tree, index).as_bytes(), data])
}

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [0; 64];
    let (first, second) = bytes.split_at_mut(32);
    first.copy_from_slice(left.as_bytes());
    second.copy_from_slice(right.as_bytes());
    hash_bytes(Domain::MerkleNode, &bytes)
}

/// Where `count` ≥ 2 leaves split: the largest power of two below the count.
pub(crate) const fn split(count: u64) -> u64 {
    match count.div_ceil(2).checked_next_power_of_two() {
        Some(power) => power,
        None => 1 << 63,
    }
}

pub(crate) fn halves<T>(leaves: &[T]) -> (&[T], &[T]) {
    let count = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
    let at = usize::try_from(split(count)).unwrap_or(leaves.len());
    leaves.split_at_checked(at).unwrap_or((leaves, &[]))
}

fn top(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::ZERO,
        [only] => *only,
        _ => {
            let (left, right) = halves(leaves);
            node(&top(left), &top(right))
        }
    }
}

fn bind(count: u64, top: &Digest) -> Digest {
    hash(Domain::MerkleRoot, &[&count.to_le_bytes(), top.as_bytes()])
}

/// The root over leaves, with their count bound in.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    bind(u64::try_from(leaves.len()).unwrap_or(u64::MAX), &top(leaves))
}

/// The part of `range` that falls left of `at`, and the part right of it, counted from there.
const fn divide(range: &Range<u64>, at: u64) -> (Range<u64>, Range<u64>) {
    let left_start = if range.start < at { range.start } else { at };
    let left_end = if range.end < at { range.end } else { at };
    (left_start..left_end, range.start.saturating_sub(at)..range.end.saturating_sub(at))
}

/// Proof that some leaves stand next to each other, from a given index on, under a root.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct RangeProof {
    /// Tops of the subtrees outside the range, from left to right.
    pub siblings: List<Digest, MAX_SIBLINGS>,
}

impl RangeProof {
    /// Proves the leaves of `range`.
    ///
    /// # Errors
    /// [`BadProof::Range`] if the range is empty or reaches beyond the leaves.
    pub fn new(leaves: &[Digest], range: Range<u64>) -> Result<Self, BadProof> {
        let count = u64::try_from(leaves.len()).map_err(|_| BadProof::Range)?;
        if range.is_empty() || range.end > count {
            return Err(BadProof::Range);
        }
        let mut siblings = Vec::new();
        collect(leaves, &range, &mut siblings);
        List::new(siblings).map(|siblings| Self { siblings }).map_err(|_| BadProof::Length)
    }

    /// Checks that `leaves` stand from index `start` on among `count` leaves under `root`. Costs
    /// one hash per leaf and per sibling.
    ///
    /// # Errors
    /// [`BadProof`], which says what does not fit.
    pub fn verify(
        &self,
        root: &Digest,
        count: u64,
        start: u64,
        leaves: &[Digest],
    ) -> Result<(), BadProof> {
        let length = u64::try_from(leaves.len()).map_err(|_| BadProof::Range)?;
        let end = start.checked_add(length).ok_or(BadProof::Range)?;
        if length == 0 || end > count {
            return Err(BadProof::Range);
        }
        let (mut inside, mut outside) = (leaves.iter(), self.siblings.iter());
        let top = rebuild(count, &(start..end), &mut inside, &mut outside)?;
        if inside.next().is_some() || outside.next().is_some() {
            return Err(BadProof::Length);
        }
        if bind(count, &top) == *root { Ok(()) } else { Err(BadProof::Root) }
    }
}

fn collect(leaves: &[Digest], range: &Range<u64>, siblings: &mut Vec<Digest>) {
    if range.is_empty() {
        siblings.push(top(leaves));
    } else if leaves.len() > 1 {
        let (left, right) = halves(leaves);
        let at = u64::try_from(left.len()).unwrap_or(u64::MAX);
        let (left_range, right_range) = divide(range, at);
        collect(left, &left_range, siblings);
        collect(right, &right_range, siblings);
    }
}

fn rebuild<'a>(
    count: u64,
    range: &Range<u64>,
    inside: &mut impl Iterator<Item = &'a Digest>,
    outside: &mut impl Iterator<Item = &'a Digest>,
) -> Result<Digest, BadProof> {
    if range.is_empty() {
        return outside.next().copied().ok_or(BadProof::Length);
    }
    if count <= 1 {
        return inside.next().copied().ok_or(BadProof::Length);
    }
    let at = split(count);
    let (left_range, right_range) = divide(range, at);
    let left = rebuild(at, &left_range, inside, outside)?;
    let right = rebuild(count.saturating_sub(at), &right_range, inside, outside)?;
    Ok(node(&left, &right))
}
