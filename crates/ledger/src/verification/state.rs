//! Verification: the stored records, and reading them.

use super::{
    math,
    schema::{
        AUDITOR_MODELS_MAX, AUDITORS, CONFLICTS, ENDPOINT_BYTES_MAX, FAULTS, POINTS, STANDINGS,
    },
};
use crate::{
    credits,
    disputes::moves::{Finding, Subject},
    error::Broken,
    params::Params,
    payments,
    staking::{self, Discipline},
    store::{Corrupt, Read},
    tables::PARAMS,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, Digest, ModelId, OperatorId, PublicKey, SealKey};
use serde::{Deserialize, Serialize};
use units::{BasisPoints, Coin, Credit, Epoch, List, Millis, Text};

/// An auditor: an account that re-executes drawn receipts.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Auditor {
    /// The hot key that commits and reveals.
    pub key: PublicKey,
    /// What stands behind its findings. Invariant: their sum is the pot `auditor_bonds`.
    pub bond: Coin,
    /// What it can be drawn for, ascending; those for which it was struck from the roster left out.
    pub models: List<ModelId, AUDITOR_MODELS_MAX>,
    /// Where its link listens; may be empty.
    pub endpoint: Text<ENDPOINT_BYTES_MAX>,
    /// The clock of its last change: claims filed before do not draw it (R4).
    pub since: Millis,
    /// The clock at which its notice has run (R5).
    pub leaving: Option<Millis>,
    /// Seats it holds at points that have not ended.
    pub seats: u32,
}

/// An auditor in the roster of a model. Invariant: as its own record says.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Listing {
    /// What it has bonded.
    pub bond: Coin,
    /// The clock of its last change.
    pub since: Millis,
}

/// How far a point has come.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// Waits for the opening.
    Drawn = 0,
    /// Waits for the auditors' commitments.
    Committing = 1,
    /// Waits for the content that an auditor demanded.
    Delivering = 2,
    /// Waits for the auditors' findings and the operator's trace root.
    Revealing = 3,
    /// An auditor's finding differs: waits for the disputes.
    Disputed = 4,
    /// Ended.
    Ended = 5,
}

/// Most auditors of a point.
pub const SEATS_MAX: usize = 4;

/// An auditor's place at a point.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Seat {
    /// Who.
    pub auditor: AccountId,
    /// Its sealed finding.
    pub commitment: Option<Digest>,
    /// The finding.
    pub finding: Option<Finding>,
    /// The key of its demand for sealed content (R17).
    pub reply: Option<SealKey>,
}

/// A drawn point of a claim.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Point {
    /// Place in the sum of the fees.
    pub at: Credit,
    /// How far it has come.
    pub phase: Phase,
    /// The clock of its next step, or at which it ended.
    pub due: Millis,
    /// The drawn receipt, once opened.
    pub receipt: Option<Digest>,
    /// The receipt itself, while it is looked at.
    pub subject: Option<Subject>,
    /// Its auditors. Those that did not come are replaced in their place.
    pub seats: List<Seat, SEATS_MAX>,
    /// Whether missing auditors were replaced already (R9).
    pub replaced: bool,
    /// Whether the content was demanded already (R7).
    pub demanded: bool,
    /// The operator's trace root, once revealed.
    pub trace_root: Option<Digest>,
    /// How it ended.
    pub outcome: Option<super::Outcome>,
}

/// One receipt of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Side {
    /// The receipt and its request.
    pub subject: Subject,
    /// The operator's owner: challenges the other side with this one's receipt.
    pub owner: AccountId,
    /// Whether it does and must win: its own receipt is wrong if the other one is not.
    pub challenges: bool,
    /// The trace root behind it, once its operator has answered.
    pub trace_root: Option<Digest>,
}

impl Side {
    /// The receipt's hash.
    #[must_use]
    pub fn receipt(&self) -> Digest {
        self.subject.receipt.message.hash()
    }
}

/// Two receipts that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Conflict {
    /// Both sides.
    pub sides: [Side; 2],
    /// Who filed it.
    pub reporter: AccountId,
    /// Until when both answer.
    pub due: Millis,
    /// Whether both have answered: the disputes are open.
    pub disputed: bool,
}

/// What an operator did wrong.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Cause {
    /// A drawn receipt was not opened in time.
    NotOpened = 0,
    /// Demanded content was not delivered in time.
    NotDelivered = 1,
    /// The trace root of a drawn or conflicting receipt was not shown in time.
    NotRevealed = 2,
    /// A dispute ended against the receipt; its cause says how.
    Disputed(crate::disputes::Cause) = 3,
    /// Two different receipts of one operator for one request.
    Equivocation = 4,
    /// Two receipts of one operator for the same work contradict each other.
    Contradiction = 5,
    /// A claim leaves out a receipt of its range.
    Omission = 6,
    /// Another operator's receipt contradicts it, and holds.
    Refuted = 7,
    /// A receipt that is never opened stands in a claim that does not say so.
    Undeclared = 8,
}

impl Cause {
    /// Whether nothing was shown but that the operator kept silent.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        use crate::disputes::Cause::NoAnswer;
        matches!(
            self,
            Self::NotOpened
                | Self::NotDelivered
                | Self::NotRevealed
                | Self::Disputed(NoAnswer { .. })
        )
    }

    /// The op of a wrong step that read weights.
    #[must_use]
    pub const fn weights(&self) -> Option<u32> {
        match self {
            Self::Disputed(crate::disputes::Cause::WrongStep { op, weights: true }) => Some(*op),
            _ => None,
        }
    }
}

/// How grave a fault is (R12).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Grade {
    /// Silence while more disputes were open than must be borne: no sign of a wrong output.
    Silence = 0,
    /// The first in the memory of faults.
    First = 1,
    /// Not the first, or meant to hide something.
    Pattern = 2,
    /// Wrong weights, or two words on one request: all of the bond, out for ever.
    Total = 3,
}

/// How a fault was shown: what a stranger has to look at.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Evidence {
    /// A point of a claim.
    Point {
        /// The period of the claim.
        epoch: Epoch,
        /// Number of the point.
        point: u8,
    } = 0,
    /// A line of a dispute, or the receipt alone.
    Dispute {
        /// The line.
        line: Option<u32>,
    } = 1,
    /// A conflict certificate.
    Conflict {
        /// Its id.
        id: Digest,
    } = 2,
    /// A claim and a receipt that it leaves out.
    Omission {
        /// The period of the claim.
        epoch: Epoch,
    } = 3,
}

/// Where the coin of a slash went. Invariant: the parts sum to `taken`.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Spread {
    /// All of it.
    pub taken: Coin,
    /// Burned: at least half.
    pub burned: Coin,
    /// To the payer, at most what it paid and was not refunded.
    pub victim: Coin,
    /// To who reported it.
    pub reporter: Coin,
    /// To insurance.
    pub insurance: Coin,
}

/// Everything about one fault: what `explain` prints.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Fault {
    /// What was done.
    pub cause: Cause,
    /// How grave it is.
    pub grade: Grade,
    /// How it was shown.
    pub evidence: Evidence,
    /// The receipt, where there is one.
    pub receipt: Option<Digest>,
    /// Who paid for it, where that is known.
    pub payer: Option<AccountId>,
    /// When it was done: bonds of that clock answer for it.
    pub done: Millis,
    /// When it was found out.
    pub found: Millis,
    /// The value behind it: the claim's fee, or the receipt's where no claim is at stake.
    pub value: Credit,
    /// With which probability it would have been audited.
    pub probability: BasisPoints,
    /// By how much faults of others raised the slash: 10,000 is not at all (R13).
    pub correlation: u32,
    /// What the rules ask for.
    pub wanted: Coin,
    /// What came of it.
    pub spread: Spread,
    /// Given back to the payer from the claim.
    pub refunded: Credit,
    /// Who reported it.
    pub reporter: Option<AccountId>,
}

/// What is known of an operator's conduct.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Standing {
    /// When its probation began: at entry, or at its last fault.
    pub since: Millis,
    /// Audits passed since.
    pub passed: u64,
    /// Faults ever.
    pub faults: u64,
    /// The clock of the last one that counts towards a pattern.
    pub last_fault: Option<Millis>,
    /// Model and op of the last wrong step that read weights.
    pub weights: Option<(ModelId, u32)>,
}

impl Standing {
    /// Of an operator that entered at a clock and was never at fault.
    #[must_use]
    pub const fn new(entered: Millis) -> Self {
        Self { since: entered, passed: 0, faults: 0, last_fault: None, weights: None }
    }
}

/// Bonds of operators at fault lately.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Correlation {
    /// The clock of the first of them.
    pub since: Millis,
    /// Their bonds.
    pub bonds: Coin,
}

/// What an operator may claim and why, for routers and for its own software.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Cap {
    /// Most unverified work; `None` where this network has no audits.
    pub value: Option<Credit>,
    /// Claimed and not verified yet.
    pub unverified: Credit,
    /// Doublings that its probation has still to come; 0 after it.
    pub levels_left: u8,
    /// Until when no claim is taken; passed if it lies behind.
    pub jailed_until: Millis,
    /// Whether it is out for ever.
    pub tombstoned: bool,
}

/// An auditor, or `None` if the account is not enlisted.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn auditor(state: &impl Read, account: &AccountId) -> Result<Option<Auditor>, Corrupt> {
    state.get(&AUDITORS, account)
}

/// A point of a claim, or `None` if it was not drawn or was forgotten.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn point(
    state: &impl Read,
    operator: &OperatorId,
    epoch: Epoch,
    number: u8,
) -> Result<Option<Point>, Corrupt> {
    state.get(&POINTS, &(*operator, epoch, number))
}

/// A conflict, or `None` if it was not filed or was forgotten.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn conflict(state: &impl Read, id: &Digest) -> Result<Option<Conflict>, Corrupt> {
    state.get(&CONFLICTS, id)
}

/// A fault of an operator, by number from 0.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn fault(
    state: &impl Read,
    operator: &OperatorId,
    number: u64,
) -> Result<Option<Fault>, Corrupt> {
    state.get(&FAULTS, &(*operator, number))
}

/// What is known of an operator's conduct; `entered` is the clock at which it registered.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn standing(
    state: &impl Read,
    operator: &OperatorId,
    entered: Millis,
) -> Result<Standing, Corrupt> {
    let known = state.get(&STANDINGS, operator)?;
    Ok(known.unwrap_or(Standing::new(entered)))
}

/// What an operator may claim (R2, R14, R15): what routers hold their tasks against.
///
/// # Errors
/// [`Broken`] if the state is damaged.
pub fn value_cap(
    state: &impl Read,
    operator: &OperatorId,
    clock: Millis,
) -> Result<Option<Cap>, Broken> {
    let Some(record) = staking::operator(state, operator)? else { return Ok(None) };
    let params: Params = state.get(&PARAMS, &())?.ok_or(Broken::Rule("there are no parameters"))?;
    let rules = &params.verification;
    let standing = standing(state, operator, record.registered)?;
    let levels_left = math::levels_left(&standing, clock, rules);
    let value = if rules.leaves == 0 {
        None
    } else {
        let cap = math::value_cap(record.bond, credits::price(state)?, levels_left, rules);
        Some(cap.map_err(|_| Broken::Overflow)?)
    };
    let Discipline { jailed_until, tombstoned } = staking::discipline(state, operator)?;
    let unverified = payments::unverified(state, operator)?;
    Ok(Some(Cap { value, unverified, levels_left, jailed_until, tombstoned }))
}
