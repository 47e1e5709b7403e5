//! Canonical integer inference: what a model is and what it computes, to the bit.
//!
//! A model is a graph of integer ops, their weights and a preprocess configuration, named by the
//! hash of its manifest. The result of a run is a function of model, input and parameters, equal on
//! every device and in every order of evaluation, so two answers are compared by comparing hashes.
//!
//! Reading order: `constants` (every number), `ops/` (one file each, the normative text), `graph`,
//! `inspect` and `blocks` (what is refused, and how work is counted), `model` and `file`,
//! `reference`, `certificate`, `trace`, `commit`, `step` (what a dispute recomputes).
//!
//! Never here: floats, threads, clocks, files, SIMD. Fast executors live elsewhere and answer to
//! `reference`.
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

pub mod blocks;
pub mod certificate;
pub mod commit;
pub mod constants;
mod error;
mod file;
mod graph;
pub mod inspect;
pub mod int;
pub mod layout;
mod manifest;
mod model;
pub mod ops;
pub mod reference;
pub mod rows;
mod run;
pub mod step;
pub mod tiny;
pub mod trace;
mod weights;

pub use error::{ModelError, RunError};
pub use file::Header;
pub use graph::{Graph, Op, Reach, ValueId, WeightType};
pub use inspect::{Facts, Task, inspect, inspect_bytes, work_units};
pub use manifest::Manifest;
pub use model::{Model, Parts, RootOf, preprocess_hash};
pub use run::{Finish, Job, Output, Run, Sampling, finish, is_full};
pub use weights::{Channel, Channels, OpWeights, RopeTable, Weights};
