//! Embeddings: a token's row, as the start of the residual stream.

use crate::constants::{HALF, SHIFT};
use crate::int::Int;
use crate::weights::Channel;

/// Word row plus position row, exact.
pub fn embedding_sum(word: &[i16], position: &[i16]) -> Vec<i32> {
    word.iter().zip(position).map(|(w, p)| added(*w, *p)).collect()
}

/// One element of a summed embedding.
pub fn added(word: i16, position: i16) -> i32 {
    (Int::from(word) + Int::from(position)).to_res()
}

/// `x_k = clamp((E_k·m·c + 2^15) >> 16)`: the row is shared with the logits, hence its multiplier.
pub fn embedding_scaled(row: &Channel<'_>, factor: u32) -> Vec<i32> {
    row.weights.iter().map(|weight| scaled(*weight, row.multiplier, factor)).collect()
}

/// One element of a scaled embedding.
pub fn scaled(weight: i8, multiplier: i32, factor: u32) -> i32 {
    let v = Int::from(weight) * Int::from(multiplier) * Int::from(factor) + Int::from(HALF);
    v.shift_down(SHIFT).to_res()
}
