//! Proofs of state: that a key has a value, or that it has none, under a header.
//!
//! Rules: the authenticated tree maps the SHA-256 of a key to the SHA-256 of its value (each
//! under its domain tag), in the order of the hashed keys; each leaf names its successor, which
//! is what makes absence provable. Decoding allocates at most [`MAX_STATE_PROOF_BYTES`].
//! Never here: the store, what keys mean.

use crate::Header;
use borsh::{BorshDeserialize, BorshSerialize};
use commonware_codec::{Copying, Decode as _, Encode as _};
use commonware_cryptography::{Sha256, sha256};
use commonware_storage::{
    merkle::mmr,
    qmdb::{
        any::value::FixedEncoding,
        current::ordered::proof::constant::{ExclusionProof, KeyValueProof},
    },
};
use crypto::{Digest, Domain, sha256_bytes};
use serde::{Deserialize, Serialize};

/// Bytes of one chunk of the activity bitmap; part of the proof format.
pub const CHUNK_BYTES: usize = 64;

/// Most digests in one proof: the path of a tree of 2^62 leaves, its peaks, and the bitmap's.
const MAX_PROOF_DIGESTS: usize = 128;

/// Bound of an encoded proof.
pub const MAX_STATE_PROOF_BYTES: usize = 8 * 1024;

/// The tree's proof that a key has a value.
pub type Presence = KeyValueProof<mmr::Family, sha256::Digest, sha256::Digest, CHUNK_BYTES>;

/// The tree's proof that a key has none.
pub type Absence = ExclusionProof<
    mmr::Family,
    sha256::Digest,
    FixedEncoding<sha256::Digest>,
    sha256::Digest,
    CHUNK_BYTES,
>;

/// An encoded proof, unchecked.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "proof")]
pub enum StateProof {
    /// That the key has a value.
    Present(#[serde(with = "crate::bytes::string")] Vec<u8>),
    /// That the key has none.
    Absent(#[serde(with = "crate::bytes::string")] Vec<u8>),
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// More bytes than any proof has.
    #[error("a state proof has at most {MAX_STATE_PROOF_BYTES} bytes, this one has {length}")]
    TooLong {
        /// What was given.
        length: usize,
    },
    /// The bytes do not decode.
    #[error("the state proof is malformed: fetch it again from another source")]
    Malformed,
    /// A proof of absence beside a value, or of presence beside none.
    #[error("the proof speaks of {proved}, the question is about {asked}")]
    WrongKind {
        /// What the proof is for.
        proved: &'static str,
        /// What was asked.
        asked: &'static str,
    },
    /// It does not lead to the header's state root.
    #[error("the proof does not lead to the state root of block {height}")]
    NotUnderRoot {
        /// The header's height.
        height: units::Height,
    },
}

impl StateProof {
    /// From the tree's proof that a key has a value.
    #[must_use]
    pub fn present(proof: &Presence) -> Self {
        Self::Present(proof.encode().to_vec())
    }

    /// From the tree's proof that a key has none.
    #[must_use]
    pub fn absent(proof: &Absence) -> Self {
        Self::Absent(proof.encode().to_vec())
    }
}

/// A key's place in the authenticated tree.
#[must_use]
pub fn key_digest(key: &[u8]) -> Digest {
    sha256_bytes(Domain::StateKey, key)
}

/// A value as the authenticated tree holds it.
#[must_use]
pub fn value_digest(value: &[u8]) -> Digest {
    sha256_bytes(Domain::StateValue, value)
}

/// Checks that in the state after `header`, `key` has exactly `value` (`None`: has no value).
/// The header itself must have been checked with [`crate::verify_certificate`].
///
/// # Errors
/// [`StateError`]: the first thing that is wrong, in the order of its variants.
pub fn verify_state(
    header: &Header,
    key: &[u8],
    value: Option<&[u8]>,
    proof: &StateProof,
) -> Result<(), StateError> {
    let (StateProof::Present(bytes) | StateProof::Absent(bytes)) = proof;
    if bytes.len() > MAX_STATE_PROOF_BYTES {
        return Err(StateError::TooLong { length: bytes.len() });
    }
    let root = tree_digest(&header.state.root);
    let key = tree_digest(&key_digest(key));
    let proved = match (proof, value) {
        (StateProof::Present(bytes), Some(value)) => {
            let proof = Presence::decode_cfg(Copying(bytes), &(MAX_PROOF_DIGESTS, ()))
                .map_err(|_| StateError::Malformed)?;
            let value = tree_digest(&value_digest(value));
            proof.verify::<Sha256, FixedEncoding<sha256::Digest>>(key, value, &root)
        }
        (StateProof::Absent(bytes), None) => {
            let proof = Absence::decode_cfg(Copying(bytes), &(MAX_PROOF_DIGESTS, (), ()))
                .map_err(|_| StateError::Malformed)?;
            proof.verify::<Sha256>(&key, &root)
        }
        (StateProof::Present(_), None) => {
            return Err(StateError::WrongKind { proved: "a value", asked: "absence" });
        }
        (StateProof::Absent(_), Some(_)) => {
            return Err(StateError::WrongKind { proved: "absence", asked: "a value" });
        }
    };
    if proved { Ok(()) } else { Err(StateError::NotUnderRoot { height: header.height }) }
}

fn tree_digest(digest: &Digest) -> sha256::Digest {
    sha256::Digest::from(*digest.as_bytes())
}
