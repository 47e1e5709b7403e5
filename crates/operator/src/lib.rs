//! The box side of the network: takes tasks from gateways, runs them, signs receipts, is paid.
//!
//! ```text
//!   gateways ◀─ dial ─ connection ─▶ admission ─▶ lanes ─▶ runner (engine's own threads)
//!                          ▲                                  │
//!                          └───── Done ◀── records (disk) ◀── receipt
//!   chain    ◀── claims, once an epoch ── records ──▶ paths ──▶ gateways
//! ```
//! The reading order is the way of a task: [`start`] → `connection` → `admission` → `lanes` →
//! `runner` → `task` → `records` → `claims` → `paths`.
//!
//! Rules: a box dials out and pins the key of each gateway; a task that is not fit, fresh, paid
//! for and within bounds is refused with a code and a reason, and costs bounded time and memory;
//! a receipt is on disk before the last byte of its answer leaves; what was claimed is read from
//! the chain, never remembered, so that a kill at any moment loses no receipt and claims none
//! twice. Never here: routing, prices of others, HTTP, keys at rest.

mod admission;
mod allocations;
mod caps;
mod claims;
mod config;
mod connection;
mod dial;
mod error;
pub mod faults;
mod lanes;
mod node;
mod operator;
mod paths;
mod records;
mod runner;
mod task;
mod verification;

pub use config::{Auditing, Config, Gateway, MAX_AT_ONCE, MAX_GATEWAYS, MAX_QUEUE, ServedModel};
pub use error::StartError;
pub use operator::{Operator, start};
pub use verification::{
    auditor::{Auditor, AuditorConfig, start as start_auditor},
    challenge::{Challenge, ChallengeError, Ended, challenge},
    execution::{Execution, ExecutionError, Order, Side},
};
