//! Which tensors each op has, in which order and size: derived from the graph, never declared.

use crate::constants::{EMBEDDING_BLOCK, K_BLOCK, K_BLOCK_GATE, NORM_BLOCK, PIECE, TABLE_ROWS};
use crate::graph::{Graph, Op};
use crate::inspect::{Shape, shape_of};
use crate::int::Int;

/// The tensors of one op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tensors {
    /// None.
    Nothing,
    /// 16-bit rows of words, then of positions.
    Rows {
        /// Word rows.
        words: usize,
        /// Position rows.
        positions: usize,
        /// Elements of a row.
        width: usize,
    },
    /// Gains (i32), then biases (i64).
    Norm {
        /// Channels.
        width: usize,
    },
    /// Output channels.
    Channels(ChannelShape),
}

/// Output channels: weight rows, then multipliers (i32), biases (i64), stream multipliers (i64).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelShape {
    /// Output channels.
    pub outputs: usize,
    /// Weights of a channel.
    pub inputs: usize,
    /// Whether there are biases.
    pub biased: bool,
    /// Whether there are stream multipliers.
    pub streamed: bool,
    /// Weights of a channel in one leaf of the weight root.
    pub block: usize,
}

impl ChannelShape {
    /// Leaves of the weight root that hold one channel.
    pub fn blocks(&self) -> usize {
        self.inputs.div_ceil(self.block.max(1))
    }
}

/// The tensors of an op.
pub fn tensors(graph: &Graph, shapes: &[Shape], op: &Op, positions: u32) -> Tensors {
    let width = |value: u32| size(shape_of(shapes, value).map_or(0, |shape| shape.width));
    let vocabulary = size(graph.vocabulary);
    let channels = |outputs, inputs, biased, streamed, block| {
        Tensors::Channels(ChannelShape { outputs, inputs, biased, streamed, block })
    };
    match *op {
        Op::EmbeddingSum { width } => {
            Tensors::Rows { words: vocabulary, positions: size(positions), width: size(width) }
        }
        Op::EmbeddingScaled { width, .. } => {
            channels(vocabulary, size(width), false, false, K_BLOCK)
        }
        Op::Norm { input, .. } => Tensors::Norm { width: width(input) },
        Op::Linear { input, outputs, .. } => {
            channels(size(outputs), width(input), true, false, K_BLOCK)
        }
        Op::LinearResidual { input, stream, .. } => {
            channels(width(stream), width(input), true, true, K_BLOCK)
        }
        Op::GateResidual { gate, stream, .. } => {
            channels(width(stream), width(gate), true, true, K_BLOCK_GATE)
        }
        Op::Logits { input, tied: false, .. } => {
            channels(vocabulary, width(input), false, false, K_BLOCK)
        }
        Op::Logits { .. }
        | Op::Table { .. }
        | Op::Rope { .. }
        | Op::Attention { .. }
        | Op::SumPool { .. }
        | Op::Unit { .. } => Tensors::Nothing,
    }
}

/// Leaves of the weight root that belong to an op.
pub fn weight_leaves(tensors: &Tensors) -> u64 {
    let leaves = match *tensors {
        Tensors::Nothing => Int::ZERO,
        Tensors::Rows { words, positions, width } => {
            let rows = Int::from(words) + Int::from(positions);
            rows * Int::from(width).div_ceil(Int::from(EMBEDDING_BLOCK))
        }
        Tensors::Norm { width } => Int::from(width).div_ceil(Int::from(NORM_BLOCK)),
        Tensors::Channels(shape) => Int::from(shape.outputs) * Int::from(shape.blocks()),
    };
    leaves.to_u64()
}

/// Leaves of the table root in one activation table.
pub const TABLE_PIECES: usize = TABLE_ROWS / PIECE;

/// Leaves of the table root: a frame, the tables' pieces, the rotated positions.
pub fn table_leaves(graph: &Graph, positions: u32) -> u64 {
    let rotated = if graph.rope_pairs == 0 { 0 } else { positions };
    let pieces = Int::from(graph.tables) * Int::from(TABLE_PIECES);
    (Int::from(1_u32) + pieces + Int::from(rotated)).to_u64()
}

/// Bytes of all tensors and tables together; a sum past 64 bits saturates.
pub fn total_bytes(graph: &Graph, shapes: &[Shape], positions: u32) -> u64 {
    let mut total = Int::ZERO;
    for op in graph.ops.iter() {
        total = total + bytes(tensors(graph, shapes, op, positions));
    }
    let table_bytes = Int::from(TABLE_ROWS) * Int::from(2_u32);
    let rope_bytes = Int::from(graph.rope_pairs) * Int::from(positions) * Int::from(8_u32);
    (total + Int::from(graph.tables) * table_bytes + rope_bytes).to_u64()
}

fn bytes(tensors: Tensors) -> Int {
    match tensors {
        Tensors::Nothing => Int::ZERO,
        Tensors::Rows { words, positions, width } => {
            (Int::from(words) + Int::from(positions)) * Int::from(width) * Int::from(2_u32)
        }
        Tensors::Norm { width } => Int::from(width) * Int::from(12_u32),
        Tensors::Channels(shape) => {
            let mut per_channel = Int::from(shape.inputs) + Int::from(4_u32);
            for present in [shape.biased, shape.streamed] {
                if present {
                    per_channel = per_channel + Int::from(8_u32);
                }
            }
            Int::from(shape.outputs) * per_channel
        }
    }
}

/// A `u32` size as an index; no platform of ours has narrower pointers.
pub fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
