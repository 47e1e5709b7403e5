//! Residual add, fused into the linear op before it:
//! `x'_k = clamp((m_k·Σ w·a + c_k·x_k + B_k) >> 16)` into ±2^26.
//!
//! `c_k` brings the stream to the scale of the sum: 2^16 where it keeps its scale, a ratio of two
//! scales where the stream is a norm's output (post-norm encoders).

use crate::constants::SHIFT;
use crate::int::{Int, dot_w8};
use crate::weights::Channels;

/// The `res` row of all channels, from an activation row and the stream's row.
pub fn residual(channels: &Channels, input: &[i16], stream: &[i32]) -> Vec<i32> {
    channels
        .iter()
        .zip(stream)
        .map(|(channel, x)| {
            let v = Int::from(channel.multiplier) * dot_w8(channel.weights, input)
                + Int::from(channel.stream) * Int::from(*x)
                + Int::from(channel.bias);
            v.shift_down(SHIFT).to_res()
        })
        .collect()
}
