//! Linear: `y_j = clamp((m_j·Σ_k w_jk·a_k + B_j) >> 16)`.
//!
//! `m_j` is exact by construction: whoever made the model fixed it first and rounded the weights to
//! the scale that goes with it. The half of the rounding sits inside `B_j`.

use crate::constants::SHIFT;
use crate::int::{Int, dot_w8};
use crate::weights::{Channel, Channels};

/// The `a16` row of all channels.
pub fn linear(channels: &Channels, input: &[i16]) -> Vec<i16> {
    channels.iter().map(|channel| requantise(&channel, dot_w8(channel.weights, input))).collect()
}

/// One channel's element, from its exact sum Σ w·a.
pub fn requantise(channel: &Channel<'_>, sum: Int) -> i16 {
    let v = Int::from(channel.multiplier) * sum + Int::from(channel.bias);
    v.shift_down(SHIFT).to_a16()
}
