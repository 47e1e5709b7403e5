//! What box and gateway say to each other over a link: one frame, one message.
//!
//! ```text
//!   box                                    gateway
//!    ── Hello (who I am, what I ask) ───────▶
//!    ◀─ Welcome ─────────────────────────────
//!    ◀─ Resume (lane) ───────────────────────   once per lane and connection
//!    ── LaneReport ─────────────────────────▶
//!    ◀─ Task (request, ids, salt, voucher) ──
//!    ── Tokens … Done (receipt, the rest) ──▶   or Refused, at any moment
//!    ◀─ Cancel, Voucher ─────────────────────   at any moment
//!    ── Paths ──────────────────────────────▶   once a claim stands on the ledger, and on
//!    ◀─ PathsKept ───────────────────────────   each connection until this answers
//! ```
//! Rules: a frame decodes whole or not at all; lists and texts have bounds in their types; a
//! number names a task within one connection only. An unknown message ends the connection.
//! Never here: what is done about a message.

pub mod audit;

use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{ChainId, Digest, OperatorId, Salt, Signed};
use ledger::{
    payments::schema::{Ask, LaneId, Receipt, ReceiptKey, Request, Voucher},
    verification::PlacedLeaf,
};
use units::{Epoch, List, Text};

/// Version of these messages; both sides must have the same.
pub const WIRE_VERSION: u16 = 1;
/// Asks in one hello: models one box serves.
pub const MAX_ASKS: usize = 64;
/// Token ids of one input.
pub const MAX_INPUT_IDS: usize = 65_536;
/// Token ids in one piece of an answer.
pub const MAX_TOKENS: usize = 256;
/// Elements of one row.
pub const MAX_ROW: usize = 16_384;
/// Receipts in one lane report. A payer is extended far fewer.
pub const MAX_UNPAID: usize = 16;
/// Paths in one message: at depth 32 they take 550 kB.
pub const MAX_PATHS: usize = 256;
/// Bytes of a refusal's text.
pub const MAX_REASON_BYTES: usize = 512;

/// From a box to a gateway.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum FromBox {
    /// 0: The first message.
    Hello(Hello) = 0,
    /// 1: Answers a resume.
    LaneReport(LaneReport) = 1,
    /// 2: A piece of an answer.
    Tokens {
        /// Which task.
        task: u64,
        /// The next token ids.
        ids: List<u32, MAX_TOKENS>,
    } = 2,
    /// 3: The end of an answer. The receipt is on the box's disk.
    Done {
        /// Which task.
        task: u64,
        /// The signed statement.
        receipt: Signed<Receipt>,
        /// What the pieces before did not bring.
        rest: Output,
    } = 3,
    /// 4: A task was not begun, or broke off; nothing is owed for it.
    Refused {
        /// Which task.
        task: u64,
        /// Why.
        refusal: Refusal,
    } = 4,
    /// 5: Where receipts stand in a claim that is on the ledger.
    Paths(Paths) = 5,
    /// 6: A voucher that came alone was not taken.
    VoucherRefused {
        /// Its lane.
        lane: LaneId,
        /// Why.
        refusal: Refusal,
    } = 6,
}

/// From a gateway to a box.
#[expect(clippy::large_enum_variant, reason = "lives for one send; a box would cost more")]
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum FromGateway {
    /// 0: Answers the hello.
    Welcome = 0,
    /// 1: Asks where a lane stands.
    Resume {
        /// Which lane.
        lane: LaneId,
    } = 1,
    /// 2: A task.
    Task(Box<Task>) = 2,
    /// 3: Stop the task within one token; the receipt covers what was delivered.
    Cancel {
        /// Which task.
        task: u64,
    } = 3,
    /// 4: A voucher without a task.
    Voucher(Signed<Voucher>) = 4,
    /// 5: The hello is not accepted; the connection ends.
    Rejected(Refusal) = 5,
    /// 6: Paths are stored; the box need not send them again.
    PathsKept {
        /// The claim's epoch.
        epoch: Epoch,
        /// The receipts whose paths are stored.
        keys: List<ReceiptKey, MAX_PATHS>,
    } = 6,
}

/// Who a box is and what it asks. The link has proved its box key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Hello {
    /// [`WIRE_VERSION`].
    pub version: u16,
    /// The chain it serves.
    pub chain: ChainId,
    /// Who it is on that chain.
    pub operator: OperatorId,
    /// Number of its box key.
    pub key_epoch: u32,
    /// What it serves and at which price.
    pub asks: List<Signed<Ask>, MAX_ASKS>,
}

/// One task with all that is needed to run it and to be paid.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Task {
    /// Names the task within this connection.
    pub task: u64,
    /// The signed request.
    pub request: Signed<Request>,
    /// The input behind its commitment.
    pub ids: List<u32, MAX_INPUT_IDS>,
    /// The salt of input and output trees.
    pub salt: Salt,
    /// Pays for the lane's receipts before this task.
    pub voucher: Signed<Voucher>,
}

/// Where a lane stands for the operator.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneReport {
    /// Which lane.
    pub lane: LaneId,
    /// The latest voucher.
    pub voucher: Option<Signed<Voucher>>,
    /// The receipts after it, in order.
    pub unpaid: List<Signed<Receipt>, MAX_UNPAID>,
}

/// What a task gives.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Output {
    /// 0: Token ids.
    Tokens(List<u32, MAX_TOKENS>) = 0,
    /// 1: A row of integers.
    Row(List<i32, MAX_ROW>) = 1,
}

/// What stands in a claim in the places of one payer's receipts. Leaves travel with their paths, so
/// that a gateway sees it, and can show it, if another one stands in the place of its receipt.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Paths {
    /// Whose claim.
    pub operator: OperatorId,
    /// Its epoch, by which the ledger finds it.
    pub epoch: Epoch,
    /// Its root.
    pub root: Digest,
    /// The leaves and their paths.
    pub paths: List<PlacedLeaf, MAX_PATHS>,
}

/// Why something was not done. The code decides what the gateway does next.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
#[error("{code:?}: {reason}")]
pub struct Refusal {
    /// The class.
    pub code: RefusalCode,
    /// What, why, and how to fix it.
    pub reason: Text<MAX_REASON_BYTES>,
}

/// Classes of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum RefusalCode {
    /// 0: The queue is full; another box may have room.
    Busy = 0,
    /// 1: The model is not served here.
    Model = 1,
    /// 2: The price is not the present ask.
    Price = 2,
    /// 3: The allocation does not cover the task.
    Allocation = 3,
    /// 4: The voucher does not hold.
    Voucher = 4,
    /// 5: The lane stands elsewhere; resume it.
    Lane = 5,
    /// 6: The freshness round is too old or unknown.
    Freshness = 6,
    /// 7: The deadline cannot be met.
    Deadline = 7,
    /// 8: The request is malformed or its input does not fit; no box will take it.
    Request = 8,
    /// 9: The box is stopping.
    Stopping = 9,
    /// 10: The box failed.
    Internal = 10,
    /// 11: The hello does not fit the chain's records.
    Identity = 11,
    /// 12: The payer cancelled before the first token.
    Cancelled = 12,
    /// 13: Receipts of this audit mode are not given here; another box may.
    AuditMode = 13,
    /// 14: The box has as much unverified work as the ledger lets it claim; another may have room.
    ValueCap = 14,
}

impl Refusal {
    /// A refusal whose text is cut to its bound.
    #[must_use]
    pub fn new(code: RefusalCode, reason: impl ToString) -> Self {
        let mut reason = reason.to_string();
        let fits = (0..=MAX_REASON_BYTES.min(reason.len())).rev();
        let end = fits.into_iter().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        reason.truncate(end);
        Self { code, reason: Text::new(reason).unwrap_or_default() }
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message of wire version {WIRE_VERSION}: {reason}")]
pub struct WireError {
    /// What the decoder found.
    pub reason: String,
}

/// A message as a frame.
#[must_use]
pub fn encode<T: BorshSerialize>(message: &T) -> Vec<u8> {
    // Writing to memory does not fail, and every list is within its bound.
    borsh::to_vec(message).unwrap_or_default()
}

/// A frame as a message.
///
/// # Errors
/// [`WireError`] unless the bytes are exactly one message.
pub fn decode<T: BorshDeserialize>(frame: &[u8]) -> Result<T, WireError> {
    borsh::from_slice(frame).map_err(|error| WireError { reason: error.to_string() })
}

#[cfg(test)]
mod tests;
