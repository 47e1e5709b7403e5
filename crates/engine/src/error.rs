//! What can go wrong when a model is loaded or run.

/// An engine that cannot be loaded, or a run that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Kernels for another processor.
    #[error("this machine's processor has no {backend}; leave the backend open to use what it has")]
    BackendMissing {
        /// The backend asked for.
        backend: &'static str,
    },
    /// A number of threads outside the limits.
    #[error("{threads} threads were asked for; between 1 and {limit} are possible")]
    Threads {
        /// What was asked for.
        threads: usize,
        /// The bound.
        limit: usize,
    },
    /// Threads that the system does not give.
    #[error("the worker threads could not be started: {reason}")]
    Pool {
        /// What the system says.
        reason: String,
    },
    /// Memory that the system does not give.
    #[error("the system gives no {bytes} bytes of memory for the weights")]
    Memory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// More runs at once than an engine takes.
    #[error("{jobs} runs were handed over at once, the limit is {limit}")]
    Batch {
        /// Runs given.
        jobs: usize,
        /// The bound.
        limit: usize,
    },
    /// Logits of a model that has none.
    #[error("the model embeds; only models that generate tokens have logits")]
    NoLogits,
    /// A re-execution that its caller broke off.
    #[error("the re-execution was cancelled; start it again")]
    Cancelled,
    /// A part of a trace that the run does not have.
    #[error(transparent)]
    Step(#[from] model::step::StepError),
    /// An engine whose threads have ended: it was dropped, or a defect stopped it.
    #[error("the engine has stopped; load the model again")]
    Stopped,
    /// A job that the model cannot run.
    #[error(transparent)]
    Run(#[from] model::RunError),
}
