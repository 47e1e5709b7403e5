//! The reference executor: runs a graph op by op and row by row, on one thread, with the ops of
//! `ops/`. Slow and plain: every other executor answers to it.

use std::ops::{ControlFlow, Range};

use crypto::Digest;

use crate::error::RunError;
use crate::graph::{Graph, Op, ValueId};
use crate::inspect::Task;
use crate::layout::size;
use crate::model::Model;
use crate::ops::attention::{Attention, attention};
use crate::ops::embedding::{embedding_scaled, embedding_sum};
use crate::ops::gate::gate;
use crate::ops::linear::linear;
use crate::ops::logits::logits;
use crate::ops::norm::{Norm, norm};
use crate::ops::pool::sum_pool;
use crate::ops::residual::residual;
use crate::ops::rope::rope;
use crate::ops::sample::sample;
use crate::ops::table::table;
use crate::ops::unit::unit;
use crate::rows::Rows;
use crate::run::{Finish, Job, Output, Run, finish};
use crate::step::Executed;
use crate::trace::{Trace, a16_leaf, i32_leaf};
use crate::weights::{Channels, OpWeights};

/// Runs `job` on `model` and hands each token to `on_token` as it comes.
///
/// # Errors
/// A job that the model cannot run.
pub fn run(
    model: &Model,
    job: &Job<'_>,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Run, RunError> {
    job.check(model.facts())?;
    let mut state = State::new(model);
    let n_in = u32::try_from(job.ids.len()).unwrap_or(u32::MAX);
    match model.facts().task {
        Task::Embed => {
            state.pass(job.ids);
            let row = state.output_row();
            let trace_root = state.trace.full_root(&row);
            let output = Output::Row(row);
            Ok(Run { output, finish: Finish::Stop, n_in, n_out: 1, trace_root })
        }
        Task::Generate => {
            let (tokens, finish) = state.generate(job, on_token);
            let trace_root = state.trace.causal_root(job.ids.len(), &tokens);
            let n_out = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
            Ok(Run { output: Output::Tokens(tokens), finish, n_in, n_out, trace_root })
        }
    }
}

/// Evaluates every op over all positions of a finished run, for its fine trees.
///
/// `tokens` are those that the run gave; the last one is never fed back.
pub fn evaluate(model: &Model, ids: &[u32], tokens: &[u32]) -> Evaluated {
    let mut all = ids.to_vec();
    all.extend(tokens.iter().take(tokens.len().saturating_sub(1)));
    let mut state = State::new(model);
    state.pass(&all);
    let trace = match model.facts().task {
        Task::Embed => state.trace.full_leaves(&state.output_row()),
        Task::Generate => state.trace.causal_leaves(ids.len(), tokens),
    };
    Evaluated { ids: ids.to_vec(), tokens: tokens.to_vec(), values: state.values, trace }
}

/// All rows of a run.
#[derive(Clone, Debug)]
pub struct Evaluated {
    ids: Vec<u32>,
    tokens: Vec<u32>,
    values: Vec<Value>,
    trace: Vec<Digest>,
}

impl Evaluated {
    /// The leaves of the coarse trace.
    pub fn trace(&self) -> &[Digest] {
        &self.trace
    }
}

impl Executed for Evaluated {
    fn input(&self, position: u32) -> Option<u32> {
        self.ids.get(size(position)).copied()
    }

    fn token(&self, output: u32) -> Option<u32> {
        self.tokens.get(size(output)).copied()
    }

    fn row(&self, value: ValueId, position: u32) -> Option<Vec<u8>> {
        let bytes: Vec<u8> = match self.values.get(size(value))? {
            Value::A16(rows) => {
                rows.row(size(position)).iter().flat_map(|x| x.to_le_bytes()).collect()
            }
            Value::Res(rows) => {
                rows.row(size(position)).iter().flat_map(|x| x.to_le_bytes()).collect()
            }
            Value::Logits(_) | Value::Row(_) => return None,
        };
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// Rows of one value, of all positions so far.
#[derive(Clone, Debug)]
enum Value {
    A16(Rows<i16>),
    Res(Rows<i32>),
    Logits(Vec<i64>),
    Row(Vec<i32>),
}

struct State<'m> {
    model: &'m Model,
    values: Vec<Value>,
    trace: Trace,
    positions: usize,
}

impl<'m> State<'m> {
    fn new(model: &'m Model) -> Self {
        let trace = Trace::new(model.graph().boundaries.len());
        Self { model, values: Vec::new(), trace, positions: 0 }
    }

    fn generate(
        &mut self,
        job: &Job<'_>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> (Vec<u32>, Finish) {
        let stop = &self.model.manifest().stop_ids;
        let multiplier = match self.model.graph().ops.last() {
            Some(Op::Logits { multiplier, .. }) => *multiplier,
            _ => 1,
        };
        let mut tokens = Vec::new();
        self.pass(job.ids);
        loop {
            let index = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
            let logits = self.last_logits();
            let token = sample(logits, multiplier, &job.sampling, job.seed, index);
            tokens.push(token);
            let flow = on_token(token);
            let n_out = index.saturating_add(1);
            if let Some(finish) = finish(self.model.facts(), job, stop, n_out, token) {
                return (tokens, finish);
            }
            if flow.is_break() {
                return (tokens, Finish::Cancelled);
            }
            self.pass(&[token]);
        }
    }

    /// Evaluates every op for the next positions, which hold `ids`.
    fn pass(&mut self, ids: &[u32]) {
        let start = self.positions;
        let range = start..start.saturating_add(ids.len());
        self.positions = range.end;
        let graph: &Graph = self.model.graph();
        for (index, (op, weights)) in graph.ops.iter().zip(&self.model.weights().ops).enumerate() {
            let made = self.evaluate(op, weights, ids, &range);
            self.store(index, made);
        }
        for (boundary, value) in graph.boundaries.iter().enumerate() {
            for position in range.clone() {
                let leaf = match self.value(*value) {
                    Some(Value::A16(rows)) => a16_leaf(rows.row(position)),
                    Some(Value::Res(rows)) => i32_leaf(rows.row(position)),
                    _ => continue,
                };
                self.trace.push(boundary, leaf);
            }
        }
    }

    /// Rows of earlier positions stay: attention reads them.
    fn store(&mut self, index: usize, made: Value) {
        match (self.values.get_mut(index), made) {
            (Some(Value::A16(rows)), Value::A16(new)) => new.iter().for_each(|row| rows.push(row)),
            (Some(Value::Res(rows)), Value::Res(new)) => new.iter().for_each(|row| rows.push(row)),
            (Some(old), new) => *old = new,
            (None, new) => self.values.push(new),
        }
    }

    fn evaluate(&self, op: &Op, weights: &OpWeights, ids: &[u32], range: &Range<usize>) -> Value {
        let channels = match weights {
            OpWeights::Channels(channels) => channels,
            _ => &Channels::default(),
        };
        match *op {
            Op::EmbeddingSum { .. } | Op::EmbeddingScaled { .. } => embed(op, weights, ids, range),
            Op::Norm { input, centred, offset } => {
                let (gains, biases): (&[i32], &[i64]) = match weights {
                    OpWeights::Norm { gains, biases } => (gains, biases),
                    _ => (&[], &[]),
                };
                let attributes = Norm { centred, offset, gains, biases };
                self.each(range, gains.len(), |at| norm(&attributes, self.res(input, at)))
            }
            Op::Linear { input, outputs, .. } => {
                self.each(range, size(outputs), |at| linear(channels, self.a16(input, at)))
            }
            Op::Table { input, table: index } => {
                let entries = self.model.weights().tables.get(size(index));
                let entries = entries.map_or(&[][..], Vec::as_slice);
                self.each(range, self.width(input), |at| table(entries, self.a16(input, at)))
            }
            Op::LinearResidual { input, stream, .. } => self.each_res(range, stream, |at| {
                residual(channels, self.a16(input, at), &self.stream(stream, at))
            }),
            Op::GateResidual { gate: left, up, stream, .. } => self.each_res(range, stream, |at| {
                gate(channels, self.a16(left, at), self.a16(up, at), self.res(stream, at))
            }),
            Op::Rope { input, heads } => {
                let tables = &self.model.weights().rope;
                self.each(range, self.width(input), |at| {
                    let (cos, sin) = (tables.cos.row(at), tables.sin.row(at));
                    rope(self.a16(input, at), size(heads), cos, sin)
                })
            }
            Op::Attention { queries, keys, values, heads, key_heads, multiplier } => {
                let (heads, key_heads) = (size(heads), size(key_heads));
                let attributes = Attention { heads, key_heads, multiplier };
                let causal = self.model.facts().task == Task::Generate;
                let empty = Rows::new(0);
                let (keys, values) = (self.rows(keys, &empty), self.rows(values, &empty));
                self.each(range, self.width(queries), |at| {
                    let reach = if causal { at.saturating_add(1) } else { range.end };
                    attention(&attributes, self.a16(queries, at), keys, values, reach)
                })
            }
            Op::Logits { input, tied, .. } => {
                let embedding = match self.model.weights().ops.first() {
                    Some(OpWeights::Channels(embedding)) if tied => embedding,
                    _ => channels,
                };
                let last = range.end.saturating_sub(1);
                Value::Logits(logits(embedding, self.a16(input, last)))
            }
            Op::SumPool { input } => Value::Row(sum_pool(self.rows(input, &Rows::new(0)))),
            Op::Unit { input } => Value::Row(match self.value(input) {
                Some(Value::Row(row)) => unit(row),
                _ => Vec::new(),
            }),
        }
    }

    fn each(&self, range: &Range<usize>, width: usize, row: impl Fn(usize) -> Vec<i16>) -> Value {
        let mut rows = Rows::new(width);
        range.clone().for_each(|at| rows.push(&row(at)));
        Value::A16(rows)
    }

    fn each_res(
        &self,
        range: &Range<usize>,
        stream: ValueId,
        row: impl Fn(usize) -> Vec<i32>,
    ) -> Value {
        let mut rows = Rows::new(self.width(stream));
        range.clone().for_each(|at| rows.push(&row(at)));
        Value::Res(rows)
    }

    fn value(&self, value: ValueId) -> Option<&Value> {
        self.values.get(size(value))
    }

    fn width(&self, value: ValueId) -> usize {
        match self.value(value) {
            Some(Value::A16(rows)) => rows.width(),
            Some(Value::Res(rows)) => rows.width(),
            _ => 0,
        }
    }

    fn rows<'a>(&'a self, value: ValueId, empty: &'a Rows<i16>) -> &'a Rows<i16> {
        match self.value(value) {
            Some(Value::A16(rows)) => rows,
            _ => empty,
        }
    }

    fn a16(&self, value: ValueId, position: usize) -> &[i16] {
        match self.value(value) {
            Some(Value::A16(rows)) => rows.row(position),
            _ => &[],
        }
    }

    fn res(&self, value: ValueId, position: usize) -> &[i32] {
        match self.value(value) {
            Some(Value::Res(rows)) => rows.row(position),
            _ => &[],
        }
    }

    fn stream(&self, value: ValueId, position: usize) -> Vec<i32> {
        match self.value(value) {
            Some(Value::A16(rows)) => rows.row(position).iter().copied().map(i32::from).collect(),
            _ => self.res(value, position).to_vec(),
        }
    }

    fn last_logits(&self) -> &[i64] {
        match self.values.last() {
            Some(Value::Logits(logits)) => logits,
            _ => &[],
        }
    }

    fn output_row(&self) -> Vec<i32> {
        match self.values.last() {
            Some(Value::Row(row)) => row.clone(),
            _ => Vec::new(),
        }
    }
}

fn embed(op: &Op, weights: &OpWeights, ids: &[u32], range: &Range<usize>) -> Value {
    match (op, weights) {
        (Op::EmbeddingSum { width }, OpWeights::Rows { words, positions }) => {
            let rows = ids.iter().zip(range.clone());
            let rows = rows.map(|(id, at)| embedding_sum(words.row(size(*id)), positions.row(at)));
            Value::Res(collect(*width, rows))
        }
        (Op::EmbeddingScaled { width, factor }, OpWeights::Channels(channels)) => {
            let rows = ids.iter().map(|id| embedding_scaled(&channels.channel(size(*id)), *factor));
            Value::Res(collect(*width, rows))
        }
        _ => Value::Res(Rows::new(0)),
    }
}

fn collect(width: u32, made: impl Iterator<Item = Vec<i32>>) -> Rows<i32> {
    let mut rows = Rows::new(size(width));
    made.for_each(|row| rows.push(&row));
    rows
}
