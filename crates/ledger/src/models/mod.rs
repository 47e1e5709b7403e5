//! Models: the registry of what can be served, behind a machine gate.
//!
//! ```text
//!   (none) ── publish: name free, weights new, gate passed, deposit paid ──▶ registered
//! ```
//!
//! Rules:
//! - R1 A model is registered once, under the hash of its manifest.
//! - R2 What the network knows of it is computed by the machine gate from manifest and graph:
//!   nothing of it is declared.
//! - R3 No two models share a weight root, so that nobody republishes another's weights under a
//!   famous name.
//! - R4 A name is `publisher/name`. The first account that uses a publisher's name owns it; a
//!   name stands for one model for ever. Names are lower-case letters, digits, `-` and `.`, and
//!   start with a letter or digit.
//! - R5 The publisher's account deposits coin worth a fixed sum of dollars, rounded up; the
//!   deposit stays in its pot while the model is registered.
//! - R6 Manifest and graph are bounded, and the fee grows with their bytes, which bound the work
//!   of the gate.
//! - R7 Weights are never on the ledger; manifest and graph are, so that a step can be judged.
//!
//! Money flow: publisher → `model_deposits`.
//!
//! Attacks resisted: inflated work units (R2); squatting and look-alikes (R3–R5); a graph built
//! to exhaust the gate (R6, and cheap checks come first).
//!
//! Spec: `docs/spec/ledger.md`.

pub(crate) mod apply;
pub(crate) mod invariants;
pub mod math;
pub mod schema;
pub mod state;
#[cfg(test)]
mod tests;

pub use schema::{
    Error, Event, GRAPHS, MANIFESTS, MODELS, NAMES, PUBLISHERS, Params, Publication, Tx, WEIGHTS,
};
pub use state::{Model, by_name, model};
