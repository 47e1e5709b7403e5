//! Payments: why a sender is refused.

use super::super::state::Stage;
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, ChainId, OperatorId, PublicKey};
use serde::{Deserialize, Serialize};
use units::{Credit, Epoch, Millis};

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
    /// R1, R3.
    #[error("the amount is zero; give at least one billionth")]
    ZeroAmount = 0,
    /// R1, R2.
    #[error("{amount} exceeds the unreserved deposit, {unreserved}; deposit more or wait")]
    OverDeposit {
        /// Asked.
        amount: Credit,
        /// Deposited and not reserved.
        unreserved: Credit,
    } = 1,
    /// R3.
    #[error("allocation {given} is not the payer's next one, {expected}")]
    WrongNumber {
        /// In the transaction.
        given: u64,
        /// The next one.
        expected: u64,
    } = 2,
    /// R3, R6.
    #[error("operator {operator} is not registered")]
    UnknownOperator {
        /// Which.
        operator: OperatorId,
    } = 3,
    /// R3, R4.
    #[error("an expiry at clock {expires} is not between {earliest} and {latest}")]
    BadExpiry {
        /// In the transaction.
        expires: Millis,
        /// The earliest allowed.
        earliest: Millis,
        /// The latest allowed.
        latest: Millis,
    } = 4,
    /// R3, R4.
    #[error("a session key allocates for itself only; use the account's key for another")]
    NotTheSigner = 5,
    /// R4, R9.
    #[error("allocation {allocation} of {payer} does not exist or has ended")]
    UnknownAllocation {
        /// Whose.
        payer: AccountId,
        /// Its number.
        allocation: u64,
    } = 6,
    /// R4.
    #[error("a limit of {given} is below the promised {limit}; it may only grow")]
    LimitShrinks {
        /// In the transaction.
        given: Credit,
        /// Promised.
        limit: Credit,
    } = 7,
    /// R6.
    #[error("operator {operator} belongs to another account")]
    NotTheOwner {
        /// Which.
        operator: OperatorId,
    } = 8,
    /// R6.
    #[error("period {epoch} has not ended; the ledger is in period {current}")]
    PeriodOpen {
        /// In the claim.
        epoch: Epoch,
        /// Of the ledger.
        current: Epoch,
    } = 9,
    /// R6.
    #[error("period {epoch} is not after {last}, the last one claimed")]
    AlreadyClaimed {
        /// In the claim.
        epoch: Epoch,
        /// The last one claimed.
        last: Epoch,
    } = 10,
    /// R6.
    #[error("version {key_epoch} of the box key is unknown or no longer good for claims")]
    BadKeyEpoch {
        /// In the claim.
        key_epoch: u32,
    } = 11,
    /// R7.
    #[error("the claim lists no lane")]
    NoLanes = 12,
    /// R7.
    #[error("lane {index} is not after the one before it; sort by payer and lane")]
    LaneOrder {
        /// Its place in the claim.
        index: u32,
    } = 13,
    /// R9.
    #[error("lane {index}: the voucher is for chain {named}, this is {expected}")]
    WrongChain {
        /// Its place in the claim.
        index: u32,
        /// In the voucher.
        named: ChainId,
        /// Of this ledger.
        expected: ChainId,
    } = 14,
    /// R9.
    #[error("lane {index}: the voucher pays operator {named}")]
    WrongOperator {
        /// Its place in the claim.
        index: u32,
        /// In the voucher.
        named: OperatorId,
    } = 15,
    /// R8.
    #[error("lane {index}: receipts {first} to {last} do not follow {claimed}, the last claimed")]
    WrongRange {
        /// Its place in the claim.
        index: u32,
        /// First receipt of the range.
        first: u64,
        /// Last receipt of the range, and the voucher's sequence.
        last: u64,
        /// The last receipt claimed before.
        claimed: u64,
    } = 16,
    /// R8.
    #[error("lane {index}: the voucher's {cumulative} is not above the claimed {claimed}")]
    StaleVoucher {
        /// Its place in the claim.
        index: u32,
        /// In the voucher.
        cumulative: Credit,
        /// Claimed before.
        claimed: Credit,
    } = 17,
    /// R8.
    #[error("lane {index}: the delta is {given}, the voucher adds {added}")]
    WrongDelta {
        /// Its place in the claim.
        index: u32,
        /// In the claim.
        given: Credit,
        /// What the voucher adds.
        added: Credit,
    } = 18,
    /// R8.
    #[error("lane {index}: {delta} is below the cashable minimum of {minimum}; wait for more")]
    BelowMinimum {
        /// Its place in the claim.
        index: u32,
        /// In the claim.
        delta: Credit,
        /// The parameter.
        minimum: Credit,
    } = 19,
    /// R9.
    #[error("lane {index}: the voucher acknowledges no receipt")]
    Unacknowledged {
        /// Its place in the claim.
        index: u32,
    } = 20,
    /// R9.
    #[error("lane {index}: allocation {allocation} is for another operator")]
    WrongAllocation {
        /// Its place in the claim.
        index: u32,
        /// Its number.
        allocation: u64,
    } = 21,
    /// R9.
    #[error("lane {index}: key {key} may not sign vouchers of this allocation")]
    WrongSigner {
        /// Its place in the claim.
        index: u32,
        /// In the voucher.
        key: PublicKey,
    } = 22,
    /// R9.
    #[error("lane {index}: {delta} exceeds what the allocation has left, {left}")]
    OverLimit {
        /// Its place in the claim.
        index: u32,
        /// In the claim.
        delta: Credit,
        /// Left of the limit.
        left: Credit,
    } = 23,
    /// R9.
    #[error("lane {index}: the voucher's signature does not hold")]
    BadSignature {
        /// Its place in the claim.
        index: u32,
    } = 24,
    /// R10.
    #[error("the lanes add up to {deltas}, the root to {fee}")]
    FeeMismatch {
        /// Sum of the deltas.
        deltas: Credit,
        /// Of the root.
        fee: Credit,
    } = 25,
    /// R10.
    #[error("the ranges hold {ranges} receipts, the root {count}")]
    CountMismatch {
        /// Receipts in the ranges.
        ranges: u64,
        /// Of the root.
        count: u64,
    } = 26,
    /// R6.
    #[error("session key {key} is no box key of this operator; claim with that or the owner's")]
    NotTheBoxKey {
        /// Who signed.
        key: PublicKey,
    } = 27,
    /// R17.
    #[error("operator {operator} has no claim for period {epoch}, or it is forgotten")]
    UnknownClaim {
        /// Whose.
        operator: OperatorId,
        /// Which.
        epoch: Epoch,
    } = 28,
    /// R17.
    #[error("the claim is not void but {stage:?}: only of a void one is anything reclaimed")]
    NotVoid {
        /// How far it has come.
        stage: Stage,
    } = 29,
    /// R17.
    #[error("the range is not lane {index} of the claim; take both from the claim as it was filed")]
    NotALane {
        /// The named place.
        index: u32,
    } = 30,
    /// R17.
    #[error("lane {index} was reclaimed before; once is all")]
    ReclaimedBefore {
        /// Its place in the claim.
        index: u32,
    } = 31,
    /// R17.
    #[error("the claim could be reclaimed until clock {ended}")]
    ReclaimedTooLate {
        /// When it ended.
        ended: Millis,
    } = 32,
    /// R17.
    #[error("lane {index} has nothing to come: its payer was refunded all of it")]
    NothingToReclaim {
        /// Its place in the claim.
        index: u32,
    } = 33,
}
