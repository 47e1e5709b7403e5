//! Rows of one width, stored one after the other: what flows between the ops of a graph.

/// A list of rows of `width` elements. Reading past the end gives an empty row, never a panic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows<T> {
    width: usize,
    data: Vec<T>,
}

impl<T: Copy> Rows<T> {
    /// No rows yet, of `width` elements each.
    pub const fn new(width: usize) -> Self {
        Self { width, data: Vec::new() }
    }

    /// `data` cut into rows of `width`; what remains after the last whole row is never read.
    pub const fn from_data(width: usize, data: Vec<T>) -> Self {
        Self { width, data }
    }

    /// Elements in a row.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.data.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `index`, empty past the end.
    pub fn row(&self, index: usize) -> &[T] {
        let start = index.saturating_mul(self.width);
        self.data.get(start..start.saturating_add(self.width)).unwrap_or(&[])
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[T]> {
        self.data.chunks_exact(self.width.max(1))
    }

    /// Append a row; its length must be the width.
    pub fn push(&mut self, row: &[T]) {
        self.data.extend_from_slice(row);
    }

    /// All elements, row after row.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The rows that `function` makes from each row; each must be `width` long.
    pub fn map<U: Copy>(&self, width: usize, function: impl Fn(&[T]) -> Vec<U>) -> Rows<U> {
        let mut out = Rows::new(width);
        for row in self.iter() {
            out.push(&function(row));
        }
        out
    }
}

/// The part of `row` that belongs to head `head` of heads `width` wide, empty past the end.
pub fn head<T>(row: &[T], head: usize, width: usize) -> &[T] {
    let start = head.saturating_mul(width);
    row.get(start..start.saturating_add(width)).unwrap_or(&[])
}
