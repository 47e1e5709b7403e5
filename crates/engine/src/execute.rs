//! One pass: some positions of some runs through all ops of the plan, and the leaves of their
//! traces.

use std::sync::Arc;

use model::trace::{Trace, a16_leaves, i32_leaves};
use model::{Model, Reach};

use crate::backend::{Backend, CacheId, HostRows, Span};
use crate::capture::Capture;
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
    /// How many of the last positions give an output, in a causal graph.
    pub(crate) emits: usize,
    /// Takes rows of values besides.
    pub(crate) capture: Option<&'a mut Capture>,
}

/// What a position gives, or a whole segment of a graph of full reach.
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

    /// Forgets what a run knows of its positions from `positions` on.
    pub(crate) fn truncate(&mut self, sequence: &mut Sequence, positions: usize) {
        self.backend.truncate(sequence.cache, positions);
        sequence.trace.truncate(positions);
    }

    /// Runs the segments and calls `emit` with the index of a segment for each of its outputs, in
    /// order. Gives up between two blocks once nobody wants the pass any more: the runs of the
    /// segments then make no sense.
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
        let mut emitting: Vec<usize> = (0..segments.len()).collect();
        let causal = self.model.graph().reach == Reach::Causal;
        let end = if causal { self.end(segments) } else { plan.steps.len() };
        for (index, step) in plan.steps[..end].iter().enumerate() {
            let emits = causal && index >= plan.head;
            if emits && index == plan.head {
                emitting = self.keep_emitting(segments);
            }
            self.backend.run(index);
            self.capture(index, emits, segments);
            if let Some(boundary) = step.boundary {
                if !wanted() {
                    return;
                }
                self.record(index, step, boundary, segments);
            }
        }
        let Some(last) = plan.steps.last().filter(|_| end == plan.steps.len()) else { return };
        let emitting = emitting.into_iter();
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

    /// Ops that the segments of a causal graph need: all, if one of them gives an output.
    fn end(&self, segments: &[Segment<'_>]) -> usize {
        let end = |segment: &Segment<'_>| match (segment.emits, &segment.capture) {
            (1.., _) => self.plan.steps.len(),
            (0, Some(capture)) => capture.end().min(self.plan.head),
            (0, None) => self.plan.head,
        };
        segments.iter().map(end).max().unwrap_or(0)
    }

    /// Hands over the rows of the value just made, of those positions that are left.
    fn capture(&mut self, index: usize, emits: bool, segments: &mut [Segment<'_>]) {
        let wants = |segment: &Segment<'_>| {
            segment.capture.as_ref().is_some_and(|capture| capture.wants(index))
        };
        if !segments.iter().any(wants) {
            return;
        }
        let width = self.plan.steps[index].width;
        let rows = self.backend.rows(index);
        let mut first = 0;
        for segment in segments {
            let count = if emits { segment.emits } else { segment.ids.len() };
            let position = segment.start + segment.ids.len() - count;
            if let Some(capture) = &mut segment.capture {
                capture.take(index, position, rows, width, first..first + count);
            }
            first += count;
        }
    }

    /// Drops the rows that give no output; gives the segment of each row that is left.
    fn keep_emitting(&mut self, segments: &[Segment<'_>]) -> Vec<usize> {
        let (mut kept, mut emitting) = (Vec::new(), Vec::new());
        let mut end = 0;
        for (index, segment) in segments.iter().enumerate() {
            end += segment.ids.len();
            kept.extend(end - segment.emits..end);
            emitting.extend(std::iter::repeat_n(index, segment.emits));
        }
        self.backend.keep(self.plan.head - 1, &kept);
        emitting
    }

    /// Adds the leaves of the value just made to the runs' traces.
    fn record(&mut self, index: usize, step: &Step, boundary: usize, segments: &mut [Segment<'_>]) {
        let count: usize = segments.iter().map(|segment| segment.ids.len()).sum();
        let rows = self.backend.rows(index);
        let some = |group: usize| {
            let rows_of = group * HASHED_TOGETHER..((group + 1) * HASHED_TOGETHER).min(count);
            let elements = rows_of.start * step.width..rows_of.end * step.width;
            match rows {
                HostRows::A16(data) => a16_leaves(&data[elements], step.width),
                HostRows::Res(data) => i32_leaves(&data[elements], step.width),
                HostRows::Logits(_) => unreachable!("boundaries are rows: `inspect` checked it"),
            }
        };
        let groups = count.div_ceil(HASHED_TOGETHER);
        let work = count.min(HASHED_TOGETHER) * step.width * HASHED;
        let mut leaves = self.pool.map(groups, work, some).into_iter().flatten();
        for segment in segments.iter_mut() {
            for leaf in leaves.by_ref().take(segment.ids.len()) {
                segment.sequence.trace.push(boundary, leaf);
            }
        }
    }
}

/// What hashing an element costs, in multiply-adds.
const HASHED: usize = 64;

/// Rows that are hashed side by side.
const HASHED_TOGETHER: usize = 16;
