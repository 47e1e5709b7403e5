//! Sum pooling: the exact sum of all positions' rows. The average differs from it by a factor,
//! which `unit` takes away.

use crate::int::Int;
use crate::rows::Rows;

/// The sum of all rows: at most 8,192 rows of 2^15, so i32 holds it.
pub fn sum_pool(rows: &Rows<i16>) -> Vec<i32> {
    let mut sums = vec![Int::ZERO; rows.width()];
    for row in rows.iter() {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum = *sum + Int::from(*value);
        }
    }
    sums.into_iter().map(Int::to_i32).collect()
}
