//! The float originals: plain forward passes that calibrate an import and judge it.
//!
//! Nothing here decides an integer of a model but through a recipe: a publisher runs these once and
//! writes down what came out. 32-bit floats, whose sums differ between machines in the last places.

mod llama;

pub use llama::{Llama, Part};

use super::source::Matrix;

/// Rows of floats, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) width: usize,
    pub(super) data: Vec<f32>,
}

impl Rows {
    pub(super) fn zeros(count: usize, width: usize) -> Self {
        Self { width, data: vec![0.0; count * width] }
    }

    pub(super) fn from_matrix(matrix: &Matrix) -> Self {
        let data = matrix.data.iter().map(|value| *value as f32).collect();
        Self { width: matrix.columns, data }
    }

    pub(super) fn count(&self) -> usize {
        self.data.len() / self.width
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.width)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.data.chunks_exact_mut(self.width)
    }

    /// The largest magnitude.
    pub(super) fn most(&self) -> f64 {
        self.data.iter().fold(0.0_f32, |most, value| most.max(value.abs())).into()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.data.iter_mut().zip(&other.data).for_each(|(a, b)| *a += b);
    }

    /// `self · weightsᵀ`: each output row holds the products with all rows of `weights`.
    pub(super) fn times(&self, weights: &Self) -> Self {
        let mut out = Self::zeros(self.count(), weights.count());
        let (m, k, n) = (self.count(), self.width, weights.count());
        product(
            (m, k, n),
            Strided { data: &self.data, row: k, column: 1 },
            Strided { data: &weights.data, row: 1, column: k },
            &mut out.data,
        );
        out
    }
}

/// A matrix whose element (i, j) stands at `i·row + j·column`.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    pub(super) data: &'a [f32],
    pub(super) row: usize,
    pub(super) column: usize,
}

/// `out = a·b` for a of m × k and b of k × n; out row after row.
pub(super) fn product(
    (m, k, n): (usize, usize, usize),
    a: Strided<'_>,
    b: Strided<'_>,
    out: &mut [f32],
) {
    if m == 0 || k == 0 || n == 0 {
        return out.fill(0.0);
    }
    assert!(a.data.len() > (m - 1) * a.row + (k - 1) * a.column, "a is too short");
    assert!(b.data.len() > (k - 1) * b.row + (n - 1) * b.column, "b is too short");
    assert!(out.len() >= m * n, "out is too short");
    let (a_row, a_column) = (a.row as isize, a.column as isize);
    let (b_row, b_column) = (b.row as isize, b.column as isize);
    // SAFETY: the strides are non-negative, and the assertions above keep the last element that is
    // read of a and b, and the last that is written of out, inside their slices.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.data.as_ptr(),
            a_row,
            a_column,
            b.data.as_ptr(),
            b_row,
            b_column,
            0.0,
            out.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}
