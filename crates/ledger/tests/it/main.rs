//! The ledger from outside: whole blocks, hostile bytes, random histories beside a naive twin,
//! frozen encodings, snapshots.

#[path = "../../src/testing.rs"]
mod testing;

mod generate;
mod machine;
mod random;
mod twin;
