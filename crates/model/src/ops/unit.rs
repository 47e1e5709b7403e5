//! Unit: a row at length 2^24. `V = Σv²; r = ⌊√V⌋ + 1; q_i = ⌊(v_i·2^24 + ⌊r/2⌋) / r⌋`.
//!
//! |q| ≤ 2^24, so q·2^-24 is exact in a 32-bit float: what travels as floats is compared bit by
//! bit, and no rounding is trusted.

use crate::constants::UNIT_BITS;
use crate::int::{Int, sum};

/// The row q.
pub fn unit(row: &[i32]) -> Vec<i32> {
    let length = length(sum(row.iter().map(|v| Int::from(*v) * Int::from(*v))));
    row.iter().map(|v| part(*v, length)).collect()
}

/// r, from V: below 2^72 for the sums of 8,192 positions of a row of 65,536.
pub fn length(square: Int) -> Int {
    square.sqrt_floor() + Int::from(1_u32)
}

/// One element of q.
pub fn part(v: i32, length: Int) -> i32 {
    let v = Int::from(v) * Int::power_of_two(UNIT_BITS) + length.shift_down(1);
    v.div_floor(length).to_i32()
}
