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
//! verifies brings the count that the rule demands, never one that a party claims. Every left part
//! is whole, so the tree over the first n leaves shares its parts with the tree over all of them
//! ([`PrefixProof`]), and the parts some levels below a top follow from its count ([`widths`]).
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

/// The root of `count` leaves below `top`.
#[must_use]
pub fn bind(count: u64, top: &Digest) -> Digest {
    hash(Domain::MerkleRoot, &[&count.to_le_bytes(), top.as_bytes()])
}

/// Leaves of each part that stands `levels` below the top of a tree of `count` leaves, from left
/// to right; a leaf that stands higher is a part of its own. At most 2^levels of them.
#[must_use]
pub fn widths(count: u64, levels: u32) -> Vec<u64> {
    let mut widths = vec![count];
    for _ in 0..levels {
        let halve = |count: u64| match count {
            0 | 1 => vec![count],
            _ => vec![split(count), count.saturating_sub(split(count))],
        };
        widths = widths.into_iter().flat_map(halve).collect();
    }
    widths
}

/// Tops of the parts that stand `levels` below the top over `leaves`, from left to right.
#[must_use]
pub fn tops(leaves: &[Digest], levels: u32) -> Vec<Digest> {
    match levels.checked_sub(1) {
        Some(below) if leaves.len() > 1 => {
            let (left, right) = halves(leaves);
            [tops(left, below), tops(right, below)].concat()
        }
        _ => vec![top(leaves)],
    }
}

/// The top of `count` leaves over the tops of its parts `levels` below: the reverse of [`tops`].
///
/// # Errors
/// [`BadProof::Length`] for another number of tops than [`widths`] gives.
pub fn join(count: u64, levels: u32, tops: &[Digest]) -> Result<Digest, BadProof> {
    let mut tops = tops.iter();
    let top = join_parts(count, levels, &mut tops)?;
    if tops.next().is_some() { Err(BadProof::Length) } else { Ok(top) }
}

fn join_parts<'a>(
    count: u64,
    levels: u32,
    tops: &mut impl Iterator<Item = &'a Digest>,
) -> Result<Digest, BadProof> {
    match levels.checked_sub(1) {
        Some(below) if count > 1 => {
            let at = split(count);
            let left = join_parts(at, below, tops)?;
            Ok(node(&left, &join_parts(count.saturating_sub(at), below, tops)?))
        }
        _ => tops.next().copied().ok_or(BadProof::Length),
    }
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

/// Proof that one tree's leaves are the first ones of a larger tree (RFC 6962's consistency).
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct PrefixProof {
    /// Tops of the parts on the way down to the cut, in the order in which both tops are rebuilt.
    pub parts: List<Digest, 64>,
}

impl PrefixProof {
    /// Proves that the first `count` of `leaves` are a tree of their own.
    ///
    /// # Errors
    /// [`BadProof::Range`] unless 1 ≤ `count` ≤ the number of leaves.
    pub fn new(leaves: &[Digest], count: u64) -> Result<Self, BadProof> {
        let all = u64::try_from(leaves.len()).map_err(|_| BadProof::Range)?;
        if count == 0 || count > all {
            return Err(BadProof::Range);
        }
        let mut parts = Vec::new();
        cut(leaves, count, &mut parts);
        List::new(parts).map(|parts| Self { parts }).map_err(|_| BadProof::Length)
    }

    /// Checks that `prefix` is the top over the first `count` of `all` leaves, and returns the top
    /// over all of them.
    ///
    /// # Errors
    /// [`BadProof`], which says what does not fit.
    pub fn verify(&self, prefix: &Digest, count: u64, all: u64) -> Result<Digest, BadProof> {
        if count == 0 || count > all {
            return Err(BadProof::Range);
        }
        let mut parts = self.parts.iter();
        let (first, top) = extend(count, all, &mut parts)?;
        if parts.next().is_some() {
            return Err(BadProof::Length);
        }
        if first == *prefix { Ok(top) } else { Err(BadProof::Root) }
    }
}

fn cut(leaves: &[Digest], count: u64, parts: &mut Vec<Digest>) {
    let all = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
    if count >= all {
        parts.push(top(leaves));
        return;
    }
    let (left, right) = halves(leaves);
    match count.checked_sub(split(all)) {
        Some(rest) if rest > 0 => {
            parts.push(top(left));
            cut(right, rest, parts);
        }
        _ => {
            cut(left, count, parts);
            parts.push(top(right));
        }
    }
}

/// The tops over the first `count` and over all of `all` leaves.
fn extend<'a>(
    count: u64,
    all: u64,
    parts: &mut impl Iterator<Item = &'a Digest>,
) -> Result<(Digest, Digest), BadProof> {
    let mut next = || parts.next().copied().ok_or(BadProof::Length);
    if count >= all {
        let whole = next()?;
        return Ok((whole, whole));
    }
    let at = split(all);
    match count.checked_sub(at) {
        Some(rest) if rest > 0 => {
            let left = next()?;
            let (first, right) = extend(rest, all.saturating_sub(at), parts)?;
            Ok((node(&left, &first), node(&left, &right)))
        }
        _ => {
            let (first, left) = extend(count, at, parts)?;
            let right = parts.next().copied().ok_or(BadProof::Length)?;
            Ok((first, node(&left, &right)))
        }
    }
}
