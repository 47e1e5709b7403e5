//! Kernels per instruction set behind one trait.
//!
//! Rules: a kernel computes the integers of `model`, bit for bit; saturating instructions are never
//! used on partial sums. Where a kernel may wrap or skip a clamp, a certificate computed from the
//! weights says so.
//!
//! Operands lie in *panels*: [`LANES`] output channels side by side, inputs in groups of as many as
//! one instruction multiplies and adds up per channel. Of what is not known before a run, keys and
//! values, inputs always lie in pairs; weights lie as the kernels' [`Layout`] says.

use model::constants::TABLE_ROWS;

use super::memory::Window;

/// Output channels in a panel.
pub(crate) const LANES: usize = 16;

/// Input rows whose sums stay in registers at once.
pub(crate) const TILE_ROWS: usize = 6;

/// What the inputs of a matrix hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputBits {
    /// Nothing outside -127 ... 127, whatever a run reads: known from bounds alone.
    Eight,
    /// Any activation.
    Sixteen,
}

impl InputBits {
    /// Those of inputs of at most that magnitude.
    pub(crate) const fn of(most: i64) -> Self {
        if most <= 127 { Self::Eight } else { Self::Sixteen }
    }

    /// Two to this power is above every magnitude.
    pub(crate) const fn magnitude(self) -> u32 {
        match self {
            Self::Eight => 7,
            Self::Sixteen => 15,
        }
    }
}

/// How weights lie in panels, and what a product with them takes for rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Inputs in pairs; rows as they are.
    Pairs,
    /// Inputs in quads; rows as bytes without sign, see [`Kernels::split`].
    Quads,
}

impl Layout {
    /// Inputs that lie side by side.
    pub(crate) const fn group(self) -> usize {
        match self {
            Self::Pairs => 2,
            Self::Quads => 4,
        }
    }

    /// Inputs of a panel: whole groups, the last one filled up with weights of 0.
    pub(crate) const fn depth(self, inputs: usize) -> usize {
        inputs.next_multiple_of(self.group())
    }

    /// Elements of a row that hold `depth` inputs, which are whole groups.
    pub(crate) const fn row(self, bits: InputBits, depth: usize) -> usize {
        match (self, bits) {
            (Self::Quads, InputBits::Eight) => depth / 2,
            _ => depth,
        }
    }

    /// What a row holds is this much more than the inputs.
    pub(crate) const fn excess(self, bits: InputBits) -> i64 {
        match self {
            Self::Pairs => 0,
            Self::Quads => 1 << bits.magnitude(),
        }
    }
}

/// Panels of weights of one depth, one behind the other.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) weights: &'a [i8],
    /// Per panel, Σw of each channel: what the rows' excess is taken off with.
    pub(crate) totals: &'a [Lanes],
    /// What the rows hold.
    pub(crate) bits: InputBits,
}

impl<'a> Panels<'a> {
    /// The weights of each panel.
    pub(crate) fn each(&self) -> impl Iterator<Item = &'a [i8]> {
        self.weights.chunks_exact(self.weights.len() / self.totals.len())
    }
}

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
    /// How weights lie.
    fn layout(&self) -> Layout {
        Layout::Pairs
    }

    /// Writes a row as products with weights in quads take it: of each quad of inputs, raised by
    /// the layout's excess, the four upper bytes and then the four lower ones; of 8-bit inputs the
    /// lower ones alone. What fills up the last quad may be anything: its weights are 0.
    fn split(&self, row: &[i16], bits: InputBits, out: &mut [i16]) {
        let _ = (row, bits, out);
        unreachable!("rows are split where weights lie in quads")
    }

    /// Σ w·a per channel of each panel and row, in wrapping i32, rows of sums without gaps: first
    /// those of the first panel, then those of the second. Rows are as long as the panels are
    /// deep.
    fn products_w8(&self, panels: Panels<'_>, rows: &[&[i16]], out: &mut [i32]);

    /// Σ k·a per channel of a panel of 16-bit operands and row, in wrapping i32. Each row is as
    /// long as the panel is deep; the sums of row `r` go to `out[r·stride..]`.
    fn products_a16(&self, panel: &[i16], rows: &[&[i16]], out: &mut [i32], stride: usize);

    /// As `products_a16` for two panels of one depth: the sums of the second panel stand right
    /// behind those of the first.
    fn products_a16_pair(
        &self,
        panels: [&[i16]; 2],
        rows: &[&[i16]],
        out: &mut [i32],
        stride: usize,
    ) {
        self.products_a16(panels[0], rows, out, stride);
        self.products_a16(panels[1], rows, &mut out[LANES..], stride);
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
