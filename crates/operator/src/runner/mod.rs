//! One model's runs on threads of their own, behind a bounded queue.
//!
//! Rules: the queue never grows beyond its bound and nobody waits to enter it; a run ends within a
//! token of being cancelled, or during its prompt; inputs of an embedding model that wait
//! together run together; a run that fails takes down neither its thread nor other runs.
//! Never here: payment, networks.

use crate::task::Progress;
use engine::{Engine, EngineError};
use model::{Job, Run, Sampling, Task};
use std::{
    io,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};
use tokio::sync::oneshot;

/// Inputs of one embedding pass.
const EMBED_AT_ONCE: usize = 16;

/// One run that is wanted.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) ids: Arc<[u32]>,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    pub(crate) max_tokens: u32,
    pub(crate) stop: Vec<u32>,
    pub(crate) deadline: Instant,
    pub(crate) progress: Arc<Progress>,
    pub(crate) done: oneshot::Sender<Result<Run, NoRun>>,
}

impl Work {
    fn job(&self) -> Job<'_> {
        Job {
            ids: &self.ids,
            sampling: self.sampling,
            seed: self.seed,
            max_tokens: self.max_tokens,
            stop: &self.stop,
        }
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

/// Why there is no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRun {
    /// Nobody wanted it any more before it gave anything.
    #[error("the task was cancelled before its first token")]
    Cancelled,
    /// Its deadline passed first.
    #[error("the deadline passed before the first token")]
    Late,
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Broken(String),
}

/// Why work does not enter the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotQueued {
    /// It is full.
    #[error("as many tasks wait as may wait; ask another box, or this one in a moment")]
    Full,
    /// It is closed.
    #[error("the box is stopping; ask another one")]
    Closed,
}

/// One model, ready to run.
#[derive(Debug)]
pub(crate) struct Runner {
    queue: Mutex<Option<SyncSender<Work>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Runner {
    /// Starts `at_once` threads.
    pub(crate) fn start(engine: &Arc<Engine>, at_once: usize, bound: usize) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(bound);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut threads = Vec::with_capacity(at_once);
        for _ in 0..at_once {
            let (engine, waiting) = (Arc::clone(engine), Arc::clone(&waiting));
            let thread = std::thread::Builder::new()
                .name("runner".into())
                .spawn(move || run_all(&engine, &waiting))?;
            threads.push(thread);
        }
        Ok(Self { queue: Mutex::new(Some(queue)), threads: Mutex::new(threads) })
    }

    /// Puts work into the queue.
    pub(crate) fn submit(&self, work: Work) -> Result<(), NotQueued> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or(NotQueued::Closed)?;
        queue.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => NotQueued::Full,
            TrySendError::Disconnected(_) => NotQueued::Closed,
        })
    }

    /// Lets nothing more in; what waits is still run.
    pub(crate) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Closes and waits for the threads.
    pub(crate) fn join(&self) {
        self.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A panic there has been reported by the thread itself.
            thread.join().ok();
        }
    }
}

/// A thread's life: takes what waits and runs it until the queue is closed and empty.
fn run_all(engine: &Engine, waiting: &Mutex<Receiver<Work>>) {
    let at_once = match engine.model().facts().task {
        Task::Embed => EMBED_AT_ONCE,
        Task::Generate => 1,
    };
    loop {
        let mut works = Vec::with_capacity(at_once);
        {
            let queue = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(first) = queue.recv() else { return };
            works.push(first);
            works.extend(queue.try_iter().take(at_once - 1));
        }
        run_together(engine, works);
    }
}

/// One generation; the engine runs it together with those of other threads.
fn generate(engine: &Engine, work: &Work) -> Result<Result<Run, NoRun>, EngineError> {
    let mut generation = engine.start(&work.job())?;
    let canceller = generation.canceller();
    work.progress.begun(generation.canceller());
    while let Some(token) = generation.next_token()? {
        work.progress.push(token);
        if work.is_late() {
            canceller.cancel();
        }
    }
    let run = generation.finish()?;
    Ok(match run.n_out {
        0 if work.is_late() => Err(NoRun::Late),
        0 => Err(NoRun::Cancelled),
        _ => Ok(run),
    })
}

/// Inputs of an embedding model in one pass, generations one after the other.
fn runs(engine: &Engine, wanted: &[Work]) -> Result<Vec<Result<Run, NoRun>>, EngineError> {
    match engine.model().facts().task {
        Task::Generate => wanted.iter().map(|work| generate(engine, work)).collect(),
        Task::Embed => {
            let jobs: Vec<Job<'_>> = wanted.iter().map(Work::job).collect();
            let runs = engine.generate_batch(&jobs, &mut |_, _| ControlFlow::Break(()))?;
            Ok(runs.into_iter().map(Ok).collect())
        }
    }
}

fn run_together(engine: &Engine, works: Vec<Work>) {
    let mut wanted = Vec::with_capacity(works.len());
    for work in works {
        let reason = match () {
            () if work.progress.is_cancelled() => NoRun::Cancelled,
            () if work.is_late() => NoRun::Late,
            () => {
                wanted.push(work);
                continue;
            }
        };
        // Who asked may be gone.
        work.done.send(Err(reason)).ok();
    }
    if wanted.is_empty() {
        return;
    }
    let runs = catch_unwind(AssertUnwindSafe(|| runs(engine, &wanted)));
    let failed = match runs {
        Ok(Ok(runs)) if runs.len() == wanted.len() => {
            for (work, run) in wanted.into_iter().zip(runs) {
                // Who asked may be gone.
                work.done.send(run).ok();
            }
            return;
        }
        Ok(Ok(_)) => "it lost a run".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it panicked".to_owned(),
    };
    tracing::error!(%failed, "a run failed");
    for work in wanted {
        work.done.send(Err(NoRun::Broken(failed.clone()))).ok();
    }
}

#[cfg(test)]
mod tests;
