//! Disputes: what may be sent, what is recorded, why a sender is refused.

pub mod moves;

use super::state::{Backer, Cause, Dispute, Line, Load, Party, Verdict};
use crate::{
    params::{COIN, OutOfBounds, SECOND, within},
    payments::messages::AuditMode,
    staking::Class,
    store::Table,
    verifier::REASON_BYTES_MAX,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, Digest, ModelId, OperatorId, PublicKey, merkle::RangeProof};
pub use moves::*;
use serde::{Deserialize, Serialize};
use units::{Coin, Millis, NANO, Text, UsdNano};

/// Disputed receipts by hash, until their window has passed and no line is open (R14).
pub const DISPUTES: Table<Digest, Dispute> = Table::new([6, 0], "disputes.disputes");
/// Open lines by (receipt, number).
pub const LINES: Table<(Digest, u32), Line> = Table::new([6, 1], "disputes.lines");
/// Open lines by the clock at which the party on turn is looked at (R12). Invariant: one each.
pub const DUE: Table<(Millis, (Digest, u32)), ()> = Table::new([6, 2], "disputes.due");
/// The line with which a further equal finding shares its work, by (receipt, finding) (R4).
pub const FINDINGS: Table<(Digest, Digest), u32> = Table::new([6, 3], "disputes.findings");
/// What each operator has to defend at once.
pub const LOADS: Table<OperatorId, Load> = Table::new([6, 4], "disputes.loads");
/// How many lines each challenger stands behind at once (R13).
pub const CHALLENGERS: Table<AccountId, u32> = Table::new([6, 5], "disputes.challengers");
/// How lines ended, in order, until module `verification` takes them.
pub const VERDICTS: Table<u64, Verdict> = Table::new([6, 6], "disputes.verdicts");
/// Number of the next verdict: one record.
pub const VERDICT_COUNT: Table<(), u64> = Table::new([6, 7], "disputes.verdict_count");
/// Proven receipts whose other lines are still to be closed (R14).
pub const CLOSING: Table<Digest, ()> = Table::new([6, 8], "disputes.closing");
/// Disputes without an open line by the clock at which they are forgotten (R14).
pub const FORGET: Table<(Millis, Digest), ()> = Table::new([6, 9], "disputes.forget");

/// Transactions. Numbers are on the wire: never reuse one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tx {
    /// 0: Says that a receipt is wrong, with a bond (R1–R4, R13).
    Challenge {
        /// The receipt.
        subject: Box<Subject>,
        /// What a re-execution found.
        finding: Finding,
    } = 0,
    /// 1: A move in a line (R5–R11).
    Play {
        /// The receipt.
        receipt: Digest,
        /// The line.
        line: u32,
        /// The move.
        play: Move,
    } = 1,
    /// 2: Shows that a length of a receipt is not that of its tree (R3).
    Miscount {
        /// The receipt.
        subject: Box<Subject>,
        /// Which length.
        length: Length,
        /// How many leaves the tree has.
        count: u64,
        /// Its top: with the count it hashes to the tree's root.
        top: Digest,
    } = 2,
    /// 3: Shows that a token of the input is none of the model's (R3).
    Foreign {
        /// The receipt.
        subject: Box<Subject>,
        /// Where it stands.
        position: u32,
        /// The token.
        token: u32,
        /// The salt of its leaf.
        salt: Digest,
        /// From the leaf to the input commitment.
        proof: RangeProof,
    } = 3,
}

impl Tx {
    /// The fixed fee of the kind.
    #[must_use]
    pub const fn fee(&self, params: &Params) -> Coin {
        match self {
            Self::Challenge { .. } | Self::Miscount { .. } | Self::Foreign { .. } => {
                params.challenge_fee
            }
            Self::Play { play: Move::Open { .. } | Move::Execute { .. }, .. } => params.step_fee,
            Self::Play { .. } => params.move_fee,
        }
    }

    /// Whether a session key may sign it. A challenge puts up a bond, which needs the account's
    /// own key.
    #[must_use]
    pub const fn allows_session(&self) -> bool {
        !matches!(self, Self::Challenge { .. })
    }
}

/// Facts for indexers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Event {
    /// A finding stands against a receipt.
    Challenged {
        /// The receipt.
        receipt: Digest,
        /// Who signed it.
        operator: OperatorId,
        /// The line, new or joined.
        line: u32,
        /// The challenger and its bond.
        backer: Backer,
    } = 0,
    /// A move was made.
    Moved {
        /// The receipt.
        receipt: Digest,
        /// The line.
        line: u32,
        /// Whose move it was.
        party: Party,
        /// The clock at which the next party's time ends, as things stand.
        due: Millis,
    } = 1,
    /// A challenger goes on in a line of its own (R7).
    Forked {
        /// The receipt.
        receipt: Digest,
        /// The line that several challengers shared.
        from: u32,
        /// The new line.
        line: u32,
        /// Its challenger.
        challenger: AccountId,
    } = 2,
    /// A line, or a receipt that convicts itself, was decided.
    Decided(Verdict) = 3,
    /// A line was closed because another one has proven the receipt wrong; bonds went back.
    Closed {
        /// The receipt.
        receipt: Digest,
        /// The line.
        line: u32,
        /// What was proven.
        cause: Cause,
    } = 4,
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
    /// R1.
    #[error("request and receipt do not belong together, or to this chain")]
    Mismatch = 0,
    /// R1.
    #[error("operator {operator} is not registered")]
    UnknownOperator {
        /// Which.
        operator: OperatorId,
    } = 1,
    /// R1.
    #[error("version {key_epoch} of the box key was not good when the request was fresh")]
    BadKeyEpoch {
        /// In the receipt.
        key_epoch: u32,
    } = 2,
    /// R1.
    #[error("the signature of request or receipt does not hold")]
    BadSignature = 3,
    /// R1.
    #[error("model {model} is not registered in the semantics that the request names")]
    UnknownModel {
        /// Which.
        model: ModelId,
    } = 4,
    /// R2.
    #[error("the receipt could be challenged until clock {ends}; it is {clock}")]
    WindowClosed {
        /// End of the window.
        ends: Millis,
        /// Now.
        clock: Millis,
    } = 5,
    /// R2.
    #[error("the operator has no such claim, or the path does not show the receipt in it")]
    NotClaimed = 6,
    /// R4.
    #[error("no run can have found this: length or end are not those of a re-execution")]
    BadFinding = 7,
    /// R4.
    #[error("the account stands behind this finding already, in line {line}")]
    AlreadyBehind {
        /// Which.
        line: u32,
    } = 8,
    /// R14.
    #[error("the receipt has been proven wrong already")]
    AlreadyProven = 9,
    /// R5.
    #[error("receipt {receipt} has no open line {line}")]
    UnknownLine {
        /// The receipt.
        receipt: Digest,
        /// Its number.
        line: u32,
    } = 10,
    /// R5.
    #[error("another move is due in this line; read it again")]
    OutOfTurn = 11,
    /// R11.
    #[error("the time of this party ended at clock {ended}")]
    TooLate {
        /// When.
        ended: Millis,
    } = 12,
    /// R7.
    #[error("key {key}'s account may not give this party's fine tree")]
    NotTheParty {
        /// Who signed.
        key: PublicKey,
    } = 13,
    /// R5.
    #[error("trace root and salt are not those of the receipt")]
    WrongTrace = 14,
    /// R6.
    #[error("the tops do not hash to the node that is split")]
    WrongParts = 15,
    /// R6.
    #[error("a proof of a beginning belongs to the longer run at the top of the trace only")]
    WrongPrefix = 16,
    /// R7.
    #[error("the last leaves of the fine tree do not make the coarse leaf")]
    WrongOutputs = 17,
    /// R6.
    #[error("the tops are the other party's: nothing differs")]
    NoDifference = 18,
    /// R8.
    #[error("the bytes are not the leaf's")]
    WrongLeaf = 19,
    /// R8.
    #[error("the openings make no step: {reason}")]
    BadStep {
        /// What does not fit.
        reason: Text<REASON_BYTES_MAX>,
    } = 20,
    /// R8–R10.
    #[error("what was shown agrees with the receipt")]
    NothingWrong = 21,
    /// R9, R10.
    #[error("a path does not lead to its root")]
    BadPath = 22,
    /// R3.
    #[error("count and top are not those of the tree, or the count is the receipt's")]
    BadCount = 23,
    /// R3.
    #[error("the model knows the token, or the path does not show it in the input")]
    NotForeign = 24,
    /// R2.
    #[error("a receipt of audit mode {mode:?} is challenged by its payer {payer} alone")]
    OnlyThePayer {
        /// Of its request.
        mode: AuditMode,
        /// Who ordered it.
        payer: AccountId,
    } = 25,
}

/// What a class of hardware is taken to do and to cost.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Work units per second; 1 to 10^12.
    pub speed: u64,
    /// What an hour costs, in billionths of a dollar; 0 to 100 dollars.
    pub hour: UsdNano,
}

/// [`Reference`] by class.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct References {
    /// Of [`Class::Board`].
    pub board: Reference,
    /// Of [`Class::Small`].
    pub small: Reference,
    /// Of [`Class::Consumer`].
    pub consumer: Reference,
    /// Of [`Class::Workstation`].
    pub workstation: Reference,
    /// Of [`Class::DataCentre`].
    pub data_centre: Reference,
}

impl References {
    /// Of a class.
    #[must_use]
    pub const fn of(&self, class: Class) -> &Reference {
        match class {
            Class::Board => &self.board,
            Class::Small => &self.small,
            Class::Consumer => &self.consumer,
            Class::Workstation => &self.workstation,
            Class::DataCentre => &self.data_centre,
        }
    }
}

/// What genesis decides.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Time of each party in a line, without its work, in ms; 1 s to 1 day.
    pub clock: Millis,
    /// Most time of a party in a line, in ms; `clock` to 7 days.
    pub clock_max: Millis,
    /// How often the work that a party has open is added to its time; 1 to 10.
    pub work_factor: u64,
    /// Open disputes above which an operator's silence is no sign of a wrong output; 1 to 1,000.
    pub flood: u32,
    /// A bond in costs of the operator; 20 to 100.
    pub bond_factor: u128,
    /// Speed and cost of hardware.
    pub references: References,
    /// Fee of a challenge or of evidence that needs no game, in coin; 0 to 1.
    pub challenge_fee: Coin,
    /// Fee of a move of digests, in coin; 0 to 1.
    pub move_fee: Coin,
    /// Fee of opening a leaf or executing a step, in coin; 0 to 1.
    pub step_fee: Coin,
}

impl Params {
    /// Holds every field against its bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        let day = 86_400 * SECOND;
        let (clock, most) = (self.clock.get(), self.clock_max.get());
        within("disputes.clock", clock.into(), SECOND.into(), day.into())?;
        within("disputes.clock_max", most.into(), clock.into(), u128::from(day).saturating_mul(7))?;
        within("disputes.work_factor", self.work_factor.into(), 1, 10)?;
        within("disputes.flood", self.flood.into(), 1, 1_000)?;
        within("disputes.bond_factor", self.bond_factor, 20, 100)?;
        for class in Class::ALL {
            let Reference { speed, hour } = *self.references.of(class);
            within("disputes.references.speed", speed.into(), 1, 1_000_000_000_000)?;
            within("disputes.references.hour", hour.get(), 0, 100 * NANO)?;
        }
        within("disputes.challenge_fee", self.challenge_fee.get(), 0, COIN)?;
        within("disputes.move_fee", self.move_fee.get(), 0, COIN)?;
        within("disputes.step_fee", self.step_fee.get(), 0, COIN)
    }
}

impl Default for Params {
    fn default() -> Self {
        let reference = |speed, hour| Reference { speed, hour: UsdNano::new(hour) };
        Self {
            clock: Millis::new(1_800 * SECOND),
            clock_max: Millis::new(86_400 * SECOND),
            work_factor: 3,
            flood: 8,
            bond_factor: 20,
            references: References {
                board: reference(1_000, NANO / 200),
                small: reference(10_000, NANO / 50),
                consumer: reference(500_000, NANO / 5),
                workstation: reference(2_000_000, NANO),
                data_centre: reference(10_000_000, 3 * NANO),
            },
            challenge_fee: Coin::new(1_000_000),
            move_fee: Coin::new(500_000),
            step_fee: Coin::new(5_000_000),
        }
    }
}
