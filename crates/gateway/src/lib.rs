//! The gateway: an OpenAI-compatible API in front of the network.
//!
//! ```text
//!   caller ──HTTP──▶ http ─▶ api ─▶ tasks (exactly once) ─▶ work (tokens, budget) ─▶ run (boxes)
//!                                                             │                      │
//!                         receipts ◀── store ◀────────────────┘     lanes, funds ◀───┘──▶ boxes
//! ```
//! - `http`: the server and its limits. `openai`: how answers are written. `api`: the paths.
//! - `tasks`: who waits for what; repeats meet the task they repeat. `keys`: budgets.
//! - `work`: text to token ids and back, stop strings, billing. `run`: one request, one box after
//!   the other. `router`: whose turn it is. `boxes`: the links.
//! - `lanes`, `funds`: money off and on chain. `store`: what must not be forgotten.
//! - `caps`: how much a box may have unverified. `duplicates`: answers held against each other.
//! - `receipts`: bundles, with proof once they are claimed.
//!
//! Rules: input is never cut; a task is billed once; a voucher is on disk before it is sent; the
//! margin is stated in every bundle. Never here: an engine, TLS towards callers (a proxy's work).

mod api;
mod boxes;
mod caps;
mod claims;
mod config;
mod duplicates;
mod error;
mod funds;
mod http;
mod keys;
mod lanes;
mod late;
mod omissions;
mod openai;
mod receipts;
mod router;
mod run;
mod start;
mod store;
mod tasks;
mod work;

pub use crate::http::HttpLimits;
pub use config::{ApiKey, Config, DUPLICATES, Funding, KnownModel};
pub use error::{ApiError, Code};
pub use start::{Gateway, GatewayError, start};

/// Milliseconds since 1970 on this machine; to others only differences mean anything.
fn now() -> units::Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    units::Millis::new(u64::try_from(millis).unwrap_or(u64::MAX))
}
