//! Runs jobs on a loaded model: alone, several at once, token by token.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::inspect::Task;
use model::{Finish, Job, Model, Output, Run, finish};

use crate::backend::{Backend, BackendKind, select};
use crate::error::EngineError;
use crate::execute::{Emission, Executor, Segment, Sequence};
use crate::plan::Plan;
use crate::pool::Pool;
use crate::product::Workers;
use crate::sample::sample;

/// Most runs of one batch.
pub const BATCH_MAX: usize = 256;

/// Most positions of a prompt in one pass: bounds working memory and the time until somebody
/// else's token.
pub const PASS_ROWS: usize = 256;

/// How to run a model.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which kernels; none takes the fastest that the machine has.
    pub backend: Option<BackendKind>,
    /// Worker threads, at least 1.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { backend: None, threads: threads.min(crate::pool::THREADS_MAX) }
    }
}

/// A model ready to run. Shared between threads; each call keeps its own state.
pub struct Engine {
    executor: Executor,
    backend: &'static dyn Backend,
    pool: Pool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.executor.model.id())
            .field("backend", &self.backend.kind())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Prepares a model: packs its weights and computes its certificates.
    ///
    /// # Errors
    /// A backend that the machine lacks, or a number of threads that it does not give.
    pub fn load(model: Arc<Model>, options: Options) -> Result<Self, EngineError> {
        let backend = select(options.backend)?;
        let pool = Pool::new(options.threads)?;
        let plan = Plan::new(&model);
        Ok(Self { executor: Executor { model, plan }, backend, pool })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.executor.model
    }

    /// The kernels in use.
    pub fn backend(&self) -> BackendKind {
        self.backend.kind()
    }

    /// Runs one job. `on_token` gets each token as it comes and may break off; tokens it has got
    /// are the answer. An embedding calls it never.
    ///
    /// # Errors
    /// A job that the model cannot run; nothing has been computed then.
    pub fn generate(
        &self,
        job: &Job<'_>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Run, EngineError> {
        job.check(self.model().facts())?;
        let mut runs = self.run(std::slice::from_ref(job), &mut |_, token| on_token(token));
        // One job gives one run.
        runs.pop().ok_or(EngineError::Run(model::RunError::EmptyInput))
    }

    /// Runs several jobs at once; each gives what it gives alone. `on_token` gets the index of the
    /// job with each token.
    ///
    /// # Errors
    /// More than [`BATCH_MAX`] jobs, or one that the model cannot run.
    pub fn generate_batch(
        &self,
        jobs: &[Job<'_>],
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Run>, EngineError> {
        if jobs.len() > BATCH_MAX {
            return Err(EngineError::Batch { jobs: jobs.len(), limit: BATCH_MAX });
        }
        for job in jobs {
            job.check(self.model().facts())?;
        }
        Ok(self.run(jobs, on_token))
    }

    fn run(
        &self,
        jobs: &[Job<'_>],
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Vec<Run> {
        match self.model().facts().task {
            Task::Embed => jobs.chunks(EMBED_AT_ONCE).flat_map(|jobs| self.embed(jobs)).collect(),
            Task::Generate => self.decode(jobs, on_token),
        }
    }

    fn workers(&self) -> Workers<'_> {
        Workers { backend: self.backend, pool: &self.pool }
    }

    fn embed(&self, jobs: &[Job<'_>]) -> Vec<Run> {
        let new = |_: &Job<'_>| Sequence::new(self.model(), &self.executor.plan);
        let mut sequences: Vec<Sequence> = jobs.iter().map(new).collect();
        let segments = sequences.iter_mut().zip(jobs);
        let mut segments: Vec<Segment<'_>> = segments
            .map(|(sequence, job)| Segment { sequence, start: 0, ids: job.ids, emits: true })
            .collect();
        let emissions = self.executor.pass(self.workers(), &mut segments);
        let runs = emissions.into_iter().zip(&sequences).zip(jobs);
        runs.filter_map(|((emission, sequence), job)| match emission {
            Some(Emission::Row(row)) => Some(Run {
                trace_root: sequence.trace.full_root(&row),
                output: Output::Row(row),
                finish: Finish::Stop,
                n_in: count(job.ids.len()),
                n_out: 1,
            }),
            _ => None,
        })
        .collect()
    }

    fn decode(
        &self,
        jobs: &[Job<'_>],
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Vec<Run> {
        let new = |job| Decoding {
            job,
            sequence: Sequence::new(self.model(), &self.executor.plan),
            fed: 0,
            tokens: Vec::new(),
            finish: None,
        };
        let mut runs: Vec<Decoding<'_>> = jobs.iter().map(new).collect();
        while runs.iter().any(|run| run.finish.is_none()) {
            let open = runs.iter().filter(|run| run.finish.is_none()).count();
            let room = (PASS_ROWS / open.max(1)).max(1);
            let mut segments = Vec::new();
            let mut indexes = Vec::new();
            for (index, run) in runs.iter_mut().enumerate() {
                if run.finish.is_none() {
                    segments.push(run.next(room));
                    indexes.push(index);
                }
            }
            let emissions = self.executor.pass(self.workers(), &mut segments);
            for (index, emission) in indexes.into_iter().zip(emissions) {
                if let Some(Emission::Logits(logits)) = emission {
                    self.emit(&mut runs[index], &logits, &mut |token| on_token(index, token));
                }
            }
        }
        runs.into_iter().map(Decoding::done).collect()
    }

    fn emit(
        &self,
        run: &mut Decoding<'_>,
        logits: &[i64],
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) {
        let (model, job) = (self.model(), run.job);
        let index = count(run.tokens.len());
        let token = sample(logits, self.executor.plan.temperature, &job.sampling, job.seed, index);
        run.tokens.push(token);
        let flow = on_token(token);
        let stop = &model.manifest().stop_ids;
        run.finish = finish(model.facts(), job, stop, index + 1, token)
            .or(flow.is_break().then_some(Finish::Cancelled));
    }
}

/// Inputs of one embedding pass: bounds working memory.
const EMBED_AT_ONCE: usize = 16;

/// A generation under way.
struct Decoding<'a> {
    job: &'a Job<'a>,
    sequence: Sequence,
    /// Positions that have been through a pass.
    fed: usize,
    tokens: Vec<u32>,
    finish: Option<Finish>,
}

impl Decoding<'_> {
    /// The next positions, at most `room` of them.
    fn next(&mut self, room: usize) -> Segment<'_> {
        let start = self.fed;
        let prompt = self.job.ids;
        let ids = if start < prompt.len() {
            &prompt[start..prompt.len().min(start + room)]
        } else {
            &self.tokens[start - prompt.len()..]
        };
        self.fed += ids.len();
        let emits = self.fed >= prompt.len();
        Segment { sequence: &mut self.sequence, start, ids, emits }
    }

    fn done(self) -> Run {
        Run {
            trace_root: self.sequence.trace.causal_root(self.job.ids.len(), &self.tokens),
            finish: self.finish.unwrap_or(Finish::Cancelled),
            n_in: count(self.job.ids.len()),
            n_out: count(self.tokens.len()),
            output: Output::Tokens(self.tokens),
        }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
