//! The whole network in one process: one validator, three operators, one gateway.
//!
//! ```text
//!   folder/  genesis.json  keys/  chain/  operator-0/ operator-1/ operator-2/  gateway/
//! ```
//! Rules: every part is the real one, over real sockets on loopback; keys and genesis are made at
//! the first start and kept, so that a second start goes on with the same chain; what cannot be
//! fetched is left out and said. Never here: rules of its own, shortcuts between the roles.

mod error;
mod genesis;
mod identities;
mod liar;
mod models;
mod network;
mod roles;

pub use engine::Progress as PullProgress;
pub use error::Error;
pub use liar::Liar;
pub use models::Served;
pub use network::{Config, Devnet, Event, start};

/// Operators that a devnet runs, each of its own owner.
pub const OPERATORS: u32 = 3;
