//! Kernels for x86-64 with AVX-512 and its neural-network instructions.
//!
//! Products use `vpdpwssd`, which multiplies 16-bit pairs and adds both products to a 32-bit sum
//! without saturating: one instruction for all sixteen channels of a panel. It takes some cycles
//! from sum to sum, so few rows go through several sums each, which are added at the end; sums
//! wrap, so their order does not matter.

use std::arch::x86_64::{
    __m256i, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_add_epi32,
    _mm512_cvtepi8_epi16, _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::kernels::{AHEAD, Kernels, LANES, Lanes, NormRow, Residual};
use super::memory::Window;
use super::rowwise::row_kernels;

/// Rows whose sums stay in registers at once: twice those of 256-bit vectors.
const TILE_ROWS: usize = 12;

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
    fn products_w8(&self, panel: &[i8], rows: &[&[i16]], out: &mut [i32], stride: usize) {
        // SAFETY: the instructions were detected.
        unsafe { tiles(panel, rows, out, stride) }
    }

    fn products_w8_pair(&self, panels: &[i8], rows: &[&[i16]], out: &mut [i32]) {
        // SAFETY: the instructions were detected.
        unsafe { pair_tiles(panels, rows, out) }
    }

    fn products_a16(&self, panel: &[i16], rows: &[&[i16]], out: &mut [i32], stride: usize) {
        // SAFETY: the instructions were detected.
        unsafe { tiles(panel, rows, out, stride) }
    }

    row_kernels! {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    }
}

/// What a panel holds: for one pair of inputs, the operands of all channels.
trait Operand: Copy {
    /// Pairs of inputs in one line of the cache.
    const PAIRS_OF_A_LINE: usize = 64 / (2 * LANES * size_of::<Self>());

    /// All channels of the pair at `at`, as 16-bit integers.
    ///
    /// # Safety
    /// AVX-512 is there, and so are 32 elements from `at` on.
    unsafe fn load(at: *const Self) -> __m512i;
}

impl Operand for i8 {
    #[inline(always)]
    unsafe fn load(at: *const Self) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(at.cast::<__m256i>())) }
    }
}

impl Operand for i16 {
    #[inline(always)]
    unsafe fn load(at: *const Self) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }
}

/// Cuts the rows into tiles of nearly equal height.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tiles<T: Operand>(panel: &[T], rows: &[&[i16]], out: &mut [i32], stride: usize) {
    let mut left = rows.len();
    let (mut rows, mut out) = (rows, out);
    while left > 0 {
        let height = left.div_ceil(left.div_ceil(TILE_ROWS));
        let (tile_rows, rest) = rows.split_at(height);
        match height {
            1 => tile::<T, 1, 8>(panel, tile_rows, out, stride),
            2 => tile::<T, 2, 4>(panel, tile_rows, out, stride),
            3 => tile::<T, 3, 4>(panel, tile_rows, out, stride),
            4 => tile::<T, 4, 2>(panel, tile_rows, out, stride),
            5 => tile::<T, 5, 2>(panel, tile_rows, out, stride),
            6 => tile::<T, 6, 2>(panel, tile_rows, out, stride),
            7 => tile::<T, 7, 2>(panel, tile_rows, out, stride),
            8 => tile::<T, 8, 1>(panel, tile_rows, out, stride),
            9 => tile::<T, 9, 1>(panel, tile_rows, out, stride),
            10 => tile::<T, 10, 1>(panel, tile_rows, out, stride),
            11 => tile::<T, 11, 1>(panel, tile_rows, out, stride),
            _ => tile::<T, TILE_ROWS, 1>(panel, tile_rows, out, stride),
        }
        left -= height;
        rows = rest;
        if left > 0 {
            out = &mut out[height * stride..];
        }
    }
}

/// Cuts the rows into tiles that two panels go through together. Each input is loaded once for
/// both: with one panel the loads, two a cycle, would hold up the products, two a cycle as well.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pair_tiles(panels: &[i8], rows: &[&[i16]], out: &mut [i32]) {
    let panels = panels.split_at(panels.len() / 2);
    let (mut out, mut after) = out.split_at_mut(rows.len() * LANES);
    let mut rows = rows;
    while !rows.is_empty() {
        let height = rows.len().div_ceil(rows.len().div_ceil(TILE_ROWS));
        let (tile_rows, rest) = rows.split_at(height);
        match height {
            8 => pair_tile::<8>(panels, tile_rows, out, after),
            9 => pair_tile::<9>(panels, tile_rows, out, after),
            10 => pair_tile::<10>(panels, tile_rows, out, after),
            11 => pair_tile::<11>(panels, tile_rows, out, after),
            TILE_ROWS => pair_tile::<TILE_ROWS>(panels, tile_rows, out, after),
            _ => {
                tiles(panels.0, tile_rows, out, LANES);
                tiles(panels.1, tile_rows, after, LANES);
            }
        }
        rows = rest;
        out = &mut out[height * LANES..];
        after = &mut after[height * LANES..];
    }
}

/// Products of two panels with `M` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pair_tile<const M: usize>(
    panels: (&[i8], &[i8]),
    rows: &[&[i16]],
    out: &mut [i32],
    after: &mut [i32],
) {
    let pairs = panels.0.len() / (2 * LANES);
    assert!(panels.1.len() == panels.0.len(), "panels of one depth");
    assert!(rows.len() == M && rows.iter().all(|row| row.len() >= 2 * pairs), "rows of the depth");
    let mut inputs: [*const i32; M] = [std::ptr::null(); M];
    for row in 0..M {
        inputs[row] = rows[row].as_ptr().cast();
    }
    let mut acc = [[_mm512_setzero_si512(); M]; 2];
    for pair in 0..pairs {
        // SAFETY: both panels and each row have the pair; a prefetch of any address is harmless.
        unsafe {
            let at =
                (panels.0.as_ptr().add(pair * 2 * LANES), panels.1.as_ptr().add(pair * 2 * LANES));
            if pair.is_multiple_of(i8::PAIRS_OF_A_LINE) {
                _mm_prefetch::<_MM_HINT_T0>(at.0.wrapping_byte_add(AHEAD));
                _mm_prefetch::<_MM_HINT_T0>(at.1.wrapping_byte_add(AHEAD));
            }
            let weights = (i8::load(at.0), i8::load(at.1));
            for row in 0..M {
                let a = _mm512_set1_epi32(inputs[row].add(pair).read_unaligned());
                acc[0][row] = _mm512_dpwssd_epi32(acc[0][row], weights.0, a);
                acc[1][row] = _mm512_dpwssd_epi32(acc[1][row], weights.1, a);
            }
        }
    }
    for (acc, out) in acc.iter().zip([out, after]) {
        for (sum, out) in acc.iter().zip(out[..M * LANES].chunks_exact_mut(LANES)) {
            // SAFETY: sixteen places are there.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), *sum) }
        }
    }
}

/// Products of a panel with `M` rows, through `S` sums for each.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile<T: Operand, const M: usize, const S: usize>(
    panel: &[T],
    rows: &[&[i16]],
    out: &mut [i32],
    stride: usize,
) {
    let pairs = panel.len() / (2 * LANES);
    assert!(rows.len() == M && rows.iter().all(|row| row.len() >= 2 * pairs), "rows of the depth");
    assert!(stride >= LANES && out.len() >= (M - 1) * stride + LANES, "room for the sums");
    let mut inputs: [*const i32; M] = [std::ptr::null(); M];
    for row in 0..M {
        inputs[row] = rows[row].as_ptr().cast();
    }
    let mut acc = [[_mm512_setzero_si512(); M]; S];
    let whole = pairs - pairs % S;
    for first in (0..whole).step_by(S) {
        for (part, acc) in acc.iter_mut().enumerate() {
            // SAFETY: the pair is below `whole`, which is at most the panel's pairs.
            unsafe { add(panel, &inputs, first + part, acc) }
        }
    }
    for pair in whole..pairs {
        // SAFETY: the pair is below the panel's pairs.
        unsafe { add(panel, &inputs, pair, &mut acc[0]) }
    }
    for row in 0..M {
        let mut sum = acc[0][row];
        for part in &acc[1..] {
            sum = _mm512_add_epi32(sum, part[row]);
        }
        let out = &mut out[row * stride..][..LANES];
        // SAFETY: sixteen places are there.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) }
    }
}

/// Adds the products of one pair of inputs.
///
/// # Safety
/// The panel and each of `inputs` have pair `pair`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn add<T: Operand, const M: usize>(
    panel: &[T],
    inputs: &[*const i32; M],
    pair: usize,
    acc: &mut [__m512i; M],
) {
    // SAFETY: the caller's promise; a prefetch of any address is harmless.
    unsafe {
        let at = panel.as_ptr().add(pair * 2 * LANES);
        if pair.is_multiple_of(T::PAIRS_OF_A_LINE) {
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_byte_add(AHEAD).cast());
        }
        let weights = T::load(at);
        for row in 0..M {
            let a = _mm512_set1_epi32(inputs[row].add(pair).read_unaligned());
            acc[row] = _mm512_dpwssd_epi32(acc[row], weights, a);
        }
    }
}
