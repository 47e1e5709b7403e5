//! Names of things: accounts, operators, models, chains.
//!
//! Rules: an account is its owner's cold key; an operator is derived from owner and index, so that
//! one owner can run many boxes and replace a stolen box key without losing the identity; a model
//! is the hash of its manifest; a chain is the hash of its anchor.
//! Never here: a name that somebody chose.

use crate::{BadHex, Digest, Domain, PublicKey, hash};
use borsh::{BorshDeserialize, BorshSerialize};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
            Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// From what it stands for.
            #[must_use]
            pub const fn new(inner: $inner) -> Self {
                Self(inner)
            }

            /// What it stands for.
            #[must_use]
            pub const fn get(&self) -> &$inner {
                &self.0
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = BadHex;

            fn from_str(text: &str) -> Result<Self, BadHex> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// An account: the owner's cold key.
    AccountId,
    PublicKey
);
id!(
    /// An operator's identity, which outlives its box keys.
    OperatorId,
    Digest
);
id!(
    /// A model: the hash of its manifest.
    ModelId,
    Digest
);
id!(
    /// A chain: the hash of its anchor.
    ChainId,
    Digest
);

impl OperatorId {
    /// The `index`-th operator of an owner.
    #[must_use]
    pub fn derive(owner: &AccountId, index: u32) -> Self {
        Self(hash(Domain::OperatorId, &[owner.as_bytes(), &index.to_le_bytes()]))
    }
}
