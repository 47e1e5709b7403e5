//! Memory of the weights: anonymous huge pages, and outputs that several threads write at once.
//!
//! A token reads every weight once, so the speed of decoding is the speed of this memory; with
//! pages of 4 kB the address translation alone would halve it. A mapped file cannot have huge
//! pages, hence the copy.

use std::marker::PhantomData;
use std::ops::Range;

use memmap2::MmapMut;

use crate::error::EngineError;
use crate::pool::Pool;

/// Bytes in huge pages where the system gives them.
pub(crate) struct HugeBytes(MmapMut);

impl HugeBytes {
    /// `length` zeros.
    ///
    /// # Errors
    /// Memory that the system does not give.
    pub(crate) fn zeroed(length: usize) -> Result<Self, EngineError> {
        let bytes = length.max(1) as u64;
        let map = MmapMut::map_anon(length.max(1)).map_err(|_| EngineError::Memory { bytes })?;
        #[cfg(target_os = "linux")]
        // A system without huge pages is slower, not wrong.
        map.advise(memmap2::Advice::HugePage).ok();
        Ok(Self(map))
    }

    /// The bytes as weights.
    pub(crate) fn weights(&self) -> &[i8] {
        let bytes: &[u8] = &self.0;
        // SAFETY: i8 and u8 have one layout, and any bits are valid for both.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
    }

    /// The bytes as weights, to be filled.
    pub(crate) fn weights_mut(&mut self) -> &mut [i8] {
        let bytes: &mut [u8] = &mut self.0;
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) }
    }
}

/// Rows side by side, to be written by several threads in windows that do not overlap.
pub(crate) struct Grid<'a, T> {
    data: *mut T,
    rows: usize,
    width: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: a grid hands out windows only, and those are exclusive by the promise of `window`.
unsafe impl<T: Send> Sync for Grid<'_, T> {}

impl<'a, T> Grid<'a, T> {
    /// Rows of `width` elements; what remains after the last whole row is never written.
    pub(crate) fn new(data: &'a mut [T], width: usize) -> Self {
        let rows = data.len() / width;
        Self { data: data.as_mut_ptr(), rows, width, owner: PhantomData }
    }

    /// A part of the grid.
    ///
    /// # Safety
    /// Windows that live at the same time do not overlap.
    pub(crate) unsafe fn window(&self, rows: Range<usize>, columns: Range<usize>) -> Window<'_, T> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "a window inside its grid");
        assert!(columns.start <= columns.end && columns.end <= self.width, "as above");
        // SAFETY: the first element lies inside the grid, or the window is empty.
        let data = unsafe { self.data.add(rows.start * self.width + columns.start) };
        let (rows, width) = (rows.len(), columns.len());
        Window { data, rows, width, stride: self.width, grid: PhantomData }
    }
}

/// A part of a grid that one thread writes.
pub(crate) struct Window<'a, T> {
    data: *mut T,
    rows: usize,
    width: usize,
    stride: usize,
    grid: PhantomData<&'a mut [T]>,
}

impl<T> Window<'_, T> {
    /// How many rows it has.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// Row `index` of the window.
    pub(crate) fn row(&mut self, index: usize) -> &mut [T] {
        assert!(index < self.rows, "a row inside its window");
        // SAFETY: `Grid::window` checked that rows and columns lie inside the grid, and promised
        // that nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(index * self.stride), self.width) }
    }
}

/// Calls `body` with each row of `out` and its index, on all threads; `work` as in `Pool::ranges`.
pub(crate) fn each_row<T: Send>(
    pool: &Pool,
    out: &mut [T],
    width: usize,
    work: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    let grid = Grid::new(out, width);
    pool.ranges(grid.rows, work, |rows| {
        // SAFETY: ranges do not overlap.
        let mut window = unsafe { grid.window(rows.clone(), 0..width) };
        for (index, row) in rows.enumerate() {
            body(row, window.row(index));
        }
    });
}
