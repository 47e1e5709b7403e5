//! Verification: why a sender is refused.

use super::super::state::Phase;
use crate::payments::messages::AuditMode;
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, Digest, ModelId, OperatorId, PublicKey, SealKey};
use serde::{Deserialize, Serialize};
use units::{Coin, Credit, Epoch, Millis};

/// Why a sender is refused. Numbers are on the wire: never reuse one.
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
    /// R2.
    #[error("{value} of unverified work exceeds the value cap of {cap}; bond more or wait")]
    OverValueCap {
        /// With this claim.
        value: Credit,
        /// The cap.
        cap: Credit,
    } = 0,
    /// R14.
    #[error("operator {operator} is jailed until clock {until}; claim then")]
    Jailed {
        /// Who.
        operator: OperatorId,
        /// Until when.
        until: Millis,
    } = 1,
    /// R3.
    #[error("an auditor's bond of {bond} is below the least, {least}")]
    BondTooSmall {
        /// With what is added.
        bond: Coin,
        /// The least, at the price.
        least: Coin,
    } = 2,
    /// R3.
    #[error("an auditor's models must be in ascending order, none twice")]
    ModelsOutOfOrder = 3,
    /// R3.
    #[error("{key} is no usable key: off the curve, of small order or misspelt")]
    BadKey {
        /// In the transaction.
        key: PublicKey,
    } = 4,
    /// R4.
    #[error("256 auditors with at least {least} each are enlisted for a model; bond more")]
    RosterFull {
        /// The least bond among them.
        least: Coin,
    } = 5,
    /// R3, R5.
    #[error("account {account} is not enlisted")]
    NotEnlisted {
        /// Who.
        account: AccountId,
    } = 6,
    /// R5.
    #[error("notice was given and runs until clock {until}")]
    Leaving {
        /// Until when.
        until: Millis,
    } = 7,
    /// R6, R11.
    #[error("operator {operator} has no claim for period {epoch}")]
    UnknownClaim {
        /// Whose.
        operator: OperatorId,
        /// Which.
        epoch: Epoch,
    } = 8,
    /// R6.
    #[error("no point that waits for an opening lies in this receipt")]
    NotDrawn = 9,
    /// R6, R11.
    #[error("the leaf's path does not lead to the claim's root")]
    BadPath = 10,
    /// R3.
    #[error("model {model} is not registered")]
    UnknownModel {
        /// Which.
        model: ModelId,
    } = 11,
    /// R7, R8.
    #[error("the claim has no such point")]
    UnknownPoint = 12,
    /// R7, R8.
    #[error("the point is in phase {phase:?}; this is not its time")]
    WrongPhase {
        /// Where it stands.
        phase: Phase,
    } = 13,
    /// R7, R8.
    #[error("account {account} was not drawn for this point")]
    NotTheAuditor {
        /// Who sent.
        account: AccountId,
    } = 14,
    /// R8.
    #[error("session key {key} is not the auditor's; use the one it enlisted with")]
    NotTheAuditorsKey {
        /// Who signed.
        key: PublicKey,
    } = 15,
    /// R8.
    #[error("it was committed, revealed or answered before")]
    Repeated = 16,
    /// R8.
    #[error("the finding is not what was committed to")]
    NotCommitted = 17,
    /// R8, R10.
    #[error("root and salt do not make the receipt's trace commitment")]
    WrongTrace = 18,
    /// R7.
    #[error("the content was demanded before; once is enough")]
    DemandedBefore = 19,
    /// R7.
    #[error("nobody demands this content")]
    NotDemanded = 20,
    /// R7.
    #[error("the content does not make the commitments of request and receipt")]
    WrongContent = 21,
    /// R10.
    #[error("the two requests order different work")]
    OtherBody = 22,
    /// R10.
    #[error("the receipts do not contradict each other")]
    NoContradiction = 23,
    /// R10.
    #[error("an opened leaf does not lead to its receipt's output commitment")]
    BadOpening = 24,
    /// R10.
    #[error("receipt {receipt} is in conflict already")]
    InConflict {
        /// Which.
        receipt: Digest,
    } = 25,
    /// R12.
    #[error("receipt {receipt} was punished already")]
    Punished {
        /// Which.
        receipt: Digest,
    } = 26,
    /// R10, R11.
    #[error("the window to challenge it ended at clock {ended}")]
    TooLate {
        /// When.
        ended: Millis,
    } = 27,
    /// R10.
    #[error("receipt {receipt} is not in conflict")]
    NotInConflict {
        /// Which.
        receipt: Digest,
    } = 28,
    /// R11.
    #[error("the range is not the claimed one of this receipt's lane")]
    WrongRange = 29,
    /// R11.
    #[error("the leaves do not show that the receipt is missing")]
    NotMissing = 30,
    /// R17.
    #[error("the receipt's audit mode is {mode:?}: demand and delivery must be of that mode")]
    OtherMode {
        /// Of its request.
        mode: AuditMode,
    } = 31,
    /// R17.
    #[error("nothing can be sealed to key {key:?}: it is of small order")]
    BadReplyKey {
        /// In the demand.
        key: SealKey,
    } = 32,
    /// R17.
    #[error("key {key:?} is another auditor's of this point; make one of your own")]
    ReplyKeyTaken {
        /// In the demand.
        key: SealKey,
    } = 33,
    /// R17.
    #[error("only the operator brings sealed content; account {account} is not its owner's")]
    NotTheOperator {
        /// Who sent.
        account: AccountId,
    } = 34,
    /// R17.
    #[error("no sealed content was brought for this auditor")]
    NothingDelivered = 35,
    /// R17.
    #[error("the secret is not that of the key in the demand")]
    WrongSecret = 36,
    /// R17.
    #[error("the secret opens what was committed to: there is nothing to complain of")]
    ContentHolds = 37,
}
