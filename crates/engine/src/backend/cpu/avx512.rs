//! Kernels for x86-64 with AVX-512 and its neural-network instructions.
//!
//! Products use `vpdpwssd`, which multiplies 16-bit pairs and adds both products to a 32-bit sum
//! without saturating: one instruction for all sixteen channels of a panel. It takes some cycles
//! from sum to sum, so few rows go through several sums each, which are added at the end; sums
//! wrap, so their order does not matter.

use std::arch::x86_64::{
    __m256i, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm256_maskz_loadu_epi16,
    _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi8_epi16, _mm512_cvtepi16_epi32,
    _mm512_dpwssd_epi32, _mm512_i32gather_epi32, _mm512_loadu_si512, _mm512_mask_add_epi32,
    _mm512_mask_cvtepi32_storeu_epi16, _mm512_maskz_loadu_epi32, _mm512_min_epu32,
    _mm512_mullo_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_slli_epi32, _mm512_srli_epi32, _mm512_srlv_epi32, _mm512_storeu_si512, _mm512_sub_epi32,
};

use model::constants::{EXP_LAST, EXP_ROWS, SHIFT, TABLE_ROWS};
use model::ops::exp::EXP;

use super::kernels::{AHEAD, Kernels, LANES, Lanes, NormRow, Residual};
use super::memory::Window;
use super::rowwise::{far, row_kernels};

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
        let out = Sums { second: rows.len() * LANES, out, stride: LANES };
        // SAFETY: the instructions were detected.
        unsafe { pair_tiles(panels, rows, out) }
    }

    fn products_a16_pair(&self, panels: &[i16], rows: &[&[i16]], out: &mut [i32], stride: usize) {
        let out = Sums { second: LANES, out, stride };
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

    fn softmax(&self, scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64 {
        // SAFETY: the instructions were detected.
        unsafe { softmax(scores, multiplier, out) }
    }

    fn table(&self, entries: &[i16; TABLE_ROWS], y: &[i16], out: &mut [i16]) {
        // SAFETY: the instructions were detected.
        unsafe { table(entries, y, out) }
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

/// Where the sums of two panels go: those of row `r` to `out[r·stride..]` and, of the second panel,
/// `second` further on.
struct Sums<'a> {
    out: &'a mut [i32],
    stride: usize,
    second: usize,
}

/// Cuts the rows into tiles that two panels go through together. Each input is loaded once for
/// both: with one panel the loads, two a cycle, would hold up the products, two a cycle as well.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pair_tiles<T: Operand>(panels: &[T], rows: &[&[i16]], out: Sums<'_>) {
    let panels = panels.split_at(panels.len() / 2);
    let Sums { mut out, stride, second } = out;
    let mut rows = rows;
    while !rows.is_empty() {
        let height = rows.len().div_ceil(rows.len().div_ceil(TILE_ROWS));
        let (tile_rows, rest) = rows.split_at(height);
        let sums = Sums { out: &mut *out, stride, second };
        match height {
            4 => pair_tile::<T, 4>(panels, tile_rows, sums),
            5 => pair_tile::<T, 5>(panels, tile_rows, sums),
            6 => pair_tile::<T, 6>(panels, tile_rows, sums),
            7 => pair_tile::<T, 7>(panels, tile_rows, sums),
            8 => pair_tile::<T, 8>(panels, tile_rows, sums),
            9 => pair_tile::<T, 9>(panels, tile_rows, sums),
            10 => pair_tile::<T, 10>(panels, tile_rows, sums),
            11 => pair_tile::<T, 11>(panels, tile_rows, sums),
            TILE_ROWS => pair_tile::<T, TILE_ROWS>(panels, tile_rows, sums),
            _ => {
                tiles(panels.0, tile_rows, out, stride);
                tiles(panels.1, tile_rows, &mut out[second..], stride);
            }
        }
        rows = rest;
        if !rows.is_empty() {
            out = &mut out[height * stride..];
        }
    }
}

/// Products of two panels with `M` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pair_tile<T: Operand, const M: usize>(panels: (&[T], &[T]), rows: &[&[i16]], sums: Sums<'_>) {
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
            if pair.is_multiple_of(T::PAIRS_OF_A_LINE) {
                _mm_prefetch::<_MM_HINT_T0>(at.0.wrapping_byte_add(AHEAD).cast());
                _mm_prefetch::<_MM_HINT_T0>(at.1.wrapping_byte_add(AHEAD).cast());
            }
            let weights = (T::load(at.0), T::load(at.1));
            for row in 0..M {
                let a = _mm512_set1_epi32(inputs[row].add(pair).read_unaligned());
                acc[0][row] = _mm512_dpwssd_epi32(acc[0][row], weights.0, a);
                acc[1][row] = _mm512_dpwssd_epi32(acc[1][row], weights.1, a);
            }
        }
    }
    for (panel, acc) in acc.iter().enumerate() {
        for (row, sum) in acc.iter().enumerate() {
            let out = &mut sums.out[panel * sums.second + row * sums.stride..][..LANES];
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
