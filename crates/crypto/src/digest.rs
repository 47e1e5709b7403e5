//! 32-byte digests, each made for one [`Domain`].
//!
//! Rules: BLAKE3 runs in its key-derivation mode under the domain's tag; SHA-256 hashes the tag's
//! length and the tag before the data. Structured values are hashed as their canonical bytes.
//! Never here: a hash without a domain.

use crate::{Domain, text::hex_text};
use blake3::hazmat::HasherExt;
use borsh::{BorshDeserialize, BorshSerialize, io};
use sha2::Digest as _;

/// A 32-byte digest; text form: 64 lower-case hexadecimal digits.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Digest([u8; 32]);

impl Digest {
    /// All zero bytes: stands for "none before this one", never the digest of anything.
    pub const ZERO: Self = Self([0; 32]);

    /// From bytes that are already a digest.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

hex_text!(Digest);

fn hasher(domain: Domain) -> blake3::Hasher {
    blake3::Hasher::new_from_context_key(domain.context_key())
}

/// BLAKE3 of exactly these bytes.
#[must_use]
pub fn hash_bytes(domain: Domain, bytes: &[u8]) -> Digest {
    let mut hasher = hasher(domain);
    hasher.update(bytes);
    Digest(hasher.finalize().into())
}

/// BLAKE3 of several parts, each behind its length, so that no two lists of parts collide.
#[must_use]
pub fn hash(domain: Domain, parts: &[&[u8]]) -> Digest {
    let mut hasher = hasher(domain);
    for part in parts {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hasher.update(&length.to_le_bytes());
        hasher.update(part);
    }
    Digest(hasher.finalize().into())
}

/// A sink for canonical bytes whose writes cannot fail.
struct Sink<F>(F);

impl<F: FnMut(&[u8])> io::Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Feeds the canonical bytes of a value to `update`.
///
/// Serialisation into a sink fails only for a list of more than 2^32 elements, which no bounded
/// type of ours can hold; should it happen all the same, the digest is of a marker that no
/// value encodes to, and nothing verifies against it.
fn feed<T: BorshSerialize + ?Sized>(value: &T, update: impl FnMut(&[u8])) {
    let mut sink = Sink(update);
    if value.serialize(&mut sink).is_err() {
        (sink.0)(b"\xff\xff\xff\xffnot encodable");
    }
}

/// BLAKE3 of a value's canonical bytes.
#[must_use]
pub fn hash_of<T: BorshSerialize + ?Sized>(domain: Domain, value: &T) -> Digest {
    let mut hasher = hasher(domain);
    feed(value, |bytes| {
        hasher.update(bytes);
    });
    Digest(hasher.finalize().into())
}

fn sha256(domain: Domain) -> sha2::Sha256 {
    let tag = domain.tag().as_bytes();
    let length = u64::try_from(tag.len()).unwrap_or(u64::MAX);
    let mut hasher = sha2::Sha256::new();
    hasher.update(length.to_le_bytes());
    hasher.update(tag);
    hasher
}

/// SHA-256 of the tag and exactly these bytes: headers and state, which other chains must check.
#[must_use]
pub fn sha256_bytes(domain: Domain, bytes: &[u8]) -> Digest {
    let mut hasher = sha256(domain);
    hasher.update(bytes);
    Digest(hasher.finalize().into())
}

/// SHA-256 of the tag and a value's canonical bytes.
#[must_use]
pub fn sha256_of<T: BorshSerialize + ?Sized>(domain: Domain, value: &T) -> Digest {
    let mut hasher = sha256(domain);
    feed(value, |bytes| hasher.update(bytes));
    Digest(hasher.finalize().into())
}
