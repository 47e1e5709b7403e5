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
    let mean = if norm.centred {
        mean(sum(x.iter().map(|x| Int::from(*x))), Int::from(x.len()))
    } else {
        Int::ZERO
    };
    let squares = sum(x.iter().map(|x| square(*x, mean)));
    let scale = scale(squares + Int::from(norm.offset));
    x.iter()
        .zip(norm.gains.iter().zip(norm.biases))
        .map(|(x, (gain, bias))| element(*x, mean, scale, *gain, *bias))
        .collect()
}

/// μ, from S and N.
pub fn mean(total: Int, count: Int) -> Int {
    let twice = Int::from(2_u32) * count;
    (Int::from(2_u32) * total + count).div_floor(twice)
}

/// d².
pub fn square(x: i32, mean: Int) -> Int {
    let d = Int::from(x) - mean;
    d * d
}

/// r and R, from V.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// ⌊√V⌋ + 1.
    pub root: Int,
    /// ⌊2^32 / r⌋; 0 where r is above 2^32, which only rows wider than 1,024 can reach.
    pub reciprocal: Int,
}

/// r and R, from V: below 2^67 for 16,384 channels.
pub fn scale(variance: Int) -> Scale {
    let root = variance.sqrt_floor() + Int::from(1_u32);
    Scale { root, reciprocal: Int::power_of_two(NORM_BITS).div_floor(root) }
}

/// y of one channel.
pub fn element(x: i32, mean: Int, scale: Scale, gain: i32, bias: i64) -> i16 {
    let d = Int::from(x) - mean;
    let v = d * scale.reciprocal * Int::from(gain) + Int::from(bias);
    v.shift_down(SHIFT_WIDE).to_a16()
}
