//! A validator of the chain, embedded: blocks, state on disk, and the interface to ask it.
//!
//! One validator runs Commonware's consensus alone (threshold certificates and random seeds,
//! with itself as the whole committee), executes the ledger's transitions, keeps an
//! authenticated tree of the state, and answers over HTTP on a local address. The reading order
//! is the way of a transaction: `rpc` → `mempool` → `pacing` → `application` → `machine` →
//! `tree` and `journal` → `rpc`.
//!
//! Rules: what was acknowledged is on disk; what is on disk survives a kill at any moment; the
//! same blocks give the same roots everywhere. The ledger's state is held in memory whole, so a
//! state larger than memory is out of reach.
//! Never here: economic rules.

mod application;
mod archive;
mod block;
mod config;
mod consensus;
mod demand;
mod error;
mod journal;
mod keys;
mod machine;
mod mempool;
mod network;
mod node;
mod pacing;
mod ports;
mod replay;
mod rpc;
mod seeds;
mod tree;

pub use config::{Config, Pace};
pub use error::{Crashed, KeyError, ReplayError, StartError};
pub use journal::JournalError;
pub use keys::ValidatorKeys;
pub use node::{Chain, start};
pub use ports::Models;
pub use replay::{Replayed, replay};
