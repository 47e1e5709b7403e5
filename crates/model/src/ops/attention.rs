//! Attention of one query row over the keys it reaches:
//!
//! ```text
//! s_j = Σ q·k_j      M = max s_j      t_j = min(((M − s_j)·m) >> 16, 1023)      e_j = EXP[t_j]
//! Z = Σ e_j      R = ⌊2^34 / Z⌋      y_c = clamp((Σ_j e_j·v_jc · R + 2^31) >> 32)
//! ```
//! The result has four times the scale of the values. Keys that a position does not reach are
//! absent, not −∞: padding and cache length never matter. Z ≥ 4096, because the best key has t = 0.

use crate::constants::{EXP_LAST, HALF_WIDE, SHIFT, SHIFT_WIDE, SOFTMAX_BITS};
use crate::int::{Int, dot_a16, sum};
use crate::ops::exp::EXP;
use crate::rows::{Rows, head};

/// Attributes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key heads; query head `h` reads key head `h·key_heads / heads`, rounded down.
    pub key_heads: usize,
    /// From score differences to steps of 1/64 nat, 16 fraction bits.
    pub multiplier: u32,
}

/// The `a16` row for `query`, over the first `reach` rows of keys and values.
pub fn attention(
    attention: &Attention,
    query: &[i16],
    keys: &Rows<i16>,
    values: &Rows<i16>,
    reach: usize,
) -> Vec<i16> {
    let width = query.len().checked_div(attention.heads).unwrap_or(0);
    let group = attention.heads.checked_div(attention.key_heads).unwrap_or(1);
    let mut out = Vec::with_capacity(query.len());
    for index in 0..attention.heads {
        let key_head = index.checked_div(group).unwrap_or(0);
        let q = head(query, index, width);
        let scores: Vec<Int> =
            keys.iter().take(reach).map(|row| dot_a16(q, head(row, key_head, width))).collect();
        let best = scores.iter().copied().max().unwrap_or(Int::ZERO);
        let weights: Vec<Int> =
            scores.iter().map(|score| weight(best, *score, attention.multiplier)).collect();
        let reciprocal = reciprocal(sum(weights.iter().copied()));
        let mut sums = vec![Int::ZERO; width];
        for (row, e) in values.iter().zip(&weights) {
            for (sum, v) in sums.iter_mut().zip(head(row, key_head, width)) {
                *sum = *sum + *e * Int::from(*v);
            }
        }
        out.extend(sums.into_iter().map(|sum| average(sum, reciprocal)));
    }
    out
}

/// e of one key, from M and its score.
pub fn weight(best: Int, score: Int, multiplier: u32) -> Int {
    exponential(((best - score) * Int::from(multiplier)).shift_down(SHIFT))
}

/// R, from Z.
pub fn reciprocal(total: Int) -> Int {
    Int::power_of_two(SOFTMAX_BITS).div_floor(total)
}

/// y of one channel, from Σ e·v and R.
pub fn average(sum: Int, reciprocal: Int) -> i16 {
    (sum * reciprocal + Int::from(HALF_WIDE)).shift_down(SHIFT_WIDE).to_a16()
}

/// `EXP[min(t, 1023)]`.
pub fn exponential(t: Int) -> Int {
    let row = usize::try_from(t.get().clamp(0, i128::from(EXP_LAST))).unwrap_or(0);
    Int::from(EXP.get(row).copied().unwrap_or(0))
}
