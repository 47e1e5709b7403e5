//! Embeddings: a token's row, as the start of the residual stream.

use crate::constants::{HALF, SHIFT};
use crate::int::Int;
use crate::weights::Channel;

/// Word row plus position row, exact.
pub fn embedding_sum(word: &[i16], position: &[i16]) -> Vec<i32> {
    word.iter().zip(position).map(|(w, p)| (Int::from(*w) + Int::from(*p)).to_res()).collect()
}

/// `x_k = clamp((E_k·m·c + 2^15) >> 16)`: the row is shared with the logits, hence its multiplier.
pub fn embedding_scaled(row: &Channel<'_>, factor: u32) -> Vec<i32> {
    let scale = Int::from(row.multiplier) * Int::from(factor);
    row.weights
        .iter()
        .map(|w| (Int::from(*w) * scale + Int::from(HALF)).shift_down(SHIFT).to_res())
        .collect()
}
