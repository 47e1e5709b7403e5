//! Digests with domain tags, signatures, trees and beacon seeds: what binds a statement.
//!
//! Rules: each use of a hash or a key has its own [`Domain`], so that bytes made for one purpose
//! never pass for another; hashes are BLAKE3 for data, traces and receipts, SHA-256 for headers
//! and state; signatures are ed25519 under ZIP-215, where a batch accepts exactly what single
//! checks accept, and keys of small order or in a second spelling are refused.
//! Never here: our own primitives; a source of randomness (callers bring theirs).

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

pub mod beacon;
mod digest;
mod domain;
pub mod id;
mod keys;
mod many;
pub mod merkle;
pub mod merkle_sum;
mod salt;
pub mod seal;
mod text;

pub use beacon::Seed;
pub use digest::{Digest, hash, hash_bytes, hash_of, sha256_bytes, sha256_of};
pub use domain::Domain;
pub use id::{AccountId, ChainId, ModelId, OperatorId};
pub use keys::{BadKey, BadSignature, PublicKey, SecretKey, Signature, Signed, verify_batch};
pub use many::hash_many;
pub use salt::{Salt, Tree};
pub use seal::{SealKey, SealSecret};
pub use text::BadHex;

#[cfg(test)]
mod tests;
