//! One pass: some positions of some runs through all ops of the plan, and the leaves of their
//! traces.

use std::sync::Arc;

use model::trace::{Trace, a16_leaf, i32_leaf};
use model::{Model, Reach};

use crate::backend::{Backend, CacheId, HostRows, Span};
use crate::plan::{Plan, Step};
use crate::pool::Pool;

/// What a run keeps between passes.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) cache: CacheId,
    pub(crate) trace: Trace,
}

/// The next positions of one run.
pub(crate) struct Segment<'a> {
    pub(crate) sequence: &'a mut Sequence,
    /// First position.
    pub(crate) start: usize,
    pub(crate) ids: &'a [u32],
    /// Whether the last position gives an output.
    pub(crate) emits: bool,
}

/// What the last position of a segment gives.
pub(crate) enum Emission<'a> {
    Logits(&'a [i64]),
    Row(&'a [i32]),
}

/// A model on a backend.
pub(crate) struct Executor {
    pub(crate) model: Arc<Model>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) pool: Arc<Pool>,
}

impl Executor {
    /// A run that has not begun.
    pub(crate) fn open(&mut self) -> Sequence {
        let boundaries = self.model.graph().boundaries.len();
        Sequence { cache: self.backend.open(), trace: Trace::new(boundaries) }
    }

    /// Runs the segments and calls `emit` with the index of each that emits. Gives up between two
    /// ops once nobody wants the pass any more: the runs of the segments then make no sense.
    pub(crate) fn pass(
        &mut self,
        segments: &mut [Segment<'_>],
        wanted: &dyn Fn() -> bool,
        emit: &mut dyn FnMut(usize, Emission<'_>),
    ) {
        let span = |segment: &Segment<'_>| Span {
            cache: segment.sequence.cache,
            start: segment.start,
            count: segment.ids.len(),
        };
        let spans: Vec<Span> = segments.iter().map(span).collect();
        let ids: Vec<u32> = segments.iter().flat_map(|segment| segment.ids).copied().collect();
        self.backend.begin(&spans, &ids);
        let plan = Arc::clone(&self.plan);
        for (index, step) in plan.steps.iter().enumerate() {
            if index == plan.head && !self.keep_emitting(segments) {
                return;
            }
            self.backend.run(index);
            if let Some(boundary) = step.boundary {
                if !wanted() {
                    return;
                }
                self.record(index, step, boundary, segments);
            }
        }
        let Some(last) = plan.steps.last() else { return };
        let emitting = (0..segments.len()).filter(|index| segments[*index].emits);
        match self.backend.rows(plan.steps.len() - 1) {
            HostRows::Logits(rows) => {
                let rows = rows.chunks_exact(last.width);
                emitting.zip(rows).for_each(|(index, row)| emit(index, Emission::Logits(row)));
            }
            HostRows::Res(rows) => {
                let rows = rows.chunks_exact(last.width);
                emitting.zip(rows).for_each(|(index, row)| emit(index, Emission::Row(row)));
            }
            HostRows::A16(_) => {
                unreachable!("a graph ends in logits or a unit row: `inspect` checked it")
            }
        }
    }

    /// Drops the rows of a causal graph that give no output; false when none is left.
    fn keep_emitting(&mut self, segments: &[Segment<'_>]) -> bool {
        if self.model.graph().reach == Reach::Full {
            return true;
        }
        let mut kept = Vec::new();
        let mut end = 0;
        for segment in segments {
            end += segment.ids.len();
            if segment.emits {
                kept.push(end - 1);
            }
        }
        self.backend.keep(self.plan.head - 1, &kept);
        !kept.is_empty()
    }

    /// Adds the leaves of the value just made to the runs' traces.
    fn record(&mut self, index: usize, step: &Step, boundary: usize, segments: &mut [Segment<'_>]) {
        let count: usize = segments.iter().map(|segment| segment.ids.len()).sum();
        let rows = self.backend.rows(index);
        let leaf = |row: usize| {
            let row = row * step.width..(row + 1) * step.width;
            match rows {
                HostRows::A16(data) => a16_leaf(&data[row]),
                HostRows::Res(data) => i32_leaf(&data[row]),
                HostRows::Logits(_) => unreachable!("boundaries are rows: `inspect` checked it"),
            }
        };
        let mut leaves = self.pool.map(count, step.width * HASHED, leaf).into_iter();
        for segment in segments.iter_mut() {
            for leaf in leaves.by_ref().take(segment.ids.len()) {
                segment.sequence.trace.push(boundary, leaf);
            }
        }
    }
}

/// What hashing an element costs, in multiply-adds.
const HASHED: usize = 64;
