//! Rotation by position: channel `i` of a head pairs with channel `i + pairs`,
//! `(a, b) → ((a·C − b·D + 2^15) >> 16, (a·D + b·C + 2^15) >> 16)`.
//!
//! C and D are 2^16 times cosine and sine, tables in the model: no trigonometry at run time.

use crate::constants::{HALF, SHIFT};
use crate::int::Int;
use crate::rows::head;

/// The rotated row of `heads` heads; `cos` and `sin` are the tables' rows of the position.
pub fn rope(input: &[i16], heads: usize, cos: &[i32], sin: &[i32]) -> Vec<i16> {
    let pairs = cos.len();
    let width = pairs.saturating_mul(2);
    let mut out = Vec::with_capacity(input.len());
    for index in 0..heads {
        let (first, second) = halves(head(input, index, width), pairs);
        let turn = |sign: Int, left: &[i16], right: &[i16], out: &mut Vec<i16>| {
            for ((x, y), (c, d)) in left.iter().zip(right).zip(cos.iter().zip(sin)) {
                let v = Int::from(*x) * Int::from(*c)
                    + sign * Int::from(*y) * Int::from(*d)
                    + Int::from(HALF);
                out.push(v.shift_down(SHIFT).to_a16());
            }
        };
        let one = Int::from(1_u32);
        turn(-one, first, second, &mut out);
        turn(one, second, first, &mut out);
    }
    out
}

fn halves(head: &[i16], pairs: usize) -> (&[i16], &[i16]) {
    head.split_at_checked(pairs).unwrap_or((&[], &[]))
}
