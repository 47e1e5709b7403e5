//! Unit: a row at length 2^24. `V = Σv²; r = ⌊√V⌋ + 1; q_i = ⌊(v_i·2^24 + ⌊r/2⌋) / r⌋`.
//!
//! |q| ≤ 2^24, so q·2^-24 is exact in a 32-bit float: what travels as floats is compared bit by
//! bit, and no rounding is trusted.

use crate::constants::UNIT_BITS;
use crate::int::{Int, sum};

/// The row q.
pub fn unit(row: &[i32]) -> Vec<i32> {
    let square = sum(row.iter().map(|v| Int::from(*v) * Int::from(*v)));
    let r = square.sqrt_floor() + Int::from(1_u32);
    let half = r.shift_down(1);
    row.iter()
        .map(|v| (Int::from(*v) * Int::power_of_two(UNIT_BITS) + half).div_floor(r).to_i32())
        .collect()
}
