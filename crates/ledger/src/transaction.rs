//! The envelope of every transaction: who sends it, on which chain, in which order, until
//! when, and the proof that its signature was checked.
//!
//! Rules:
//! - The signed bytes name the chain, so that a transaction of one chain means nothing on
//!   another; they carry a nonce, so that it counts once; and a last height, so that a
//!   forgotten one dies (a durable nonce was processed twice on Solana in 2022).
//! - A handler never sees a transaction whose signature was not checked: it takes
//!   [`Authorized`], which only [`SignedTransaction::authorize`] makes.
//! - Nothing is keyed on signature bytes: the id is the hash of what was signed.
//!
//! Never here: what a call does.

use crate::{
    accounts, credits, disputes, models, params::Params, payments, staking, verification,
    verifier::Signatures,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, ChainId, Digest, Domain, PublicKey, Signature, hash_of};
use serde::{Deserialize, Serialize};
use units::{Coin, Height, Nonce, Overflow, Text};

/// The largest encoded transaction: a claim over the largest number of lanes fits.
pub const MAX_TRANSACTION_BYTES: usize = 2 << 20;

/// The longest reason: a decoder's complaint is cut to it.
pub const REASON_BYTES_MAX: usize = 120;

/// What a signature adds to the encoding.
const SIGNATURE_BYTES: usize = 64;

/// What an account asks of the ledger: one variant per module, numbered as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Call {
    /// Coin and session keys.
    Accounts(accounts::Tx) = 1,
    /// The stable credit.
    Credits(credits::Tx) = 2,
    /// Operators and their bonds.
    Staking(staking::Tx) = 3,
    /// The model registry.
    Models(models::Tx) = 4,
    /// Deposits, allocations, claims.
    Payments(payments::Tx) = 5,
    /// Challenges of receipts, and their moves.
    Disputes(disputes::Tx) = 6,
    /// Audits, and evidence of faults.
    Verification(verification::Tx) = 7,
}

/// A share of every block that one kind of traffic cannot take from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// Coin, credits, payments: at least half of a block is theirs.
    Payments,
    /// Challenges and moves: at most three tenths.
    Disputes,
    /// Everything else.
    Rest,
}

impl Call {
    /// The fee in coin: fixed per kind in genesis, plus a fixed amount per counted part where
    /// the work of a kind has one (lanes of a claim, bytes of a model).
    ///
    /// # Errors
    /// [`Overflow`] only under parameters beyond their bounds.
    pub fn fee(&self, params: &Params) -> Result<Coin, Overflow> {
        match self {
            Self::Accounts(tx) => Ok(tx.fee(&params.accounts)),
            Self::Credits(tx) => Ok(tx.fee(&params.credits)),
            Self::Staking(tx) => Ok(tx.fee(&params.staking)),
            Self::Models(tx) => tx.fee(&params.models),
            Self::Payments(tx) => tx.fee(&params.payments),
            Self::Disputes(tx) => Ok(tx.fee(&params.disputes)),
            Self::Verification(tx) => tx.fee(&params.verification),
        }
    }

    /// Whose share of a block it takes.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        match self {
            Self::Accounts(_) | Self::Credits(_) | Self::Payments(_) => Traffic::Payments,
            Self::Disputes(_) => Traffic::Disputes,
            Self::Staking(_) | Self::Models(_) | Self::Verification(_) => Traffic::Rest,
        }
    }

    /// Whether a session key may sign it. What moves coin out of the account, changes keys or
    /// touches a bond needs the account's own key.
    #[must_use]
    pub const fn allows_session(&self) -> bool {
        match self {
            Self::Payments(tx) => tx.allows_session(),
            Self::Staking(tx) => tx.allows_session(),
            Self::Disputes(tx) => tx.allows_session(),
            Self::Verification(tx) => tx.allows_session(),
            Self::Accounts(_) | Self::Credits(_) | Self::Models(_) => false,
        }
    }
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Transaction {
    /// The chain it is meant for.
    pub chain: ChainId,
    /// The account that acts and pays the fee.
    pub account: AccountId,
    /// The key that signs: the account's own or one of its session keys.
    pub signer: PublicKey,
    /// Number of this transaction among those of the same account and signer, from 0.
    pub nonce: Nonce,
    /// The last height at which it may be applied.
    pub valid_until: Height,
    /// What it does.
    pub call: Call,
}

impl Transaction {
    /// The transaction's id: the hash of what is signed.
    #[must_use]
    pub fn id(&self) -> Digest {
        hash_of(Domain::Transaction, self)
    }
}

/// A transaction as it travels.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// What is signed.
    pub transaction: Transaction,
    /// By `transaction.signer`.
    pub signature: Signature,
}

impl SignedTransaction {
    /// From the bytes of a stranger.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is decoded, [`Error::Malformed`] for anything but
    /// exactly one transaction in its one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_TRANSACTION_BYTES {
            return Err(Error::TooLarge);
        }
        borsh::from_slice(bytes).map_err(|error| {
            let mut reason = error.to_string();
            while reason.len() > REASON_BYTES_MAX {
                reason.pop();
            }
            Error::Malformed { reason: Text::new(reason).unwrap_or_default() }
        })
    }

    /// Checks the signature: the only way to an [`Authorized`] transaction.
    ///
    /// # Errors
    /// [`Error::BadSignature`]; [`Error::TooLarge`] for a value that could not have been
    /// decoded.
    pub fn authorize(self, signatures: &dyn Signatures) -> Result<Authorized<Transaction>, Error> {
        let Self { transaction, signature } = self;
        let bytes = borsh::to_vec(&transaction).map_err(|_| Error::TooLarge)?.len();
        let bytes = bytes.saturating_add(SIGNATURE_BYTES);
        if bytes > MAX_TRANSACTION_BYTES {
            return Err(Error::TooLarge);
        }
        let id = transaction.id();
        if !signatures.verify(&transaction.signer, &id, &signature) {
            return Err(Error::BadSignature);
        }
        Ok(Authorized { value: transaction, id, bytes })
    }
}

/// A message whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized<T> {
    value: T,
    id: Digest,
    bytes: usize,
}

impl<T> Authorized<T> {
    /// The message.
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// Its id: the hash of what was signed.
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// Its length on the wire, signature included: what it takes of a block.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Why an envelope is refused. Numbers are on the wire: never reuse one.
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
pub enum Error {
    /// Over [`MAX_TRANSACTION_BYTES`].
    #[error("the transaction exceeds {MAX_TRANSACTION_BYTES} bytes; split it")]
    TooLarge = 0,
    /// Not exactly one canonical encoding.
    #[error("the bytes are not one canonical transaction: {reason}")]
    Malformed {
        /// What the decoder met.
        reason: Text<REASON_BYTES_MAX>,
    } = 1,
    /// The signature does not belong to these bytes and this key.
    #[error("the signature does not match the transaction and its signer")]
    BadSignature = 2,
    /// Meant for another chain.
    #[error("the transaction names chain {named}, this is {expected}")]
    WrongChain {
        /// In the transaction.
        named: ChainId,
        /// Of this ledger.
        expected: ChainId,
    } = 3,
    /// Its last height has passed.
    #[error("the transaction expired at height {valid_until}, this is {height}; sign it again")]
    Expired {
        /// In the transaction.
        valid_until: Height,
        /// Of this block.
        height: Height,
    } = 4,
    /// Its last height lies further ahead than a transaction may live.
    #[error("valid_until {valid_until} is too far ahead; at most {latest} now")]
    ValidTooLong {
        /// In the transaction.
        valid_until: Height,
        /// The furthest allowed at this block.
        latest: Height,
    } = 5,
    /// Not the next one of this account and signer.
    #[error("nonce {given} is not the next one, {expected}")]
    WrongNonce {
        /// In the transaction.
        given: Nonce,
        /// The next one.
        expected: Nonce,
    } = 6,
    /// The account was never opened.
    #[error("account {account} does not exist; it opens with a first transfer to it")]
    UnknownAccount {
        /// The account.
        account: AccountId,
    } = 7,
    /// The signer is neither the account's key nor one of its session keys.
    #[error("key {signer} is no session key of the account; grant it with the account's key")]
    UnknownSession {
        /// The signer.
        signer: PublicKey,
    } = 8,
    /// The session was revoked or has expired.
    #[error("the session key has ended; grant it again with the account's key")]
    SessionEnded = 9,
    /// The call needs the account's own key.
    #[error("a session key may not sign this kind of transaction; use the account's key")]
    OwnKeyNeeded = 10,
    /// The session has used up what it may spend on fees.
    #[error("the fee {fee} exceeds what the session may still spend on fees, {left}")]
    SessionFeeCap {
        /// Of the transaction.
        fee: Coin,
        /// Left under the cap.
        left: Coin,
    } = 11,
    /// The account cannot pay the fee.
    #[error("the fee is {fee}, the account holds {balance}")]
    FeeNotCovered {
        /// Of the transaction.
        fee: Coin,
        /// Of the account.
        balance: Coin,
    } = 12,
}
