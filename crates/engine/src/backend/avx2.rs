//! Kernels for x86-64 with AVX2.
//!
//! Products use `vpmaddwd`, which multiplies 16-bit pairs and adds each pair in 32 bits without
//! saturating; 8-bit weights are widened as they are loaded. Row-wise kernels are the scalar ones,
//! compiled for AVX2.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
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
        // SAFETY: AVX2 was detected, and `check` held.
        unsafe { tiles(panel, inputs, out) }
    }

    fn products_a16(&self, panel: &[i16], inputs: &[&[i16]], out: &mut [Lanes]) {
        check(panel.len(), inputs, out);
        // SAFETY: AVX2 was detected, and `check` held.
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

/// What a panel holds.
trait Operand: Copy {
    /// Eight channels' pairs, as 16-bit integers.
    ///
    /// # Safety
    /// AVX2 must be there, and 16 operands must be readable at `pairs`.
    unsafe fn load(pairs: *const Self) -> __m256i;
}

impl Operand for i8 {
    #[inline(always)]
    unsafe fn load(pairs: *const Self) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(pairs.cast())) }
    }
}

impl Operand for i16 {
    #[inline(always)]
    unsafe fn load(pairs: *const Self) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(pairs.cast()) }
    }
}

/// # Safety
/// AVX2 must be there, and `check` must have held.
#[target_feature(enable = "avx2")]
unsafe fn tiles<T: Operand>(panel: &[T], inputs: &[&[i16]], out: &mut [Lanes]) {
    // SAFETY: the caller's promise; each arm matches the number of inputs.
    unsafe {
        match inputs.len() {
            1 => tile::<T, 1>(panel, inputs, out),
            2 => tile::<T, 2>(panel, inputs, out),
            3 => tile::<T, 3>(panel, inputs, out),
            4 => tile::<T, 4>(panel, inputs, out),
            5 => tile::<T, 5>(panel, inputs, out),
            _ => tile::<T, TILE_ROWS>(panel, inputs, out),
        }
    }
}

/// Products of a panel with `M` rows; two accumulators per row stay in registers.
///
/// # Safety
/// As `tiles`, and there are `M` inputs.
#[target_feature(enable = "avx2")]
unsafe fn tile<T: Operand, const M: usize>(panel: &[T], inputs: &[&[i16]], out: &mut [Lanes]) {
    let mut rows = [std::ptr::null::<i32>(); M];
    for (row, input) in rows.iter_mut().zip(inputs) {
        *row = input.as_ptr().cast();
    }
    let mut acc = [[_mm256_setzero_si256(); 2]; M];
    for pair in 0..panel.len() / (2 * LANES) {
        // SAFETY: pair < depth / 2, so 2·LANES operands and one pair of each input are in bounds.
        unsafe {
            let at = panel.as_ptr().add(pair * 2 * LANES);
            let low = T::load(at);
            let high = T::load(at.add(LANES));
            for row in 0..M {
                let a = _mm256_set1_epi32(rows[row].add(pair).read_unaligned());
                acc[row][0] = _mm256_add_epi32(acc[row][0], _mm256_madd_epi16(low, a));
                acc[row][1] = _mm256_add_epi32(acc[row][1], _mm256_madd_epi16(high, a));
            }
        }
    }
    for (acc, out) in acc.iter().zip(out) {
        // SAFETY: a result has room for two vectors.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), acc[0]);
            _mm256_storeu_si256(out.as_mut_ptr().add(LANES / 2).cast(), acc[1]);
        }
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
