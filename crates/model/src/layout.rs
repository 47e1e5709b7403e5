//! Which tensors each op has, in which order and size: derived from the graph, never declared.

use crate::constants::{K_BLOCK, K_BLOCK_GATE, TABLE_ROWS};
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

/// The tensors of op `index`.
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
