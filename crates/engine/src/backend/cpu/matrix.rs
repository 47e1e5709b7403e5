//! Weights of the linear ops in panels, all in one memory.

use std::ops::Range;

use model::constants::A16_MIN;
use model::{Channels, Op, OpWeights};

use super::kernels::{LANES, Lanes};
use super::memory::{HugeBytes, each_row};
use crate::error::EngineError;
use crate::pool::Pool;

/// Inputs that a kernel may add up in 32 bits whatever their values: 512·127·2^15 < 2^31.
pub(crate) const SAFE_DEPTH: usize = 512;

/// Weights of one linear op. Channels past the last are zero.
pub(crate) struct Matrix {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Where its panels begin.
    start: usize,
    /// Whether no row's sums can leave 32 bits.
    pub(crate) exact: bool,
    multipliers: Vec<i32>,
    biases: Vec<i64>,
    /// Biases modulo 2^32, for the narrow path.
    narrow_biases: Vec<i32>,
    streams: Vec<i64>,
    /// Stream multipliers without their common power of two; none where that leaves 32 bits.
    short_streams: Option<(Vec<i32>, u32)>,
}

impl Matrix {
    fn new(channels: &Channels, start: usize) -> Self {
        let outputs = channels.multipliers.len();
        let padded = outputs.next_multiple_of(LANES);
        let pad = |values: &[i64]| {
            let mut values = values.to_vec();
            values.resize(padded, 0);
            values
        };
        let mut multipliers = channels.multipliers.clone();
        multipliers.resize(padded, 0);
        let (biases, streams) = (pad(&channels.biases), pad(&channels.streams));
        Self {
            inputs: channels.weights.width(),
            outputs,
            start,
            exact: channels.weights.iter().all(sums_fit),
            multipliers,
            narrow_biases: biases.iter().map(|bias| *bias as i32).collect(),
            biases,
            short_streams: shorten(&streams),
            streams,
        }
    }

    /// How many panels it has.
    pub(crate) const fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    pub(crate) fn multipliers(&self, panel: usize) -> &Lanes {
        lanes(&self.multipliers, panel)
    }

    pub(crate) fn narrow_biases(&self, panel: usize) -> &Lanes {
        lanes(&self.narrow_biases, panel)
    }

    pub(crate) fn biases(&self, panel: usize) -> &[i64; LANES] {
        lanes(&self.biases, panel)
    }

    pub(crate) fn streams(&self, panel: usize) -> &[i64; LANES] {
        lanes(&self.streams, panel)
    }

    /// Stream multipliers and their power of two, where 32 bits hold them.
    pub(crate) fn short_streams(&self, panel: usize) -> Option<(&Lanes, u32)> {
        self.short_streams.as_ref().map(|(values, bits)| (lanes(values, panel), *bits))
    }
}

fn lanes<T>(values: &[T], panel: usize) -> &[T; LANES] {
    values[panel * LANES..].first_chunk().expect("matrices are padded to whole panels")
}

/// Whether Σ|w|·2^15 < 2^31.
fn sums_fit(row: &[i8]) -> bool {
    let magnitude: u64 = row.iter().map(|w| u64::from(w.unsigned_abs())).sum();
    magnitude * A16_MIN.unsigned_abs() < 1 << 31
}

/// The values divided by their common power of two, if that makes them fit 32 bits.
fn shorten(values: &[i64]) -> Option<(Vec<i32>, u32)> {
    let bits = values.iter().fold(0, |all, value| all | value).trailing_zeros().min(34);
    let short = values.iter().map(|value| i32::try_from(value >> bits).ok());
    Some((short.collect::<Option<_>>()?, bits))
}

/// All matrices of a model.
pub(crate) struct Matrices {
    memory: HugeBytes,
    /// One per op, where it has one.
    ops: Vec<Option<Matrix>>,
}

impl Matrices {
    /// Packs the weights of all linear ops.
    ///
    /// # Errors
    /// Memory that the system does not give.
    pub(crate) fn new(ops: &[Op], weights: &[OpWeights], pool: &Pool) -> Result<Self, EngineError> {
        let sources: Vec<Option<&Channels>> =
            ops.iter().zip(weights).map(|(op, own)| source(op, own, weights.first())).collect();
        let mut length = 0;
        let mut matrices = Vec::with_capacity(ops.len());
        for channels in &sources {
            matrices.push(channels.map(|channels| {
                let matrix = Matrix::new(channels, length);
                length += matrix.panels() * LANES * matrix.inputs;
                matrix
            }));
        }
        let mut memory = HugeBytes::zeroed(length)?;
        let mut rest = memory.weights_mut();
        for (channels, matrix) in sources.iter().zip(&matrices) {
            let (Some(channels), Some(matrix)) = (channels, matrix) else { continue };
            let (own, after) = rest.split_at_mut(matrix.panels() * LANES * matrix.inputs);
            rest = after;
            let panel = LANES * matrix.inputs;
            each_row(pool, own, panel, panel, |index, out| pack(channels, index, out));
        }
        Ok(Self { memory, ops: matrices })
    }

    /// The matrix of op `index`, which is a linear op.
    pub(crate) fn get(&self, index: usize) -> &Matrix {
        self.ops[index].as_ref().expect("linear ops have matrices: `new` made them")
    }

    /// The weights of a panel for inputs `from..to`, both even.
    pub(crate) fn panel(&self, matrix: &Matrix, panel: usize, from: usize, to: usize) -> &[i8] {
        let start = matrix.start + panel * LANES * matrix.inputs;
        &self.memory.weights()[start + from * LANES..start + to * LANES]
    }

    /// Some panels of a matrix, one behind the other.
    pub(crate) fn panels(&self, matrix: &Matrix, panels: &Range<usize>) -> &[i8] {
        let panel = LANES * matrix.inputs;
        let first = matrix.start + panels.start * panel;
        &self.memory.weights()[first..first + panels.len() * panel]
    }
}

/// The channels that an op multiplies by.
fn source<'a>(op: &Op, own: &'a OpWeights, first: Option<&'a OpWeights>) -> Option<&'a Channels> {
    match (op, own, first) {
        (Op::EmbeddingScaled { .. }, _, _) => None,
        (Op::Logits { tied: true, .. }, _, Some(OpWeights::Channels(embedding))) => Some(embedding),
        (_, OpWeights::Channels(channels), _) => Some(channels),
        _ => None,
    }
}

/// Writes a panel: pairs of inputs, channels side by side.
fn pack(channels: &Channels, panel: usize, out: &mut [i8]) {
    let (out, _) = out.as_chunks_mut::<{ 2 * LANES }>();
    for lane in 0..LANES {
        let (row, _) = channels.weights.row(panel * LANES + lane).as_chunks::<2>();
        for (out, pair) in out.iter_mut().zip(row) {
            out[2 * lane..2 * lane + 2].copy_from_slice(pair);
        }
    }
}
