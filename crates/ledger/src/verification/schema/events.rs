//! Verification: facts for indexers and for the software of operators, auditors and gateways.

use super::super::state::{Cause, Evidence, Spread};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, Digest, ModelId, OperatorId};
use serde::{Deserialize, Serialize};
use units::{BasisPoints, Coin, Credit, Epoch, Millis};

/// How a point ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// Every finding equals the receipt's, or won nothing in its dispute.
    Passed = 0,
    /// The operator is at fault: the fault says how.
    Failed = 1,
    /// Too few owners serve the model for it to be audited.
    ModelNotAudited = 2,
    /// No auditor of the model is enlisted, or none of those drawn came.
    NoAuditor = 3,
    /// Another point drew the same receipt and stands for this one.
    Merged = 4,
    /// Its payer lets nobody see it.
    NeverOpened = 5,
}

/// Facts for indexers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Event {
    /// An auditor entered or changed.
    Enlisted {
        /// Who.
        auditor: AccountId,
        /// Its bond from now on.
        bond: Coin,
    } = 0,
    /// An auditor is no longer drawn for a model.
    Struck {
        /// Who.
        auditor: AccountId,
        /// For which model.
        model: ModelId,
    } = 1,
    /// An auditor gave notice.
    Retiring {
        /// Who.
        auditor: AccountId,
        /// When its bond is free.
        due: Millis,
    } = 2,
    /// An auditor left with its bond.
    Retired {
        /// Who.
        auditor: AccountId,
        /// What it got back.
        bond: Coin,
    } = 3,
    /// The seed passed a claim over.
    PassedOver {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// With which probability it would have been audited.
        probability: BasisPoints,
    } = 4,
    /// A receipt of a claim was drawn: its operator opens it before `open_until`.
    PointDrawn {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Number of the point.
        point: u8,
        /// Place in the sum of the fees: the receipt whose range holds it is drawn.
        at: Credit,
        /// With which probability the claim was audited.
        probability: BasisPoints,
        /// Until when.
        open_until: Millis,
    } = 5,
    /// A drawn receipt was opened.
    PointOpened {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Number of the point.
        point: u8,
        /// The receipt.
        receipt: Digest,
        /// The model.
        model: ModelId,
        /// Until when its auditors commit.
        commit_until: Millis,
    } = 6,
    /// An auditor was drawn for an opened point.
    AuditorDrawn {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Number of the point.
        point: u8,
        /// Who.
        auditor: AccountId,
        /// Whether in the place of one that did not come.
        replacement: bool,
    } = 7,
    /// An auditor was sent nothing: the operator delivers here before `due`.
    Demanded {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Number of the point.
        point: u8,
        /// Until when.
        due: Millis,
    } = 8,
    /// The content stands in this block's transaction.
    Delivered {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Number of the point.
        point: u8,
        /// Until when its auditors commit.
        commit_until: Millis,
    } = 9,
    /// All that will commit have: auditors and operator reveal before `reveal_until`.
    RevealOpen {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Number of the point.
        point: u8,
        /// Until when.
        reveal_until: Millis,
    } = 10,
    /// A drawn auditor did not commit or did not reveal.
    AuditorMissed {
        /// Who.
        auditor: AccountId,
        /// What it lost of its bond.
        burned: Coin,
    } = 11,
    /// An audit was paid.
    AuditPaid {
        /// Who.
        auditor: AccountId,
        /// How much.
        amount: Coin,
    } = 12,
    /// An auditor's finding differs from the receipt's: a dispute is open.
    Mismatch {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Number of the point.
        point: u8,
        /// The receipt.
        receipt: Digest,
        /// Who challenges it.
        auditor: AccountId,
    } = 13,
    /// A point ended.
    PointEnded {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Number of the point.
        point: u8,
        /// How.
        outcome: Outcome,
    } = 14,
    /// Two receipts contradict each other: both operators answer before `due`.
    ConflictFiled {
        /// The certificate's id.
        conflict: Digest,
        /// The receipts.
        receipts: [Digest; 2],
        /// Their operators.
        operators: [OperatorId; 2],
        /// Until when.
        due: Millis,
    } = 15,
    /// A receipt in conflict was answered for.
    ConflictAnswered {
        /// The certificate's id.
        conflict: Digest,
        /// The receipt.
        receipt: Digest,
    } = 16,
    /// A conflict ended.
    ConflictEnded {
        /// The certificate's id.
        conflict: Digest,
    } = 17,
    /// An operator is at fault and pays.
    Slashed {
        /// Who.
        operator: OperatorId,
        /// Number of the fault: its record says all.
        fault: u64,
        /// For what.
        cause: Cause,
        /// How it was shown.
        evidence: Evidence,
        /// Who got what.
        spread: Spread,
    } = 18,
}
