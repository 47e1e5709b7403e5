//! Verification: what may be sent, what is recorded, what genesis decides.

mod errors;
mod events;
mod params;

use super::{
    math,
    state::{Auditor, Conflict, Correlation, Fault, Listing, Point, Standing},
};
use crate::{
    bytes::Bytes,
    disputes::moves::{ClaimedIn, Finding, Subject},
    payments::{
        LaneRange,
        messages::{Receipt, ReceiptKey, Request},
    },
    store::Table,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{
    AccountId, Digest, ModelId, OperatorId, PublicKey, Salt, SealKey, SealSecret, Signed,
    merkle::RangeProof,
    merkle_sum::{Leaf, SumPath},
    seal::SEAL_BYTES,
};
pub use errors::Error;
pub use events::{Event, Outcome};
pub use params::{AUDITORS_MAX, LEAVES_MAX, Params};
use serde::{Deserialize, Serialize};
use units::{Coin, Epoch, List, Millis, Overflow, Text};

/// Most models one auditor is enlisted for.
pub const AUDITOR_MODELS_MAX: usize = 64;
/// Most auditors that can be drawn for a model (R4).
pub const ROSTER_MAX: usize = 256;
/// Longest address of an auditor's link.
pub const ENDPOINT_BYTES_MAX: usize = 256;
/// Most token ids of an input or an output that are delivered on the ledger: as many positions as
/// a model may have (32 kB).
pub const DELIVERED_IDS_MAX: usize = 8_192;

/// Most bytes of an opened output leaf: a piece of a row.
pub const LEAF_BYTES_MAX: usize = 4 << 10;

/// A claim: operator and period.
pub type ClaimKey = (OperatorId, Epoch);

/// Auditors by account (R3).
pub const AUDITORS: Table<AccountId, Auditor> = Table::new([7, 0], "verification.auditors");
/// Who may be drawn for a model (R4). At most 256 of each.
pub const ROSTER: Table<(ModelId, AccountId), Listing> = Table::new([7, 1], "verification.roster");
/// Retired auditors by the clock at which their bond is free (R5).
pub const LEAVING: Table<(Millis, AccountId), ()> = Table::new([7, 2], "verification.leaving");
/// Drawn points by (operator, period, number) (R1).
pub const POINTS: Table<(OperatorId, Epoch, u8), Point> = Table::new([7, 3], "verification.points");
/// Points by the clock of their next step. Invariant: one entry per point that is not disputed.
pub const POINTS_DUE: Table<(Millis, ClaimKey, u8), ()> =
    Table::new([7, 4], "verification.points_due");
/// The point that looks at a receipt.
pub const POINT_OF: Table<Digest, (Epoch, u8)> = Table::new([7, 5], "verification.point_of");
/// Conflicts by their certificate's id (R10).
pub const CONFLICTS: Table<Digest, Conflict> = Table::new([7, 6], "verification.conflicts");
/// Conflicts by the clock of their next step.
pub const CONFLICTS_DUE: Table<(Millis, Digest), ()> =
    Table::new([7, 7], "verification.conflicts_due");
/// The open conflict of a receipt. Invariant: two per conflict.
pub const CONFLICT_OF: Table<Digest, Digest> = Table::new([7, 8], "verification.conflict_of");
/// What is known of an operator's conduct (R15). Absent: nothing since it entered.
pub const STANDINGS: Table<OperatorId, Standing> = Table::new([7, 9], "verification.standings");
/// Faults by (operator, number): the evidence behind every slash. Never removed.
pub const FAULTS: Table<(OperatorId, u64), Fault> = Table::new([7, 10], "verification.faults");
/// The fault for which a receipt was punished: once only (R12). Never removed.
pub const FAULT_OF: Table<Digest, u64> = Table::new([7, 11], "verification.fault_of");
/// Delivered content of points that have not ended (R7).
pub const DELIVERED: Table<(OperatorId, Epoch, u8), Content> =
    Table::new([7, 13], "verification.delivered");
/// Seats at points that have not ended, by auditor (R4): where it finds its work. Invariant: one
/// entry for each seat.
pub const SEATS: Table<(AccountId, (OperatorId, Epoch, u8)), ()> =
    Table::new([7, 14], "verification.seats");
/// Sealed content for an auditor of a point that has not ended (R17).
pub const SEALED: Table<((OperatorId, Epoch, u8), AccountId), Sealed> =
    Table::new([7, 15], "verification.sealed");
/// What was at fault lately, over all operators: one record (R13).
pub const CORRELATION: Table<(), Correlation> = Table::new([7, 12], "verification.correlation");

/// A drawn receipt, with its place in the claim's tree.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The period of the claim.
    pub epoch: Epoch,
    /// What the payer ordered.
    pub request: Signed<Request>,
    /// What the operator signed.
    pub receipt: Signed<Receipt>,
    /// Where it stands in the claim.
    pub path: SumPath,
}

impl Opening {
    /// The receipt as module `disputes` takes it.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let claimed = ClaimedIn { epoch: self.epoch, path: self.path.clone() };
        let (request, receipt) = (self.request.clone(), self.receipt.clone());
        Subject { request, receipt, claimed: Some(claimed) }
    }
}

/// What an auditor needs and the commitments hide: asked for over the link first, delivered here
/// only on demand (R7).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The request's salt.
    pub salt: Salt,
    /// The input's token ids.
    pub input: List<u32, DELIVERED_IDS_MAX>,
    /// The output's token ids; empty where the output is a row, which the auditor computes.
    pub output: List<u32, DELIVERED_IDS_MAX>,
}

/// Largest sealed content: salt and ids in canonical bytes, and what sealing adds.
pub const SEALED_BYTES_MAX: usize = 32 + 2 * (4 + 4 * DELIVERED_IDS_MAX) + SEAL_BYTES;

/// Content under a seal: see [`crypto::seal`].
pub type Sealed = Bytes<SEALED_BYTES_MAX>;

/// What an operator brings when its content is demanded (R7, R17).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Delivery {
    /// 0: For everybody to see.
    Open(Content) = 0,
    /// 1: For one auditor, sealed to the key of its demand.
    Sealed {
        /// Who.
        auditor: AccountId,
        /// [`Content`] in canonical bytes, sealed for [`super::seal_context`].
        content: Sealed,
    } = 1,
}

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exhibit {
    /// What was ordered.
    pub request: Signed<Request>,
    /// What was signed.
    pub receipt: Signed<Receipt>,
}

impl Exhibit {
    /// The receipt as module `disputes` takes it.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject { request: self.request.clone(), receipt: self.receipt.clone(), claimed: None }
    }
}

/// One leaf of an output, opened without the request's salt.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedLeaf {
    /// The salt of this leaf alone.
    pub salt: Digest,
    /// A token id, or the elements of a row's piece, little-endian.
    pub data: Bytes<LEAF_BYTES_MAX>,
    /// The path to `output_commit`.
    pub path: RangeProof,
}

/// What shows that two receipts cannot both be right (R10).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Contradiction {
    /// 0: Their outputs differ in one leaf that both have.
    Output {
        /// Which leaf: a token's place, or a row's piece.
        index: u32,
        /// Of the first exhibit.
        first: OpenedLeaf,
        /// Of the second.
        second: OpenedLeaf,
    } = 0,
    /// 1: They end differently, and the shorter says that it is complete.
    End = 1,
}

/// A conflict certificate: two receipts for one request body of which at least one is wrong.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// One side.
    pub first: Exhibit,
    /// The other.
    pub second: Exhibit,
    /// Why both cannot be right.
    pub contradiction: Contradiction,
}

/// A leaf of a claim with its path.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacedLeaf {
    /// What stands there.
    pub leaf: Leaf<ReceiptKey>,
    /// Its path.
    pub path: SumPath,
}

/// A receipt inside a claimed range that the claim's tree does not hold (R11).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Omission {
    /// The period of the claim.
    pub epoch: Epoch,
    /// The receipt and its request.
    pub exhibit: Exhibit,
    /// The claimed range of its lane.
    pub range: LaneRange,
    /// Which lane of the claim.
    pub lane_index: u32,
    /// The range under `ranges_root`.
    pub range_path: RangeProof,
    /// One leaf: another receipt stands in its place, or it would lie before the first or behind
    /// the last; two neighbours: it would lie between them.
    pub around: List<PlacedLeaf, 2>,
}

/// Transactions. Numbers are on the wire: never reuse one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tx {
    /// 0: Makes the sender an auditor, or changes what it audits and adds to its bond (R3, R4).
    Enlist {
        /// The hot key that commits and reveals.
        key: PublicKey,
        /// Added to the bond.
        amount: Coin,
        /// All models it can run, ascending.
        models: List<ModelId, AUDITOR_MODELS_MAX>,
        /// Where its link listens, as host:port; empty if nowhere: it then demands content here.
        endpoint: Text<ENDPOINT_BYTES_MAX>,
    } = 0,
    /// 1: Gives notice: the sender is no longer drawn once it has run (R5).
    Retire = 1,
    /// 2: Opens a drawn receipt (R6). By anybody who has it.
    Open(Box<Opening>) = 2,
    /// 3: A drawn auditor's finding, sealed (R8).
    Commit {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Which point.
        point: u8,
        /// [`math::commitment`] of the finding, under the auditor's account and own salt.
        commitment: Digest,
    } = 3,
    /// 4: The finding behind a commitment (R8).
    Reveal {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Which point.
        point: u8,
        /// What the auditor found.
        finding: Finding,
        /// Its own salt.
        salt: Digest,
    } = 4,
    /// 5: The trace root behind a drawn receipt's `trace_commit` (R8). By anybody who has it.
    RevealTrace {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Which point.
        point: u8,
        /// The root.
        trace_root: Digest,
        /// The salt of the trace: the request's salt for tree `Trace`, leaf 0.
        salt: Digest,
    } = 5,
    /// 6: A drawn auditor that was sent nothing asks for it here (R7).
    Demand {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Which point.
        point: u8,
        /// A key of one use to which it is sealed, where the receipt's mode is sealed (R17).
        reply: Option<SealKey>,
    } = 6,
    /// 7: The answer to a demand (R7). Open content by anybody who has it.
    Deliver {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Which point.
        point: u8,
        /// What was asked for.
        delivery: Delivery,
    } = 7,
    /// 8: Two receipts that contradict each other (R10).
    Conflict(Box<Certificate>) = 8,
    /// 9: The trace root of a receipt in conflict (R10). By anybody who has it.
    Answer {
        /// Which receipt.
        receipt: Digest,
        /// The root.
        trace_root: Digest,
        /// The salt of the trace.
        salt: Digest,
    } = 9,
    /// 10: A receipt that a claim leaves out (R11).
    Omission(Box<Omission>) = 10,
    /// 11: A drawn auditor was brought sealed content that is not what was committed to, and shows
    /// the secret of its key (R17).
    Complain {
        /// Whose claim.
        operator: OperatorId,
        /// Of which period.
        epoch: Epoch,
        /// Which point.
        point: u8,
        /// Of the key in its demand.
        secret: SealSecret,
    } = 11,
}

impl Tx {
    /// The fixed fee of the kind; a delivery pays further for each started KiB.
    ///
    /// # Errors
    /// [`Overflow`] only under parameters beyond their bounds.
    pub fn fee(&self, params: &Params) -> Result<Coin, Overflow> {
        match self {
            Self::Enlist { .. } | Self::Retire => Ok(params.enlist_fee),
            Self::Open(_) => Ok(params.open_fee),
            Self::Commit { .. }
            | Self::Reveal { .. }
            | Self::RevealTrace { .. }
            | Self::Answer { .. } => Ok(params.audit_fee),
            Self::Demand { .. } => Ok(params.demand_fee),
            Self::Deliver { delivery, .. } => math::delivery_fee(delivery, params),
            Self::Conflict(_) | Self::Omission(_) | Self::Complain { .. } => {
                Ok(params.evidence_fee)
            }
        }
    }

    /// Whether a session key may sign it: all but what touches a bond.
    #[must_use]
    pub const fn allows_session(&self) -> bool {
        !matches!(self, Self::Enlist { .. } | Self::Retire)
    }
}
