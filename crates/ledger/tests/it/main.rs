//! The ledger from outside: whole blocks, hostile bytes, random histories beside a naive twin,
//! frozen encodings, snapshots.

#[path = "../../src/testing/mod.rs"]
mod testing;

mod adversaries;
mod audits;
mod block;
mod conformance;
mod generate;
mod genesis;
mod hostile;
mod machine;
mod random;
mod replay;
mod samples;
mod storms;
mod twin;
