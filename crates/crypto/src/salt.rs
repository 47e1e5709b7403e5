//! Salts that keep committed inputs and outputs from being guessed.
//!
//! Rules: one random salt per request serves its input and its output tree; each leaf gets its
//! own salt from it, so that opening one leaf tells nothing of its neighbours. A duplicate of a
//! request reuses the salt, so that two operators' commitments compare.
//! Never here: the randomness itself.

use crate::digest::{BadHex, bytes_from_hex};
use crate::{Digest, Domain, hash};
use borsh::{BorshDeserialize, BorshSerialize};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The tree a leaf belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// The committed input.
    Input,
    /// The committed output.
    Output,
    /// The coarse trace, whose root has one salt: leaf 0.
    Trace,
}

impl Tree {
    const fn tag(self) -> [u8; 1] {
        match self {
            Self::Input => [0],
            Self::Output => [1],
            Self::Trace => [2],
        }
    }
}

/// The salt of one request, known to the payer and the operator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Salt([u8; 32]);

impl Salt {
    /// From 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The salt of leaf `index` of `tree`: H(salt ‖ tree ‖ index).
    #[must_use]
    pub fn of_leaf(&self, tree: Tree, index: u64) -> Digest {
        hash(Domain::LeafSalt, &[&self.0, &tree.tag(), &index.to_le_bytes()])
    }
}

impl FromStr for Salt {
    type Err = BadHex;

    fn from_str(text: &str) -> Result<Self, BadHex> {
        bytes_from_hex(text).map(Self)
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
