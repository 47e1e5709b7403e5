//! The rows and records of each op, as leaves of a fine tree: how many there are, of how many
//! elements, of how many bytes.

use super::plan::Plan;
use crate::constants::{EXP_ROWS, PIECE, SUMS_PIECE};
use crate::graph::Op;
use crate::inspect::Kind;
use crate::layout::size;

/// A row or record of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The op's row. Of a pooling op: the sum up to the position.
    Row,
    /// Sums over blocks of inputs, the blocks of one channel next to each other.
    Sums,
    /// Norm: Σx of each 1,024 elements.
    Totals,
    /// Norm and unit: Σd² or Σv² of each 1,024 elements.
    Squares,
    /// Norm: S, V, r, R. Unit: V, r.
    Scale,
    /// Attention: the values of each channel, key after key.
    Columns,
    /// Attention: s of each key, head after head.
    Scores,
    /// Attention: the largest of each 1,024 scores. Logits: value and id of the best of each 1,024.
    Best,
    /// Attention: e of each key.
    Weights,
    /// Attention: Σe of each 1,024 keys.
    WeightSums,
    /// Attention: M, Z, R.
    Softmax,
    /// Attention: Σ e·v of each channel and 1,024 keys, those of one channel next to each other.
    WeightedSums,
    /// Sampling: t of each entry.
    Steps,
    /// Sampling: how many entries each t has, up to the end of each 1,024 entries.
    Histogram,
    /// Sampling: t and rank of the entry drawn.
    Choice,
    /// Sampling: how many entries with that t there are up to the end of each 1,024 entries.
    Counts,
    /// The token.
    Token,
}

/// How the elements of a part lie in leaves: groups one after the other, each cut into leaves of
/// `piece` elements, the last one shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Groups: heads, channels or blocks.
    pub groups: u64,
    /// Elements of a group.
    pub length: u64,
    /// Elements of a whole leaf.
    pub piece: u64,
    /// Bytes of an element: a little-endian signed integer of 2, 4, 8 or 16 bytes.
    pub bytes: u64,
}

impl Geometry {
    fn new(groups: usize, length: usize, piece: usize, bytes: u64) -> Self {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        Self { groups: wide(groups), length: wide(length), piece: wide(piece.max(1)), bytes }
    }

    /// Leaves of one group.
    pub const fn leaves_of_group(&self) -> u64 {
        self.length.div_ceil(self.piece)
    }

    /// Leaves of all groups.
    pub const fn leaves(&self) -> u64 {
        self.groups.saturating_mul(self.leaves_of_group())
    }

    /// Elements of leaf `leaf` of a group.
    pub fn elements(&self, leaf: u64) -> u64 {
        self.length.saturating_sub(leaf.saturating_mul(self.piece)).min(self.piece)
    }
}

/// A row of `width` elements.
fn row(width: usize, bytes: u64) -> (Part, Geometry) {
    (Part::Row, Geometry::new(1, width, PIECE, bytes))
}

/// Partial sums of `channels` channels and `blocks` blocks; a leaf holds whole channels.
fn sums(part: Part, groups: usize, channels: usize, blocks: usize) -> (Part, Geometry) {
    let piece = channels_of_leaf(blocks).saturating_mul(blocks);
    (part, Geometry::new(groups, channels.saturating_mul(blocks), piece, 8))
}

/// Channels whose partial sums share a leaf.
pub(super) fn channels_of_leaf(blocks: usize) -> usize {
    SUMS_PIECE.checked_div(blocks).unwrap_or(SUMS_PIECE).max(1)
}

/// Whether the sums of an op are leaves of their own: where they span several blocks of inputs, or
/// where the stream has to be opened as well.
pub(super) fn has_sums(op: &Op, blocks: usize) -> bool {
    blocks > 1 || matches!(op, Op::LinearResidual { .. } | Op::GateResidual { .. })
}

/// The parts of op `op` in order, for `reach` attended positions; `greedy` at temperature 0.
pub(super) fn parts(plan: &Plan, index: u32, reach: u32, greedy: bool) -> Vec<(Part, Geometry)> {
    let Some(op) = plan.op(index) else { return Vec::new() };
    let width = size(plan.width(index));
    let bytes = element_bytes(plan.kind(index));
    let blocks = plan.channels(index).map_or(0, |shape| shape.blocks());
    let pieces = width.div_ceil(PIECE);
    let mut out = Vec::new();
    match *op {
        Op::Norm { centred, .. } => {
            if centred {
                out.push((Part::Totals, Geometry::new(1, pieces, PIECE, 16)));
            }
            out.push((Part::Squares, Geometry::new(1, pieces, PIECE, 16)));
            out.push((Part::Scale, Geometry::new(1, 4, PIECE, 16)));
        }
        Op::Unit { .. } => {
            out.push((Part::Squares, Geometry::new(1, pieces, PIECE, 16)));
            out.push((Part::Scale, Geometry::new(1, 2, PIECE, 16)));
        }
        Op::Attention { heads, .. } => return attention(size(heads), width, size(reach)),
        Op::Linear { .. }
        | Op::LinearResidual { .. }
        | Op::GateResidual { .. }
        | Op::Logits { .. }
            if has_sums(op, blocks) =>
        {
            out.push(sums(Part::Sums, 1, width, blocks));
        }
        _ => {}
    }
    out.push(row(width, bytes));
    if matches!(op, Op::Logits { .. }) {
        out.extend(choice(width, greedy));
    }
    out
}

fn attention(heads: usize, width: usize, reach: usize) -> Vec<(Part, Geometry)> {
    let blocks = reach.div_ceil(PIECE);
    let head_width = width.checked_div(heads).unwrap_or(0);
    vec![
        (Part::Scores, Geometry::new(heads, reach, PIECE, 8)),
        (Part::Best, Geometry::new(heads, blocks, PIECE, 8)),
        (Part::Weights, Geometry::new(heads, reach, PIECE, 2)),
        (Part::WeightSums, Geometry::new(heads, blocks, PIECE, 8)),
        (Part::Softmax, Geometry::new(heads, 3, PIECE, 8)),
        sums(Part::WeightedSums, heads, head_width, blocks),
        row(width, 2),
    ]
}

/// The value columns of an attention: one group per channel.
pub(super) fn columns(key_width: u32, reach: u32) -> (Part, Geometry) {
    (Part::Columns, Geometry::new(size(key_width), size(reach), PIECE, 2))
}

fn choice(vocabulary: usize, greedy: bool) -> Vec<(Part, Geometry)> {
    let pieces = vocabulary.div_ceil(PIECE);
    let mut out = vec![(Part::Best, Geometry::new(1, pieces.saturating_mul(2), PIECE, 8))];
    if !greedy {
        out.push((Part::Steps, Geometry::new(1, vocabulary, PIECE, 2)));
        out.push((Part::Histogram, Geometry::new(pieces, EXP_ROWS, EXP_ROWS, 4)));
        out.push((Part::Choice, Geometry::new(1, 2, PIECE, 8)));
        out.push((Part::Counts, Geometry::new(1, pieces, PIECE, 4)));
    }
    out.push((Part::Token, Geometry::new(1, 1, 1, 4)));
    out
}

/// Bytes of a row's element.
pub(super) const fn element_bytes(kind: Option<Kind>) -> u64 {
    match kind {
        Some(Kind::A16) => 2,
        Some(Kind::Logits) => 8,
        Some(Kind::Res | Kind::Pooled | Kind::Unit) | None => 4,
    }
}
