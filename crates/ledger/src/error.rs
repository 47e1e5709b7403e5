//! Why a transaction is refused, and why a node must stop.
//!
//! Rules: whatever a sender can cause is a [`Rejection`] with a stable number and a text that
//! carries the figures; a state that contradicts itself is [`Broken`], which no sender can
//! cause and after which nothing may be signed. Never here: a panic, a retry.

use crate::{
    accounts, credits, disputes, models, payments, staking, store::Corrupt, transaction,
    verification,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use units::Overflow;

/// Why a transaction changed nothing but, at most, its fee and nonce.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Rejection {
    /// The envelope: signature, chain, expiry, nonce, fee.
    #[error(transparent)]
    Envelope(#[from] transaction::Error) = 0,
    /// A rule of `accounts`.
    #[error(transparent)]
    Accounts(#[from] accounts::Error) = 1,
    /// A rule of `credits`.
    #[error(transparent)]
    Credits(#[from] credits::Error) = 2,
    /// A rule of `staking`.
    #[error(transparent)]
    Staking(#[from] staking::Error) = 3,
    /// A rule of `models`.
    #[error(transparent)]
    Models(#[from] models::Error) = 4,
    /// A rule of `payments`.
    #[error(transparent)]
    Payments(#[from] payments::Error) = 5,
    /// A rule of `disputes`.
    #[error(transparent)]
    Disputes(#[from] disputes::Error) = 6,
    /// A rule of `verification`.
    #[error(transparent)]
    Verification(#[from] verification::Error) = 7,
    /// An amount so large that a sum with it does not fit.
    #[error("an amount of the transaction is too large to be counted with; lower it")]
    Overflow = 255,
}

impl Rejection {
    /// The stable number: module in the high byte, error of the module in the low one. Both
    /// are the numbers that stand in the encoding, so they cannot drift apart from it.
    #[must_use]
    pub fn code(&self) -> u16 {
        let bytes = borsh::to_vec(self).unwrap_or_default();
        let byte = |index: usize| bytes.get(index).copied().unwrap_or_default();
        u16::from_be_bytes([byte(0), byte(1)])
    }
}

/// A state that contradicts itself. The node stops before it signs anything: safety first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A stored record does not decode.
    #[error(transparent)]
    Record(#[from] Corrupt),
    /// A record that a rule guarantees is missing or disagrees with another.
    #[error("the state contradicts itself: {0}; stop this node and restore a snapshot")]
    Rule(&'static str),
    /// A sum of the ledger's own does not fit, or a difference is negative.
    #[error("a sum of the ledger's own books does not fit; stop this node")]
    Overflow,
}

/// How a step of a block fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The sender's doing: the transaction is rejected and the block goes on.
    #[error(transparent)]
    Rejected(Rejection),
    /// Nobody's doing: the block fails.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl<E: Into<Rejection>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Rejected(error.into())
    }
}

impl From<Overflow> for Rejection {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

impl From<Corrupt> for Failure {
    fn from(corrupt: Corrupt) -> Self {
        Self::Broken(corrupt.into())
    }
}
