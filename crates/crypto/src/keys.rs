//! ed25519 keys and signatures under ZIP-215, from one library.
//!
//! Rules: a signature is over the 32-byte digest of a value in its domain; a batch accepts
//! exactly what single checks accept; a key of small order, under which any message verifies,
//! or in a second spelling is never accepted; secrets are wiped when dropped and never printed.
//! Never here: keys derived from anything but 32 secret bytes; use of a signature as an id.

use crate::{Digest, Domain, hash_of, text::hex_text};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use curve25519_dalek_ng::edwards::CompressedEdwardsY;
use ed25519_consensus::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use rand_chacha_03::{ChaCha20Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A key that must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a usable ed25519 key: off the curve, of small order, or not in its canonical form")]
pub struct BadKey;

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold for this key and message")]
pub struct BadSignature;

/// The public half of a key. Any 32 bytes decode; [`PublicKey::validate`] tells whether they can
/// ever verify, and nothing verifies under bytes that fail it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From its 32 bytes, unchecked.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Refuses what must never be registered.
    ///
    /// # Errors
    /// [`BadKey`] for bytes off the curve, points of small order and second spellings.
    pub fn validate(&self) -> Result<(), BadKey> {
        let point = CompressedEdwardsY(self.0).decompress().ok_or(BadKey)?;
        let usable = !point.is_small_order() && point.compress().0 == self.0;
        if usable { Ok(()) } else { Err(BadKey) }
    }

    /// Checks a signature over `value` in `domain`.
    ///
    /// # Errors
    /// [`BadSignature`] if it does not hold or the key is not usable.
    pub fn verify<T: BorshSerialize>(
        &self,
        domain: Domain,
        value: &T,
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        self.verify_digest(&hash_of(domain, value), signature)
    }

    /// Checks a signature over a digest that is already in its domain.
    ///
    /// # Errors
    /// [`BadSignature`] if it does not hold or the key is not usable.
    pub fn verify_digest(
        &self,
        digest: &Digest,
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        self.validate().map_err(|_| BadSignature)?;
        let key = VerificationKey::try_from(self.0).map_err(|_| BadSignature)?;
        key.verify(&signature.0.into(), digest.as_bytes()).map_err(|_| BadSignature)
    }
}

/// Checks many signatures at once, faster than one by one and with the same verdict. The
/// random weights come from a hash of the whole batch, so the call is a pure function.
///
/// # Errors
/// [`BadSignature`] if any one does not hold; which one is found by checking singly.
pub fn verify_batch(items: &[(PublicKey, Digest, Signature)]) -> Result<(), BadSignature> {
    // A claim has few keys and thousands of signatures: each key is looked at once.
    let keys: BTreeSet<&PublicKey> = items.iter().map(|(key, ..)| key).collect();
    for key in keys {
        key.validate().map_err(|_| BadSignature)?;
    }
    let mut verifier = batch::Verifier::new();
    for (key, digest, signature) in items {
        let key = VerificationKeyBytes::from(key.0);
        verifier.queue((key, signature.0.into(), digest.as_bytes()));
    }
    let weights = ChaCha20Rng::from_seed(*hash_of(Domain::BatchWeights, items).as_bytes());
    verifier.verify(weights).map_err(|_| BadSignature)
}

/// The secret half of a key.
pub struct SecretKey {
    signing: SigningKey,
    public: PublicKey,
}

impl SecretKey {
    /// From 32 secret random bytes.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let signing = SigningKey::from(seed);
        let public = PublicKey(signing.verification_key().to_bytes());
        Self { signing, public }
    }

    /// The 32 secret bytes, for a key file.
    #[must_use]
    pub fn to_seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.signing.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `value` for one purpose.
    #[must_use]
    pub fn sign<T: BorshSerialize>(&self, domain: Domain, value: &T) -> Signature {
        self.sign_digest(&hash_of(domain, value))
    }

    /// Signs a digest that is already in its domain.
    #[must_use]
    pub fn sign_digest(&self, digest: &Digest) -> Signature {
        Signature(self.signing.sign(digest.as_bytes()).to_bytes())
    }
}

impl Clone for SecretKey {
    fn clone(&self) -> Self {
        Self { signing: self.signing.clone(), public: self.public }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public)
    }
}

/// A signature; text form: 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature([u8; 64]);

impl Signature {
    /// From its 64 bytes, unchecked.
    #[must_use]
    pub const fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

hex_text!(PublicKey);
hex_text!(Signature);

/// A message with its signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Signed<T> {
    /// What was signed.
    pub message: T,
    /// Over the message's digest in its domain.
    pub signature: Signature,
}
