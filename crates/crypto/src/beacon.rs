//! Seeds of the random beacon and draws from them.
//!
//! Rules: a draw names its round in advance and waits for that round's seed; the same seed and
//! the same purpose give the same number on every machine.
//! Never here: how a seed came about (a threshold signature, which `chain` checks).

use crate::{Digest, Domain, hash};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The beacon's value for one round.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Seed(Digest);

impl Seed {
    /// From the digest of a round's threshold signature.
    #[must_use]
    pub const fn new(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub const fn get(&self) -> &Digest {
        &self.0
    }

    /// A number below `bound` for a purpose that `parts` name; 0 if `bound` is 0. Its bias is at
    /// most `bound` / 2^64.
    #[must_use]
    pub fn below(&self, bound: u64, parts: &[&[u8]]) -> u64 {
        let mut all = vec![self.0.as_bytes().as_slice()];
        all.extend_from_slice(parts);
        let digest = hash(Domain::BeaconDraw, &all);
        let first = digest.as_bytes().first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
        let scaled = u128::from(first).saturating_mul(u128::from(bound)) >> 64;
        u64::try_from(scaled).unwrap_or(0)
    }
}
