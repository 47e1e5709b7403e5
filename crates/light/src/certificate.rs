//! The certificate of finality: one signature of the validators' common key over a block.
//!
//! Rules: a certificate is bytes until [`verify_certificate`] has seen it; it names committee,
//! round, parent round and header digest, all of which must be the header's. Its size does not
//! grow with the number of validators (131 bytes or so).
//! Never here: single votes; with threshold signatures they prove nothing to a third party.

use crate::{BadGroupKey, ChainAnchor, Header};
use borsh::{BorshDeserialize, BorshSerialize};
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_consensus::simplex::{
    scheme::bls12381_threshold::vrf::Certificate as SignaturePair, types::Proposal,
};
use commonware_cryptography::{
    bls12381::primitives::{ops, variant::MinSig},
    sha256,
};
use serde::{Deserialize, Serialize};
use units::{List, Round};

/// Bound of an encoded certificate: three numbers of at most ten bytes, a digest, two signatures.
const MAX_CERTIFICATE_BYTES: usize = 3 * 10 + 32 + 2 * 48;

/// An encoded finalization, unchecked.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Certificate(#[serde(with = "hex_bytes")] List<u8, MAX_CERTIFICATE_BYTES>);

/// Why a certificate does not make a header final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// More bytes than any certificate has.
    #[error("a certificate has at most {MAX_CERTIFICATE_BYTES} bytes, this one has {length}")]
    TooLong {
        /// What was given.
        length: usize,
    },
    /// The bytes do not decode.
    #[error("the certificate is malformed: fetch it again from another source")]
    Malformed,
    /// The anchor's key is unusable.
    #[error(transparent)]
    GroupKey(#[from] BadGroupKey),
    /// It is about another block.
    #[error("the certificate finalizes another block than this header (its round is {round})")]
    OtherBlock {
        /// The certificate's round.
        round: Round,
    },
    /// The signature over the block is wrong.
    #[error("the certificate is not signed by this chain's validators")]
    BadSignature,
    /// The signature over the round's seed is wrong.
    #[error("the certificate's seed is not signed by this chain's validators")]
    BadSeed,
}

impl Certificate {
    /// From encoded bytes.
    ///
    /// # Errors
    /// [`CertificateError::TooLong`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, CertificateError> {
        let length = bytes.len();
        List::new(bytes).map(Self).map_err(|_| CertificateError::TooLong { length })
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Checks that the validators of `anchor`'s chain made `header` final.
///
/// # Errors
/// [`CertificateError`]: the first thing that is wrong, in the order of its variants.
pub fn verify_certificate(
    anchor: &ChainAnchor,
    header: &Header,
    certificate: &Certificate,
) -> Result<(), CertificateError> {
    let (proposal, signatures) = decode(certificate).ok_or(CertificateError::Malformed)?;
    let pair = signatures.get().ok_or(CertificateError::Malformed)?;
    let key = anchor.group_key.decode()?;

    let round = Round::new(proposal.round.view().get());
    let same = proposal.payload.as_ref() == header.digest().as_bytes()
        && proposal.round.epoch().get() == header.committee
        && round == header.round
        && proposal.parent.get() == header.parent_round.get();
    if !same {
        return Err(CertificateError::OtherBlock { round });
    }

    let namespaces = anchor.namespaces();
    let vote = proposal.encode();
    ops::verify_message::<MinSig>(&key, &namespaces.finalize, &vote, &pair.vote_signature)
        .map_err(|_| CertificateError::BadSignature)?;
    let seed = proposal.round.encode();
    ops::verify_message::<MinSig>(&key, &namespaces.seed, &seed, &pair.seed_signature)
        .map_err(|_| CertificateError::BadSeed)
}

fn decode(certificate: &Certificate) -> Option<(Proposal<sha256::Digest>, SignaturePair<MinSig>)> {
    <(Proposal<sha256::Digest>, SignaturePair<MinSig>)>::decode(Copying(certificate.as_bytes()))
        .ok()
}

/// Serde as hex text of a bounded byte list.
mod hex_bytes {
    use super::{List, MAX_CERTIFICATE_BYTES};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(
        bytes: &List<u8, MAX_CERTIFICATE_BYTES>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&**bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<List<u8, MAX_CERTIFICATE_BYTES>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = crate::bytes::from_hex(&text)
            .ok_or_else(|| D::Error::custom("expected lower-case hex"))?;
        List::new(bytes).map_err(D::Error::custom)
    }
}
