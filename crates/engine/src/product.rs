//! Matrix products and what follows them: requantise, residual add, gated residual add, logits.

use model::constants::{RES_MAX, RES_MIN, SHIFT, SHIFT_WIDE};

use crate::backend::{Backend, LANES, Lanes, TILE_ROWS, clamp_a16};

use crate::plan::{Panels, SAFE_DEPTH};
use crate::pool::{Area, Pool};

/// Where products are computed.
#[derive(Clone, Copy)]
pub(crate) struct Workers<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) pool: &'a Pool,
}

/// One sum per channel of a panel, exact.
type Sums = [i64; LANES];

impl Workers<'_> {
    /// Linear under a certificate: everything in wrapping i32.
    pub(crate) fn linear_narrow(&self, panels: &Panels, input: &[i16], out: &mut [i16]) {
        let depth = panels.inputs;
        self.pool.areas(out, panels.outputs, |area, out| {
            for panel in area.panels.clone() {
                let weights = panels.panel(panel, 0, depth);
                let (m, b) = (panels.multipliers(panel), panels.narrow_biases(panel));
                for_tiles(area, |first, count| {
                    let mut acc = [[0; LANES]; TILE_ROWS];
                    let acc = &mut acc[..count];
                    let rows = tile_rows(input, depth, first, count, 0..depth);
                    self.backend.products_w8(weights, &rows[..count], acc);
                    for (row, acc) in (first..).zip(acc.iter()) {
                        self.backend.requantise(acc, m, b, &mut out[area.at(row, panel)]);
                    }
                });
            }
        });
    }

    /// Linear without a certificate: exact sums, then the clamp.
    pub(crate) fn linear_wide(&self, panels: &Panels, input: &[i16], out: &mut [i16]) {
        self.wide(panels, input, out, |_, panel, sums, out| {
            let (m, b) = (panels.multipliers(panel), panels.biases(panel));
            for (((out, sum), m), b) in out.iter_mut().zip(sums).zip(m).zip(b) {
                *out = clamp_a16((sum * i64::from(*m) + b) >> SHIFT);
            }
        });
    }

    /// Residual add; `stream` gives the rows that are added.
    pub(crate) fn residual(
        &self,
        panels: &Panels,
        input: &[i16],
        stream: &(dyn Fn(usize) -> i32 + Sync),
        out: &mut [i32],
    ) {
        self.wide(panels, input, out, |row, panel, sums, out| {
            let (m, b, c) =
                (panels.multipliers(panel), panels.biases(panel), panels.streams(panel));
            let first = row * panels.outputs + panel * LANES;
            let channels = sums.iter().zip(m).zip(b).zip(c);
            for ((at, out), (((sum, m), b), c)) in (first..).zip(out.iter_mut()).zip(channels) {
                // Below 2^63 whatever the model: `model::constants` asserts it.
                *out = clamp_res((sum * i64::from(*m) + c * i64::from(stream(at)) + b) >> SHIFT);
            }
        });
    }

    /// One exact number per vocabulary entry.
    pub(crate) fn logits(&self, panels: &Panels, input: &[i16], out: &mut [i64]) {
        self.wide(panels, input, out, |_, panel, sums, out| {
            for ((out, sum), m) in out.iter_mut().zip(sums).zip(panels.multipliers(panel)) {
                *out = sum * i64::from(*m);
            }
        });
    }

    /// Gated residual add under a certificate. The products go through the 16-bit kernels as two
    /// halves: p = 2^15·high + low with 0 ≤ low < 2^15.
    pub(crate) fn gate_residual(
        &self,
        panels: &Panels,
        gate: &[i16],
        up: &[i16],
        stream: &[i32],
        out: &mut [i32],
    ) {
        let product = |(g, u): (&i16, &i16)| i32::from(*g) * i32::from(*u);
        let high: Vec<i16> = gate.iter().zip(up).map(|pair| (product(pair) >> 15) as i16).collect();
        let low: Vec<i16> =
            gate.iter().zip(up).map(|pair| (product(pair) & 0x7fff) as i16).collect();
        let depth = panels.inputs;
        self.pool.areas(out, panels.outputs, |area, out| {
            for panel in area.panels.clone() {
                let (m, b) = (panels.multipliers(panel), panels.biases(panel));
                let c = panels.streams(panel);
                for_tiles(area, |first, count| {
                    let mut highs = [[0; LANES]; TILE_ROWS];
                    let mut lows = [[0; LANES]; TILE_ROWS];
                    self.sums(panels, panel, &high, first, &mut highs[..count]);
                    self.sums(panels, panel, &low, first, &mut lows[..count]);
                    for (row, (highs, lows)) in (first..).zip(highs.iter().zip(&lows).take(count)) {
                        let out = &mut out[area.at(row, panel)];
                        let first = row * panels.outputs + panel * LANES;
                        for (lane, out) in out.iter_mut().enumerate() {
                            let sum = (highs[lane] << 15) + lows[lane];
                            let x = i64::from(stream[first + lane]);
                            let v = sum * i64::from(m[lane]) + c[lane] * x + b[lane];
                            *out = clamp_res(v >> SHIFT_WIDE);
                        }
                    }
                });
            }
        });
        debug_assert_eq!(gate.len() % depth, 0);
    }

    /// Exact sums of each row and panel, handed to `finish` with the place of the result.
    fn wide<T: Send>(
        &self,
        panels: &Panels,
        input: &[i16],
        out: &mut [T],
        finish: impl Fn(usize, usize, &Sums, &mut [T]) + Sync + Send,
    ) {
        self.pool.areas(out, panels.outputs, |area, out| {
            for panel in area.panels.clone() {
                for_tiles(area, |first, count| {
                    let mut sums = [[0; LANES]; TILE_ROWS];
                    self.sums(panels, panel, input, first, &mut sums[..count]);
                    for (row, sums) in (first..).zip(sums.iter().take(count)) {
                        finish(row, panel, sums, &mut out[area.at(row, panel)]);
                    }
                });
            }
        });
    }

    /// Σ w·a of one panel for a tile of rows from `first` on: 32 bits inside blocks of inputs that
    /// cannot leave them, 64 between blocks.
    fn sums(&self, panels: &Panels, panel: usize, input: &[i16], first: usize, out: &mut [Sums]) {
        let (depth, count) = (panels.inputs, out.len());
        for from in (0..depth).step_by(SAFE_DEPTH) {
            let to = (from + SAFE_DEPTH).min(depth);
            let mut acc: [Lanes; TILE_ROWS] = [[0; LANES]; TILE_ROWS];
            let rows = tile_rows(input, depth, first, count, from..to);
            let weights = panels.panel(panel, from, to);
            self.backend.products_w8(weights, &rows[..count], &mut acc[..count]);
            for (sums, acc) in out.iter_mut().zip(&acc) {
                for (sum, acc) in sums.iter_mut().zip(acc) {
                    // Below 2^38: see `model::int::dot_w8`.
                    *sum = sum.wrapping_add(i64::from(*acc));
                }
            }
        }
    }
}

/// The part `k` of up to six rows from `first` on.
fn tile_rows(
    input: &[i16],
    width: usize,
    first: usize,
    count: usize,
    k: std::ops::Range<usize>,
) -> [&[i16]; TILE_ROWS] {
    let mut rows: [&[i16]; TILE_ROWS] = [&[]; TILE_ROWS];
    for (row, slot) in (first..first + count).zip(rows.iter_mut()) {
        *slot = &input[row * width..][k.clone()];
    }
    rows
}

/// Calls `body` with the first row and the number of rows of each tile of an area.
fn for_tiles(area: &Area, mut body: impl FnMut(usize, usize)) {
    for first in area.rows.clone().step_by(TILE_ROWS) {
        body(first, (area.rows.end - first).min(TILE_ROWS));
    }
}

fn clamp_res(value: i64) -> i32 {
    value.clamp(RES_MIN, RES_MAX) as i32
}
