//! What an operator and an auditor of one of its receipts say to each other.
//!
//! ```text
//!   operator                               auditor
//!    ── Content (of a drawn point) ─────────▶
//!    ◀─ Kept ────────────────────────────────
//! ```
//! Rules: the operator dials the address that the auditor enlisted with and pins its key; the
//! content proves itself by the commitments of request and receipt, so it does not matter who
//! brings it. What does not arrive is demanded on the ledger.
//! Never here: a trace root, which an auditor must find by itself.

use borsh::{BorshDeserialize, BorshSerialize};
use crypto::OperatorId;
use ledger::verification::Content;
use units::Epoch;

/// A drawn point of a claim: operator, period, number.
pub type PointKey = (OperatorId, Epoch, u8);

/// From an operator to an auditor.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum ToAuditor {
    /// 0: What the commitments of a drawn receipt hide.
    Content {
        /// For which point.
        point: PointKey,
        /// Salt, input and output.
        content: Content,
    } = 0,
}

/// From an auditor to an operator.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum FromAuditor {
    /// 0: The content was taken.
    Kept {
        /// For which point.
        point: PointKey,
    } = 0,
    /// 1: It was not: the point is not this auditor's, or the content is not what was committed to.
    NotKept {
        /// For which point.
        point: PointKey,
    } = 1,
}
