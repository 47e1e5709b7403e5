//! The processor as a backend: packed weights, working buffers that outlive passes, worker threads.
//!
//! Every op works on single rows but attention, which reads its own run; rows of different runs
//! stand side by side and are never mixed. So a pass gives the same integers whatever else is in
//! it, and on any number of threads.

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cache;
mod kernels;
mod linear;
mod matrix;
mod memory;
mod ops;
mod product;
mod rowwise;
mod scalar;

use std::ops::Range;
use std::sync::Arc;

use model::certificate::Certificate;
use model::inspect::Kind;
use model::layout::size;
use model::{Model, Op, OpWeights};

use self::cache::KeyValues;
use self::kernels::{InputBits, Kernels, Stream, Strided, TILE_ROWS};
pub use self::product::Product;

use self::linear::{Inputs, Workers};
use self::matrix::{Matrices, Source};
use super::{Backend, BackendKind, CacheId, HostRows, Span};
use crate::error::EngineError;
use crate::plan::{Plan, Step};
use crate::pool::Pool;

/// The kernels of that kind, where this machine has them.
pub(super) fn kernels(kind: BackendKind) -> Option<&'static dyn Kernels> {
    match kind {
        BackendKind::Scalar => Some(&scalar::Scalar),
        #[cfg(target_arch = "x86_64")]
        BackendKind::Avx2 if std::is_x86_feature_detected!("avx2") => Some(&avx2::Avx2),
        #[cfg(target_arch = "x86_64")]
        BackendKind::Avx512Vnni if avx512::is_detected() => Some(&avx512::Avx512Vnni),
        #[allow(unreachable_patterns, reason = "not on every architecture")]
        _ => None,
    }
}

/// A model on this machine's processor.
pub(super) struct Cpu {
    kind: BackendKind,
    kernels: &'static dyn Kernels,
    model: Arc<Model>,
    plan: Arc<Plan>,
    pool: Arc<Pool>,
    matrices: Matrices,
    /// By run, then by attention op. Closed runs give their memory back and their place on.
    caches: Vec<Vec<KeyValues>>,
    closed: Vec<usize>,
    pass: Pass,
    values: Values,
}

/// The pass under way.
#[derive(Default)]
struct Pass {
    spans: Vec<Span>,
    ids: Vec<u32>,
    /// Positions of the rows that are evaluated next.
    positions: Vec<usize>,
    /// Ops below this have been evaluated.
    evaluated: usize,
    /// Rows that are attended together.
    tiles: Vec<TileRows>,
}

/// Some successive rows of one run.
struct TileRows {
    /// Which span.
    span: usize,
    /// First position.
    start: usize,
    /// The rows, as rows of the pass.
    rows: Range<usize>,
}

/// Working buffers by kind. They grow to the largest pass and stay.
#[derive(Default)]
struct Values {
    a16: Vec<Vec<i16>>,
    res: Vec<Vec<i32>>,
    logits: Vec<i64>,
    /// Halves of gate products.
    halves: Vec<i16>,
}

impl Cpu {
    pub(super) fn new(
        kind: BackendKind,
        kernels: &'static dyn Kernels,
        model: Arc<Model>,
        plan: Arc<Plan>,
        pool: Arc<Pool>,
    ) -> Result<Self, EngineError> {
        let sources: Vec<_> = (0..plan.steps.len()).map(|op| source(&model, &plan, op)).collect();
        let matrices = Matrices::new(&sources, kernels.layout(), &pool)?;
        let buffers = plan.steps.iter().map(|step| step.buffer + 1).max().unwrap_or(0);
        let values = Values {
            a16: vec![Vec::new(); buffers],
            res: vec![Vec::new(); buffers],
            ..Values::default()
        };
        let (caches, closed, pass) = (Vec::new(), Vec::new(), Pass::default());
        Ok(Self { kind, kernels, model, plan, pool, matrices, caches, closed, pass, values })
    }

    fn workers(&self) -> Workers<'_> {
        Workers { kernels: self.kernels, pool: &self.pool, matrices: &self.matrices }
    }

    fn step(&self, value: u32) -> &Step {
        &self.plan.steps[size(value)]
    }

    fn a16(&self, value: u32) -> Inputs<'_> {
        let step = self.step(value);
        let data = &self.values.a16[step.buffer][..self.rows_of(step) * step.width];
        Inputs { data, width: step.width }
    }

    fn res(&self, value: u32) -> &[i32] {
        let step = self.step(value);
        &self.values.res[step.buffer][..self.rows_of(step) * step.width]
    }

    /// The rows that a residual add adds.
    fn stream(&self, value: u32) -> Stream<'_> {
        let step = self.step(value);
        match step.kind {
            Kind::A16 => Stream::A16(Strided { data: self.a16(value).data, stride: step.width }),
            _ => Stream::Res(Strided { data: self.res(value), stride: step.width }),
        }
    }

    /// Evaluates an op whose value is of activations.
    fn evaluate_a16(&self, index: usize, step: &Step, out: &mut [i16]) {
        match step.op {
            Op::Norm { input, centred, offset } => {
                self.norm(index, self.res(input), centred, offset, out);
            }
            Op::Linear { input, .. } => {
                self.workers().linear_wide(self.matrices.get(index), self.a16(input), out);
            }
            Op::Table { input, table } => self.table(self.a16(input), size(table), out),
            Op::Rope { input, heads } => self.rotate(self.a16(input), size(heads), out),
            Op::Attention { queries, .. } => self.attend(step, self.a16(queries), out),
            _ => unreachable!("only called for ops that make activations"),
        }
    }

    /// Evaluates the linear ops from `first` on that may be computed together.
    fn linears(&mut self, first: usize, input: u32) {
        let plan = Arc::clone(&self.plan);
        let ops = first..first + plan.steps[first].together;
        let rows = self.pass.positions.len();
        let mut outs = Vec::with_capacity(ops.len());
        for step in &plan.steps[ops.clone()] {
            let mut out = std::mem::take(&mut self.values.a16[step.buffer]);
            grow(&mut out, rows * step.width);
            outs.push(out);
        }
        let matrices: Vec<_> = ops.clone().map(|op| self.matrices.get(op)).collect();
        let mut parts: Vec<&mut [i16]> = outs
            .iter_mut()
            .zip(&plan.steps[ops.clone()])
            .map(|(out, step)| &mut out[..rows * step.width])
            .collect();
        self.workers().linear_narrow(&matrices, self.a16(input), &mut parts);
        for (step, out) in plan.steps[ops].iter().zip(outs) {
            self.values.a16[step.buffer] = out;
        }
    }

    /// Evaluates an op whose value is of the residual stream, or one row per run.
    fn evaluate_res(&self, index: usize, step: &Step, halves: &mut Vec<i16>, out: &mut [i32]) {
        match step.op {
            Op::EmbeddingSum { .. } | Op::EmbeddingScaled { .. } => self.embed(step, out),
            Op::LinearResidual { input, stream, .. } => {
                let (matrix, stream) = (self.matrices.get(index), self.stream(stream));
                self.workers().residual(matrix, self.a16(input), stream, out);
            }
            Op::GateResidual { gate, up, stream, .. } => {
                let (gate, up, stream) = (self.a16(gate), self.a16(up), self.res(stream));
                if step.certificate == (Certificate::Gate { narrow: true }) {
                    self.split_products(gate, up, halves);
                    let halves = Inputs { data: halves, width: gate.width };
                    self.workers().gate_residual(self.matrices.get(index), halves, stream, out);
                } else {
                    self.gate_exact(index, gate, up, stream, out);
                }
            }
            Op::SumPool { input } => self.sum_pool(self.a16(input), out),
            Op::Unit { input } => self.unit(self.res(input), step.width, out),
            _ => unreachable!("only called for ops that make such rows"),
        }
    }

    /// Rows of a value: one per position, or one per run behind a pooling.
    fn rows_of(&self, step: &Step) -> usize {
        match step.kind {
            Kind::Pooled | Kind::Unit => self.pass.spans.len(),
            Kind::Res | Kind::A16 | Kind::Logits => self.pass.positions.len(),
        }
    }
}

impl Backend for Cpu {
    fn kind(&self) -> BackendKind {
        self.kind
    }

    fn open(&mut self) -> CacheId {
        if let Some(index) = self.closed.pop() {
            return CacheId(index);
        }
        let new = |(heads, width): &(usize, usize)| KeyValues::new(*heads, *width);
        self.caches.push(self.plan.attentions.iter().map(new).collect());
        CacheId(self.caches.len() - 1)
    }

    fn close(&mut self, cache: CacheId) {
        self.caches[cache.0].iter_mut().for_each(KeyValues::clear);
        self.closed.push(cache.0);
    }

    fn truncate(&mut self, cache: CacheId, positions: usize) {
        self.caches[cache.0].iter_mut().for_each(|values| values.truncate(positions));
    }

    fn cache_bytes(&self) -> usize {
        self.caches.iter().flatten().map(KeyValues::bytes).sum()
    }

    fn begin(&mut self, spans: &[Span], ids: &[u32]) {
        self.pass.spans.clear();
        self.pass.spans.extend_from_slice(spans);
        self.pass.ids.clear();
        self.pass.ids.extend_from_slice(ids);
        self.pass.evaluated = 0;
        self.pass.positions.clear();
        self.pass.tiles.clear();
        for (index, span) in spans.iter().enumerate() {
            let first = self.pass.positions.len();
            self.pass.positions.extend(span.start..span.start + span.count);
            for from in (0..span.count).step_by(TILE_ROWS) {
                let to = (from + TILE_ROWS).min(span.count);
                let (start, rows) = (span.start + from, first + from..first + to);
                self.pass.tiles.push(TileRows { span: index, start, rows });
            }
        }
    }

    fn run(&mut self, op: usize) {
        if op < self.pass.evaluated {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let step = &plan.steps[op];
        self.pass.evaluated = op + step.together;
        if let (Op::Linear { input, .. }, Certificate::Linear { narrow: true, .. }) =
            (&step.op, step.certificate)
        {
            return self.linears(op, *input);
        }
        let length = self.rows_of(step) * step.width;
        match step.kind {
            Kind::Logits => {
                let mut out = std::mem::take(&mut self.values.logits);
                out.resize(length, 0);
                if let Op::Logits { input, .. } = step.op {
                    self.workers().logits(self.matrices.get(op), self.a16(input), &mut out);
                }
                self.values.logits = out;
            }
            Kind::A16 => {
                if let Op::Attention { keys, values, .. } = step.op {
                    self.store(step.attention, keys, values);
                }
                let mut out = std::mem::take(&mut self.values.a16[step.buffer]);
                grow(&mut out, length);
                self.evaluate_a16(op, step, &mut out[..length]);
                self.values.a16[step.buffer] = out;
            }
            Kind::Res | Kind::Pooled | Kind::Unit => {
                let mut out = std::mem::take(&mut self.values.res[step.buffer]);
                let mut halves = std::mem::take(&mut self.values.halves);
                grow(&mut out, length);
                self.evaluate_res(op, step, &mut halves, &mut out[..length]);
                self.values.halves = halves;
                self.values.res[step.buffer] = out;
            }
        }
    }

    fn keep(&mut self, value: usize, rows: &[usize]) {
        let (width, buffer) = (self.plan.steps[value].width, self.plan.steps[value].buffer);
        // Ascending, so a row is read before another takes its place.
        for (to, from) in rows.iter().enumerate() {
            let from = from * width..(from + 1) * width;
            match self.plan.steps[value].kind {
                Kind::A16 => self.values.a16[buffer].copy_within(from, to * width),
                _ => self.values.res[buffer].copy_within(from, to * width),
            }
        }
        self.pass.positions = rows.iter().map(|row| self.pass.positions[*row]).collect();
    }

    fn rows(&mut self, value: usize) -> HostRows<'_> {
        let step = &self.plan.steps[value];
        let length = self.rows_of(step) * step.width;
        match step.kind {
            Kind::A16 => HostRows::A16(&self.values.a16[step.buffer][..length]),
            Kind::Logits => HostRows::Logits(&self.values.logits[..length]),
            _ => HostRows::Res(&self.values.res[step.buffer][..length]),
        }
    }
}

/// What op `index` multiplies with, if it does.
fn source<'a>(model: &'a Model, plan: &Plan, index: usize) -> Option<Source<'a>> {
    let weights = &model.weights().ops;
    let step = &plan.steps[index];
    let channels = match (&step.op, &weights[index], weights.first()) {
        (Op::EmbeddingScaled { .. }, _, _) => return None,
        (Op::Logits { tied: true, .. }, _, Some(OpWeights::Channels(embedding))) => embedding,
        (_, OpWeights::Channels(channels), _) => channels,
        _ => return None,
    };
    let bits = match step.op {
        Op::Linear { input, .. } | Op::LinearResidual { input, .. } | Op::Logits { input, .. } => {
            InputBits::of(plan.steps[size(input)].largest)
        }
        // Halves of its products.
        _ => InputBits::Sixteen,
    };
    Some(Source { channels, bits })
}

/// Makes room without clearing what will be written anyway.
fn grow<T: Copy + Default>(values: &mut Vec<T>, length: usize) {
    if values.len() < length {
        values.resize(length, T::default());
    }
}
