//! The canonical model file: a borsh header, then the tensors, little-endian, in the order of the
//! ops.
//!
//! ```text
//! "selvedge-cir" ‖ format u16 ‖ manifest ‖ graph ‖ preprocess configuration (u32 length)
//! per op: the tensors of `layout`   then the activation tables, then cosines, then sines
//! ```
//! Files are hostile: header lists are bounded, the size of the tensors follows from the graph and
//! must equal what is there before anything is allocated, and every hash is recomputed.

use borsh::BorshDeserialize;

use crate::constants::{PREPROCESS_MAX, TABLE_ROWS, WEIGHT_BYTES_MAX};
use crate::error::ModelError;
use crate::graph::Graph;
use crate::inspect::{at_most, check_graph, inspect};
use crate::layout::{ChannelShape, Tensors, size, total_bytes};
use crate::manifest::Manifest;
use crate::model::{Model, RootOf, all_tensors};
use crate::rows::Rows;
use crate::weights::{Channels, OpWeights, RopeTable, Weights};

const MAGIC: [u8; 12] = *b"selvedge-cir";
const FORMAT: u16 = 0;

/// What stands before the tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the model id stands for.
    pub manifest: Manifest,
    /// The ops.
    pub graph: Graph,
    /// The preprocess configuration.
    pub preprocess: Vec<u8>,
}

impl Header {
    /// Reads a header from the start of a file and gives what follows it.
    ///
    /// # Errors
    /// Bytes that are no canonical header.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), ModelError> {
        let mut rest = bytes;
        let magic: [u8; 12] = part("the file's first bytes", &mut rest)?;
        let format: u16 = part("the file's format version", &mut rest)?;
        if magic != MAGIC || format != FORMAT {
            let what = "the start of the file";
            let reason = "it is no model file of a format that this program reads".to_owned();
            return Err(ModelError::Encoding { what, reason });
        }
        let manifest = part("the manifest", &mut rest)?;
        let graph = part("the graph", &mut rest)?;
        let preprocess =
            byte_list("the preprocess configuration", PREPROCESS_MAX, &mut rest)?.to_vec();
        Ok((Self { manifest, graph, preprocess }, rest))
    }

    /// The model whose tensors follow the header, with the weight root from `root`; see
    /// [`Model::with_root`].
    ///
    /// # Errors
    /// As [`Model::from_bytes`].
    pub fn model(self, tensors: &[u8], root: &RootOf<'_>) -> Result<Model, ModelError> {
        inspect(&self.manifest, &self.graph)?;
        let shapes = check_graph(&self.graph)?;
        let positions = self.manifest.max_positions;
        let expected = total_bytes(&self.graph, &shapes, positions);
        let found = u64::try_from(tensors.len()).unwrap_or(u64::MAX);
        at_most("the size of the weights", expected, WEIGHT_BYTES_MAX)?;
        if expected != found {
            return Err(ModelError::Length { expected, found });
        }
        let mut source = Source { rest: tensors };
        let mut ops = Vec::with_capacity(self.graph.ops.len());
        for tensors in all_tensors(&self.graph, &shapes, positions) {
            ops.push(source.op(&tensors));
        }
        let tables = (0..self.graph.tables).map(|_| source.i16s(TABLE_ROWS)).collect();
        let pairs = size(self.graph.rope_pairs);
        let count = pairs.saturating_mul(size(positions));
        let cos = Rows::from_data(pairs, source.i32s(count));
        let sin = Rows::from_data(pairs, source.i32s(count));
        let weights = Weights { ops, tables, rope: RopeTable { cos, sin } };
        Model::with_root(self.manifest, self.graph, weights, self.preprocess, root)
    }
}

/// A list of at most `most` bytes behind its length.
fn byte_list<'a>(
    what: &'static str,
    most: usize,
    rest: &mut &'a [u8],
) -> Result<&'a [u8], ModelError> {
    let length: u32 = part(what, rest)?;
    at_most(what, length, u32::try_from(most).unwrap_or(u32::MAX))?;
    let Some((bytes, after)) = rest.split_at_checked(size(length)) else {
        return Err(ModelError::Encoding { what, reason: "it ends past the file".to_owned() });
    };
    *rest = after;
    Ok(bytes)
}

fn part<T: BorshDeserialize>(what: &'static str, rest: &mut &[u8]) -> Result<T, ModelError> {
    T::deserialize(rest).map_err(|error| ModelError::Encoding { what, reason: error.to_string() })
}

impl Model {
    /// Reads a canonical file.
    ///
    /// # Errors
    /// Whatever makes it no model; memory stays within a small multiple of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (header, tensors) = Header::read(bytes)?;
        header.model(tensors, &Weights::root)
    }

    /// The canonical file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(FORMAT.to_le_bytes());
        // Writing to memory fails only for lists above 2^32 elements, which a model cannot hold.
        let header = [
            borsh::to_vec(self.manifest()),
            borsh::to_vec(self.graph()),
            borsh::to_vec(self.preprocess()),
        ];
        out.extend(header.into_iter().flatten().flatten());
        for weights in &self.weights().ops {
            write_op(weights, &mut out);
        }
        for table in &self.weights().tables {
            out.extend(table.iter().flat_map(|value| value.to_le_bytes()));
        }
        let rope = &self.weights().rope;
        for rows in [&rope.cos, &rope.sin] {
            out.extend(rows.data().iter().flat_map(|value| value.to_le_bytes()));
        }
        out
    }
}

fn write_op(weights: &OpWeights, out: &mut Vec<u8>) {
    match weights {
        OpWeights::Nothing => {}
        OpWeights::Rows { words, positions } => {
            for rows in [words, positions] {
                out.extend(rows.data().iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        OpWeights::Norm { gains, biases } => {
            out.extend(gains.iter().flat_map(|value| value.to_le_bytes()));
            out.extend(biases.iter().flat_map(|value| value.to_le_bytes()));
        }
        OpWeights::Channels(channels) => {
            out.extend(channels.weights.data().iter().map(|value| value.cast_unsigned()));
            out.extend(channels.multipliers.iter().flat_map(|value| value.to_le_bytes()));
            out.extend(channels.biases.iter().flat_map(|value| value.to_le_bytes()));
            out.extend(channels.streams.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
}

/// The tensors of a file whose length has been checked; past the end there are no elements.
struct Source<'a> {
    rest: &'a [u8],
}

impl Source<'_> {
    fn op(&mut self, tensors: &Tensors) -> OpWeights {
        match *tensors {
            Tensors::Nothing => OpWeights::Nothing,
            Tensors::Rows { words, positions, width } => OpWeights::Rows {
                words: Rows::from_data(width, self.i16s(words.saturating_mul(width))),
                positions: Rows::from_data(width, self.i16s(positions.saturating_mul(width))),
            },
            Tensors::Norm { width } => {
                OpWeights::Norm { gains: self.i32s(width), biases: self.i64s(width) }
            }
            Tensors::Channels(shape) => OpWeights::Channels(self.channels(&shape)),
        }
    }

    fn channels(&mut self, shape: &ChannelShape) -> Channels {
        let optional = |present: bool| if present { shape.outputs } else { 0 };
        let weights = self.take(shape.outputs.saturating_mul(shape.inputs));
        let weights = weights.iter().map(|byte| byte.cast_signed()).collect();
        Channels {
            weights: Rows::from_data(shape.inputs, weights),
            multipliers: self.i32s(shape.outputs),
            biases: self.i64s(optional(shape.biased)),
            streams: self.i64s(optional(shape.streamed)),
        }
    }

    fn take(&mut self, bytes: usize) -> &[u8] {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((&[], &[]));
        self.rest = rest;
        taken
    }

    fn i16s(&mut self, count: usize) -> Vec<i16> {
        let (values, _) = self.take(count.saturating_mul(2)).as_chunks();
        values.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect()
    }

    fn i32s(&mut self, count: usize) -> Vec<i32> {
        let (values, _) = self.take(count.saturating_mul(4)).as_chunks();
        values.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
    }

    fn i64s(&mut self, count: usize) -> Vec<i64> {
        let (values, _) = self.take(count.saturating_mul(8)).as_chunks();
        values.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    }
}
