//! Matrix products and what follows them: requantise, residual add, gated residual add, logits.
//!
//! Work is cut by panels, so that each weight is read by one thread once per block of rows. Two
//! panels go through a block together; what follows their sums happens before the next two.

use std::cell::RefCell;
use std::ops::Range;

use model::constants::{RES_MAX, RES_MIN, SHIFT, SHIFT_WIDE};

use super::kernels::{Kernels, LANES, Lanes, Layout, Panels, Residual, Stream, Strided, TILE_ROWS};
use super::matrix::{Matrices, Matrix, SAFE_DEPTH};
use super::memory::{Grid, Window, each_row};
use super::rowwise::clamp_a16;
use crate::pool::Pool;

/// Rows whose sums are held at once. With 1,536 inputs they fill half of a second-level cache.
const BLOCK_ROWS: usize = 11 * TILE_ROWS;

/// Where products are computed.
#[derive(Clone, Copy)]
pub(crate) struct Workers<'a> {
    pub(crate) kernels: &'a dyn Kernels,
    pub(crate) pool: &'a Pool,
    pub(crate) matrices: &'a Matrices,
}

/// Rows of activations, one behind the other.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) data: &'a [i16],
    pub(crate) width: usize,
}

impl<'a> Inputs<'a> {
    /// Fills `block` with the rows `rows`.
    fn block(&self, rows: &Range<usize>, block: &mut [&'a [i16]; BLOCK_ROWS]) {
        let data = &self.data[rows.start * self.width..rows.end * self.width];
        for (slot, row) in block.iter_mut().zip(data.chunks_exact(self.width)) {
            *slot = row;
        }
    }
}

thread_local! {
    /// Rows as kernels take them that want them split.
    static SPLIT: RefCell<Vec<i16>> = const { RefCell::new(Vec::new()) };
}

/// One panel and one block of rows on their way.
#[derive(Clone)]
struct Part<'a, 'm> {
    matrix: &'m Matrix,
    /// Which of the matrices that is.
    index: usize,
    panel: usize,
    /// Rows of the block, as rows of the inputs.
    rows: Range<usize>,
    inputs: &'a [&'a [i16]],
}

impl Part<'_, '_> {
    fn columns(&self) -> Range<usize> {
        self.panel * LANES..((self.panel + 1) * LANES).min(self.matrix.outputs)
    }
}

impl Workers<'_> {
    /// Linear ops with one input, under certificates: everything in wrapping i32. Several are one
    /// parallel region.
    pub(crate) fn linear_narrow(
        &self,
        matrices: &[&Matrix],
        input: Inputs<'_>,
        outs: &mut [&mut [i16]],
    ) {
        let outs = outs.iter_mut().zip(matrices);
        let grids: Vec<_> = outs.map(|(out, matrix)| Grid::new(out, matrix.outputs)).collect();
        self.sums(matrices, input, |part, sums| {
            let (matrix, panel) = (part.matrix, part.panel);
            let (m, b) = (matrix.multipliers(panel), matrix.narrow_biases(panel));
            // SAFETY: each part has its own grid, or panel and rows.
            let mut out = unsafe { grids[part.index].window(part.rows.clone(), part.columns()) };
            self.kernels.requantise(sums, m, b, &mut out);
        });
    }

    /// Linear without a certificate: exact sums, then the clamp.
    pub(crate) fn linear_wide(&self, matrix: &Matrix, input: Inputs<'_>, out: &mut [i16]) {
        let grid = Grid::new(out, matrix.outputs);
        self.wide(matrix, input, &grid, |_, panel, lane, sum| {
            let (m, b) = (matrix.multipliers(panel)[lane], matrix.biases(panel)[lane]);
            clamp_i64((sum * i64::from(m) + b) >> SHIFT)
        });
    }

    /// Residual add onto the rows of `stream`.
    pub(crate) fn residual(
        &self,
        matrix: &Matrix,
        input: Inputs<'_>,
        stream: Stream<'_>,
        out: &mut [i32],
    ) {
        let grid = Grid::new(out, matrix.outputs);
        if !matrix.exact || matrix.short_streams(0).is_none() {
            let x = |row: usize, column: usize| match stream {
                Stream::Res(rows) => i64::from(rows.from(row)[column]),
                Stream::A16(rows) => i64::from(rows.from(row)[column]),
            };
            return self.wide(matrix, input, &grid, |row, panel, lane, sum| {
                let (m, b) = (matrix.multipliers(panel)[lane], matrix.biases(panel)[lane]);
                let x = matrix.streams(panel)[lane] * x(row, panel * LANES + lane);
                // Below 2^63 whatever the model: `model::constants` asserts it.
                clamp_res((sum * i64::from(m) + x + b) >> SHIFT)
            });
        }
        self.sums(&[matrix], input, |part, sums| {
            let Some(residual) = residual_of(matrix, part, part.rows.start, stream) else { return };
            // SAFETY: each part has its own panel and rows.
            let mut out = unsafe { grid.window(part.rows.clone(), part.columns()) };
            self.kernels.residual(sums, &residual, &mut out);
        });
    }

    /// Gated residual add under a certificate. The products go through the 16-bit kernels as two
    /// halves: `halves` holds the upper and the lower ones of each row in turn.
    pub(crate) fn gate_residual(
        &self,
        matrix: &Matrix,
        halves: Inputs<'_>,
        stream: &[i32],
        out: &mut [i32],
    ) {
        let grid = Grid::new(out, matrix.outputs);
        if !matrix.exact || matrix.short_streams(0).is_none() {
            return self.gate_wide(matrix, halves, stream, &grid);
        }
        let stream = Stream::Res(Strided { data: stream, stride: matrix.outputs });
        self.sums(&[matrix], halves, |part, sums| {
            let rows = part.rows.start / 2..part.rows.end / 2;
            let Some(residual) = residual_of(matrix, part, rows.start, stream) else { return };
            // SAFETY: each part has its own panel and rows.
            let mut out = unsafe { grid.window(rows, part.columns()) };
            self.kernels.gate_residual(sums, &residual, &mut out);
        });
    }

    fn gate_wide(&self, matrix: &Matrix, halves: Inputs<'_>, stream: &[i32], grid: &Grid<'_, i32>) {
        self.parts(&[matrix], halves, |part| {
            let rows = part.rows.start / 2..part.rows.end / 2;
            // SAFETY: each part has its own panel and rows.
            let mut out = unsafe { grid.window(rows.clone(), part.columns()) };
            let (m, b) = (matrix.multipliers(part.panel), matrix.biases(part.panel));
            let c = matrix.streams(part.panel);
            self.exact(part, |first, sums| {
                let (pairs, _) = sums.as_chunks::<2>();
                for (index, [high, low]) in pairs.iter().enumerate() {
                    let row = first / 2 + index;
                    let x = &stream[(rows.start + row) * matrix.outputs..][part.columns()];
                    for (lane, (out, x)) in out.row(row).iter_mut().zip(x).enumerate() {
                        let sum = (high[lane] << 15) + low[lane];
                        let v = sum * i64::from(m[lane]) + c[lane] * i64::from(*x) + b[lane];
                        *out = clamp_res(v >> SHIFT_WIDE);
                    }
                }
            });
        });
    }

    /// One exact number per vocabulary entry.
    pub(crate) fn logits(&self, matrix: &Matrix, input: Inputs<'_>, out: &mut [i64]) {
        let grid = Grid::new(out, matrix.outputs);
        if !matrix.exact {
            return self.wide(matrix, input, &grid, |_, panel, lane, sum| {
                sum * i64::from(matrix.multipliers(panel)[lane])
            });
        }
        self.sums(&[matrix], input, |part, sums| {
            // SAFETY: each part has its own panel and rows.
            let mut out = unsafe { grid.window(part.rows.clone(), part.columns()) };
            self.kernels.logits(sums, matrix.multipliers(part.panel), &mut out);
        });
    }

    /// Calls `body` with every panel and block of rows and Σ w·a of the two, in wrapping i32.
    fn sums<'m>(
        &self,
        matrices: &[&'m Matrix],
        input: Inputs<'_>,
        body: impl Fn(&Part<'_, 'm>, &[Lanes]) + Sync,
    ) {
        self.blocks(matrices, input, |part, panels| {
            let count = part.inputs.len();
            let mut sums = vec![[0; LANES]; 2 * count];
            for first in panels.clone().step_by(2) {
                let pair = first..(first + 2).min(panels.end);
                let weights = self.matrices.panels(part.matrix, pair.clone());
                let out = &mut sums[..pair.len() * count];
                self.kernels.products_w8(weights, part.inputs, out.as_flattened_mut());
                for (panel, sums) in pair.zip(sums.chunks_exact(count)) {
                    body(&Part { panel, ..part.clone() }, sums);
                }
            }
        });
    }

    /// Calls `body` with every panel and block of rows.
    fn parts<'m>(
        &self,
        matrices: &[&'m Matrix],
        input: Inputs<'_>,
        body: impl Fn(&Part<'_, 'm>) + Sync,
    ) {
        self.blocks(matrices, input, |part, panels| {
            panels.for_each(|panel| body(&Part { panel, ..part.clone() }));
        });
    }

    /// Calls `body` with every block of rows and successive panels of one matrix, in parallel over
    /// groups of panels. All matrices have one depth and read one kind of input.
    fn blocks<'m>(
        &self,
        matrices: &[&'m Matrix],
        input: Inputs<'_>,
        body: impl Fn(&Part<'_, 'm>, Range<usize>) + Sync,
    ) {
        if self.matrices.layout() == Layout::Pairs {
            return self.blocks_of(matrices, input, body);
        }
        SPLIT.with_borrow_mut(|split| {
            let input = self.split(matrices[0], input, split);
            self.blocks_of(matrices, input, body);
        });
    }

    /// The rows as kernels take them that want them split.
    fn split<'s>(&self, matrix: &Matrix, input: Inputs<'_>, out: &'s mut Vec<i16>) -> Inputs<'s> {
        let width = self.matrices.layout().row(matrix.bits, matrix.depth);
        let length = input.data.len() / input.width * width;
        out.resize(length.max(out.len()), 0);
        let out = &mut out[..length];
        each_row(self.pool, out, width, input.width, |row, out| {
            let row = &input.data[row * input.width..][..input.width];
            self.kernels.split(row, matrix.bits, out);
        });
        Inputs { data: out, width }
    }

    /// As `blocks`, with rows as the kernels take them.
    fn blocks_of<'m>(
        &self,
        matrices: &[&'m Matrix],
        input: Inputs<'_>,
        body: impl Fn(&Part<'_, 'm>, Range<usize>) + Sync,
    ) {
        let count = input.data.len() / input.width;
        let panels: usize = matrices.iter().map(|matrix| matrix.panels()).sum();
        // A panel by itself takes longer than half of a pair.
        let work = 2 * count * input.width * LANES;
        self.pool.ranges(panels.div_ceil(2), work, |pairs| {
            let panels = 2 * pairs.start..panels.min(2 * pairs.end);
            let mut block: [&[i16]; BLOCK_ROWS] = [&[]; BLOCK_ROWS];
            for first in (0..count).step_by(BLOCK_ROWS) {
                let rows = first..(first + BLOCK_ROWS).min(count);
                input.block(&rows, &mut block);
                let inputs = &block[..rows.len()];
                let mut before = 0;
                for (index, matrix) in matrices.iter().copied().enumerate() {
                    let (from, to) = (before, before + matrix.panels());
                    before = to;
                    let panels = panels.start.max(from)..panels.end.min(to);
                    if !panels.is_empty() {
                        let (panel, rows) = (panels.start - from, rows.clone());
                        let panels = panel..panels.end - from;
                        body(&Part { matrix, index, panel, rows, inputs }, panels);
                    }
                }
            }
        });
    }

    /// Exact sums of a part, a tile of rows at a time, with the tile's first row in the part: 32
    /// bits inside blocks of inputs that cannot leave them, 64 between blocks.
    fn exact(&self, part: &Part<'_, '_>, mut body: impl FnMut(usize, &[[i64; LANES]])) {
        let (layout, matrix) = (self.matrices.layout(), part.matrix);
        let row = |depth: usize| layout.row(matrix.bits, depth);
        let excess = layout.excess(matrix.bits);
        for (index, tile) in part.inputs.chunks(TILE_ROWS).enumerate() {
            let begin = matrix.totals(part.panel).map(|total| -(i64::from(total) * excess));
            let mut totals = [begin; TILE_ROWS];
            for from in (0..matrix.depth).step_by(SAFE_DEPTH) {
                let to = (from + SAFE_DEPTH).min(matrix.depth);
                let mut rows: [&[i16]; TILE_ROWS] = [&[]; TILE_ROWS];
                for (slot, inputs) in rows.iter_mut().zip(tile) {
                    *slot = &inputs[row(from)..row(to)];
                }
                let mut sums = [[0; LANES]; TILE_ROWS];
                let weights = self.matrices.part(matrix, part.panel, from, to);
                // The excess is taken off from the whole.
                let panels = Panels { weights, totals: &[[0; LANES]], bits: matrix.bits };
                let out = sums[..tile.len()].as_flattened_mut();
                self.kernels.products_w8(panels, &rows[..tile.len()], out);
                let totals = totals.as_flattened_mut().iter_mut();
                for (total, sum) in totals.zip(sums.as_flattened()) {
                    // Below 2^40: see `model::int::dot_w8`.
                    *total = total.wrapping_add(i64::from(*sum));
                }
            }
            body(index * TILE_ROWS, &totals[..tile.len()]);
        }
    }

    /// Exact sums, each handed to `finish` with its row, panel and lane.
    fn wide<T: Send>(
        &self,
        matrix: &Matrix,
        input: Inputs<'_>,
        grid: &Grid<'_, T>,
        finish: impl Fn(usize, usize, usize, i64) -> T + Sync,
    ) {
        self.parts(&[matrix], input, |part| {
            // SAFETY: each part has its own panel and rows.
            let mut out: Window<'_, T> = unsafe { grid.window(part.rows.clone(), part.columns()) };
            self.exact(part, |first, sums| {
                for (row, sums) in (first..).zip(sums) {
                    for (lane, (out, sum)) in out.row(row).iter_mut().zip(sums).enumerate() {
                        *out = finish(part.rows.start + row, part.panel, lane, *sum);
                    }
                }
            });
        });
    }
}

/// What a residual add needs besides the sums; none where its multipliers leave 32 bits. `row` is
/// the first row of the stream.
fn residual_of<'a>(
    matrix: &'a Matrix,
    part: &Part<'_, '_>,
    row: usize,
    stream: Stream<'a>,
) -> Option<Residual<'a>> {
    let (streams, stream_bits) = matrix.short_streams(part.panel)?;
    let column = part.columns().start;
    let stream = match stream {
        Stream::A16(rows) => {
            Stream::A16(Strided { data: &rows.from(row)[column..], stride: rows.stride })
        }
        Stream::Res(rows) => {
            Stream::Res(Strided { data: &rows.from(row)[column..], stride: rows.stride })
        }
    };
    Some(Residual {
        multipliers: matrix.multipliers(part.panel),
        biases: matrix.biases(part.panel),
        streams,
        stream_bits,
        stream,
    })
}

fn clamp_i64(value: i64) -> i16 {
    clamp_a16(value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
}

fn clamp_res(value: i64) -> i32 {
    value.clamp(RES_MIN, RES_MAX) as i32
}
