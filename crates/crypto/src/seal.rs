//! Content sealed to one reader: HPKE (RFC 9180) in base mode with X25519, HKDF-SHA256 and
//! ChaCha20-Poly1305.
//!
//! Rules: a key is used once; what is sealed is bound to a context and opens under no other; who is
//! shown the secret opens exactly what the reader could, so a reader can prove that it was given
//! nothing readable.
//! Never here: who sealed it; the randomness itself.

use crate::{
    Digest,
    text::{hex_serde, hex_text},
};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use hpke::{
    Deserializable, Kem as _, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, kem::X25519HkdfSha256 as X25519, single_shot_open, single_shot_seal_with_rng,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// By how much sealing lengthens: the sender's one-time key and the tag.
pub const SEAL_BYTES: usize = KEY_BYTES + 16;

const KEY_BYTES: usize = 32;

/// Why something cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The reader's key is of small order: everybody could open what is sealed to it.
    #[error("nothing can be sealed to this key: it is of small order")]
    BadKey,
    /// The bytes were sealed to another key, for another context, or changed since.
    #[error("the secret does not open these bytes in this context")]
    Unreadable,
}

/// A reader's one-time public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SealKey([u8; KEY_BYTES]);

/// The secret of a reader's one-time key. It may be shown once it has served.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SealSecret([u8; KEY_BYTES]);

hex_text!(SealKey);
hex_serde!(SealSecret);

impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealSecret")
    }
}

impl SealKey {
    /// From its bytes, unchecked.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Whether something can be sealed to it.
    ///
    /// # Errors
    /// [`SealError::BadKey`].
    pub fn validate(&self) -> Result<(), SealError> {
        // Small order shows with any sender's key.
        seal(self, &Digest::ZERO, &[], [0; KEY_BYTES]).map(drop)
    }
}

impl SealSecret {
    /// From 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The key to which others seal.
    #[must_use]
    pub fn key(&self) -> SealKey {
        let key = private(self).map(|secret| X25519::sk_to_pk(&secret).to_bytes().into());
        SealKey(key.unwrap_or_default())
    }
}

/// 32 bytes are always a secret.
fn private(secret: &SealSecret) -> Option<<X25519 as hpke::Kem>::PrivateKey> {
    <X25519 as hpke::Kem>::PrivateKey::from_bytes(&secret.0).ok()
}

/// Seals `content` to a reader for a context; `randomness` must be fresh.
///
/// # Errors
/// [`SealError::BadKey`].
pub fn seal(
    key: &SealKey,
    context: &Digest,
    content: &[u8],
    randomness: [u8; 32],
) -> Result<Vec<u8>, SealError> {
    let reader = <X25519 as hpke::Kem>::PublicKey::from_bytes(&key.0);
    let reader = reader.map_err(|_| SealError::BadKey)?;
    let mut random = ChaCha20Rng::from_seed(randomness);
    let (sender, sealed) = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519>(
        &OpModeS::Base,
        &reader,
        context.as_bytes(),
        content,
        &[],
        &mut random,
    )
    .map_err(|_| SealError::BadKey)?;
    Ok([sender.to_bytes().as_slice(), &sealed].concat())
}

/// Opens what was sealed to the key of `secret` for a context.
///
/// # Errors
/// [`SealError::Unreadable`].
pub fn open(secret: &SealSecret, context: &Digest, bytes: &[u8]) -> Result<Vec<u8>, SealError> {
    let split = bytes.split_at_checked(KEY_BYTES).zip(private(secret));
    let ((sender, sealed), secret) = split.ok_or(SealError::Unreadable)?;
    let sender = <X25519 as hpke::Kem>::EncappedKey::from_bytes(sender);
    single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519>(
        &OpModeR::Base,
        &secret,
        &sender.map_err(|_| SealError::Unreadable)?,
        context.as_bytes(),
        sealed,
        &[],
    )
    .map_err(|_| SealError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Domain, hash_bytes};

    fn secret(byte: u8) -> SealSecret {
        SealSecret::new([byte; 32])
    }

    fn context(name: &str) -> Digest {
        hash_bytes(Domain::SealContext, name.as_bytes())
    }

    #[test]
    fn only_the_readers_secret_opens_and_only_in_its_context() {
        let (reader, here) = (secret(1), context("here"));
        let sealed = seal(&reader.key(), &here, b"content", [9; 32]).unwrap();
        assert_eq!(sealed.len(), b"content".len() + SEAL_BYTES);
        assert_eq!(open(&reader, &here, &sealed).unwrap(), b"content");
        let unreadable = Err(SealError::Unreadable);
        assert_eq!(open(&secret(2), &here, &sealed), unreadable);
        assert_eq!(open(&reader, &context("there"), &sealed), unreadable);
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(open(&reader, &here, &changed), unreadable, "byte {index}");
            assert_eq!(open(&reader, &here, &sealed[..index]), unreadable, "{index} bytes");
        }
        assert_eq!(open(&reader, &here, &[sealed, vec![0]].concat()), unreadable);
    }

    #[test]
    fn nothing_is_sealed_to_a_key_of_small_order() {
        let mut one = [0; 32];
        one[0] = 1;
        for bytes in [[0; 32], one] {
            let key = SealKey::new(bytes);
            assert_eq!(key.validate(), Err(SealError::BadKey));
            assert_eq!(seal(&key, &context("here"), b"content", [9; 32]), Err(SealError::BadKey));
        }
        assert_eq!(secret(3).key().validate(), Ok(()));
        // What claims to come from such a key opens for nobody.
        let forged = [[0; 32].as_slice(), &[7; 40]].concat();
        assert_eq!(open(&secret(3), &context("here"), &forged), Err(SealError::Unreadable));
    }

    #[test]
    fn keys_read_as_hexadecimal_and_secrets_are_not_printed() {
        let key = secret(4).key();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<SealKey>(&json).unwrap(), key);
        assert_eq!(format!("{:?}", secret(4)), "SealSecret");
        assert!(serde_json::from_str::<SealKey>("\"AB\"").is_err());
    }

    #[test]
    fn what_was_sealed_once_opens_for_ever() {
        // Frozen: validators of every release must open it alike.
        let sealed = seal(&secret(5).key(), &context("frozen"), b"content", [6; 32]).unwrap();
        let (first, rest) = sealed.split_at(KEY_BYTES);
        expect_test::expect!["715f5e7a2b96492cd62b20f16e12853a03545d5f27c22a7198d3b35b84787507"]
            .assert_eq(&hex::encode(first));
        expect_test::expect!["61c34086f2be7fc289eaa7a15487e5a2b4587e5550f452"]
            .assert_eq(&hex::encode(rest));
        assert_eq!(open(&secret(5), &context("frozen"), &sealed).unwrap(), b"content");
    }
}
