//! The coarse trace: one leaf per position and boundary, and what is emitted, in an order in which
//! each leaf depends only on earlier ones.
//!
//! Causal models go position by position: boundaries 0…L, then, from the last input position on,
//! the token emitted there. Models of full reach go boundary by boundary over all positions, then
//! the output row. The root is a function of model, input and parameters alone, however the run is
//! scheduled; runs of different length compare over their common prefix.

use crypto::{Digest, Domain, hash_bytes, hash_many, merkle};

use crate::constants::PIECE;

/// Leaf of an activation row: the Merkle root over its pieces.
pub fn a16_leaf(row: &[i16]) -> Digest {
    first(a16_leaves(row, row.len()))
}

/// Leaf of a residual row or of the output row.
pub fn i32_leaf(row: &[i32]) -> Digest {
    first(i32_leaves(row, row.len()))
}

/// The leaves of activation rows of `width` elements, one after the other: faster than one by one.
pub fn a16_leaves(rows: &[i16], width: usize) -> Vec<Digest> {
    leaves(rows, width, i16::to_le_bytes)
}

/// As [`a16_leaves`] for rows of the stream.
pub fn i32_leaves(rows: &[i32], width: usize) -> Vec<Digest> {
    leaves(rows, width, i32::to_le_bytes)
}

/// Leaf of an emitted token.
pub fn token_leaf(token: u32) -> Digest {
    merkle::root(&[hash_bytes(Domain::TraceLeaf, &token.to_le_bytes())])
}

fn first(leaves: Vec<Digest>) -> Digest {
    // A row without elements has no piece.
    leaves.first().copied().unwrap_or_else(|| merkle::root(&[]))
}

fn leaves<T: Copy, const N: usize>(
    rows: &[T],
    width: usize,
    encode: impl Fn(T) -> [u8; N],
) -> Vec<Digest> {
    let mut bytes = vec![[0; N]; rows.len()];
    bytes.iter_mut().zip(rows).for_each(|(bytes, value)| *bytes = encode(*value));
    let rows: Vec<&[[u8; N]]> = bytes.chunks_exact(width.max(1)).collect();
    let mut pieces = vec![Vec::new(); rows.len()];
    for piece in 0..width.div_ceil(PIECE) {
        let texts = rows.iter().map(|row| row.chunks(PIECE).nth(piece).unwrap_or(&[]));
        let texts: Vec<&[u8]> = texts.map(<[[u8; N]]>::as_flattened).collect();
        let hashes = hash_many(Domain::TraceLeaf, &texts);
        pieces.iter_mut().zip(hashes).for_each(|(pieces, hash)| pieces.push(hash));
    }
    pieces.iter().map(|pieces| merkle::root(pieces)).collect()
}

/// Boundary leaves of one run, position by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// One list per boundary, one leaf per position.
    boundaries: Vec<Vec<Digest>>,
}

impl Trace {
    /// An empty trace of `boundaries` boundaries.
    pub fn new(boundaries: usize) -> Self {
        Self { boundaries: vec![Vec::new(); boundaries] }
    }

    /// Adds the leaf of the next position at `boundary`.
    pub fn push(&mut self, boundary: usize, leaf: Digest) {
        if let Some(leaves) = self.boundaries.get_mut(boundary) {
            leaves.push(leaf);
        }
    }

    /// Forgets all positions from `positions` on.
    pub fn truncate(&mut self, positions: usize) {
        self.boundaries.iter_mut().for_each(|leaves| leaves.truncate(positions));
    }

    /// Positions of which every boundary is known.
    pub fn positions(&self) -> usize {
        self.boundaries.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// Root of a causal run of `n_in` input tokens that emitted `tokens`.
    pub fn causal_root(&self, n_in: usize, tokens: &[u32]) -> Digest {
        merkle::root(&self.causal_leaves(n_in, tokens))
    }

    /// The leaves under that root.
    pub fn causal_leaves(&self, n_in: usize, tokens: &[u32]) -> Vec<Digest> {
        let positions = n_in.saturating_add(tokens.len().max(1)).saturating_sub(1);
        let mut leaves = Vec::new();
        let mut emitted = tokens.iter();
        for position in 0..positions {
            leaves.extend(self.boundaries.iter().filter_map(|list| list.get(position)));
            if position.saturating_add(1) >= n_in {
                leaves.extend(emitted.next().map(|token| token_leaf(*token)));
            }
        }
        leaves
    }

    /// Root of a run of full reach that gave `row`.
    pub fn full_root(&self, row: &[i32]) -> Digest {
        merkle::root(&self.full_leaves(row))
    }

    /// The leaves under that root.
    pub fn full_leaves(&self, row: &[i32]) -> Vec<Digest> {
        let mut leaves: Vec<Digest> = self.boundaries.iter().flatten().copied().collect();
        leaves.push(i32_leaf(row));
        leaves
    }
}
