//! The float originals: plain forward passes that calibrate an import and judge it.
//!
//! Nothing here decides an integer of a model but through a recipe: a publisher runs these once and
//! writes down what came out. 32-bit floats, whose sums differ between machines in the last places.

mod bert;
mod llama;

pub use bert::Bert;
pub use llama::Llama;
use model::Reach;

use crate::import::ImportError;
use crate::import::source::{Matrix, Source};

/// A row set that a forward pass makes, by the op that makes it. Block by block they come in the
/// order of the ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The stream, each time that it is written.
    Stream,
    /// Queries before they are turned.
    Query,
    /// Keys before they are turned.
    Key,
    /// Values.
    Value,
    /// Gates before SiLU.
    Gate,
    /// What gates multiply, or the hidden rows before GELU.
    Up,
}

/// Gets block, part and largest magnitude of what a forward pass makes.
pub type Seen<'a> = &'a mut dyn FnMut(usize, Part, f64);

/// Rows of floats, one after the other.
#[derive(Clone, Debug)]
pub struct Rows {
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

    /// The rows of some ids.
    fn gather(&self, ids: &[u32]) -> Self {
        let row = |id: &u32| &self.data[*id as usize * self.width..][..self.width];
        Self { width: self.width, data: ids.iter().flat_map(row).copied().collect() }
    }

    /// `count` rows from row `from` on, or fewer at the end.
    pub(super) fn slice(&self, from: usize, count: usize) -> Self {
        let end = self.data.len().min((from + count) * self.width);
        Self { width: self.width, data: self.data[from * self.width..end].to_vec() }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
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

fn floats(source: &Source<'_>, name: &str) -> Result<Vec<f32>, ImportError> {
    Ok(source.floats(name)?.1.into_iter().map(|value| value as f32).collect())
}

/// A linear op.
#[derive(Debug)]
struct Linear {
    weights: Rows,
    bias: Option<Vec<f32>>,
}

impl Linear {
    fn read(source: &Source<'_>, name: &str) -> Result<Self, ImportError> {
        let bias = format!("{name}.bias");
        let bias = source.has(&bias).then(|| floats(source, &bias)).transpose()?;
        let weights = source.matrix(&format!("{name}.weight"), None, None)?;
        Ok(Self { weights: Rows::from_matrix(&weights), bias })
    }

    fn apply(&self, rows: &Rows) -> Rows {
        let mut out = rows.times(&self.weights);
        if let Some(bias) = &self.bias {
            for row in out.iter_mut() {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
        }
        out
    }
}

/// Attention of all heads.
fn attend(queries: &Rows, keys: &Rows, values: &Rows, width: usize, reach: Reach) -> Rows {
    let count = queries.count();
    let group = queries.width / keys.width;
    let mut out = Rows::zeros(count, queries.width);
    let (mut scores, mut mixed) = (vec![0.0; count * count], vec![0.0; count * width]);
    for head in 0..queries.width / width {
        let column = head / group * width;
        let q = Strided { data: &queries.data[head * width..], row: queries.width, column: 1 };
        let k = Strided { data: &keys.data[column..], row: 1, column: keys.width };
        product((count, width, count), q, k, &mut scores);
        for (position, row) in scores.chunks_exact_mut(count).enumerate() {
            let reached = if reach == Reach::Causal { position + 1 } else { count };
            softmax(&mut row[..reached], 1.0 / (width as f32).sqrt());
            row[reached..].fill(0.0);
        }
        let e = Strided { data: &scores, row: count, column: 1 };
        let v = Strided { data: &values.data[column..], row: values.width, column: 1 };
        product((count, count, width), e, v, &mut mixed);
        for (out, mixed) in out.iter_mut().zip(mixed.chunks_exact(width)) {
            out[head * width..][..width].copy_from_slice(mixed);
        }
    }
    out
}

fn softmax(row: &mut [f32], scale: f32) {
    let most = row.iter().copied().fold(f32::MIN, f32::max);
    row.iter_mut().for_each(|score| *score = ((*score - most) * scale).exp());
    let total: f32 = row.iter().sum();
    row.iter_mut().for_each(|score| *score /= total);
}
