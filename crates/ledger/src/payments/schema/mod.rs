//! Payments: what may be sent, what is recorded, why a sender is refused.

pub mod messages;
mod params;

use super::{
    math,
    state::{Allocation, ClaimRecord, Deposit, Lane},
};
use crate::store::{Key, Table};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, ChainId, OperatorId, PublicKey};
pub use messages::*;
pub use params::Params;
use serde::{Deserialize, Serialize};
use units::{Coin, Credit, Epoch, Millis, Overflow, Round};

/// Deposits by payer. Invariant: R1, R2.
pub const DEPOSITS: Table<AccountId, Deposit> = Table::new([5, 0], "payments.deposits");
/// Live allocations by (payer, number).
pub const ALLOCATIONS: Table<(AccountId, u64), Allocation> =
    Table::new([5, 1], "payments.allocations");
/// Live allocations by expiry. Invariant: one entry per allocation.
pub const ALLOCATION_EXPIRIES: Table<(Millis, (AccountId, u64)), ()> =
    Table::new([5, 2], "payments.allocation_expiries");
/// What each lane was claimed for. Never removed: it makes a receipt payable once (R8).
pub const LANES: Table<LaneId, Lane> = Table::new([5, 3], "payments.lanes");
/// Claims by (operator, period).
pub const CLAIMS: Table<(OperatorId, Epoch), ClaimRecord> = Table::new([5, 4], "payments.claims");
/// The latest period each operator has claimed (R6). Never removed.
pub const CLAIMED: Table<OperatorId, Epoch> = Table::new([5, 8], "payments.claimed");
/// Claims that wait for the seed of a round (R12).
pub const DRAWS: Table<(Round, (OperatorId, Epoch)), ()> = Table::new([5, 5], "payments.draws");
/// Rounds whose seed came and whose claims are being taken up (R12).
pub const READY: Table<Round, ()> = Table::new([5, 6], "payments.ready");
/// Claims by the clock of their next step (R13, R14).
pub const DUE: Table<(Millis, (OperatorId, Epoch)), ()> = Table::new([5, 7], "payments.due");

/// Fees of claims whose base is neither paid nor void, by operator. Absent means none (R16).
pub const UNVERIFIED: Table<OperatorId, Credit> = Table::new([5, 9], "payments.unverified");
/// Claims whose seed this block brought, until `verification` has drawn from them.
/// Invariant: empty after each block.
pub const DRAWN: Table<(OperatorId, Epoch), ()> = Table::new([5, 10], "payments.drawn");

impl Key for LaneId {
    fn write(&self, out: &mut Vec<u8>) {
        (self.payer, self.operator, self.index).write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (payer, operator, index) = Key::read(bytes)?;
        Some(Self { payer, operator, index })
    }
}

/// Transactions. Numbers are on the wire: never reuse one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tx {
    /// 0: Locks free credits (R1).
    Deposit {
        /// How much.
        amount: Credit,
    } = 0,
    /// 1: Frees locked credits that nothing reserves (R1).
    Withdraw {
        /// How much.
        amount: Credit,
    } = 1,
    /// 2: Promises an operator a limit (R2, R3).
    Allocate {
        /// The payer's next number.
        allocation: u64,
        /// To whom.
        operator: OperatorId,
        /// Whose vouchers draw on it.
        signer: PublicKey,
        /// How much.
        limit: Credit,
        /// The clock from which nothing is cashed on it.
        expires: Millis,
    } = 2,
    /// 3: Raises limit or expiry (R2–R4).
    Extend {
        /// Which.
        allocation: u64,
        /// The new limit; at least the old.
        limit: Credit,
        /// The new expiry; at least the old.
        expires: Millis,
    } = 3,
    /// 4: Cashes a period's receipts (R6–R11).
    FileClaim(Claim) = 4,
}

impl Tx {
    /// The fixed fee of the kind; a claim pays further for each lane, whose signature it makes
    /// every validator check.
    ///
    /// # Errors
    /// [`Overflow`] only under parameters beyond their bounds.
    pub fn fee(&self, params: &Params) -> Result<Coin, Overflow> {
        match self {
            Self::Deposit { .. } | Self::Withdraw { .. } => Ok(params.deposit_fee),
            Self::Allocate { .. } | Self::Extend { .. } => Ok(params.allocate_fee),
            Self::FileClaim(claim) => math::claim_fee(claim.lanes.len(), params),
        }
    }

    /// Whether a session key may sign it. It cannot withdraw (R1).
    #[must_use]
    pub const fn allows_session(&self) -> bool {
        !matches!(self, Self::Withdraw { .. })
    }
}

/// Facts for indexers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Event {
    /// Credits were locked.
    Deposited {
        /// By whom.
        payer: AccountId,
        /// How much.
        amount: Credit,
    } = 0,
    /// Credits were freed.
    Withdrawn {
        /// By whom.
        payer: AccountId,
        /// How much.
        amount: Credit,
    } = 1,
    /// A limit was promised, or raised.
    Allocated {
        /// By whom.
        payer: AccountId,
        /// Its number.
        allocation: u64,
        /// To whom.
        operator: OperatorId,
        /// Up to how much.
        limit: Credit,
        /// Until when.
        expires: Millis,
    } = 2,
    /// An allocation ended.
    Released {
        /// Whose.
        payer: AccountId,
        /// Its number.
        allocation: u64,
        /// What it left unspent.
        unspent: Credit,
    } = 3,
    /// A claim was filed.
    ClaimFiled {
        /// By whom.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// How much it claims.
        fee: Credit,
        /// How many receipts.
        receipts: u64,
        /// The round whose seed draws from it.
        draw_round: Round,
    } = 4,
    /// The seed of a claim's draw came.
    ClaimDrawn {
        /// Whose.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// The clock at which the base is paid.
        base_due: Millis,
    } = 5,
    /// The base of a claim was settled.
    BasePaid {
        /// Whose.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// How much of the fee.
        amount: Credit,
    } = 6,
    /// The rest of a claim was settled.
    ClaimSettled {
        /// Whose.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// How much of the fee.
        amount: Credit,
    } = 7,
    /// A claim failed: nothing more is paid on it.
    ClaimVoid {
        /// Whose.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// What was forfeited of the fee.
        forfeited: Credit,
    } = 8,
    /// A payer has its fee back, in its deposit.
    Refunded {
        /// Whose claim.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// To whom.
        payer: AccountId,
        /// How much of the fee.
        amount: Credit,
    } = 9,
}

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
}
