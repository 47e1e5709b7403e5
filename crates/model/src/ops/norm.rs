//! LayerNorm and RMSNorm of a residual row:
//!
//! ```text
//! S = Σx      μ = ⌊(2S + N) / 2N⌋ (RMSNorm: 0)      d = x − μ
//! V = Σd² + E      r = ⌊√V⌋ + 1      R = ⌊2^32 / r⌋      y_i = clamp((d_i·R·G_i + B_i) >> 32)
//! ```
//! Since r > √V, the vector d·R/2^32 is shorter than 1 for every row, also where V is 0. The
//! certificates of the linear ops behind a norm stand on this.

use crate::constants::{NORM_BITS, SHIFT_WIDE};
use crate::int::{Int, sum};

/// Attributes and weights of a norm.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Whether the mean is taken off.
    pub centred: bool,
    /// E, at least 1.
    pub offset: u64,
    /// G, one per channel.
    pub gains: &'a [i32],
    /// B, one per channel, 32 fraction bits and the half of the rounding.
    pub biases: &'a [i64],
}

/// The `a16` row.
pub fn norm(norm: &Norm<'_>, x: &[i32]) -> Vec<i16> {
    let count = Int::from(x.len());
    let two = Int::from(2_u32);
    let mean = if norm.centred {
        let total = sum(x.iter().map(|x| Int::from(*x)));
        (two * total + count).div_floor(two * count)
    } else {
        Int::ZERO
    };
    let distances: Vec<Int> = x.iter().map(|x| Int::from(*x) - mean).collect();
    let variance = sum(distances.iter().map(|d| *d * *d)) + Int::from(norm.offset);
    let r = variance.sqrt_floor() + Int::from(1_u32);
    let reciprocal = Int::power_of_two(NORM_BITS).div_floor(r);
    distances
        .into_iter()
        .zip(norm.gains.iter().zip(norm.biases))
        .map(|(d, (gain, bias))| {
            let v = d * reciprocal * Int::from(*gain) + Int::from(*bias);
            v.shift_down(SHIFT_WIDE).to_a16()
        })
        .collect()
}
