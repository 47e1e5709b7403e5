//! Kernels in plain Rust, for any processor.

use model::constants::TABLE_ROWS;

use super::kernels::{Kernels, LANES, Lanes, NormRow, Panels, Residual};
use super::memory::Window;
use super::rowwise::{look_up_kernels, row_kernels};

/// Runs everywhere.
pub(crate) struct Scalar;

impl Kernels for Scalar {
    fn products_w8(&self, panels: Panels<'_>, rows: &[&[i16]], out: &mut [i32]) {
        for (panel, out) in panels.each().zip(out.chunks_exact_mut(rows.len() * LANES)) {
            products(panel, rows, out, LANES, i32::from);
        }
    }

    fn products_a16(&self, panel: &[i16], rows: &[&[i16]], out: &mut [i32], stride: usize) {
        products(panel, rows, out, stride, i32::from);
    }

    row_kernels! {}
    look_up_kernels! {}
}

fn products<T: Copy>(
    panel: &[T],
    rows: &[&[i16]],
    out: &mut [i32],
    stride: usize,
    widen: impl Fn(T) -> i32,
) {
    for (row, out) in rows.iter().zip(out.chunks_mut(stride)) {
        let mut sums = [0_i32; LANES];
        for (pair, a) in panel.chunks_exact(2 * LANES).zip(row.chunks_exact(2)) {
            let a = [i32::from(a[0]), i32::from(a[1])];
            for (sum, w) in sums.iter_mut().zip(pair.chunks_exact(2)) {
                let first = widen(w[0]).wrapping_mul(a[0]);
                let second = widen(w[1]).wrapping_mul(a[1]);
                *sum = sum.wrapping_add(first).wrapping_add(second);
            }
        }
        out[..LANES].copy_from_slice(&sums);
    }
}
