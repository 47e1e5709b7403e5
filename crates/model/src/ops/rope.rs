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
        let (first, second) = head(input, index, width).split_at_checked(pairs).unwrap_or_default();
        let angles = || cos.iter().zip(sin);
        let both = || first.iter().zip(second).zip(angles());
        out.extend(both().map(|((a, b), (c, d))| turned(*a, *b, *c, -Int::from(*d))));
        out.extend(both().map(|((a, b), (c, d))| turned(*b, *a, *c, Int::from(*d))));
    }
    out
}

/// `(x·C + y·D + 2^15) >> 16`; the first half of a head takes −D.
pub fn turned(x: i16, y: i16, cos: i32, sin: Int) -> i16 {
    let v = Int::from(x) * Int::from(cos) + Int::from(y) * sin + Int::from(HALF);
    v.shift_down(SHIFT).to_a16()
}
