//! Kernels in plain Rust. The AVX2 backend compiles the row-wise ones a second time for its own
//! instruction set.

use model::constants::{EXP_LAST, HALF_WIDE, SHIFT, SHIFT_WIDE};
use model::ops::exp::EXP;

use super::{Backend, BackendKind, LANES, Lanes, NormRow};

/// Runs everywhere.
pub(super) struct Scalar;

impl Backend for Scalar {
    fn kind(&self) -> BackendKind {
        BackendKind::Scalar
    }

    fn products_w8(&self, panel: &[i8], inputs: &[&[i16]], out: &mut [Lanes]) {
        for (input, out) in inputs.iter().zip(out) {
            *out = products(panel, input, i32::from);
        }
    }

    fn products_a16(&self, panel: &[i16], inputs: &[&[i16]], out: &mut [Lanes]) {
        for (input, out) in inputs.iter().zip(out) {
            *out = products(panel, input, i32::from);
        }
    }

    fn requantise(&self, acc: &Lanes, multipliers: &Lanes, biases: &Lanes, out: &mut [i16]) {
        requantise(acc, multipliers, biases, out);
    }

    fn norm_sums(&self, x: &[i32]) -> (i64, u64) {
        norm_sums(x)
    }

    fn norm_apply(&self, norm: &NormRow<'_>, x: &[i32], out: &mut [i16]) {
        norm_apply(norm, x, out);
    }

    fn softmax(&self, scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64 {
        softmax(scores, multiplier, out)
    }
}

fn products<T: Copy>(panel: &[T], input: &[i16], widen: impl Fn(T) -> i32) -> Lanes {
    let mut acc = [0_i32; LANES];
    for (pair, a) in panel.chunks_exact(2 * LANES).zip(input.chunks_exact(2)) {
        for (acc, w) in acc.iter_mut().zip(pair.chunks_exact(2)) {
            let first = widen(w[0]).wrapping_mul(i32::from(a[0]));
            let second = widen(w[1]).wrapping_mul(i32::from(a[1]));
            *acc = acc.wrapping_add(first).wrapping_add(second);
        }
    }
    acc
}

#[inline(always)]
pub(super) fn requantise(acc: &Lanes, multipliers: &Lanes, biases: &Lanes, out: &mut [i16]) {
    for (((out, acc), m), b) in out.iter_mut().zip(acc).zip(multipliers).zip(biases) {
        *out = (acc.wrapping_mul(*m).wrapping_add(*b) >> SHIFT) as i16;
    }
}

/// S and Σx². The sum of squared distances follows from both.
#[inline(always)]
pub(super) fn norm_sums(x: &[i32]) -> (i64, u64) {
    let (mut sum, mut squares) = (0_i64, 0_i64);
    for x in x {
        let x = i64::from(*x);
        sum = sum.wrapping_add(x);
        // |x| ≤ 2^26 and at most 1,024 elements: below 2^62.
        squares = squares.wrapping_add(x.wrapping_mul(x));
    }
    (sum, squares as u64)
}

#[inline(always)]
pub(super) fn norm_apply(norm: &NormRow<'_>, x: &[i32], out: &mut [i16]) {
    let weights = norm.gains.iter().zip(norm.biases);
    for ((out, x), (gain, bias)) in out.iter_mut().zip(x).zip(weights) {
        // |d·R| ≤ 2^32 because d ≤ √V < r, so every step fits i64.
        let d = i64::from(*x).wrapping_sub(i64::from(norm.mean));
        let v = d.wrapping_mul(norm.reciprocal).wrapping_mul(i64::from(*gain)).wrapping_add(*bias);
        *out = clamp_a16(v >> SHIFT_WIDE);
    }
}

#[inline(always)]
pub(super) fn softmax(scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64 {
    let best = scores.iter().copied().max().unwrap_or(0);
    let mut total = 0_i64;
    for (out, score) in out.iter_mut().zip(scores) {
        let distance = u64::from(best.wrapping_sub(*score) as u32);
        // The multiplier is below 2^16, so the product is below 2^48.
        let step = distance.wrapping_mul(u64::from(multiplier)) >> SHIFT;
        let e = EXP[step.min(EXP_LAST as u64) as usize];
        *out = e as i16;
        total = total.wrapping_add(i64::from(e));
    }
    total
}

/// The nearest activation.
#[inline(always)]
pub(crate) fn clamp_a16(value: i64) -> i16 {
    value.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}

/// `(sum·R + 2^31) >> 32` of an attention average.
pub(crate) fn average(sum: i64, reciprocal: i64) -> i16 {
    clamp_a16((sum * reciprocal + HALF_WIDE) >> SHIFT_WIDE)
}
