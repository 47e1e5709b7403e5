//! Sampling: which token follows, from the logits, the request's fields and its seed.
//!
//! ```text
//! temperature 0: the largest logit, lowest id.        otherwise
//! M = max l      t_v = min(((M − l_v)·m_T) >> 32, 1023)      m_T = max(⌊m·1000 / temperature⌋, 1)
//! order: t ascending, id ascending; top-k keeps the first k
//! Z = Σ EXP[t]; top-p keeps the smallest prefix whose sum is ≥ ⌈top_p·Z / 1000⌉, at least one
//! Z' = sum of what is kept; u = ⌊draw·Z' / 2^64⌋; the token is the first whose prefix sum is > u
//! ```
//! The draw is a hash of seed and output index, so a sampled answer is as reproducible as a greedy
//! one. Entries at t = 1023 weigh nothing and are never drawn.

use crypto::{Domain, hash};

use crate::constants::{EXP_LAST, SHIFT_WIDE};
use crate::int::{Int, sum};
use crate::ops::attention::exponential;
use crate::ops::logits::argmax;
use crate::run::Sampling;

/// The token drawn for output `index` from logits whose step multiplier at temperature 1 is
/// `multiplier`.
pub fn sample(logits: &[i64], multiplier: u32, sampling: &Sampling, seed: u64, index: u32) -> u32 {
    if sampling.temperature_milli == 0 {
        return argmax(logits);
    }
    let multiplier = scaled_multiplier(multiplier, sampling.temperature_milli);
    let best = logits.iter().copied().max().map_or(Int::ZERO, Int::from);
    let mut entries: Vec<(Int, u32)> = (0_u32..)
        .zip(logits)
        .map(|(id, logit)| {
            let steps = ((best - Int::from(*logit)) * multiplier).shift_down(SHIFT_WIDE);
            (steps.min(Int::from(EXP_LAST)), id)
        })
        .collect();
    entries.sort_unstable();
    if sampling.top_k > 0 {
        entries.truncate(usize::from(sampling.top_k));
    }
    let weight = |entry: &(Int, u32)| exponential(entry.0);
    let total = sum(entries.iter().map(weight));
    let wanted = (Int::from(sampling.top_p_milli) * total).div_ceil(Int::from(1_000_u32));
    let kept = prefix(&entries, |before| before < wanted).max(1);
    entries.truncate(kept);
    let total = sum(entries.iter().map(weight));
    let point = (Int::from(draw(seed, index)) * total).shift_down(64);
    let chosen = prefix(&entries, |before| before <= point).saturating_sub(1);
    entries.get(chosen).map_or(0, |entry| entry.1)
}

/// How many entries have a prefix sum before them that `holds`.
fn prefix(entries: &[(Int, u32)], holds: impl Fn(Int) -> bool) -> usize {
    let mut before = Int::ZERO;
    let mut count = 0_usize;
    for entry in entries {
        if !holds(before) {
            break;
        }
        before = before + exponential(entry.0);
        count = count.saturating_add(1);
    }
    count
}

/// m_T: the multiplier at a temperature above 0.
pub fn scaled_multiplier(multiplier: u32, temperature_milli: u16) -> Int {
    let scaled = Int::from(multiplier) * Int::from(1_000_u32);
    scaled.div_floor(Int::from(temperature_milli)).max(Int::from(1_u32))
}

/// The first 8 bytes, little-endian, of H(seed ‖ output index).
pub fn draw(seed: u64, index: u32) -> u64 {
    let digest = hash(Domain::SampleDraw, &[&seed.to_le_bytes(), &index.to_le_bytes()]);
    digest.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes)
}
