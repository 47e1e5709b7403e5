//! Disputes: the stored records, and reading them.

use super::schema::{DISPUTES, Finding, LEAF_BYTES_MAX, LINES, LOADS, PARTS_MAX};
use crate::{
    bytes::Bytes,
    payments::messages::{Receipt, Request},
    store::{Corrupt, Read},
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, Digest, OperatorId};
use serde::{Deserialize, Serialize};
use units::{Coin, List, Millis, WorkUnits};

/// Most challengers with one finding that share a line; the next one starts another (R4).
pub const BACKERS_MAX: usize = 16;

/// A side of a dispute.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Party {
    /// 0: the operator that signed the receipt.
    Defender = 0,
    /// 1: whoever found something else.
    Challenger = 1,
}

/// Why a line ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Cause {
    /// 0: a step of the operator's run, executed by the ledger, gives something else (R8).
    WrongStep {
        /// The op, by its number in the graph.
        op: u32,
        /// Whether weights were among its operands.
        weights: bool,
    } = 0,
    /// 1: the output is not what the trace says (R10).
    WrongOutput = 1,
    /// 2: the answer ends elsewhere or otherwise by the finish rule (R9).
    WrongFinish = 2,
    /// 3: a length of the receipt is not that of its tree (R3).
    WrongLength = 3,
    /// 4: no run has these lengths, or work and fee are not those of the lengths (R3).
    Impossible = 4,
    /// 5: a party's clock ran out (R11, R12).
    NoAnswer {
        /// Whether it was the operator's while it had more disputes open than it must bear.
        flood: bool,
    } = 5,
    /// 6: the challenger found what the receipt says.
    SameFinding = 6,
}

impl Cause {
    /// Whether it shows for ever that the receipt is wrong.
    #[must_use]
    pub const fn is_proof(&self) -> bool {
        !matches!(self, Self::NoAnswer { .. } | Self::SameFinding)
    }
}

/// A disputed receipt.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Dispute {
    /// What was asked.
    pub request: Request,
    /// What the operator states. Invariant: its hash is the record's key.
    pub receipt: Receipt,
    /// Work of one re-execution, computed from the model's facts.
    pub work: WorkUnits,
    /// The clock from which nobody may challenge it any more (R2).
    pub ends: Millis,
    /// Number of the next line.
    pub lines: u32,
    /// Lines that are open. Invariant: as many as the table has.
    pub open: u32,
    /// What shows that the receipt is wrong, once something does.
    pub proven: Option<Cause>,
}

/// Somebody who stands behind a finding.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Backer {
    /// Who.
    pub account: AccountId,
    /// What it has put into `dispute_bonds`.
    pub bond: Coin,
    /// What the operator gets of it if the line is lost (R13).
    pub cost: Coin,
}

/// One finding against one receipt.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Line {
    /// What the challengers found.
    pub finding: Finding,
    /// The challengers. Invariant: at least one, and one alone in a fine tree (R7).
    pub backers: List<Backer, BACKERS_MAX>,
    /// Work of the longer of the two runs: it sets the challengers' time (R11).
    pub work: WorkUnits,
    /// What is to be done next.
    pub phase: Phase,
    /// Time that the operator has used up (R11).
    pub defender_used: Millis,
    /// Time that the challengers have used up (R11).
    pub challenger_used: Millis,
    /// The clock of the last move.
    pub since: Millis,
    /// The clock at which the next party is looked at. Invariant: its entry in the queue.
    pub due: Millis,
    /// Moves made.
    pub moves: u32,
}

/// What is to be done next in a line.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// 0: The operator answers.
    Answer {
        /// Leaves of the trace that both runs have.
        common: u64,
    } = 0,
    /// 1: The operator splits a node.
    Split(Node) = 1,
    /// 2: The challenger refines the node that the operator has split.
    Refine {
        /// The node.
        node: Node,
        /// The operator's tops.
        tops: List<Digest, PARTS_MAX>,
    } = 2,
    /// 3: The operator opens a fine leaf.
    Open {
        /// The coarse leaf.
        coarse: Coarse,
        /// The fine leaf.
        leaf: u64,
        /// The operator's digest of it.
        digest: Digest,
    } = 3,
    /// 4: The challenger shows the step that is wrong.
    Execute {
        /// The coarse leaf.
        coarse: Coarse,
        /// The fine leaf.
        leaf: u64,
        /// As the operator opened it.
        bytes: Bytes<LEAF_BYTES_MAX>,
    } = 4,
    /// 5: The challenger shows that the finish rule contradicts the receipt.
    End = 5,
    /// 6: The challenger shows what the output leaf has to be.
    Output {
        /// Index of the leaf.
        index: u64,
        /// The operator's digest of it.
        digest: Digest,
    } = 6,
}

impl Phase {
    /// Whose turn it is.
    #[must_use]
    pub const fn turn(&self) -> Party {
        match self {
            Self::Answer { .. } | Self::Split(_) | Self::Open { .. } => Party::Defender,
            Self::Refine { .. } | Self::Execute { .. } | Self::End | Self::Output { .. } => {
                Party::Challenger
            }
        }
    }

    /// The coarse leaf in whose fine tree the parties are.
    #[must_use]
    pub const fn coarse(&self) -> Option<&Coarse> {
        match self {
            Self::Split(node) | Self::Refine { node, .. } => match &node.tree {
                Tree::Fine(coarse) => Some(coarse),
                Tree::Trace | Tree::Output => None,
            },
            Self::Open { coarse, .. } | Self::Execute { coarse, .. } => Some(coarse),
            Self::Answer { .. } | Self::End | Self::Output { .. } => None,
        }
    }
}

/// The tree that is bisected.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tree {
    /// 0: The coarse trace, as far as both runs go.
    Trace = 0,
    /// 1: The output commitment.
    Output = 1,
    /// 2: The fine tree of a coarse leaf.
    Fine(Coarse) = 2,
}

/// The first coarse leaf in which the runs differ.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Coarse {
    /// Its index.
    pub leaf: u64,
    /// The operator's digest of it.
    pub defender: Digest,
    /// The challenger's digest of it.
    pub challenger: Digest,
    /// Root of the challenger's fine tree, once it has given one.
    pub root: Digest,
}

/// A part of a tree in which the parties differ.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Node {
    /// Of which tree.
    pub tree: Tree,
    /// Its first leaf.
    pub first: u64,
    /// Its leaves.
    pub count: u64,
    /// The two tops; `None` for a whole tree, whose root is known and whose top is not.
    pub tops: Option<Tops>,
}

/// What each party has as the top of a node.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Tops {
    /// The operator.
    pub defender: Digest,
    /// The challenger.
    pub challenger: Digest,
}

impl Node {
    /// A whole tree.
    #[must_use]
    pub const fn whole(tree: Tree, count: u64) -> Self {
        Self { tree, first: 0, count, tops: None }
    }
}

/// What an operator has to defend at once.
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
pub struct Load {
    /// Disputes with an open line.
    pub disputes: u32,
    /// Work of re-executing each of them once.
    pub work: WorkUnits,
    /// The most that `work` was since the operator last had nothing open: clocks never shrink
    /// (R11).
    pub peak: WorkUnits,
}

/// How a line ended, for module `verification`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Verdict {
    /// The receipt.
    pub receipt: Digest,
    /// Who signed it.
    pub operator: OperatorId,
    /// The line, or `None` if the receipt convicts itself (R3).
    pub line: Option<u32>,
    /// The challenger, or whoever brought the evidence; of several the first.
    pub challenger: AccountId,
    /// Who lost.
    pub loser: Party,
    /// Why.
    pub cause: Cause,
    /// The clock.
    pub at: Millis,
}

/// A disputed receipt, or `None` if it never was or was forgotten.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn dispute(state: &impl Read, receipt: &Digest) -> Result<Option<Dispute>, Corrupt> {
    state.get(&DISPUTES, receipt)
}

/// An open line.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn line(state: &impl Read, receipt: &Digest, number: u32) -> Result<Option<Line>, Corrupt> {
    state.get(&LINES, &(*receipt, number))
}

/// What an operator has to defend at once.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn load(state: &impl Read, operator: &OperatorId) -> Result<Load, Corrupt> {
    Ok(state.get(&LOADS, operator)?.unwrap_or_default())
}

/// How many disputes of an operator are open.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn open_count(state: &impl Read, operator: &OperatorId) -> Result<u32, Corrupt> {
    Ok(load(state, operator)?.disputes)
}

/// Whether a receipt has an open line.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn is_open(state: &impl Read, receipt: &Digest) -> Result<bool, Corrupt> {
    Ok(dispute(state, receipt)?.is_some_and(|dispute| dispute.open > 0))
}
