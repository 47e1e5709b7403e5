//! Sampling by histogram: the order of `model::ops::sample` without sorting a vocabulary.
//!
//! Entries of one step t have one weight, so prefixes of the order are counted per bin, and the
//! drawn entry is found by its rank inside a bin.

use model::Sampling;
use model::constants::{EXP_LAST, EXP_ROWS, SHIFT_WIDE};
use model::ops::exp::EXP;
use model::ops::sample::{draw, scaled_multiplier};

/// The token that `model::ops::sample::sample` draws.
pub(crate) fn sample(
    logits: &[i64],
    multiplier: u32,
    sampling: &Sampling,
    seed: u64,
    index: u32,
) -> u32 {
    if sampling.temperature_milli == 0 {
        return best_of(logits);
    }
    let multiplier = scaled_multiplier(multiplier, sampling.temperature_milli);
    // Below 2^42: a multiplier of 32 bits times 1,000.
    let multiplier = multiplier.get() as u64;
    let best = largest(logits);
    let steps: Vec<u16> = logits.iter().map(|logit| step(best, *logit, multiplier)).collect();
    let mut counts = [0_u64; EXP_ROWS];
    for step in &steps {
        counts[usize::from(*step)] += 1;
    }
    if sampling.top_k > 0 {
        keep(&mut counts, u64::from(sampling.top_k));
    }
    let wanted = (u64::from(sampling.top_p_milli) * total(&counts)).div_ceil(1_000);
    let kept = prefix(&counts, wanted);
    keep(&mut counts, kept);
    let point = (u128::from(draw(seed, index)) * u128::from(total(&counts))) >> 64;
    entry(&steps, &counts, point as u64)
}

/// The id of the largest logit; of equal ones the lowest id.
fn best_of(logits: &[i64]) -> u32 {
    let best = largest(logits);
    (0_u32..).zip(logits).find(|(_, logit)| **logit == best).map_or(0, |(id, _)| id)
}

/// The largest logit, found in four strands at once.
fn largest(logits: &[i64]) -> i64 {
    let (fours, rest) = logits.as_chunks::<4>();
    let mut best = [i64::MIN; 4];
    for four in fours {
        for (best, logit) in best.iter_mut().zip(four) {
            *best = (*best).max(*logit);
        }
    }
    best.into_iter().chain(rest.iter().copied()).max().unwrap_or(0)
}

/// t = min(((M − l)·m) >> 32, 1023). Logits lie below 2^62, so their difference fits; beyond the
/// distance of the last entry it need not be known.
fn step(best: i64, logit: i64, multiplier: u64) -> u16 {
    let far = ((EXP_ROWS as u64) << SHIFT_WIDE) / multiplier + 1;
    let distance = best.wrapping_sub(logit) as u64;
    // Below 2^43.
    let steps = (distance.min(far) * multiplier) >> SHIFT_WIDE;
    steps.min(EXP_LAST as u64) as u16
}

fn total(counts: &[u64; EXP_ROWS]) -> u64 {
    counts.iter().zip(&EXP).map(|(count, e)| count * u64::from(*e)).sum()
}

/// Keeps the first `left` entries of the order.
fn keep(counts: &mut [u64; EXP_ROWS], mut left: u64) {
    for count in counts {
        *count = left.min(*count);
        left -= *count;
    }
}

/// Entries in the smallest prefix whose weights add up to `wanted`, at least one.
fn prefix(counts: &[u64; EXP_ROWS], mut wanted: u64) -> u64 {
    let mut entries = 0;
    for (count, e) in counts.iter().zip(&EXP) {
        let e = u64::from(*e);
        let weight = count * e;
        if weight >= wanted {
            let needed = if e == 0 { 0 } else { wanted.div_ceil(e) };
            return (entries + needed).max(1);
        }
        wanted -= weight;
        entries += count;
    }
    entries.max(1)
}

/// The entry in whose share of the weights `point` lies.
fn entry(steps: &[u16], counts: &[u64; EXP_ROWS], mut point: u64) -> u32 {
    for (bin, (count, e)) in (0_u16..).zip(counts.iter().zip(&EXP)) {
        let e = u64::from(*e);
        if point < count * e {
            let rank = (point / e) as usize;
            let mut of_bin = (0_u32..).zip(steps).filter(|(_, step)| **step == bin);
            return of_bin.nth(rank).map_or(0, |(id, _)| id);
        }
        point -= count * e;
    }
    0
}
