//! One pass: some positions of some runs through all ops of the plan.
//!
//! Rows of different runs stand side by side and are never mixed: every op but attention works on
//! single rows, and attention reads the row's own run. So a pass gives the same integers whatever
//! else is in it.

use std::sync::Arc;

use model::certificate::Certificate;
use model::constants::NORM_BITS;
use model::layout::size;
use model::ops::{embedding, gate, pool, rope, table, unit};
use model::rows::Rows;
use model::trace::{Trace, a16_leaf, i32_leaf};
use model::{Model, Op, OpWeights, Reach};

use crate::attention::{Heads, Tile};
use crate::backend::{NormRow, TILE_ROWS};
use crate::cache::KeyValues;
use crate::plan::{Plan, Step};
use crate::product::Workers;

/// What a run keeps between passes.
pub(crate) struct Sequence {
    /// One per attention op.
    pub(crate) caches: Vec<KeyValues>,
    pub(crate) trace: Trace,
}

impl Sequence {
    pub(crate) fn new(model: &Model, plan: &Plan) -> Self {
        let caches = plan.attentions.iter().map(|(heads, width)| KeyValues::new(*heads, *width));
        Self { caches: caches.collect(), trace: Trace::new(model.graph().boundaries.len()) }
    }
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
pub(crate) enum Emission {
    Logits(Vec<i64>),
    Row(Vec<i32>),
}

/// Rows of one value.
enum Value {
    Gone,
    A16(Vec<i16>),
    Res(Vec<i32>),
}

/// A model on some workers.
pub(crate) struct Executor {
    pub(crate) model: Arc<Model>,
    pub(crate) plan: Plan,
}

struct Pass<'a, 's> {
    executor: &'a Executor,
    workers: Workers<'a>,
    segments: &'a mut [Segment<'s>],
    rows: usize,
    values: Vec<Value>,
    attention: usize,
}

impl Executor {
    /// Runs the segments; gives one emission for each that emits, in order.
    pub(crate) fn pass(
        &self,
        workers: Workers<'_>,
        segments: &mut [Segment<'_>],
    ) -> Vec<Option<Emission>> {
        let rows = segments.iter().map(|segment| segment.ids.len()).sum();
        let values = Vec::with_capacity(self.plan.steps.len());
        let mut pass = Pass { executor: self, workers, segments, rows, values, attention: 0 };
        let (body, head) = self.plan.steps.split_at(self.plan.head);
        for step in body {
            pass.step(step);
        }
        match self.model.graph().reach {
            Reach::Causal => pass.logits(head),
            Reach::Full => pass.unit_rows(head),
        }
    }
}

impl Pass<'_, '_> {
    fn step(&mut self, step: &Step) {
        let value = self.evaluate(step);
        self.values.push(value);
        if let Some(boundary) = step.boundary {
            self.record(boundary, step.width);
        }
        for value in &step.frees {
            self.values[*value] = Value::Gone;
        }
    }

    /// Adds the leaves of the value just made to the runs' traces.
    fn record(&mut self, boundary: usize, width: usize) {
        let mut first = 0;
        for segment in self.segments.iter_mut() {
            for row in first..first + segment.ids.len() {
                let leaf = match self.values.last() {
                    Some(Value::A16(data)) => a16_leaf(&data[row * width..][..width]),
                    Some(Value::Res(data)) => i32_leaf(&data[row * width..][..width]),
                    _ => unreachable!("boundaries are rows: `inspect` checked it"),
                };
                segment.sequence.trace.push(boundary, leaf);
            }
            first += segment.ids.len();
        }
    }

    fn evaluate(&mut self, step: &Step) -> Value {
        let width = step.width;
        match step.op {
            Op::EmbeddingSum { .. } | Op::EmbeddingScaled { .. } => Value::Res(self.embed(step)),
            Op::Norm { input, centred, offset } => {
                let mut out = vec![0; self.rows * width];
                self.norm(step, self.res(input), centred, offset, &mut out);
                Value::A16(out)
            }
            Op::Linear { input, .. } => {
                let mut out = vec![0; self.rows * width];
                let narrow = matches!(step.certificate, Certificate::Linear { narrow: true, .. });
                if narrow {
                    self.workers.linear_narrow(step.panels(), self.a16(input), &mut out);
                } else {
                    self.workers.linear_wide(step.panels(), self.a16(input), &mut out);
                }
                Value::A16(out)
            }
            Op::Table { input, table } => {
                let entries = &self.executor.model.weights().tables[size(table)];
                let mut out = vec![0; self.rows * width];
                let input = self.a16(input);
                self.workers.pool.rows(&mut out, width, |first, out| {
                    let input = &input[first * width..][..out.len()];
                    for (out, y) in out.iter_mut().zip(input) {
                        *out = entries[table::index(*y)];
                    }
                });
                Value::A16(out)
            }
            Op::LinearResidual { input, stream, .. } => {
                let mut out = vec![0; self.rows * width];
                let (panels, input) = (step.panels(), self.a16(input));
                match &self.values[size(stream)] {
                    Value::A16(x) => {
                        let x = |at: usize| i32::from(x[at]);
                        self.workers.residual(panels, input, &x, &mut out);
                    }
                    Value::Res(x) => self.workers.residual(panels, input, &|at| x[at], &mut out),
                    Value::Gone => unreachable!("a value lives until its last use"),
                }
                Value::Res(out)
            }
            Op::GateResidual { gate, up, stream, .. } => {
                let (gate, up, stream) = (self.a16(gate), self.a16(up), self.res(stream));
                let mut out = vec![0; self.rows * width];
                if step.certificate == (Certificate::Gate { narrow: true }) {
                    self.workers.gate_residual(step.panels(), gate, up, stream, &mut out);
                } else {
                    self.gate_exact(step, gate, up, stream, &mut out);
                }
                Value::Res(out)
            }
            Op::Rope { input, heads } => Value::A16(self.rotate(self.a16(input), heads, width)),
            Op::Attention { .. } => Value::A16(self.attend(step)),
            Op::Logits { .. } | Op::SumPool { .. } | Op::Unit { .. } => {
                unreachable!("outputs stand behind the last boundary: `inspect` checked it")
            }
        }
    }

    fn a16(&self, value: u32) -> &[i16] {
        match &self.values[size(value)] {
            Value::A16(rows) => rows,
            _ => unreachable!("kinds match: `inspect` checked it"),
        }
    }

    fn res(&self, value: u32) -> &[i32] {
        match &self.values[size(value)] {
            Value::Res(rows) => rows,
            _ => unreachable!("kinds match: `inspect` checked it"),
        }
    }

    /// Positions of all rows.
    fn positions(&self) -> impl Iterator<Item = usize> {
        self.segments.iter().flat_map(|segment| segment.start..segment.start + segment.ids.len())
    }

    fn embed(&self, step: &Step) -> Vec<i32> {
        let weights = &self.executor.model.weights().ops[0];
        let ids = self.segments.iter().flat_map(|segment| segment.ids);
        let rows = ids.zip(self.positions()).flat_map(|(id, position)| match (&step.op, weights) {
            (Op::EmbeddingSum { .. }, OpWeights::Rows { words, positions }) => {
                embedding::embedding_sum(words.row(size(*id)), positions.row(position))
            }
            (Op::EmbeddingScaled { factor, .. }, OpWeights::Channels(channels)) => {
                embedding::embedding_scaled(&channels.channel(size(*id)), *factor)
            }
            _ => unreachable!("weights fit their op: `Model::new` checked it"),
        });
        rows.collect()
    }

    fn norm(&self, step: &Step, input: &[i32], centred: bool, offset: u64, out: &mut [i16]) {
        let (width, backend) = (step.width, self.workers.backend);
        let OpWeights::Norm { gains, biases } = step.weights(&self.executor.model) else {
            unreachable!("weights fit their op: `Model::new` checked it")
        };
        self.workers.pool.rows(out, width, |first, out| {
            let rows = input[first * width..].chunks_exact(width);
            for (x, out) in rows.zip(out.chunks_exact_mut(width)) {
                let (sum, squares) = if width <= NORM_NARROW {
                    let (sum, squares) = backend.norm_sums(x);
                    (i128::from(sum), i128::from(squares))
                } else {
                    let wide = |x: &i32| i128::from(*x);
                    (x.iter().map(wide).sum(), x.iter().map(|x| wide(x) * wide(x)).sum())
                };
                let count = width as i128;
                let mean = if centred { (2 * sum + count).div_euclid(2 * count) } else { 0 };
                // Σ(x − μ)² = Σx² − 2μS + Nμ².
                let square = squares - 2 * mean * sum + count * mean * mean + i128::from(offset);
                let r = square.isqrt() + 1;
                let reciprocal = ((1_i128 << NORM_BITS) / r) as i64;
                let row = NormRow { mean: mean as i32, reciprocal, gains, biases };
                backend.norm_apply(&row, x, out);
            }
        });
    }

    /// The gated residual of the reference, for weights without a certificate.
    fn gate_exact(&self, step: &Step, left: &[i16], up: &[i16], stream: &[i32], out: &mut [i32]) {
        let OpWeights::Channels(channels) = step.weights(&self.executor.model) else {
            unreachable!("weights fit their op: `Model::new` checked it")
        };
        let (width, inputs) = (step.width, step.panels().inputs);
        self.workers.pool.rows(out, width, |first, out| {
            for (row, out) in (first..).zip(out.chunks_exact_mut(width)) {
                let operands = row * inputs..(row + 1) * inputs;
                let stream = &stream[row * width..][..width];
                let (left, up) = (&left[operands.clone()], &up[operands]);
                out.copy_from_slice(&gate::gate(channels, left, up, stream));
            }
        });
    }

    fn rotate(&self, input: &[i16], heads: u32, width: usize) -> Vec<i16> {
        let tables = &self.executor.model.weights().rope;
        let rows = self.positions().zip(input.chunks_exact(width));
        rows.flat_map(|(position, row)| {
            rope::rope(row, size(heads), tables.cos.row(position), tables.sin.row(position))
        })
        .collect()
    }

    fn attend(&mut self, step: &Step) -> Vec<i16> {
        let Op::Attention { queries, keys, values, heads, key_heads, multiplier } = step.op else {
            unreachable!("only called for attention")
        };
        let Certificate::Attention { scores, averages } = step.certificate else {
            unreachable!("certificates follow the ops")
        };
        let (heads, key_heads) = (size(heads), size(key_heads));
        let head_width = step.width / heads;
        let causal = self.executor.model.graph().reach == Reach::Causal;
        let attention = self.attention;
        self.attention += 1;
        self.store(attention, keys, values, key_heads * head_width);
        let attributes = Heads {
            heads,
            key_heads,
            head_width,
            multiplier,
            narrow_scores: scores,
            narrow_averages: averages,
        };
        let mut out = vec![0; self.rows * step.width];
        let mut rest = (self.a16(queries), out.as_mut_slice());
        let mut tiles = Vec::new();
        for segment in self.segments.iter() {
            let cache = &segment.sequence.caches[attention];
            for first in (0..segment.ids.len()).step_by(TILE_ROWS) {
                let rows = (segment.ids.len() - first).min(TILE_ROWS);
                let (queries, queries_rest) = rest.0.split_at(rows * step.width);
                let (out, out_rest) = rest.1.split_at_mut(rows * step.width);
                rest = (queries_rest, out_rest);
                let (reach, reach_step) =
                    if causal { (segment.start + first + 1, 1) } else { (cache.positions(), 0) };
                tiles.push(Tile { queries, cache, reach, reach_step, out });
            }
        }
        self.workers.pool.each(tiles, |mut tile| self.workers.attend(&attributes, &mut tile));
        out
    }

    /// Appends keys and values to the runs' caches.
    fn store(&mut self, attention: usize, keys: u32, values: u32, width: usize) {
        let (Value::A16(keys), Value::A16(values)) =
            (&self.values[size(keys)], &self.values[size(values)])
        else {
            unreachable!("kinds match: `inspect` checked it")
        };
        let mut rows = keys.chunks_exact(width).zip(values.chunks_exact(width));
        for segment in self.segments.iter_mut() {
            let cache = &mut segment.sequence.caches[attention];
            for (key, value) in rows.by_ref().take(segment.ids.len()) {
                cache.push(key, value);
            }
        }
    }

    /// The last boundary's rows that emit, and nothing else.
    fn keep_emitting(&mut self, width: usize) {
        let mut kept = Vec::new();
        let mut end = 0;
        for segment in self.segments.iter() {
            end += segment.ids.len();
            if segment.emits {
                kept.push(end - 1);
            }
        }
        self.rows = kept.len();
        match self.values.last_mut() {
            Some(Value::A16(data)) => *data = gather(data, width, &kept),
            Some(Value::Res(data)) => *data = gather(data, width, &kept),
            _ => unreachable!("boundaries are rows: `inspect` checked it"),
        }
    }

    fn logits(mut self, head: &[Step]) -> Vec<Option<Emission>> {
        self.keep_emitting(self.executor.plan.steps[self.values.len() - 1].width);
        let Some((last, steps)) = head.split_last() else {
            unreachable!("a causal graph ends in logits: `inspect` checked it")
        };
        let mut made = Vec::new();
        if self.rows > 0 {
            for step in steps {
                self.step(step);
            }
            let Op::Logits { input, .. } = last.op else {
                unreachable!("a causal graph ends in logits: `inspect` checked it")
            };
            let mut out = vec![0; self.rows * last.width];
            self.workers.logits(last.panels(), self.a16(input), &mut out);
            made = out.chunks_exact(last.width).map(<[i64]>::to_vec).collect();
        }
        let mut made = made.into_iter().map(Emission::Logits);
        self.segments.iter().map(|s| if s.emits { made.next() } else { None }).collect()
    }

    fn unit_rows(mut self, head: &[Step]) -> Vec<Option<Emission>> {
        let mut pooled: Vec<Vec<i32>> = Vec::new();
        for step in head {
            match step.op {
                Op::SumPool { input } => {
                    let mut rest = self.a16(input);
                    for segment in self.segments.iter() {
                        let (rows, after) = rest.split_at(segment.ids.len() * step.width);
                        rest = after;
                        let rows = Rows::from_data(step.width, rows.to_vec());
                        pooled.push(pool::sum_pool(&rows));
                    }
                    self.values.push(Value::Gone);
                }
                Op::Unit { .. } => pooled.iter_mut().for_each(|row| *row = unit::unit(row)),
                _ => self.step(step),
            }
        }
        pooled.into_iter().map(|row| Some(Emission::Row(row))).collect()
    }
}

/// Widest row whose sums fit 64 bits.
const NORM_NARROW: usize = 1_024;

fn gather<T: Copy>(data: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    rows.iter().flat_map(|row| &data[row * width..][..width]).copied().collect()
}
