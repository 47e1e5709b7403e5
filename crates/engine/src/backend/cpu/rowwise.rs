//! Row-wise kernels in plain Rust. Each backend compiles them for its own instruction set, where
//! they become vector code: products are written as i32 × i32 → i64, which vectors have.

use model::constants::{
    A16_MAX, A16_MIN, EXP_LAST, EXP_ROWS, HALF, HALF_WIDE, RES_MAX, RES_MIN, SHIFT, SHIFT_WIDE,
    TABLE_ROWS,
};
use model::ops::exp::EXP;

use super::kernels::{LANES, Lanes, NormRow, Residual, Stream, Strided};
use super::memory::Window;

/// Implements the row-wise part of `Kernels` by functions compiled with the features named.
macro_rules! row_kernels {
    ($(#[$features:meta])*) => {
        row_kernels! { @one $(#[$features])* requantise(
            sums: &[Lanes], multipliers: &Lanes, biases: &Lanes, out: &mut Window<'_, i16>
        ) }
        row_kernels! { @one $(#[$features])* residual(
            sums: &[Lanes], residual: &Residual<'_>, out: &mut Window<'_, i32>
        ) }
        row_kernels! { @one $(#[$features])* gate_residual(
            sums: &[Lanes], residual: &Residual<'_>, out: &mut Window<'_, i32>
        ) }
        row_kernels! { @one $(#[$features])* logits(
            sums: &[Lanes], multipliers: &Lanes, out: &mut Window<'_, i64>
        ) }
        row_kernels! { @one $(#[$features])* gate_products(
            gate: &[i16], up: &[i16], high: &mut [i16], low: &mut [i16]
        ) }
        row_kernels! { @one $(#[$features])* norm_sums(x: &[i32]) -> (i64, i64) }
        row_kernels! { @one $(#[$features])* norm_apply(
            norm: &NormRow<'_>, x: &[i32], out: &mut [i16]
        ) }
        row_kernels! { @one $(#[$features])* rope(
            head: &[i16], cos: &[i32], sin: &[i32], out: &mut [i16]
        ) }
        row_kernels! { @one $(#[$features])* average(
            sums: &[i32], reciprocal: i32, out: &mut [i16]
        ) }
    };
    (
        @one $(#[$features:meta])*
        $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?
    ) => {
        fn $name(&self, $($argument: $kind),*) $(-> $result)? {
            $(#[$features])*
            fn compiled($($argument: $kind),*) $(-> $result)? {
                $crate::backend::cpu::rowwise::$name($($argument),*)
            }
            // SAFETY: the instructions were detected before this backend was handed out.
            #[allow(unused_unsafe, reason = "plain code promises nothing")]
            unsafe {
                compiled($($argument),*)
            }
        }
    };
}
pub(crate) use row_kernels;

/// The same for kernels that look up, which become vector code only where they are written so.
macro_rules! look_up_kernels {
    ($(#[$features:meta])*) => {
        $crate::backend::cpu::rowwise::row_kernels! { @one $(#[$features])* softmax(
            scores: &[i32], multiplier: u32, out: &mut [i16]
        ) -> i64 }
        $crate::backend::cpu::rowwise::row_kernels! { @one $(#[$features])* table(
            entries: &[i16; TABLE_ROWS], y: &[i16], out: &mut [i16]
        ) }
    };
}
pub(crate) use look_up_kernels;

/// Fills a row of sixteen places, or of as many as the matrix has channels left. A macro, because
/// closures would be compiled without the features of their callers, and two loops, because only
/// the one of known length becomes vector code; and that only if no store lies between its loads.
macro_rules! fill {
    ($row:expr, $lane:ident => $value:expr) => {{
        let row = $row;
        if let Some(whole) = row.first_chunk_mut::<LANES>() {
            let mut values = *whole;
            for $lane in 0..LANES {
                values[$lane] = $value;
            }
            *whole = values;
        } else {
            for $lane in 0..row.len() {
                row[$lane] = $value;
            }
        }
    }};
}

#[inline(always)]
pub(crate) fn requantise(
    sums: &[Lanes],
    multipliers: &Lanes,
    biases: &Lanes,
    out: &mut Window<'_, i16>,
) {
    for (index, sums) in sums.iter().enumerate() {
        fill!(out.row(index), lane => {
            let v = sums[lane].wrapping_mul(multipliers[lane]).wrapping_add(biases[lane]);
            (v >> SHIFT) as i16
        });
    }
}

#[inline(always)]
pub(crate) fn residual(sums: &[Lanes], residual: &Residual<'_>, out: &mut Window<'_, i32>) {
    match residual.stream {
        Stream::A16(rows) => residual_onto(sums, residual, rows, out),
        Stream::Res(rows) => residual_onto(sums, residual, rows, out),
    }
}

#[inline(always)]
fn residual_onto<T: Copy + Into<i32>>(
    sums: &[Lanes],
    residual: &Residual<'_>,
    stream: Strided<'_, T>,
    out: &mut Window<'_, i32>,
) {
    for (index, sums) in sums.iter().enumerate() {
        let row = out.row(index);
        let x = &stream.from(index)[..row.len()];
        fill!(row, lane => {
            let m = i64::from(residual.multipliers[lane]);
            // Inside i64 whatever the model: `model::constants` asserts it.
            let v = m.wrapping_mul(i64::from(sums[lane]));
            let v = v.wrapping_add(streamed(residual, lane, x[lane].into()));
            clamp_res::<SHIFT>(v.wrapping_add(residual.biases[lane]))
        });
    }
}

/// c·x.
#[inline(always)]
fn streamed(residual: &Residual<'_>, lane: usize, x: i32) -> i64 {
    let product = i64::from(residual.streams[lane]).wrapping_mul(i64::from(x));
    product.wrapping_shl(residual.stream_bits)
}

#[inline(always)]
pub(crate) fn gate_residual(sums: &[Lanes], residual: &Residual<'_>, out: &mut Window<'_, i32>) {
    let Stream::Res(stream) = residual.stream else {
        unreachable!("a gate adds to the residual stream: `inspect` checked it")
    };
    let (pairs, _) = sums.as_chunks::<2>();
    for (index, [high, low]) in pairs.iter().enumerate() {
        let row = out.row(index);
        let x = &stream.from(index)[..row.len()];
        fill!(row, lane => {
            let m = i64::from(residual.multipliers[lane]);
            // Parts may wrap; the sum is inside i64 by its certificate.
            let high = m.wrapping_mul(i64::from(high[lane])) << 15;
            let low = m.wrapping_mul(i64::from(low[lane]));
            let v = high.wrapping_add(low).wrapping_add(streamed(residual, lane, x[lane]));
            clamp_res::<SHIFT_WIDE>(v.wrapping_add(residual.biases[lane]))
        });
    }
}

/// Clamps before the shift, so that the shift may be a logical one, which vectors have.
#[inline(always)]
fn clamp_res<const BITS: u32>(v: i64) -> i32 {
    let most = (RES_MAX << BITS) | ((1 << BITS) - 1);
    (v.clamp(RES_MIN << BITS, most) >> BITS) as i32
}

#[inline(always)]
pub(crate) fn logits(sums: &[Lanes], multipliers: &Lanes, out: &mut Window<'_, i64>) {
    for (index, sums) in sums.iter().enumerate() {
        fill!(out.row(index), lane => {
            i64::from(sums[lane]).wrapping_mul(i64::from(multipliers[lane]))
        });
    }
}

#[inline(always)]
pub(crate) fn gate_products(gate: &[i16], up: &[i16], high: &mut [i16], low: &mut [i16]) {
    for ((g, u), (high, low)) in gate.iter().zip(up).zip(high.iter_mut().zip(low)) {
        let product = i32::from(*g).wrapping_mul(i32::from(*u));
        *high = (product >> 15) as i16;
        *low = (product & 0x7fff) as i16;
    }
}

#[inline(always)]
pub(crate) fn norm_sums(x: &[i32]) -> (i64, i64) {
    let (mut sum, mut squares) = (0_i64, 0_i64);
    for x in x {
        let x = i64::from(*x);
        sum = sum.wrapping_add(x);
        // |x| ≤ 2^26 and at most 1,024 elements: at most 2^62.
        squares = squares.wrapping_add(x.wrapping_mul(x));
    }
    (sum, squares)
}

#[inline(always)]
pub(crate) fn norm_apply(norm: &NormRow<'_>, x: &[i32], out: &mut [i16]) {
    let weights = norm.gains.iter().zip(norm.biases);
    let Ok(reciprocal) = i32::try_from(norm.reciprocal) else {
        // r is 2: the row is all but constant.
        for ((out, x), (gain, bias)) in out.iter_mut().zip(x).zip(weights) {
            let d = i64::from(*x).wrapping_sub(i64::from(norm.mean));
            let z = d.wrapping_mul(i64::from(norm.reciprocal));
            let v = z.wrapping_mul(i64::from(*gain)).wrapping_add(*bias);
            *out = clamp_a16((v >> SHIFT_WIDE) as i32);
        }
        return;
    };
    for ((out, x), (gain, bias)) in out.iter_mut().zip(x).zip(weights) {
        let d = x.wrapping_sub(norm.mean);
        // |d·R| ≤ 2^32 because |d| ≤ √V < r: its upper part fits 32 bits beside 16 lower ones.
        let z = i64::from(d).wrapping_mul(i64::from(reciprocal));
        let (high, low) = ((z >> 16) as i32, (z & 0xffff) as i32);
        let high = i64::from(high).wrapping_mul(i64::from(*gain)) << 16;
        let low = i64::from(low).wrapping_mul(i64::from(*gain));
        let v = high.wrapping_add(low).wrapping_add(*bias);
        *out = clamp_a16((v >> SHIFT_WIDE) as i32);
    }
}

#[inline(always)]
pub(crate) fn rope(head: &[i16], cos: &[i32], sin: &[i32], out: &mut [i16]) {
    let pairs = cos.len();
    let (first, second) = head.split_at(pairs);
    let (out_first, out_second) = out.split_at_mut(pairs);
    let outs = out_first.iter_mut().zip(out_second);
    let inputs = first.iter().zip(second).zip(cos.iter().zip(sin));
    for ((out_first, out_second), ((a, b), (c, d))) in outs.zip(inputs) {
        let (a, b) = (i64::from(i32::from(*a)), i64::from(i32::from(*b)));
        let (c, d) = (i64::from(*c), i64::from(*d));
        let left = a.wrapping_mul(c).wrapping_sub(b.wrapping_mul(d));
        let right = a.wrapping_mul(d).wrapping_add(b.wrapping_mul(c));
        *out_first = clamp_a16((left.wrapping_add(HALF) >> SHIFT) as i32);
        *out_second = clamp_a16((right.wrapping_add(HALF) >> SHIFT) as i32);
    }
}

/// From this distance on t is past the last entry, and up to it the product stays below 2^27.
#[inline(always)]
pub(crate) const fn far(multiplier: u32) -> u32 {
    ((EXP_ROWS as u32) << SHIFT) / multiplier + 1
}

#[inline(always)]
pub(crate) fn softmax(scores: &[i32], multiplier: u32, out: &mut [i16]) -> i64 {
    let mut best = i32::MIN;
    for score in scores {
        best = best.max(*score);
    }
    let far = far(multiplier);
    for (out, score) in out.iter_mut().zip(scores) {
        let distance = (best.wrapping_sub(*score) as u32).min(far);
        let t = distance.wrapping_mul(multiplier) >> SHIFT;
        *out = t.min(EXP_LAST as u32) as i16;
    }
    let mut total = 0_i64;
    for out in out.iter_mut().take(scores.len()) {
        let e = EXP[*out as usize % EXP_ROWS];
        *out = e as i16;
        total = total.wrapping_add(i64::from(e));
    }
    total
}

#[inline(always)]
pub(crate) fn table(entries: &[i16; TABLE_ROWS], y: &[i16], out: &mut [i16]) {
    for (out, y) in out.iter_mut().zip(y) {
        *out = entries[usize::from((*y as u16) ^ 0x8000)];
    }
}

#[inline(always)]
pub(crate) fn average(sums: &[i32], reciprocal: i32, out: &mut [i16]) {
    for (out, sum) in out.iter_mut().zip(sums) {
        let v = i64::from(*sum).wrapping_mul(i64::from(reciprocal)).wrapping_add(HALF_WIDE);
        *out = clamp_a16((v >> SHIFT_WIDE) as i32);
    }
}

/// The nearest activation.
#[inline(always)]
pub(crate) fn clamp_a16(value: i32) -> i16 {
    value.clamp(A16_MIN as i32, A16_MAX as i32) as i16
}
