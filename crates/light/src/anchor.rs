//! The anchor: the few bytes from which everything else about a chain is checked.
//!
//! Rules: the chain id is the hash of the anchor, and every vote of the validators is bound to
//! the chain id, so no certificate of one chain serves on another.
//! Never here: validators, addresses, anything that changes.

use borsh::{BorshDeserialize, BorshSerialize};
use commonware_codec::{Copying, DecodeExt as _};
use commonware_consensus::simplex::scheme::Namespace;
use commonware_cryptography::bls12381::primitives::variant::{MinSig, Variant};
use crypto::{ChainId, Digest, Domain, hash_of};
use serde::{Deserialize, Serialize};
use units::Text;

/// Prefix of the namespace under which validators vote.
const NAMESPACE: &[u8] = b"selvedge.consensus.1.";

/// What identifies a chain for ever.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ChainAnchor {
    /// Name for people, such as `devnet`; part of the identity, so that two chains of one
    /// genesis can be told apart.
    pub name: Text<64>,
    /// The validators' common key: it stays the same when they change.
    pub group_key: GroupKey,
    /// Digest of the genesis file.
    pub genesis: Digest,
}

impl ChainAnchor {
    /// The id that every signed transaction and request names.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        ChainId::new(hash_of(Domain::ChainAnchor, self))
    }

    /// The namespace of the validators' votes.
    #[must_use]
    pub fn namespace(&self) -> Vec<u8> {
        let mut namespace = NAMESPACE.to_vec();
        namespace.extend_from_slice(self.chain_id().as_bytes());
        namespace
    }

    /// The namespaces of the single kinds of vote.
    pub(crate) fn namespaces(&self) -> Namespace {
        Namespace::new(&self.namespace())
    }
}

/// A BLS12-381 public key in G2, compressed: 96 bytes. Holding one says nothing about its
/// validity; [`GroupKey::decode`] checks curve and subgroup.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupKey(#[serde(with = "crate::bytes::array")] [u8; 96]);

/// The bytes are no point of G2's prime-order subgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group key is no valid BLS12-381 G2 point: the anchor is damaged or forged")]
pub struct BadGroupKey;

impl GroupKey {
    /// From compressed bytes, unchecked.
    #[must_use]
    pub const fn new(bytes: [u8; 96]) -> Self {
        Self(bytes)
    }

    /// The compressed bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 96] {
        &self.0
    }

    /// The point.
    ///
    /// # Errors
    /// [`BadGroupKey`] if the bytes are off the curve, outside the subgroup or the identity.
    pub fn decode(&self) -> Result<<MinSig as Variant>::Public, BadGroupKey> {
        <MinSig as Variant>::Public::decode(Copying(&self.0)).map_err(|_| BadGroupKey)
    }
}

impl std::fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
