//! Sampling: which token follows, from the logits, the request's fields and its seed.
//!
//! ```text
//! temperature 0: the largest logit, lowest id.        otherwise
//! M = max l      t_v = min(((M − l_v)·m_T) >> 32, 1023)      m_T = max(⌊m·1000 / temperature⌋, 1)
//! order: t ascending, id ascending; top-k keeps the first k
//! Z = Σ EXP[t]; top-p keeps the smallest prefix whose sum is ≥ ⌈top_p·Z / 1000⌉, at least one
//! Z' = sum of what is kept; u = ⌊draw·Z' / 2^64⌋; the token is the first whose prefix sum is > u
//! ```
//! Entries of one t have one weight, so a histogram of t decides how many of each are kept and
//! where the draw falls; only then the entry itself is looked up. The draw is a hash of seed and
//! output index, so a sampled answer is as reproducible as a greedy one. Entries that weigh nothing
//! are never drawn.

use crypto::{Domain, hash};

use crate::constants::{EXP_LAST, EXP_ROWS, SHIFT_WIDE};
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
    let best = logits.iter().copied().max().unwrap_or(0);
    let all: Vec<u16> = logits.iter().map(|logit| steps(best, *logit, multiplier)).collect();
    let mut counts = vec![0; EXP_ROWS];
    for row in &all {
        if let Some(count) = counts.get_mut(usize::from(*row)) {
            *count = u32::saturating_add(*count, 1);
        }
    }
    find(&all, &choose(&counts, sampling, draw(seed, index))).unwrap_or(0)
}

/// t of one entry.
pub fn steps(best: i64, logit: i64, multiplier: Int) -> u16 {
    let t = ((Int::from(best) - Int::from(logit)) * multiplier).shift_down(SHIFT_WIDE);
    u16::try_from(t.get().clamp(0, i128::from(EXP_LAST))).unwrap_or(0)
}

/// Where the draw falls: the entry of this rank among those of one t, lowest id first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// t of the entry.
    pub steps: u16,
    /// How many entries of this t have a lower id.
    pub rank: u32,
}

/// Applies top-k, then top-p, then the draw, to how many entries each t has.
pub fn choose(counts: &[u32], sampling: &Sampling, draw: u64) -> Choice {
    let mut left = match sampling.top_k {
        0 => Int::from(u64::MAX),
        k => Int::from(k),
    };
    let mut bins: Vec<(u16, Int, Int)> = Vec::new();
    for (t, count) in (0_u16..).zip(counts) {
        let kept = Int::from(*count).min(left);
        left = left - kept;
        bins.push((t, kept, exponential(Int::from(t))));
    }
    let total = sum(bins.iter().map(|(_, count, e)| *count * *e));
    let wanted = (Int::from(sampling.top_p_milli) * total).div_ceil(Int::from(1_000_u32));
    // At least one entry is kept.
    let wanted = wanted.max(Int::from(1_u32));
    let mut sums = Int::ZERO;
    for (_, count, e) in &mut bins {
        // An entry is kept when the weights before it do not reach what is wanted.
        *count = (*count).min((wanted - sums).max(Int::ZERO).div_ceil(*e));
        sums = sums + *count * *e;
    }
    let mut point = (Int::from(draw) * sums).shift_down(64);
    for (steps, count, e) in bins {
        if point < count * e {
            let rank = u32::try_from(point.div_floor(e).get()).unwrap_or(0);
            return Choice { steps, rank };
        }
        point = point - count * e;
    }
    Choice::default()
}

/// The id of the chosen entry, if it is among these.
pub fn find(steps: &[u16], choice: &Choice) -> Option<u32> {
    let rank = usize::try_from(choice.rank).unwrap_or(usize::MAX);
    let mut alike = (0_u32..).zip(steps).filter(|(_, t)| **t == choice.steps);
    alike.nth(rank).map(|(id, _)| id)
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
