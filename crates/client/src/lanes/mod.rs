//! The two ends of a lane: who pays and who is paid, as pure state machines.
//!
//! ```text
//!   payer                                     payee
//!   order(n) ── request n, voucher ≤ n−1 ──▶  take voucher, admit n
//!   accept(n) ◀──────────── receipt n ──────  issue(n)
//!   voucher(n) ── alone after a second ────▶  take voucher
//! ```
//! Rules:
//! - One task at a time on a lane, because each receipt names the one before it; a payer that
//!   wants more at once opens more lanes.
//! - A voucher is the exact sum of the fees of receipts 1 to its sequence, and acknowledges the
//!   last of them. The payee knows that sum and takes nothing else: no dust, no rounding, no
//!   overpayment that could be argued about.
//! - The payee goes without pay for at most `credit_limit` receipts.
//! - State reaches the disk before the message that rests on it leaves. After a restart the
//!   payer asks the payee where the lane stands and believes only signatures: its own on a
//!   voucher, the box key's on a receipt for the task it remembers having ordered. Where the two
//!   cannot agree, the payer leaves the lane for good and opens another.
//!
//! Never here: I/O, clocks, prices, the ledger.

mod payee;
mod payer;

pub use payee::Payee;
pub use payer::{Order, Payer, Times};

use borsh::{BorshDeserialize, BorshSerialize};
use crypto::Digest;
use ledger::payments::schema::Receipt;
use units::{Credit, Overflow};

/// Unpaid receipts that a payee puts up with per lane, unless it says otherwise.
pub const CREDIT_LIMIT: usize = 4;

/// Where a lane has come to, after its last receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Position {
    /// Receipts so far.
    pub sequence: u64,
    /// The exact sum of their fees.
    pub cumulative: Credit,
    /// Hash of the last; zero before the first.
    pub receipt: Digest,
}

impl Position {
    /// Before the first receipt.
    pub const START: Self = Self { sequence: 0, cumulative: Credit::ZERO, receipt: Digest::ZERO };

    /// The position after `receipt`, if it is the next.
    fn after(&self, receipt: &Receipt) -> Result<Self, ReceiptError> {
        let sequence = self.sequence.saturating_add(1);
        if receipt.sequence != sequence {
            return Err(ReceiptError::Sequence { expected: sequence, found: receipt.sequence });
        }
        if receipt.previous != self.receipt {
            return Err(ReceiptError::Previous { sequence });
        }
        let cumulative = self.cumulative.checked_add(receipt.fee)?;
        Ok(Self { sequence, cumulative, receipt: receipt.hash() })
    }
}

/// Why a payer does not accept a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// No task was ordered on this lane.
    #[error("no task is open on this lane")]
    NotOrdered,
    /// It answers another request.
    #[error("the receipt is for another request")]
    OtherRequest,
    /// Not signed by the operator's box key.
    #[error("the receipt is not signed by the operator's box key")]
    Signature,
    /// Not the next of the lane.
    #[error("the receipt has sequence {found}, the lane is at {expected}")]
    Sequence {
        /// The lane's next.
        expected: u64,
        /// The receipt's.
        found: u64,
    },
    /// It names another receipt before it.
    #[error("receipt {sequence} does not follow the lane's last receipt")]
    Previous {
        /// The receipt's place.
        sequence: u64,
    },
    /// It costs more than the task could.
    #[error("the receipt costs {fee}, the task at most {most}")]
    Fee {
        /// The receipt's.
        fee: Credit,
        /// The bound when the task was ordered.
        most: Credit,
    },
    /// The sum of fees does not fit.
    #[error("the sum of the lane's fees does not fit")]
    Overflow,
}

impl From<Overflow> for ReceiptError {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

/// Why a payee does not take a voucher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoucherError {
    /// It settles on another chain.
    #[error("the voucher is for another chain")]
    WrongChain,
    /// It belongs to another lane.
    #[error("the voucher is for another lane")]
    WrongLane,
    /// Not signed by the session key it names, or by another one than before.
    #[error("the voucher is not signed by the lane's session key")]
    Signature,
    /// It pays for fewer receipts than one that is already held.
    #[error("the voucher pays for {found} receipts, one for {held} is held")]
    Stale {
        /// Of the voucher that is held.
        held: u64,
        /// Of this one.
        found: u64,
    },
    /// It pays for receipts that do not exist.
    #[error("the voucher pays for {found} receipts, there are {issued}")]
    Ahead {
        /// Receipts so far.
        issued: u64,
        /// What it says.
        found: u64,
    },
    /// Its amount is not the exact sum.
    #[error("the voucher's sum is {found}, the receipts' is {due}")]
    Amount {
        /// The exact sum.
        due: Credit,
        /// The voucher's.
        found: Credit,
    },
    /// It acknowledges another receipt than the last it pays for.
    #[error("the voucher does not acknowledge receipt {sequence}")]
    Acknowledgement {
        /// The last receipt it pays for.
        sequence: u64,
    },
}

/// Why a payee does not admit a task to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Not the next of the lane.
    #[error("the task has sequence {found}, the lane is at {expected}")]
    Sequence {
        /// The lane's next.
        expected: u64,
        /// The task's.
        found: u64,
    },
    /// Another task is running.
    #[error("the lane's task {sequence} is still running; open another lane")]
    Running {
        /// Its place.
        sequence: u64,
    },
    /// Too much is owed.
    #[error("{unpaid} receipts are unpaid, at most {limit} are extended; send a voucher")]
    Unpaid {
        /// Receipts without a voucher.
        unpaid: usize,
        /// The bound.
        limit: usize,
    },
}

#[cfg(test)]
mod tests;
