//! Kernels per instruction set behind one trait.
//!
//! Rules: a kernel computes the integers of `model`, bit for bit; saturating instructions are never
//! used on partial sums. Where a kernel may wrap or skip a clamp, a certificate computed from the
//! weights says so.
//!
//! Operands lie in *panels*: [`LANES`] output channels side by side, inputs in pairs, so that one
//! instruction multiplies a pair for eight channels.

use model::constants::TABLE_ROWS;

use super::memory::Window;

/// Output channels in a panel.
pub(crate) const LANES: usize = 16;

/// Input rows whose sums stay in registers at once.
pub(crate) const TILE_ROWS: usize = 6;

/// How far ahead weights are asked for, in bytes: what memory delivers in its own latency.
#[cfg(target_arch = "x86_64")]
pub(crate) const AHEAD: usize = 4_096;

/// One number per channel of a panel.
pub(crate) type Lanes = [i32; LANES];

/// A panel's index of channel `lane` and input `k`.
pub(crate) const fn slot(lane: usize, k: usize) -> usize {
    (k / 2) * 2 * LANES + lane * 2 + k % 2
}

/// Coefficients of a row's norm.
#[derive(Clone, Copy)]
pub(crate) struct NormRow<'a> {
    /// μ.
    pub(crate) mean: i32,
    /// R.
    pub(crate) reciprocal: u32,
    /// G.
    pub(crate) gains: &'a [i32],
    /// B.
    pub(crate) biases: &'a [i64],
}

/// What follows the sums of a panel in a residual add.
#[derive(Clone, Copy)]
pub(crate) struct Residual<'a> {
    /// m.
    pub(crate) multipliers: &'a Lanes,
    /// B.
    pub(crate) biases: &'a [i64; LANES],
    /// c without its common power of two.
    pub(crate) streams: &'a Lanes,
    /// That power of two.
    pub(crate) stream_bits: u32,
    /// The rows that are added, from the panel's first channel on.
    pub(crate) stream: Stream<'a>,
}

/// Rows that a residual add adds.
#[derive(Clone, Copy)]
pub(crate) enum Stream<'a> {
    /// Of an activation.
    A16(Strided<'a, i16>),
    /// Of the residual stream.
    Res(Strided<'a, i32>),
}

/// Rows that begin every `stride` elements.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a, T> {
    /// From the first element of the first row on.
    pub(crate) data: &'a [T],
    /// From one row to the next.
    pub(crate) stride: usize,
}

impl<'a, T> Strided<'a, T> {
    /// All from the start of row `index` on.
    #[inline(always)]
    pub(crate) fn from(&self, index: usize) -> &'a [T] {
        &self.data[index * self.stride..]
    }
}

/// The kernels.
pub(crate) trait Kernels: Send + Sync {
    /// Σ w·a per channel of a panel of 8-bit weights and row, in wrapping i32. Each row is as long
    /// as the panel is deep; the sums of row `r` go to `out[r·stride..]`.
    fn products_w8(&self, panel: &[i8], rows: &[&[i16]], out: &mut [i32], stride: usize);

    /// As `products_w8` for two panels, one behind the other, and rows of sums without gaps: first
    /// those of the first panel, then those of the second.
    fn products_w8_pair(&self, panels: &[i8], rows: &[&[i16]], out: &mut [i32]) {
        let (first, second) = panels.split_at(panels.len() / 2);
        let (out, after) = out.split_at_mut(rows.len() * LANES);
        self.products_w8(first, rows, out, LANES);
        self.products_w8(second, rows, after, LANES);
    }

    /// As `products_w8` for a panel of 16-bit operands.
    fn products_a16(&self, panel: &[i16], rows: &[&[i16]], out: &mut [i32], stride: usize);

    /// As `products_a16` for two panels, one behind the other: the sums of the second panel stand
    /// right behind those of the first.
    fn products_a16_pair(&self, panels: &[i16], rows: &[&[i16]], out: &mut [i32], stride: usize) {
        let (first, second) = panels.split_at(panels.len() / 2);
        self.products_a16(first, rows, out, stride);
        self.products_a16(second, rows, &mut out[LANES..], stride);
    }

    /// `(m·acc + B) >> 16` in wrapping i32, without clamp: only under a certificate.
    fn requantise(
        &self,
        sums: &[Lanes],
        multipliers: &Lanes,
        biases: &Lanes,
        out: &mut Window<'_, i16>,
    );

    /// `clamp((m·acc + c·x + B) >> 16)` from exact sums.
    fn residual(&self, sums: &[Lanes], residual: &Residual<'_>, out: &mut Window<'_, i32>);

    /// `clamp((m·(2^15·high + low) + c·x + B) >> 32)` from exact sums, high and low in turn.
    fn gate_residual(&self, sums: &[Lanes], residual: &Residual<'_>, out: &mut Window<'_, i32>);

    /// `m·acc` from exact sums.
    fn logits(&self, sums: &[Lanes], multipliers: &Lanes, out: &mut Window<'_, i64>);

    /// The halves of g·u = 2^15·high + low, 0 ≤ low < 2^15, for products below 2^30.
    fn gate_products(&self, gate: &[i16], up: &[i16], high: &mut [i16], low: &mut [i16]);

    /// S and Σx², for at most 1,024 elements.
    fn norm_sums(&self, x: &[i32]) -> (i64, i64);

    /// The norm's output from its coefficients.
    fn norm_apply(&self, norm: &NormRow<'_>, x: &[i32], out: &mut [i16]);

    /// One head turned by a row of cosines and sines.
    fn rope(&self, head: &[i16], cos: &[i32], sin: &[i32], out: &mut [i16]);

    /// e_j of each score, and Z. Scores lie so close that their differences fit u32.
    fn softmax(&self, scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64;

    /// The entry of each activation; the first entry is that of the least.
    fn table(&self, entries: &[i16; TABLE_ROWS], y: &[i16], out: &mut [i16]);

    /// `clamp((sum·R + 2^31) >> 32)`.
    fn average(&self, sums: &[i32], reciprocal: i32, out: &mut [i16]);
}
