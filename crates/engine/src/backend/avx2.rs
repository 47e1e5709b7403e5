//! Kernels for x86-64 with AVX2.
//!
//! Products use `vpmaddwd`, which multiplies 16-bit pairs and adds each pair in 32 bits without
//! saturating; 8-bit weights are widened as they are loaded. Row-wise kernels are the scalar ones,
//! compiled for AVX2.

use std::arch::x86_64::{
    __m128i, __m256i, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256,
};

use super::{Backend, BackendKind, LANES, Lanes, NormRow, TILE_ROWS, scalar};

/// Runs where AVX2 was detected; `select` hands it out nowhere else.
pub(super) struct Avx2;

impl Backend for Avx2 {
    fn kind(&self) -> BackendKind {
        BackendKind::Avx2
    }

    fn products_w8(&self, panel: &[i8], inputs: &[&[i16]], out: &mut [Lanes]) {
        check(panel.len(), inputs, out);
        // SAFETY: AVX2 was detected.
        unsafe { tiles(panel, inputs, out) }
    }

    fn products_a16(&self, panel: &[i16], inputs: &[&[i16]], out: &mut [Lanes]) {
        check(panel.len(), inputs, out);
        // SAFETY: AVX2 was detected.
        unsafe { tiles(panel, inputs, out) }
    }

    fn requantise(&self, acc: &Lanes, multipliers: &Lanes, biases: &Lanes, out: &mut [i16]) {
        // SAFETY: AVX2 was detected.
        unsafe { requantise(acc, multipliers, biases, out) }
    }

    fn norm_sums(&self, x: &[i32]) -> (i64, u64) {
        // SAFETY: AVX2 was detected.
        unsafe { norm_sums(x) }
    }

    fn norm_apply(&self, norm: &NormRow<'_>, x: &[i32], out: &mut [i16]) {
        // SAFETY: AVX2 was detected.
        unsafe { norm_apply(norm, x, out) }
    }

    fn softmax(&self, scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64 {
        // SAFETY: AVX2 was detected.
        unsafe { softmax(scores, multiplier, out) }
    }
}

fn check(panel: usize, inputs: &[&[i16]], out: &[Lanes]) {
    let whole = panel.is_multiple_of(2 * LANES);
    let deep = inputs.iter().all(|input| input.len() == panel / LANES);
    let room = (1..=TILE_ROWS).contains(&inputs.len()) && out.len() == inputs.len();
    assert!(whole && deep && room, "a kernel was handed operands of another shape");
}

/// What a panel holds: for one pair of inputs, the operands of all channels.
trait Operand: Copy {
    /// Channels 0–7 and 8–15, each pair as 16-bit integers.
    ///
    /// # Safety
    /// AVX2 must be there.
    unsafe fn widen(pairs: [Self; 2 * LANES]) -> [__m256i; 2];
}

impl Operand for i8 {
    #[inline(always)]
    unsafe fn widen(pairs: [Self; 2 * LANES]) -> [__m256i; 2] {
        // SAFETY: both types are 32 plain bytes; AVX2 is there by the caller's promise.
        unsafe {
            let [low, high] = std::mem::transmute::<[Self; 2 * LANES], [__m128i; 2]>(pairs);
            [_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)]
        }
    }
}

impl Operand for i16 {
    #[inline(always)]
    unsafe fn widen(pairs: [Self; 2 * LANES]) -> [__m256i; 2] {
        // SAFETY: both types are 64 plain bytes.
        unsafe { std::mem::transmute::<[Self; 2 * LANES], [__m256i; 2]>(pairs) }
    }
}

#[target_feature(enable = "avx2")]
fn tiles<T: Operand>(panel: &[T], inputs: &[&[i16]], out: &mut [Lanes]) {
    match inputs.len() {
        1 => tile::<T, 1>(panel, inputs, out),
        2 => tile::<T, 2>(panel, inputs, out),
        3 => tile::<T, 3>(panel, inputs, out),
        4 => tile::<T, 4>(panel, inputs, out),
        5 => tile::<T, 5>(panel, inputs, out),
        _ => tile::<T, TILE_ROWS>(panel, inputs, out),
    }
}

/// Products of a panel with `M` rows; two accumulators per row stay in registers. Operands are
/// taken by value, so there is no pointer to get wrong.
#[target_feature(enable = "avx2")]
fn tile<T: Operand, const M: usize>(panel: &[T], inputs: &[&[i16]], out: &mut [Lanes]) {
    let (panel, _) = panel.as_chunks::<{ 2 * LANES }>();
    let rows: [&[[i16; 2]]; M] =
        std::array::from_fn(|row| &inputs[row].as_chunks().0[..panel.len()]);
    let mut acc = [[_mm256_setzero_si256(); 2]; M];
    for (pair, weights) in panel.iter().enumerate() {
        // SAFETY: AVX2 is enabled for this function.
        let [low, high] = unsafe { T::widen(*weights) };
        for (acc, row) in acc.iter_mut().zip(&rows) {
            // SAFETY: both types are 4 plain bytes.
            let a = _mm256_set1_epi32(unsafe { std::mem::transmute::<[i16; 2], i32>(row[pair]) });
            acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(low, a));
            acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(high, a));
        }
    }
    for (acc, out) in acc.iter().zip(out) {
        // SAFETY: both types are 64 plain bytes.
        *out = unsafe { std::mem::transmute::<[__m256i; 2], Lanes>(*acc) };
    }
}

#[target_feature(enable = "avx2")]
fn requantise(acc: &Lanes, multipliers: &Lanes, biases: &Lanes, out: &mut [i16]) {
    scalar::requantise(acc, multipliers, biases, out);
}

#[target_feature(enable = "avx2")]
fn norm_sums(x: &[i32]) -> (i64, u64) {
    scalar::norm_sums(x)
}

#[target_feature(enable = "avx2")]
fn norm_apply(norm: &NormRow<'_>, x: &[i32], out: &mut [i16]) {
    scalar::norm_apply(norm, x, out);
}

#[target_feature(enable = "avx2")]
fn softmax(scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64 {
    scalar::softmax(scores, multiplier, out)
}
