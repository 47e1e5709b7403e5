//! Weights of the ops and tables of a model, and the Merkle roots over them.
//!
//! A leaf of the weight root is what one dispute step opens: one output channel (its weights, or a
//! block of them, with multiplier, bias and stream multiplier), a block of an embedding row, or a
//! block of a norm's channels. Leaves stand in the order of the ops.

use crypto::{Digest, Domain, hash_bytes, merkle};

use crate::constants::{
    BIAS_MAX, EMBEDDING_BLOCK, GAIN_MAX, MULTIPLIER_MAX, NORM_BLOCK, ONE, PIECE, STREAM_MAX,
    TABLE_ROWS, W8_MAX,
};
use crate::error::ModelError;
use crate::layout::{ChannelShape, TABLE_PIECES, Tensors};
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

    /// How many leaves of the weight root belong to the op; `block` is the channels' block length.
    fn leaf_count(&self, block: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Rows { words, positions } => {
                let blocks = words.width().div_ceil(EMBEDDING_BLOCK);
                words.len().saturating_add(positions.len()).saturating_mul(blocks)
            }
            Self::Norm { gains, .. } => gains.len().div_ceil(NORM_BLOCK),
            Self::Channels(channels) => {
                let blocks = channels.weights.width().div_ceil(block.max(1));
                channels.multipliers.len().saturating_mul(blocks)
            }
        }
    }

    /// Writes the bytes of the op's leaf `index` of the weight root; past the end there are none.
    fn write_leaf(&self, block: usize, index: usize, out: &mut Vec<u8>) {
        match self {
            Self::Nothing => {}
            Self::Rows { words, positions } => {
                let blocks = words.width().div_ceil(EMBEDDING_BLOCK);
                let (row, part) = split(index, blocks);
                let values = match row.checked_sub(words.len()) {
                    Some(position) => positions.row(position),
                    None => words.row(row),
                };
                let values = block_at(values, part, EMBEDDING_BLOCK);
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::Norm { gains, biases } => {
                let (gains, biases) =
                    (block_at(gains, index, NORM_BLOCK), block_at(biases, index, NORM_BLOCK));
                out.extend(gains.iter().flat_map(|value| value.to_le_bytes()));
                out.extend(biases.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::Channels(channels) => {
                let blocks = channels.weights.width().div_ceil(block.max(1));
                let (channel, part) = split(index, blocks);
                let channel = channels.channel(channel);
                let values = block_at(channel.weights, part, block);
                out.extend(values.iter().map(|value| value.cast_unsigned()));
                out.extend(channel.multiplier.to_le_bytes());
                out.extend(channel.bias.to_le_bytes());
                out.extend(channel.stream.to_le_bytes());
            }
        }
    }
}

/// Row and part of leaf `index` where each row has `parts` leaves.
fn split(index: usize, parts: usize) -> (usize, usize) {
    let row = index.checked_div(parts).unwrap_or(0);
    (row, index.checked_rem(parts).unwrap_or(0))
}

/// Part `index` of `values` in parts of `length`, the last one shorter.
fn block_at<T>(values: &[T], index: usize, length: usize) -> &[T] {
    values.chunks(length.max(1)).nth(index).unwrap_or(&[])
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

const fn block_of(tensors: &Tensors) -> usize {
    match tensors {
        Tensors::Channels(shape) => shape.block,
        _ => 0,
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
    // All are looked at without a branch; the first one outside is searched for only then.
    let outside = |value: &T| (*value < least) | (*value > most);
    if !values.iter().fold(false, |found, value| found | outside(value)) {
        return Ok(());
    }
    let first = values.iter().find(|value| outside(value));
    first.map_or(Ok(()), |value| Err(ModelError::Range { op, what, value: (*value).into() }))
}

impl Weights {
    /// Root over all weight leaves, in the order of the ops.
    pub fn root(&self, tensors: &[Tensors]) -> Digest {
        merkle::root(&self.leaves(tensors))
    }

    /// Digests of all leaves of the weight root.
    pub fn leaves(&self, tensors: &[Tensors]) -> Vec<Digest> {
        (0..tensors.len()).flat_map(|op| self.op_leaves(tensors, op)).collect()
    }

    /// Digests of op `op`'s leaves of the weight root: whoever has threads takes ops side by side.
    pub fn op_leaves(&self, tensors: &[Tensors], op: usize) -> Vec<Digest> {
        let Some((weights, tensors)) = self.ops.get(op).zip(tensors.get(op)) else {
            return Vec::new();
        };
        let block = block_of(tensors);
        let mut bytes = Vec::new();
        let leaf = |index| {
            bytes.clear();
            weights.write_leaf(block, index, &mut bytes);
            hash_bytes(Domain::WeightLeaf, &bytes)
        };
        (0..weights.leaf_count(block)).map(leaf).collect()
    }

    /// Bytes of op `op`'s leaf `index` of the weight root.
    pub fn leaf(&self, tensors: &[Tensors], op: usize, index: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some((weights, tensors)) = self.ops.get(op).zip(tensors.get(op)) {
            weights.write_leaf(block_of(tensors), index, &mut bytes);
        }
        bytes
    }

    /// Root over the tables: the number of tables and of rotated positions, then each table in
    /// pieces of 1,024 rows, then one leaf per position of the rotation.
    pub fn table_root(&self) -> Digest {
        merkle::root(&self.table_leaves())
    }

    /// Digests of all leaves of the table root.
    pub fn table_leaves(&self) -> Vec<Digest> {
        let rotated = self.rope.cos.len();
        let pieces = self.tables.len().saturating_mul(TABLE_PIECES);
        (0..pieces.saturating_add(rotated).saturating_add(1))
            .map(|index| hash_bytes(Domain::TableLeaf, &self.table_leaf(index)))
            .collect()
    }

    /// Bytes of leaf `index` of the table root.
    pub fn table_leaf(&self, index: usize) -> Vec<u8> {
        let Some(index) = index.checked_sub(1) else {
            let frame = [self.tables.len(), self.rope.cos.len()];
            let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
            return frame.into_iter().flat_map(count).collect();
        };
        match index.checked_sub(self.tables.len().saturating_mul(TABLE_PIECES)) {
            Some(position) => {
                let values = self.rope.cos.row(position).iter().chain(self.rope.sin.row(position));
                values.flat_map(|value| value.to_le_bytes()).collect()
            }
            None => {
                let (table, piece) = split(index, TABLE_PIECES);
                let rows =
                    self.tables.get(table).map_or(&[][..], |rows| block_at(rows, piece, PIECE));
                rows.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
        }
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
