//! Products of rows with weights, inputs in quads: `vpdpbusd` multiplies four unsigned bytes by
//! four signed ones and adds the products, for all sixteen channels of a panel at once.
//!
//! Raised by 2^15, an activation has no sign and is two bytes, 256·upper + lower; the sum of its
//! products is 256·Σw·upper + Σw·lower − 2^15·Σw, exact modulo 2^32 whatever wraps on the way. An
//! input of 8 bits, raised by 2^7, is one byte and takes half the work. Weights are loaded as they
//! lie; widened to 16 bits, they would take one of the two ports that multiply.

use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_set4_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_slli_epi32, _mm512_storeu_si512, _mm512_sub_epi32, _mm512_xor_si512,
};

use crate::backend::cpu::kernels::{AHEAD, InputBits, LANES, Lanes, Panels};

/// Most rows whose sums stay in registers at once: of one panel or of 16-bit inputs, and of two
/// panels and 8-bit inputs.
const FEW_ROWS: usize = 6;
const MANY_ROWS: usize = 12;

/// See `Kernels::split`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn split(row: &[i16], bits: InputBits, out: &mut [i16]) {
    match bits {
        InputBits::Sixteen => split_words(row, out),
        InputBits::Eight => {
            let (pairs, odd) = row.as_chunks::<2>();
            for (out, [first, second]) in out.iter_mut().zip(pairs) {
                *out = i16::from_le_bytes([raised(*first), raised(*second)]);
            }
            if let [last] = odd {
                out[pairs.len()] = i16::from_le_bytes([raised(*last), 0]);
            }
        }
    }
}

/// An input of 8 bits, raised by 2^7.
#[inline(always)]
const fn raised(input: i16) -> u8 {
    input.to_le_bytes()[0] ^ 0x80
}

/// Eight quads at a time: the four lower bytes of a quad change places with the four upper ones.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn split_words(row: &[i16], out: &mut [i16]) {
    const WORDS: usize = 32;
    let order = _mm512_set4_epi32(0x0e0c_0a08, 0x0f0d_0b09, 0x0604_0200, 0x0705_0301);
    let sign =
        _mm512_set4_epi32(0, 0x8080_8080_u32.cast_signed(), 0, 0x8080_8080_u32.cast_signed());
    let out = &mut out[..row.len().next_multiple_of(4)];
    let (whole, rest) = row.as_chunks::<WORDS>();
    let (whole_out, rest_out) = out.split_at_mut(whole.len() * WORDS);
    let mut last = [0; WORDS];
    last[..rest.len()].copy_from_slice(rest);
    let mut last_out = [0_i16; WORDS];
    let outs = whole_out.chunks_exact_mut(WORDS).chain([&mut last_out[..]]);
    for (words, out) in whole.iter().chain([&last]).zip(outs) {
        // SAFETY: 64 bytes are there on both sides.
        unsafe {
            let bytes = _mm512_shuffle_epi8(_mm512_loadu_si512(words.as_ptr().cast()), order);
            _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_xor_si512(bytes, sign));
        }
    }
    rest_out.copy_from_slice(&last_out[..rest_out.len()]);
}

/// See `Kernels::products_w8`. Rows go through in tiles of nearly equal height.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn products(panels: Panels<'_>, rows: &[&[i16]], out: &mut [i32]) {
    let most = match (panels.totals.len(), panels.bits) {
        (2, InputBits::Eight) => MANY_ROWS,
        _ => FEW_ROWS,
    };
    let count = rows.len();
    let height = count.div_ceil(count.div_ceil(most).max(1));
    for (index, rows) in rows.chunks(height.max(1)).enumerate() {
        let out = &mut out[index * height * LANES..];
        let tile = Tile { panels, rows, count };
        match (panels.totals.len(), panels.bits) {
            (2, InputBits::Sixteen) => tile.two_of_words(out),
            (2, InputBits::Eight) => tile.two_of_bytes(out),
            (_, InputBits::Sixteen) => tile.one_of_words(out),
            (_, InputBits::Eight) => tile.one_of_bytes(out),
        }
    }
}

/// Rows that go through one or two panels at once.
#[derive(Clone, Copy)]
struct Tile<'a> {
    panels: Panels<'a>,
    rows: &'a [&'a [i16]],
    /// Rows whose sums lie between those of the first panel and those of the second.
    count: usize,
}

impl Tile<'_> {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn one_of_words(self, out: &mut [i32]) {
        match self.rows.len() {
            1 => self.sums::<1, 1, 2, 4>(out),
            2 => self.sums::<1, 2, 2, 4>(out),
            3 => self.sums::<1, 3, 2, 2>(out),
            4 => self.sums::<1, 4, 2, 2>(out),
            5 => self.sums::<1, 5, 2, 1>(out),
            _ => self.sums::<1, FEW_ROWS, 2, 1>(out),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn one_of_bytes(self, out: &mut [i32]) {
        match self.rows.len() {
            1 => self.sums::<1, 1, 1, 8>(out),
            2 => self.sums::<1, 2, 1, 4>(out),
            3 => self.sums::<1, 3, 1, 4>(out),
            4 => self.sums::<1, 4, 1, 2>(out),
            5 => self.sums::<1, 5, 1, 2>(out),
            _ => self.sums::<1, FEW_ROWS, 1, 2>(out),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn two_of_words(self, out: &mut [i32]) {
        match self.rows.len() {
            1 => self.sums::<2, 1, 2, 2>(out),
            2 => self.sums::<2, 2, 2, 2>(out),
            3 => self.sums::<2, 3, 2, 1>(out),
            4 => self.sums::<2, 4, 2, 1>(out),
            5 => self.sums::<2, 5, 2, 1>(out),
            _ => self.sums::<2, FEW_ROWS, 2, 1>(out),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn two_of_bytes(self, out: &mut [i32]) {
        match self.rows.len() {
            1 => self.sums::<2, 1, 1, 4>(out),
            2 => self.sums::<2, 2, 1, 4>(out),
            3 => self.sums::<2, 3, 1, 2>(out),
            4 => self.sums::<2, 4, 1, 2>(out),
            5 => self.sums::<2, 5, 1, 1>(out),
            6 => self.sums::<2, 6, 1, 1>(out),
            7 => self.sums::<2, 7, 1, 1>(out),
            8 => self.sums::<2, 8, 1, 1>(out),
            9 => self.sums::<2, 9, 1, 1>(out),
            10 => self.sums::<2, 10, 1, 1>(out),
            11 => self.sums::<2, 11, 1, 1>(out),
            _ => self.sums::<2, MANY_ROWS, 1, 1>(out),
        }
    }

    /// Sums of `P` panels and `M` rows of `L` bytes an input, each through `S` sums.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn sums<const P: usize, const M: usize, const L: usize, const S: usize>(self, out: &mut [i32]) {
        let Panels { weights, totals, .. } = self.panels;
        let panel = weights.len() / P;
        let quads = panel / (4 * LANES);
        assert!(totals.len() == P && weights.len() == P * panel, "as many panels");
        assert!(self.rows.len() == M, "as many rows");
        assert!(self.rows.iter().all(|row| row.len() >= 2 * L * quads), "rows of the depth");
        let inputs: [*const i32; M] = std::array::from_fn(|row| self.rows[row].as_ptr().cast());
        let at: [*const i8; P] = std::array::from_fn(|index| weights[index * panel..].as_ptr());
        let mut acc = [[[[_mm512_setzero_si512(); M]; L]; P]; S];
        let whole = quads - quads % S;
        for first in (0..whole).step_by(S) {
            for (part, acc) in acc.iter_mut().enumerate() {
                // SAFETY: the quad is below `whole`, which is at most the panels' quads.
                unsafe { add(at, &inputs, first + part, acc) }
            }
        }
        for quad in whole..quads {
            // SAFETY: the quad is below the panels' quads.
            unsafe { add(at, &inputs, quad, &mut acc[0]) }
        }
        for index in 0..P {
            let excess = excess::<L>(&totals[index]);
            for row in 0..M {
                let mut sum = _mm512_sub_epi32(_mm512_setzero_si512(), excess);
                for part in &acc {
                    let lower = part[index][L - 1][row];
                    sum = _mm512_add_epi32(sum, lower);
                    if L == 2 {
                        let upper = part[index][0][row];
                        sum = _mm512_add_epi32(sum, _mm512_slli_epi32::<8>(upper));
                    }
                }
                let out = &mut out[(index * self.count + row) * LANES..][..LANES];
                // SAFETY: sixteen places are there.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) }
            }
        }
    }
}

/// What the sums are too large by, of inputs of `L` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn excess<const L: usize>(totals: &Lanes) -> __m512i {
    // SAFETY: sixteen numbers are there.
    let totals = unsafe { _mm512_loadu_si512(totals.as_ptr().cast()) };
    if L == 2 { _mm512_slli_epi32::<15>(totals) } else { _mm512_slli_epi32::<7>(totals) }
}

/// Adds the products of one quad of inputs.
///
/// # Safety
/// Quad `quad` is there in what `panels` and each of `inputs` point to.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn add<const P: usize, const M: usize, const L: usize>(
    panels: [*const i8; P],
    inputs: &[*const i32; M],
    quad: usize,
    acc: &mut [[[__m512i; M]; L]; P],
) {
    let mut weights = [_mm512_setzero_si512(); P];
    // SAFETY: the caller's promise; a prefetch of any address is harmless.
    unsafe {
        for (weights, panel) in weights.iter_mut().zip(panels) {
            let at = panel.add(quad * 4 * LANES);
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_byte_add(AHEAD));
            *weights = _mm512_loadu_si512(at.cast());
        }
        for (row, input) in inputs.iter().enumerate() {
            for byte in 0..L {
                let a = _mm512_set1_epi32(input.add(quad * L + byte).read_unaligned());
                for (acc, weights) in acc.iter_mut().zip(weights) {
                    acc[byte][row] = _mm512_dpbusd_epi32(acc[byte][row], a, weights);
                }
            }
        }
    }
}
