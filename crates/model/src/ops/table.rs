//! Table: `q = T[y]`, 65,536 rows over the whole range of an activation.

use crate::int::Int;

/// The row of looked-up elements. `table[0]` belongs to −32,768.
pub fn table(table: &[i16], input: &[i16]) -> Vec<i16> {
    input.iter().map(|y| table.get(index(*y)).copied().unwrap_or(0)).collect()
}

/// Row of the table that belongs to `y`.
pub fn index(y: i16) -> usize {
    let row = Int::from(y) + Int::power_of_two(15);
    row.to_usize()
}
