//! A model ready to run, for any number of callers at once.
//!
//! Rules: a run gives the same bits whatever else runs beside it; runs of concurrent calls share
//! passes; a caller that is slow to take tokens holds up nobody but itself.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;

use model::inspect::Task;
use model::{Job, Model, Run};

use crate::backend::{self, BackendKind};
use crate::error::EngineError;
use crate::execute::Executor;
use crate::mailbox::{Canceller, Event, Mailbox};
use crate::plan::Plan;
use crate::pool::Pool;
use crate::request::Request;
use crate::scheduler::{Inbox, Scheduler};

/// Most runs of one batch.
pub const BATCH_MAX: usize = 256;

/// Most positions of a prompt in one pass: bounds working memory.
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

/// A model ready to run. Shared between threads; its own threads end with it.
pub struct Engine {
    model: Arc<Model>,
    kind: BackendKind,
    inbox: Arc<Inbox>,
    scheduler: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.model.id())
            .field("backend", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Prepares a model: packs its weights, computes its certificates and starts its threads.
    ///
    /// # Errors
    /// A backend that the machine lacks, or threads or memory that it does not give.
    pub fn load(model: Arc<Model>, options: Options) -> Result<Self, EngineError> {
        Self::load_with_pass_rows(model, options, PASS_ROWS)
    }

    /// As [`Engine::load`], with at most `pass_rows` positions of prompts in one pass (between 1
    /// and [`PASS_ROWS`]; other numbers count as the nearest). Fewer answer others sooner and
    /// prompts later; no bit depends on it.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_with_pass_rows(
        model: Arc<Model>,
        options: Options,
        pass_rows: usize,
    ) -> Result<Self, EngineError> {
        let pool = Arc::new(Pool::new(options.threads)?);
        let plan = Arc::new(Plan::new(&model, &pool));
        let (m, p) = (Arc::clone(&model), Arc::clone(&plan));
        let backend = backend::load(options.backend, m, p, Arc::clone(&pool))?;
        let kind = backend.kind();
        let executor = Executor { model: Arc::clone(&model), plan, backend, pool };
        let inbox = Arc::new(Inbox::default());
        let scheduler = Scheduler::new(executor, Arc::clone(&inbox), pass_rows.clamp(1, PASS_ROWS));
        let scheduler = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || scheduler.work())
            .map_err(|error| EngineError::Pool { reason: error.to_string() })?;
        Ok(Self { model, kind, inbox, scheduler: Some(scheduler) })
    }

    /// The model.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The kernels in use.
    pub const fn backend(&self) -> BackendKind {
        self.kind
    }

    /// Bytes that the keys and values of open runs take.
    pub fn cache_bytes(&self) -> usize {
        self.inbox.cache_bytes()
    }

    /// Starts one job; its tokens are taken from the [`Generation`].
    ///
    /// # Errors
    /// A job that the model cannot run; nothing has been computed then.
    pub fn start(&self, job: &Job<'_>) -> Result<Generation, EngineError> {
        Ok(Generation { mailbox: self.submit(std::slice::from_ref(job))?, run: None })
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
        let mut generation = self.start(job)?;
        while let Some(token) = generation.next_token()? {
            if on_token(token).is_break() {
                generation.canceller().cancel();
                break;
            }
        }
        generation.finish()
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
        let mailbox = self.submit(jobs)?;
        let mut runs: Vec<Option<Run>> = jobs.iter().map(|_| None).collect();
        while runs.iter().any(Option::is_none) {
            match mailbox.take()? {
                (index, Event::Token(token)) => {
                    if on_token(index, token).is_break() {
                        Canceller::new(&mailbox, index).cancel();
                    }
                    mailbox.accept_taken(index);
                }
                (_, Event::Logits(_)) => {}
                (index, Event::Done(ended)) => runs[index] = Some(ended.run),
            }
        }
        Ok(runs.into_iter().flatten().collect())
    }

    /// The logits after every position of `ids`, each row handed over with its position: what a
    /// model thinks of a text that it has not written.
    ///
    /// # Errors
    /// An input that the model cannot run, or a model without logits.
    pub fn score(
        &self,
        ids: &[u32],
        on_logits: &mut dyn FnMut(usize, &[i64]),
    ) -> Result<(), EngineError> {
        if self.model.facts().task == Task::Embed {
            return Err(EngineError::NoLogits);
        }
        let job = Job::embed(ids);
        job.check(self.model.facts())?;
        let mailbox = self.submit_one(|mailbox| Request::new(&job, 0, mailbox).scored())?;
        let mut position = 0;
        while let Event::Logits(row) = mailbox.take()?.1 {
            on_logits(position, &row);
            position += 1;
            mailbox.accept_taken(0);
        }
        Ok(())
    }

    fn submit(&self, jobs: &[Job<'_>]) -> Result<Arc<Mailbox>, EngineError> {
        if jobs.len() > BATCH_MAX {
            return Err(EngineError::Batch { jobs: jobs.len(), limit: BATCH_MAX });
        }
        for job in jobs {
            job.check(self.model.facts())?;
        }
        let mailbox = Arc::new(Mailbox::new(jobs.len(), Arc::clone(&self.inbox)));
        let requests =
            jobs.iter().enumerate().map(|(index, job)| Request::new(job, index, &mailbox));
        self.inbox.submit(requests.collect())?;
        Ok(mailbox)
    }

    /// Hands one run over.
    pub(crate) fn submit_one(
        &self,
        request: impl FnOnce(&Arc<Mailbox>) -> Request,
    ) -> Result<Arc<Mailbox>, EngineError> {
        let mailbox = Arc::new(Mailbox::new(1, Arc::clone(&self.inbox)));
        self.inbox.submit(vec![request(&mailbox)])?;
        Ok(mailbox)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(scheduler) = self.scheduler.take() {
            // A panic there has been told to whoever waited.
            scheduler.join().ok();
        }
    }
}

/// A run under way. Dropped before its end, it is cancelled.
#[derive(Debug)]
pub struct Generation {
    mailbox: Arc<Mailbox>,
    run: Option<Run>,
}

impl Generation {
    /// The next token, or none at the end. Waits.
    ///
    /// # Errors
    /// An engine that has failed.
    pub fn next_token(&mut self) -> Result<Option<u32>, EngineError> {
        // To ask for the next token is to have accepted the one before.
        self.mailbox.accept_taken(0);
        if self.run.is_some() {
            return Ok(None);
        }
        Ok(match self.mailbox.take()?.1 {
            Event::Token(token) => Some(token),
            Event::Logits(_) => None,
            Event::Done(ended) => {
                self.run = Some(ended.run);
                None
            }
        })
    }

    /// Ends the run from anywhere: after the token under way, or during the prompt.
    pub fn canceller(&self) -> Canceller {
        Canceller::new(&self.mailbox, 0)
    }

    /// The run, once it has ended; tokens that nobody took by then are given up.
    ///
    /// # Errors
    /// An engine that has failed.
    pub fn finish(mut self) -> Result<Run, EngineError> {
        self.mailbox.accept_taken(0);
        loop {
            if let Some(run) = self.run.take() {
                return Ok(run);
            }
            match self.mailbox.take()?.1 {
                Event::Token(_) | Event::Logits(_) => self.canceller().cancel(),
                Event::Done(ended) => self.run = Some(ended.run),
            }
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.canceller().cancel();
    }
}
