//! Kernels for x86-64 with AVX2.
//!
//! Products use `vpmaddwd`, which multiplies 16-bit pairs and adds each pair in 32 bits without
//! saturating; 8-bit weights are widened as they are loaded. Twelve accumulators, two operands of
//! weights, one of inputs and one product fill the sixteen registers.

use std::arch::x86_64::{
    __m128i, __m256i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_add_epi32,
    _mm256_cvtepi8_epi16, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_storeu_si256,
};

use model::constants::TABLE_ROWS;

use super::kernels::{AHEAD, Kernels, LANES, Lanes, NormRow, Panels, Residual, TILE_ROWS};
use super::memory::Window;
use super::rowwise::{look_up_kernels, row_kernels};

/// Runs where AVX2 was detected; `select` hands it out nowhere else.
pub(crate) struct Avx2;

impl Kernels for Avx2 {
    fn products_w8(&self, panels: Panels<'_>, rows: &[&[i16]], out: &mut [i32]) {
        for (panel, out) in panels.each().zip(out.chunks_exact_mut(rows.len() * LANES)) {
            // SAFETY: AVX2 was detected.
            unsafe { tiles(panel, rows, out, LANES) }
        }
    }

    fn products_a16(&self, panel: &[i16], rows: &[&[i16]], out: &mut [i32], stride: usize) {
        // SAFETY: AVX2 was detected.
        unsafe { tiles(panel, rows, out, stride) }
    }

    row_kernels! { #[target_feature(enable = "avx2")] }
    look_up_kernels! { #[target_feature(enable = "avx2")] }
}

/// What a panel holds: for one pair of inputs, the operands of all channels.
trait Operand: Copy {
    /// Pairs of inputs in one line of the cache.
    const PAIRS_OF_A_LINE: usize = 64 / (2 * LANES * size_of::<Self>());

    /// Channels 0–7 and 8–15 of the pair at `at`, as 16-bit integers.
    ///
    /// # Safety
    /// AVX2 is there, and so are 32 elements from `at` on.
    unsafe fn load(at: *const Self) -> [__m256i; 2];
}

impl Operand for i8 {
    #[inline(always)]
    unsafe fn load(at: *const Self) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let (low, high) = (at.cast::<__m128i>(), at.add(LANES).cast::<__m128i>());
            [
                _mm256_cvtepi8_epi16(_mm_loadu_si128(low)),
                _mm256_cvtepi8_epi16(_mm_loadu_si128(high)),
            ]
        }
    }
}

impl Operand for i16 {
    #[inline(always)]
    unsafe fn load(at: *const Self) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let (low, high) = (at.cast::<__m256i>(), at.add(LANES).cast::<__m256i>());
            [_mm256_loadu_si256(low), _mm256_loadu_si256(high)]
        }
    }
}

/// Cuts the rows into tiles of nearly equal height.
#[target_feature(enable = "avx2")]
fn tiles<T: Operand>(panel: &[T], rows: &[&[i16]], out: &mut [i32], stride: usize) {
    let mut left = rows.len();
    let (mut rows, mut out) = (rows, out);
    while left > 0 {
        let height = left.div_ceil(left.div_ceil(TILE_ROWS));
        let (tile_rows, rest) = rows.split_at(height);
        match height {
            1 => tile::<T, 1>(panel, tile_rows, out, stride),
            2 => tile::<T, 2>(panel, tile_rows, out, stride),
            3 => tile::<T, 3>(panel, tile_rows, out, stride),
            4 => tile::<T, 4>(panel, tile_rows, out, stride),
            5 => tile::<T, 5>(panel, tile_rows, out, stride),
            _ => tile::<T, TILE_ROWS>(panel, tile_rows, out, stride),
        }
        left -= height;
        rows = rest;
        if left > 0 {
            out = &mut out[height * stride..];
        }
    }
}

/// Products of a panel with `M` rows.
#[target_feature(enable = "avx2")]
fn tile<T: Operand, const M: usize>(panel: &[T], rows: &[&[i16]], out: &mut [i32], stride: usize) {
    let pairs = panel.len() / (2 * LANES);
    assert!(rows.len() == M && rows.iter().all(|row| row.len() >= 2 * pairs), "rows of the depth");
    assert!(stride >= LANES && out.len() >= (M - 1) * stride + LANES, "room for the sums");
    let mut inputs: [*const i32; M] = [std::ptr::null(); M];
    for row in 0..M {
        inputs[row] = rows[row].as_ptr().cast();
    }
    let mut acc = [[_mm256_setzero_si256(); 2]; M];
    for pair in 0..pairs {
        // SAFETY: `pair` is below the panel's pairs, and each row has as many; a prefetch of any
        // address is harmless.
        unsafe {
            let at = panel.as_ptr().add(pair * 2 * LANES);
            if pair % T::PAIRS_OF_A_LINE == 0 {
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_byte_add(AHEAD).cast());
            }
            let [low, high] = T::load(at);
            for row in 0..M {
                let a = _mm256_set1_epi32(inputs[row].add(pair).read_unaligned());
                acc[row][0] = _mm256_add_epi32(acc[row][0], _mm256_madd_epi16(low, a));
                acc[row][1] = _mm256_add_epi32(acc[row][1], _mm256_madd_epi16(high, a));
            }
        }
    }
    for (row, acc) in acc.iter().enumerate() {
        let out = &mut out[row * stride..][..LANES];
        // SAFETY: sixteen places are there.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), acc[0]);
            _mm256_storeu_si256(out.as_mut_ptr().add(LANES / 2).cast(), acc[1]);
        }
    }
}
