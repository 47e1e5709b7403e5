//! Where the ops of a model are computed, behind one trait.
//!
//! Rules: a backend computes the integers of `model`, bit for bit; which one runs is decided when
//! an engine is loaded. It owns the weights in the form it likes, the rows of the pass under way
//! and the keys and values of open runs, in whatever memory it has: callers name values by op and
//! runs by [`CacheId`], and read on the host only what they ask for.

mod cpu;

pub use cpu::Product;

use std::sync::Arc;

use model::Model;

use crate::error::EngineError;
use crate::plan::Plan;
use crate::pool::Pool;

/// Which kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// Plain code for any processor.
    Scalar,
    /// 256-bit integer vectors of x86-64.
    Avx2,
    /// 512-bit integer vectors of x86-64 with instructions for dot products.
    Avx512Vnni,
}

impl BackendKind {
    /// Those that run on this machine, slowest first.
    pub fn available() -> Vec<Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512Vnni]
            .into_iter()
            .filter(|kind| cpu::kernels(*kind).is_some())
            .collect()
    }

    /// The name in messages and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512Vnni => "avx512-vnni",
        }
    }
}

/// Keys and values of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheId(pub(crate) usize);

/// Successive positions of one run in a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) cache: CacheId,
    /// First position.
    pub(crate) start: usize,
    /// How many positions.
    pub(crate) count: usize,
}

/// Rows of a value, one behind the other, on the host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostRows<'a> {
    A16(&'a [i16]),
    Res(&'a [i32]),
    Logits(&'a [i64]),
}

/// Computes the ops of one loaded model.
pub(crate) trait Backend: Send {
    /// Which kernels these are.
    fn kind(&self) -> BackendKind;

    /// Makes room for the keys and values of a run.
    fn open(&mut self) -> CacheId;

    /// Forgets a run.
    fn close(&mut self, cache: CacheId);

    /// Forgets the keys and values of a run's positions from `positions` on.
    fn truncate(&mut self, cache: CacheId, positions: usize);

    /// Bytes that keys and values take.
    fn cache_bytes(&self) -> usize;

    /// Begins a pass over the rows of `spans`, which hold the tokens `ids`.
    fn begin(&mut self, spans: &[Span], ids: &[u32]);

    /// Evaluates op `op` for all rows of the pass. Ops come in the order of the graph.
    fn run(&mut self, op: usize);

    /// From here on the pass consists of these rows, ascending, of value `value` alone.
    fn keep(&mut self, value: usize, rows: &[usize]);

    /// The rows of a value that has been evaluated and is still to be read by an op, or is the
    /// last.
    fn rows(&mut self, value: usize) -> HostRows<'_>;
}

/// The backend asked for, or the fastest that this machine has, with the model handed over.
///
/// # Errors
/// A backend that this machine's processor lacks, or memory that the system does not give.
pub(crate) fn load(
    kind: Option<BackendKind>,
    model: Arc<Model>,
    plan: Arc<Plan>,
    pool: Arc<Pool>,
) -> Result<Box<dyn Backend>, EngineError> {
    let fastest = || BackendKind::available().last().copied().unwrap_or(BackendKind::Scalar);
    let kind = kind.unwrap_or_else(fastest);
    let Some(kernels) = cpu::kernels(kind) else {
        return Err(EngineError::BackendMissing { backend: kind.name() });
    };
    Ok(Box::new(cpu::Cpu::new(kind, kernels, model, plan, pool)?))
}
