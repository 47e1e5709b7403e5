//! Products of rows with keys and values, inputs in pairs: `vpdpwssd` multiplies 16-bit pairs and
//! adds both products, for all sixteen channels of a panel at once.

use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_epi32, _mm512_dpwssd_epi32, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
};

use crate::backend::cpu::kernels::{AHEAD, LANES, TILE_ROWS};

/// Products of one panel, the sums of row `r` from `out[r·stride]` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn one(panel: &[i16], rows: &[&[i16]], out: &mut [i32], stride: usize) {
    for (rows, out) in rows.chunks(TILE_ROWS).zip(out.chunks_mut(TILE_ROWS * stride)) {
        match rows.len() {
            1 => tile::<1, 1, 8>([panel], rows, out, stride),
            2 => tile::<1, 2, 4>([panel], rows, out, stride),
            3 => tile::<1, 3, 4>([panel], rows, out, stride),
            4 => tile::<1, 4, 2>([panel], rows, out, stride),
            5 => tile::<1, 5, 2>([panel], rows, out, stride),
            _ => tile::<1, TILE_ROWS, 2>([panel], rows, out, stride),
        }
    }
}

/// Products of two panels, the sums of the second one right behind those of the first. Each input
/// is loaded once for both: with one panel the loads, two a cycle, would hold up the products, two
/// a cycle as well.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn two(panels: [&[i16]; 2], rows: &[&[i16]], out: &mut [i32], stride: usize) {
    for (rows, out) in rows.chunks(TILE_ROWS).zip(out.chunks_mut(TILE_ROWS * stride)) {
        match rows.len() {
            1 => tile::<2, 1, 4>(panels, rows, out, stride),
            2 => tile::<2, 2, 4>(panels, rows, out, stride),
            3 => tile::<2, 3, 2>(panels, rows, out, stride),
            4 => tile::<2, 4, 2>(panels, rows, out, stride),
            5 => tile::<2, 5, 1>(panels, rows, out, stride),
            _ => tile::<2, TILE_ROWS, 1>(panels, rows, out, stride),
        }
    }
}

/// Products of `P` panels with `M` rows, through `S` sums for each.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile<const P: usize, const M: usize, const S: usize>(
    panels: [&[i16]; P],
    rows: &[&[i16]],
    out: &mut [i32],
    stride: usize,
) {
    let pairs = panels[0].len() / (2 * LANES);
    assert!(panels.iter().all(|panel| panel.len() == panels[0].len()), "panels of one depth");
    assert!(rows.len() == M && rows.iter().all(|row| row.len() >= 2 * pairs), "rows of the depth");
    let inputs: [*const i32; M] = std::array::from_fn(|row| rows[row].as_ptr().cast());
    let mut acc = [[[_mm512_setzero_si512(); M]; P]; S];
    let whole = pairs - pairs % S;
    for first in (0..whole).step_by(S) {
        for (part, acc) in acc.iter_mut().enumerate() {
            // SAFETY: the pair is below `whole`, which is at most the panels' pairs.
            unsafe { add(panels, &inputs, first + part, acc) }
        }
    }
    for pair in whole..pairs {
        // SAFETY: the pair is below the panels' pairs.
        unsafe { add(panels, &inputs, pair, &mut acc[0]) }
    }
    for panel in 0..P {
        for row in 0..M {
            let mut sum = acc[0][panel][row];
            for part in &acc[1..] {
                sum = _mm512_add_epi32(sum, part[panel][row]);
            }
            let out = &mut out[row * stride + panel * LANES..][..LANES];
            // SAFETY: sixteen places are there.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) }
        }
    }
}

/// Adds the products of one pair of inputs.
///
/// # Safety
/// The panels and each of `inputs` have pair `pair`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn add<const P: usize, const M: usize>(
    panels: [&[i16]; P],
    inputs: &[*const i32; M],
    pair: usize,
    acc: &mut [[__m512i; M]; P],
) {
    let mut operands = [_mm512_setzero_si512(); P];
    // SAFETY: the caller's promise; a prefetch of any address is harmless.
    unsafe {
        for (operands, panel) in operands.iter_mut().zip(panels) {
            let at = panel.as_ptr().add(pair * 2 * LANES);
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_byte_add(AHEAD).cast());
            *operands = _mm512_loadu_si512(at.cast());
        }
        for (row, input) in inputs.iter().enumerate() {
            let a = _mm512_set1_epi32(input.add(pair).read_unaligned());
            for (acc, operands) in acc.iter_mut().zip(operands) {
                acc[row] = _mm512_dpwssd_epi32(acc[row], operands, a);
            }
        }
    }
}
