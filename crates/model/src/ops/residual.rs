//! Residual add, fused into the linear op before it:
//! `x'_k = clamp((m_k·Σ w·a + c_k·x_k + B_k) >> 16)` into ±2^26.
//!
//! `c_k` brings the stream to the scale of the sum: 2^16 where it keeps its scale, a ratio of two
//! scales where the stream is a norm's output (post-norm encoders).

use crate::constants::SHIFT;
use crate::int::{Int, dot_w8};
use crate::weights::{Channel, Channels};

/// The `res` row of all channels, from an activation row and the stream's row.
pub fn residual(channels: &Channels, input: &[i16], stream: &[i32]) -> Vec<i32> {
    let terms = channels.iter().zip(stream);
    terms.map(|(channel, x)| add(&channel, dot_w8(channel.weights, input), *x, SHIFT)).collect()
}

/// One channel's element, from its exact sum and the stream's element; `shift` is 16 for sums of
/// activations and 32 for sums of gate products.
pub fn add(channel: &Channel<'_>, sum: Int, x: i32, shift: u32) -> i32 {
    let v = Int::from(channel.multiplier) * sum
        + Int::from(channel.stream) * Int::from(x)
        + Int::from(channel.bias);
    v.shift_down(shift).to_res()
}
