//! The header of a block: all that a light client ever needs of it, about 310 bytes.
//!
//! Rules: the digest of a block is the SHA-256 of its header's canonical bytes, and the header
//! commits to everything else. Seeds come in rounds without a gap: a header that has delivered
//! the seeds up to round `seeded` is followed by one that goes on from there, so a draw that
//! waits for a round always gets its seed.
//! Never here: transactions, execution.

use crate::{ChainAnchor, GroupKey};
use borsh::{BorshDeserialize, BorshSerialize};
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_consensus::types::{Epoch, Round as ConsensusRound, View};
use commonware_cryptography::bls12381::primitives::{
    ops,
    variant::{MinSig, Variant},
};
use crypto::{Digest, Domain, PublicKey, Seed, hash_bytes, sha256_of};
use serde::{Deserialize, Serialize};
use units::{Height, List, Millis, Round};

/// Most seeds that one block brings; a longer gap is filled over several blocks.
pub const MAX_SEEDS: u32 = 32;

/// Bound of an encoded header: its fixed part and the most seeds.
pub const MAX_HEADER_BYTES: usize = 512 + 48 * 32;

/// What a block says about itself. Fields are in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Header {
    /// Digest of the parent's header; zero for genesis.
    pub parent: Digest,
    /// Number of the block; genesis is 0.
    pub height: Height,
    /// The proposer's wall clock in Unix milliseconds, strictly above the parent's.
    pub time: Millis,
    /// Number of the validators' committee that decided this block.
    pub committee: u64,
    /// The consensus view in which it was proposed.
    pub round: Round,
    /// The parent's view.
    pub parent_round: Round,
    /// Identity of the proposer.
    pub proposer: PublicKey,
    /// Merkle root over the signed transactions, in order; at genesis the genesis digest.
    pub transactions: Digest,
    /// The state after this block.
    pub state: StateCommitment,
    /// Merkle root over messages to other chains; zero while there are none.
    pub messages: Digest,
    /// Digest of the consensus payload that the body carries, if it carries one.
    pub payload: Option<Digest>,
    /// Every round up to here has had its seed in this block or an earlier one.
    pub seeded: Round,
    /// The seeds of the rounds that end with `seeded`, in order.
    pub seeds: List<SeedSignature, { MAX_SEEDS as usize }>,
}

/// Commitment to the ledger's state: a current-state root for proofs, and the root and range of
/// the operation log from which another node can rebuild the store.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct StateCommitment {
    /// Root of what is true now: state proofs lead here.
    pub root: Digest,
    /// Root of the log of operations.
    pub operations: Digest,
    /// First operation that is still needed.
    pub start: u64,
    /// One past the last operation.
    pub end: u64,
}

impl Header {
    /// SHA-256 of the canonical bytes: the digest of the whole block.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256_of(Domain::Header, self)
    }

    /// The rounds whose seeds this block brings, in order, with their signatures.
    pub fn round_seeds(&self) -> impl Iterator<Item = (Round, &SeedSignature)> {
        let count = u64::try_from(self.seeds.len()).unwrap_or(u64::MAX);
        let first = self.seeded.get().saturating_sub(count).saturating_add(1);
        (first..).map(Round::new).zip(self.seeds.iter())
    }

    /// Checks the signatures of all seeds of this header against the anchor's group key.
    ///
    /// # Errors
    /// [`SeedError`] names the first round whose signature is wrong.
    pub fn verify_seeds(&self, anchor: &ChainAnchor) -> Result<(), SeedError> {
        let namespace = anchor.namespaces().seed;
        self.round_seeds().try_for_each(|(round, signature)| {
            signature.verify_under(&anchor.group_key, &namespace, self.committee, round)
        })
    }
}

/// The validators' common signature over a round: unique, and unpredictable before the round
/// ends. BLS12-381 G1, compressed.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeedSignature(#[serde(with = "crate::bytes::array")] [u8; 48]);

/// A seed that is not the validators' signature over its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the seed of round {round} is not signed by the chain's validators")]
pub struct SeedError {
    /// The round in question.
    pub round: Round,
}

impl SeedSignature {
    /// From compressed bytes, unchecked.
    #[must_use]
    pub const fn new(bytes: [u8; 48]) -> Self {
        Self(bytes)
    }

    /// The compressed bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }

    /// The randomness of the round.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed::new(hash_bytes(Domain::BeaconSeed, &self.0))
    }

    /// Checks the signature over `round` of `committee`.
    ///
    /// # Errors
    /// [`SeedError`] if it is malformed or not made by the group key.
    pub fn verify(
        &self,
        anchor: &ChainAnchor,
        committee: u64,
        round: Round,
    ) -> Result<(), SeedError> {
        self.verify_under(&anchor.group_key, &anchor.namespaces().seed, committee, round)
    }

    fn verify_under(
        &self,
        key: &GroupKey,
        namespace: &[u8],
        committee: u64,
        round: Round,
    ) -> Result<(), SeedError> {
        let wrong = SeedError { round };
        let key = key.decode().map_err(|_| wrong)?;
        let signature =
            <MinSig as Variant>::Signature::decode(Copying(&self.0)).map_err(|_| wrong)?;
        let message = ConsensusRound::new(Epoch::new(committee), View::new(round.get())).encode();
        ops::verify_message::<MinSig>(&key, namespace, &message, &signature).map_err(|_| wrong)
    }
}

impl std::fmt::Debug for SeedSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
