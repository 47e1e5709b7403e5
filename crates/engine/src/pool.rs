//! Worker threads, or none: work is cut into parts whose results do not depend on the cut.

use std::ops::Range;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::backend::{LANES, TILE_ROWS};
use crate::error::EngineError;

/// Most threads of one engine.
pub const THREADS_MAX: usize = 256;

/// The threads of one engine.
pub(crate) struct Pool {
    threads: usize,
    /// None for one thread: work then runs where it is asked for.
    workers: Option<rayon::ThreadPool>,
}

/// A part of the rows × channels of a product.
pub(crate) struct Area {
    pub(crate) rows: Range<usize>,
    pub(crate) panels: Range<usize>,
    /// Elements from one row to the next in the part's output.
    pub(crate) stride: usize,
}

impl Area {
    /// Where the channels of `panel` in `row` lie in the part's output.
    pub(crate) fn at(&self, row: usize, panel: usize) -> Range<usize> {
        let start = (row - self.rows.start) * self.stride;
        let first = (panel - self.panels.start) * LANES;
        start + first..start + (first + LANES).min(self.stride)
    }
}

impl Pool {
    pub(crate) fn new(threads: usize) -> Result<Self, EngineError> {
        if !(1..=THREADS_MAX).contains(&threads) {
            return Err(EngineError::Threads { threads, limit: THREADS_MAX });
        }
        let workers = if threads == 1 {
            None
        } else {
            let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            Some(built.map_err(|error| EngineError::Pool { reason: error.to_string() })?)
        };
        Ok(Self { threads, workers })
    }

    /// Runs `body` on each item.
    pub(crate) fn each<T: Send>(&self, items: Vec<T>, body: impl Fn(T) + Sync + Send) {
        match &self.workers {
            None => items.into_iter().for_each(body),
            Some(workers) => workers.install(|| items.into_par_iter().for_each(body)),
        }
    }

    /// Cuts rows of `width` elements into parts of whole tiles, one per thread.
    pub(crate) fn rows<T: Send>(
        &self,
        out: &mut [T],
        width: usize,
        body: impl Fn(usize, &mut [T]) + Sync + Send,
    ) {
        let rows = out.len() / width;
        let part = rows.div_ceil(self.threads).next_multiple_of(TILE_ROWS);
        let parts = out.chunks_mut(part * width).enumerate().collect();
        self.each(parts, |(index, out): (usize, &mut [T])| body(index * part, out));
    }

    /// Cuts a product of `rows` rows with `width` channels into parts: by rows, or by channels when
    /// there is one row.
    pub(crate) fn areas<T: Send>(
        &self,
        out: &mut [T],
        width: usize,
        body: impl Fn(&Area, &mut [T]) + Sync + Send,
    ) {
        if out.len() == width {
            let part = width.div_ceil(LANES).div_ceil(self.threads);
            let parts = out.chunks_mut(part * LANES).enumerate().collect();
            self.each(parts, |(index, out): (usize, &mut [T])| {
                let first = index * part;
                let panels = first..first + out.len().div_ceil(LANES);
                body(&Area { rows: 0..1, panels, stride: out.len() }, out);
            });
        } else {
            self.rows(out, width, |first, out| {
                let rows = first..first + out.len() / width;
                body(&Area { rows, panels: 0..width.div_ceil(LANES), stride: width }, out);
            });
        }
    }
}
