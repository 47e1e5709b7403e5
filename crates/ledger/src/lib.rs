//! The ledger: a pure function from a state and a block to the next state.
//!
//! [`apply_block`] takes a state, what the block knows of the outside world ([`Env`]: height,
//! time, proposer, round, beacon seeds) and transactions whose signatures were checked, and
//! returns ordered writes, one outcome per transaction, and events. It first moves the clock and
//! stores the seeds; then each module does what has fallen due (queued payouts, draws); then the
//! transactions run one after another, each through an overlay that a failure undoes down to its
//! fee and nonce; then what falls due in this block is paid, unbonded and released. Validators,
//! the simulator and light clients run this same crate.
//!
//! Modules, lowest first; one calls only those above it in this list, and upward effects go
//! through `block`:
//!
//! - [`accounts`]: coin, pots, nonces, fees, session keys.
//! - [`credits`]: the stable credit, minted by burning coin, settled back into coin.
//! - [`staking`]: operators, box keys, bonds, unbonding.
//! - [`models`]: the registry and its machine gate.
//! - [`payments`]: deposits, allocations, lanes, vouchers, claims; all messages of a request.
//! - [`disputes`]: whether a signed receipt is wrong, down to one executed step.
//! - [`verification`]: audits of claims, conflicts, omissions; what a fault costs.
//!
//! Each has the same files: `mod` (rules), `schema` (what others may see), `state` (records),
//! `apply` (transactions and block steps), `math` (formulas), `invariants`, `tests`.
//!
//! Never here: I/O, clocks, floats, threads, unordered maps, consensus, a panic that a sender
//! can cause.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::float_arithmetic,
        clippy::as_conversions,
        clippy::let_underscore_must_use
    )
)]

#[cfg(test)]
extern crate self as ledger;

pub mod accounts;
pub mod block;
pub mod bytes;
pub mod clock;
mod context;
pub mod credits;
mod decimal;
pub mod disputes;
pub mod error;
pub mod event;
pub mod genesis;
pub mod invariants;
mod key;
pub mod models;
pub mod params;
pub mod payments;
mod selection;
pub mod snapshot;
pub mod staking;
pub mod store;
pub mod tables;
#[cfg(test)]
mod testing;
pub mod transaction;
pub mod verification;
pub mod verifier;

pub use block::{Applied, BlockError, Env, Outcome, Status, apply_block, next_deadline};
pub use error::{Broken, Failure, Rejection};
pub use event::Event;
pub use genesis::{Genesis, GenesisError};
pub use params::Params;
pub use selection::{Readiness, select, triage};
pub use store::{Read, State, Table, View, Writes};
pub use transaction::{Authorized, Call, SignedTransaction, Transaction};
pub use verifier::{Ed25519, ModelFacts, ModelRejected, Ports, Reach, Signatures, Task, Verifier};
