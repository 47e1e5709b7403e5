//! Kernels for x86-64 with AVX-512 and its neural-network instructions, which multiply and add to
//! 32-bit sums without saturating.
//!
//! Such an instruction takes some cycles from sum to sum, so few rows go through several sums each,
//! which are added at the end; sums wrap, so their order does not matter.

mod pairs;
mod quads;

use std::arch::x86_64::{
    __m512i, _mm256_maskz_loadu_epi16, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi16_epi32,
    _mm512_i32gather_epi32, _mm512_mask_add_epi32, _mm512_mask_cvtepi32_storeu_epi16,
    _mm512_maskz_loadu_epi32, _mm512_min_epu32, _mm512_mullo_epi32, _mm512_reduce_add_epi32,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srli_epi32,
    _mm512_srlv_epi32, _mm512_sub_epi32,
};

use model::constants::{EXP_LAST, EXP_ROWS, SHIFT, TABLE_ROWS};
use model::ops::exp::EXP;

use super::kernels::{InputBits, Kernels, LANES, Lanes, Layout, NormRow, Panels, Residual};
use super::memory::Window;
use super::rowwise::{far, row_kernels};

/// Whether this processor has all that these kernels use.
pub(crate) fn is_detected() -> bool {
    std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512vnni")
}

/// Runs where its instructions were detected; `select` hands it out nowhere else.
pub(crate) struct Avx512Vnni;

impl Kernels for Avx512Vnni {
    fn layout(&self) -> Layout {
        Layout::Quads
    }

    fn split(&self, row: &[i16], bits: InputBits, out: &mut [i16]) {
        // SAFETY: the instructions were detected.
        unsafe { quads::split(row, bits, out) }
    }

    fn products_w8(&self, panels: Panels<'_>, rows: &[&[i16]], out: &mut [i32]) {
        // SAFETY: the instructions were detected.
        unsafe { quads::products(panels, rows, out) }
    }

    fn products_a16(&self, panel: &[i16], rows: &[&[i16]], out: &mut [i32], stride: usize) {
        // SAFETY: the instructions were detected.
        unsafe { pairs::one(panel, rows, out, stride) }
    }

    fn products_a16_pair(
        &self,
        panels: [&[i16]; 2],
        rows: &[&[i16]],
        out: &mut [i32],
        stride: usize,
    ) {
        // SAFETY: the instructions were detected.
        unsafe { pairs::two(panels, rows, out, stride) }
    }

    row_kernels! {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    }

    fn softmax(&self, scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64 {
        // SAFETY: the instructions were detected.
        unsafe { softmax(scores, multiplier, out) }
    }

    fn table(&self, entries: &[i16; TABLE_ROWS], y: &[i16], out: &mut [i16]) {
        // SAFETY: the instructions were detected.
        unsafe { table(entries, y, out) }
    }
}

/// e of sixteen scores at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn softmax(scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64 {
    const { assert!(EXP_LAST as usize + 1 == EXP_ROWS) };
    let mut best = i32::MIN;
    for score in scores {
        best = best.max(*score);
    }
    let best = _mm512_set1_epi32(best);
    let far = _mm512_set1_epi32(far(multiplier).cast_signed());
    let multiplier = _mm512_set1_epi32(multiplier.cast_signed());
    let last = _mm512_set1_epi32(EXP_LAST as i32);
    let mut total = _mm512_setzero_si512();
    for (scores, out) in scores.chunks(LANES).zip(out[..scores.len()].chunks_mut(LANES)) {
        let there = u16::MAX >> (LANES - scores.len());
        // SAFETY: the mask covers what is there.
        let x = unsafe { _mm512_maskz_loadu_epi32(there, scores.as_ptr()) };
        let distance = _mm512_min_epu32(_mm512_sub_epi32(best, x), far);
        let t = _mm512_srli_epi32::<SHIFT>(_mm512_mullo_epi32(distance, multiplier));
        // SAFETY: no index is beyond the last.
        let e = unsafe { gather(&EXP, _mm512_min_epu32(t, last)) };
        total = _mm512_mask_add_epi32(total, there, total, e);
        // SAFETY: the mask covers what is there.
        unsafe { _mm512_mask_cvtepi32_storeu_epi16(out.as_mut_ptr(), there, e) }
    }
    // At most 512 chunks of entries up to 4,096: no sum leaves 32 bits, in a lane or over all.
    i64::from(_mm512_reduce_add_epi32(total))
}

/// The entries of sixteen activations at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn table(entries: &[i16; TABLE_ROWS], y: &[i16], out: &mut [i16]) {
    const { assert!(TABLE_ROWS == 1 << 16) };
    let middle = _mm512_set1_epi32(1 << 15);
    for (y, out) in y.chunks(LANES).zip(out[..y.len()].chunks_mut(LANES)) {
        let there = u16::MAX >> (LANES - y.len());
        // SAFETY: the mask covers what is there.
        let y = unsafe { _mm256_maskz_loadu_epi16(there, y.as_ptr()) };
        let index = _mm512_add_epi32(_mm512_cvtepi16_epi32(y), middle);
        // SAFETY: a 16-bit number and 2^15 make an index of the table.
        let entry = unsafe { gather(entries, index) };
        // SAFETY: the mask covers what is there.
        unsafe { _mm512_mask_cvtepi32_storeu_epi16(out.as_mut_ptr(), there, entry) }
    }
}

/// Entries of 16 bits by their indices, in the lower halves; by twos, so that no load leaves the
/// table.
///
/// # Safety
/// AVX-512 is there, and the table has every index.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn gather<T: Copy, const N: usize>(table: &[T; N], index: __m512i) -> __m512i {
    const { assert!(N.is_multiple_of(2) && size_of::<T>() == 2) };
    // SAFETY: the caller's promise; the last two entries are the last four bytes.
    let two = unsafe {
        _mm512_i32gather_epi32::<4>(_mm512_srli_epi32::<1>(index), table.as_ptr().cast())
    };
    let bits = _mm512_slli_epi32::<4>(_mm512_and_si512(index, _mm512_set1_epi32(1)));
    _mm512_and_si512(_mm512_srlv_epi32(two, bits), _mm512_set1_epi32(0xffff))
}
