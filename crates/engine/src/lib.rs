//! The fast executor of `model` graphs, and the models themselves: catalogue, import, store.
//!
//! Rules: an engine computes exactly what `model::reference` computes, trace included, whatever
//! the kernels, the number of threads, the batch or the way a prompt is cut; kernels are chosen
//! when a model is loaded. Floats exist in `import` alone.
//!
//! Reading order: `engine` (runs), `rerun` and `capture` (runs of others done again, for audits and
//! disputes), `request`, `scheduler` and `mailbox` (which runs share a pass), `execute`
//! (one pass through the ops), `backend` (who computes them; `cpu/linear` and `cpu/attention` are
//! where the time goes), `plan` and `pool`; then `catalog`, `store`, `pull`, `import`, `tiny`.
//!
//! Never here: payment, networks, HTTP. A download is the machine's own package client at work.

mod backend;
mod capture;
pub mod catalog;
mod cores;
mod engine;
mod error;
mod execute;
pub mod import;
mod mailbox;
mod plan;
mod pool;
mod pull;
mod request;
mod rerun;
mod sample;
mod scheduler;
pub mod store;
pub mod tiny;

pub use backend::{BackendKind, Product};
pub use engine::{BATCH_MAX, Engine, Generation, Options, PASS_ROWS};
pub use error::EngineError;
pub use mailbox::Canceller;
pub use model::{Finish, Job, Output, Run, RunError, Sampling};
pub use pool::THREADS_MAX;
pub use pull::{Progress, download};
pub use rerun::{LeafRows, Rerun, Rerunning};
