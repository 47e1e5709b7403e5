//! Logits: `l_v = m_v·Σ_k w_vk·a_k`, exact, and the choice of the best.

use crate::int::{Int, dot_w8};
use crate::weights::{Channel, Channels};

/// One number per vocabulary entry.
pub fn logits(channels: &Channels, input: &[i16]) -> Vec<i64> {
    channels.iter().map(|channel| logit(&channel, dot_w8(channel.weights, input))).collect()
}

/// One entry's number, from its exact sum: below 2^62 in magnitude, so i64 holds it.
pub fn logit(channel: &Channel<'_>, sum: Int) -> i64 {
    (Int::from(channel.multiplier) * sum).to_i64()
}

/// The id of the largest logit; of equal ones the lowest id.
pub fn argmax(logits: &[i64]) -> u32 {
    let mut best: Option<(u32, i64)> = None;
    for (id, logit) in (0_u32..).zip(logits.iter().copied()) {
        if best.is_none_or(|(_, largest)| logit > largest) {
            best = Some((id, logit));
        }
    }
    best.map_or(0, |(id, _)| id)
}
