//! Weights of the linear ops in panels, all in one memory.

use std::ops::Range;

use model::Channels;
use model::int::{Int, sum_magnitudes};

use super::kernels::{InputBits, LANES, Lanes, Layout, Panels};
use super::memory::{HugeBytes, each_row};
use crate::error::EngineError;
use crate::pool::Pool;

/// Inputs that a kernel may add up in 32 bits whatever their values, raised by a layout's excess or
/// not: 256·127·2^16 < 2^31.
pub(crate) const SAFE_DEPTH: usize = 256;

/// Weights of one linear op. Channels past the last are zero.
pub(crate) struct Matrix {
    /// Inputs of a panel.
    pub(crate) depth: usize,
    pub(crate) outputs: usize,
    /// What its inputs hold.
    pub(crate) bits: InputBits,
    /// Where its panels begin.
    start: usize,
    /// Whether no row's sums can leave 32 bits.
    pub(crate) exact: bool,
    /// Σw of each channel, per panel.
    totals: Vec<Lanes>,
    multipliers: Vec<i32>,
    biases: Vec<i64>,
    /// Biases modulo 2^32, for the narrow path.
    narrow_biases: Vec<i32>,
    streams: Vec<i64>,
    /// Stream multipliers without their common power of two; none where that leaves 32 bits.
    short_streams: Option<(Vec<i32>, u32)>,
}

impl Matrix {
    fn new(own: Source<'_>, start: usize, layout: Layout, pool: &Pool) -> Self {
        let Source { channels, bits } = own;
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
        let inputs = channels.weights.width();
        let sums = pool.map(outputs, inputs, |row| Sums::of(channels.weights.row(row)));
        let mut totals: Vec<i32> = sums.iter().map(|sums| sums.total).collect();
        totals.resize(padded, 0);
        Self {
            depth: layout.depth(inputs),
            outputs,
            bits,
            start,
            exact: sums.iter().all(|sums| sums.fit(bits)),
            totals: totals.as_chunks().0.to_vec(),
            multipliers,
            narrow_biases: biases.iter().map(|bias| *bias as i32).collect(),
            biases,
            short_streams: shorten(&streams),
            streams,
        }
    }

    /// Bytes of its weights.
    const fn bytes(&self) -> usize {
        self.panels() * LANES * self.depth
    }

    /// How many panels it has.
    pub(crate) const fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Σw of each channel of a panel.
    pub(crate) fn totals(&self, panel: usize) -> &Lanes {
        &self.totals[panel]
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

/// What is known of a row of weights.
struct Sums {
    /// Σ|w|.
    magnitude: Int,
    /// Σw.
    total: i32,
}

impl Sums {
    fn of(row: &[i8]) -> Self {
        // At most 65,536 weights of at most 127.
        let total = row.iter().fold(0_i32, |sum, w| sum.wrapping_add(i32::from(*w)));
        Self { magnitude: sum_magnitudes(row), total }
    }

    /// Whether no sum of the row's products leaves 32 bits.
    fn fit(&self, bits: InputBits) -> bool {
        self.magnitude * Int::power_of_two(bits.magnitude()) < Int::power_of_two(31)
    }
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
    layout: Layout,
    /// One per op, where it has one.
    ops: Vec<Option<Matrix>>,
}

/// What a matrix is made of.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) channels: &'a Channels,
    pub(crate) bits: InputBits,
}

impl Matrices {
    /// Packs the weights of all linear ops, of which there is a source for each.
    ///
    /// # Errors
    /// Memory that the system does not give.
    pub(crate) fn new(
        sources: &[Option<Source<'_>>],
        layout: Layout,
        pool: &Pool,
    ) -> Result<Self, EngineError> {
        let mut length = 0;
        let mut ops = Vec::with_capacity(sources.len());
        for source in sources {
            ops.push(source.map(|source| {
                let matrix = Matrix::new(source, length, layout, pool);
                length += matrix.bytes();
                matrix
            }));
        }
        let mut memory = HugeBytes::zeroed(length)?;
        let mut rest = memory.weights_mut();
        for (source, matrix) in sources.iter().zip(&ops) {
            let (Some(source), Some(matrix)) = (source, matrix) else { continue };
            let (own, after) = rest.split_at_mut(matrix.bytes());
            rest = after;
            let panel = LANES * matrix.depth;
            each_row(pool, own, panel, panel, |index, out| match layout {
                Layout::Pairs => pack::<2>(source.channels, index, out),
                Layout::Quads => pack::<4>(source.channels, index, out),
            });
        }
        Ok(Self { memory, layout, ops })
    }

    /// How weights lie.
    pub(crate) const fn layout(&self) -> Layout {
        self.layout
    }

    /// The matrix of op `index`, which is a linear op.
    pub(crate) fn get(&self, index: usize) -> &Matrix {
        self.ops[index].as_ref().expect("linear ops have matrices: `new` made them")
    }

    /// The weights of a panel for inputs `from..to`, whole groups.
    pub(crate) fn part(&self, matrix: &Matrix, panel: usize, from: usize, to: usize) -> &[i8] {
        let start = matrix.start + panel * LANES * matrix.depth;
        &self.memory.weights()[start + from * LANES..start + to * LANES]
    }

    /// Some panels of a matrix.
    pub(crate) fn panels<'a>(&'a self, matrix: &'a Matrix, panels: Range<usize>) -> Panels<'a> {
        let panel = LANES * matrix.depth;
        let first = matrix.start + panels.start * panel;
        Panels {
            weights: &self.memory.weights()[first..first + panels.len() * panel],
            totals: &matrix.totals[panels],
            bits: matrix.bits,
        }
    }
}

/// Writes a panel: groups of inputs, channels side by side. What is not written stays 0.
fn pack<const GROUP: usize>(channels: &Channels, panel: usize, out: &mut [i8]) {
    for lane in 0..LANES {
        let (row, rest) = channels.weights.row(panel * LANES + lane).as_chunks::<GROUP>();
        let (groups, _) = out[GROUP * lane..].as_chunks_mut::<GROUP>();
        let mut groups = groups.iter_mut().step_by(LANES);
        // The row first: at its end, the group that follows must not have been taken.
        for (group, out) in row.iter().zip(groups.by_ref()) {
            *out = *group;
        }
        if let Some(out) = groups.next() {
            out[..rest.len()].copy_from_slice(rest);
        }
    }
}
