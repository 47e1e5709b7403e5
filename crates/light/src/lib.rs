//! What a stranger needs to check the chain: headers, certificates, proofs of state.
//!
//! A verifier holds one [`ChainAnchor`] (about 150 bytes, learnt once from a source it trusts)
//! and walks two steps, each a pure function:
//!
//! ```text
//! anchor ──verify_certificate──▶ header ──verify_state──▶ value, or that there is none
//! ```
//!
//! Rules: every byte that comes in is hostile; a failure is a typed error that says what is
//! wrong. The group key of the anchor stays the same for the life of the chain, whoever the
//! validators are.
//! Never here: I/O, clocks, a runtime, trust in a server.

mod anchor;
mod bytes;
mod certificate;
mod header;
mod proof;
pub mod rpc;

pub use anchor::{BadGroupKey, ChainAnchor, GroupKey};
pub use certificate::{Certificate, CertificateError, verify_certificate};
pub use header::{Header, MAX_HEADER_BYTES, MAX_SEEDS, SeedError, SeedSignature, StateCommitment};
pub use proof::{
    Absence, CHUNK_BYTES, MAX_STATE_PROOF_BYTES, Presence, StateError, StateProof, key_digest,
    value_digest, verify_state,
};

#[cfg(test)]
mod tests;
