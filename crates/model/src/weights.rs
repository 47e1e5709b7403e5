//! Weights of the ops and tables of a model, and the Merkle roots over them.
//!
//! A leaf of the weight root is what one dispute step opens: one output channel (its weights, or a
//! block of them, with multiplier, bias and stream multiplier), a block of an embedding row, or a
//! block of a norm's channels. Leaves stand in the order of the ops.

use crypto::{Digest, Domain, hash_bytes, hash_of, merkle};

use crate::constants::{
    BIAS_MAX, EMBEDDING_BLOCK, GAIN_MAX, MULTIPLIER_MAX, NORM_BLOCK, ONE, PIECE, STREAM_MAX,
    TABLE_ROWS, W8_MAX,
};
use crate::error::ModelError;
use crate::layout::{ChannelShape, Tensors};
use crate::rows::Rows;

/// The weights of one op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpWeights {
    /// The op has none.
    Nothing,
    /// Word rows and position rows.
    Rows {
        /// One per token id.
        words: Rows<i16>,
        /// One per position.
        positions: Rows<i16>,
    },
    /// A norm's gains and biases.
    Norm {
        /// G.
        gains: Vec<i32>,
        /// B.
        biases: Vec<i64>,
    },
    /// Output channels.
    Channels(Channels),
}

/// Output channels of a linear op. Biases and stream multipliers may be absent; they then count
/// as 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// One row of weights per channel.
    pub weights: Rows<i8>,
    /// m, one per channel.
    pub multipliers: Vec<i32>,
    /// B, one per channel or none.
    pub biases: Vec<i64>,
    /// c, one per channel or none.
    pub streams: Vec<i64>,
}

/// One output channel.
#[derive(Clone, Copy, Debug)]
pub struct Channel<'a> {
    /// Its weights.
    pub weights: &'a [i8],
    /// m.
    pub multiplier: i32,
    /// B.
    pub bias: i64,
    /// c.
    pub stream: i64,
}

impl Channels {
    /// Channel `index`; past the end one without weights.
    pub fn channel(&self, index: usize) -> Channel<'_> {
        Channel {
            weights: self.weights.row(index),
            multiplier: self.multipliers.get(index).copied().unwrap_or(0),
            bias: self.biases.get(index).copied().unwrap_or(0),
            stream: self.streams.get(index).copied().unwrap_or(0),
        }
    }

    /// All channels in order.
    pub fn iter(&self) -> impl Iterator<Item = Channel<'_>> {
        (0..self.multipliers.len()).map(|index| self.channel(index))
    }
}

/// Cosines and sines by position, times 2^16.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RopeTable {
    /// One row per position, one element per channel pair.
    pub cos: Rows<i32>,
    /// As `cos`.
    pub sin: Rows<i32>,
}

/// All numbers of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// One per op.
    pub ops: Vec<OpWeights>,
    /// Activation tables of 65,536 rows.
    pub tables: Vec<Vec<i16>>,
    /// Rotation tables, empty when nothing rotates.
    pub rope: RopeTable,
}

impl OpWeights {
    /// Checks shape and ranges of the weights of op `op`.
    ///
    /// # Errors
    /// The first tensor of another shape, or the first number outside its type.
    pub fn check(&self, op: usize, tensors: &Tensors) -> Result<(), ModelError> {
        match (self, tensors) {
            (Self::Nothing, Tensors::Nothing) => Ok(()),
            (Self::Rows { words, positions }, Tensors::Rows { words: w, positions: p, width }) => {
                shape("an embedding", rows_are(words, *w, *width))?;
                shape("an embedding", rows_are(positions, *p, *width))
            }
            (Self::Norm { gains, biases }, Tensors::Norm { width }) => {
                shape("a norm", gains.len() == *width && biases.len() == *width)?;
                within(op, "a gain", gains, -GAIN_MAX, GAIN_MAX)?;
                within(op, "a bias", biases, -BIAS_MAX, BIAS_MAX)
            }
            (Self::Channels(channels), Tensors::Channels(expected)) => channels.check(op, expected),
            _ => shape("an op's weights", false),
        }
    }

    /// Leaves of the weight root, in order. `block` is the channels' block length.
    fn leaves(&self, block: usize, out: &mut Vec<Digest>) {
        let leaf = |bytes: &[u8]| hash_bytes(Domain::WeightLeaf, bytes);
        let mut bytes = Vec::new();
        match self {
            Self::Nothing => {}
            Self::Rows { words, positions } => {
                for row in words.iter().chain(positions.iter()) {
                    for part in row.chunks(EMBEDDING_BLOCK) {
                        bytes.clear();
                        bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
                        out.push(leaf(&bytes));
                    }
                }
            }
            Self::Norm { gains, biases } => {
                for (gains, biases) in gains.chunks(NORM_BLOCK).zip(biases.chunks(NORM_BLOCK)) {
                    bytes.clear();
                    bytes.extend(gains.iter().flat_map(|value| value.to_le_bytes()));
                    bytes.extend(biases.iter().flat_map(|value| value.to_le_bytes()));
                    out.push(leaf(&bytes));
                }
            }
            Self::Channels(channels) => {
                for channel in channels.iter() {
                    for part in channel.weights.chunks(block.max(1)) {
                        bytes.clear();
                        bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
                        bytes.extend(channel.multiplier.to_le_bytes());
                        bytes.extend(channel.bias.to_le_bytes());
                        bytes.extend(channel.stream.to_le_bytes());
                        out.push(leaf(&bytes));
                    }
                }
            }
        }
    }
}

impl Channels {
    fn check(&self, op: usize, expected: &ChannelShape) -> Result<(), ModelError> {
        let optional = |present: bool| if present { expected.outputs } else { 0 };
        let fits = rows_are(&self.weights, expected.outputs, expected.inputs)
            && self.multipliers.len() == expected.outputs
            && self.biases.len() == optional(expected.biased)
            && self.streams.len() == optional(expected.streamed);
        shape("a linear op", fits)?;
        within(op, "a weight", self.weights.data(), -W8_MAX, W8_MAX)?;
        within(op, "a multiplier", &self.multipliers, 1, MULTIPLIER_MAX)?;
        within(op, "a bias", &self.biases, -BIAS_MAX, BIAS_MAX)?;
        within(op, "a stream multiplier", &self.streams, -STREAM_MAX, STREAM_MAX)
    }
}

fn rows_are<T: Copy>(rows: &Rows<T>, count: usize, width: usize) -> bool {
    rows.width() == width && count.checked_mul(width) == Some(rows.data().len())
}

fn shape(what: &'static str, fits: bool) -> Result<(), ModelError> {
    if fits { Ok(()) } else { Err(ModelError::Shape { what }) }
}

fn within<T>(
    op: usize,
    what: &'static str,
    values: &[T],
    least: T,
    most: T,
) -> Result<(), ModelError>
where
    T: Copy + PartialOrd + Into<i64>,
{
    match values.iter().find(|value| **value < least || **value > most) {
        Some(value) => Err(ModelError::Range { op, what, value: (*value).into() }),
        None => Ok(()),
    }
}

impl Weights {
    /// Root over all weight leaves, in the order of the ops.
    pub fn root(&self, tensors: &[Tensors]) -> Digest {
        let mut leaves = Vec::new();
        for (weights, tensors) in self.ops.iter().zip(tensors) {
            let block = match tensors {
                Tensors::Channels(shape) => shape.block,
                _ => 0,
            };
            weights.leaves(block, &mut leaves);
        }
        merkle::root(&leaves)
    }

    /// Root over the tables: the number of tables and of rotated positions, then each table in
    /// pieces of 1,024 rows, then one leaf per position of the rotation.
    pub fn table_root(&self) -> Digest {
        let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let frame = (count(self.tables.len()), count(self.rope.cos.len()));
        let mut leaves = vec![hash_of(Domain::TableLeaf, &frame)];
        for table in &self.tables {
            for piece in table.chunks(PIECE) {
                let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
                leaves.push(hash_bytes(Domain::TableLeaf, &bytes));
            }
        }
        for (cos, sin) in self.rope.cos.iter().zip(self.rope.sin.iter()) {
            let values = cos.iter().chain(sin);
            let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
            leaves.push(hash_bytes(Domain::TableLeaf, &bytes));
        }
        merkle::root(&leaves)
    }

    /// Checks the tables against the counts of a graph.
    ///
    /// # Errors
    /// A table that is missing, of another size, or a rotation above 1.
    pub fn check_tables(
        &self,
        tables: usize,
        pairs: usize,
        positions: usize,
    ) -> Result<(), ModelError> {
        let whole = self.tables.iter().all(|table| table.len() == TABLE_ROWS);
        shape("an activation table", whole && self.tables.len() == tables)?;
        let rows = if pairs == 0 { 0 } else { positions };
        shape("a rotation table", rows_are(&self.rope.cos, rows, pairs))?;
        shape("a rotation table", rows_are(&self.rope.sin, rows, pairs))?;
        within(0, "a rotation", self.rope.cos.data(), -ONE, ONE)?;
        within(0, "a rotation", self.rope.sin.data(), -ONE, ONE)
    }
}
