//! Kernels per instruction set behind one trait.
//!
//! Rules: a backend computes the integers of `model`, bit for bit; saturating instructions are
//! never used on partial sums; which backend runs is decided when an engine is loaded. Where a
//! kernel may wrap or skip a clamp, a certificate computed from the weights says so.
//!
//! Operands lie in *panels*: [`LANES`] output channels side by side, inputs in pairs, so that one
//! instruction multiplies a pair for eight channels. A backend with a memory of its own will need
//! whole ops instead; the trait grows when there is one.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod scalar;

pub(crate) use scalar::{average, clamp_a16};

use crate::error::EngineError;

/// Output channels in a panel.
pub const LANES: usize = 16;

/// Input rows that a kernel takes at once.
pub const TILE_ROWS: usize = 6;

/// One number per channel of a panel.
pub type Lanes = [i32; LANES];

/// Which kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// Plain code for any processor.
    Scalar,
    /// 256-bit integer vectors of x86-64.
    Avx2,
}

impl BackendKind {
    /// Those that run on this machine, slowest first.
    pub fn available() -> Vec<Self> {
        [Self::Scalar, Self::Avx2].into_iter().filter(|kind| select(Some(*kind)).is_ok()).collect()
    }

    /// The name in messages and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
        }
    }
}

/// Coefficients of a row's norm.
#[derive(Clone, Copy, Debug)]
pub struct NormRow<'a> {
    /// μ.
    pub mean: i32,
    /// R.
    pub reciprocal: i64,
    /// G.
    pub gains: &'a [i32],
    /// B.
    pub biases: &'a [i64],
}

/// The kernels.
pub trait Backend: Send + Sync {
    /// Which backend this is.
    fn kind(&self) -> BackendKind;

    /// For up to [`TILE_ROWS`] input rows: Σ w·a per channel of a panel of 8-bit weights, in
    /// wrapping i32. Each input is as long as the panel is deep; `out` has one entry per input.
    fn products_w8(&self, panel: &[i8], inputs: &[&[i16]], out: &mut [Lanes]);

    /// As `products_w8` for a panel of 16-bit operands.
    fn products_a16(&self, panel: &[i16], inputs: &[&[i16]], out: &mut [Lanes]);

    /// `(m·acc + B) >> 16` in wrapping i32, without clamp: only under a certificate.
    fn requantise(&self, acc: &Lanes, multipliers: &Lanes, biases: &Lanes, out: &mut [i16]);

    /// S and Σ(x − mean)², for rows of at most 1,024 elements.
    fn norm_sums(&self, x: &[i32]) -> (i64, u64);

    /// The norm's output from its coefficients.
    fn norm_apply(&self, norm: &NormRow<'_>, x: &[i32], out: &mut [i16]);

    /// e_j of each score, and Z. Scores lie so close that their differences fit u32.
    fn softmax(&self, scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64;
}

/// The backend asked for, or the fastest that this machine has.
///
/// # Errors
/// A backend that this machine's processor lacks.
pub fn select(kind: Option<BackendKind>) -> Result<&'static dyn Backend, EngineError> {
    match kind {
        Some(BackendKind::Scalar) => Ok(&scalar::Scalar),
        #[cfg(target_arch = "x86_64")]
        Some(BackendKind::Avx2) if std::is_x86_feature_detected!("avx2") => Ok(&avx2::Avx2),
        Some(kind) => Err(EngineError::BackendMissing { backend: kind.name() }),
        None => select(Some(BackendKind::Avx2)).or_else(|_| select(Some(BackendKind::Scalar))),
    }
}

/// A panel's index of channel `lane` and input `k`.
pub const fn slot(lane: usize, k: usize) -> usize {
    (k / 2) * 2 * LANES + lane * 2 + k % 2
}
