//! Salts that keep committed inputs and outputs from being guessed.
//!
//! Rules: one random salt per request serves its input and its output tree; each leaf gets its
//! own salt from it, so that opening one leaf tells nothing of its neighbours. A duplicate of a
//! request reuses the salt, so that two operators' commitments compare.
//! Never here: the randomness itself.

use crate::{Digest, Domain, hash, text::hex_text};
use borsh::{BorshDeserialize, BorshSerialize};

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

hex_text!(Salt);
