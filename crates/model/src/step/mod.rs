//! Steps: how a disputed run comes down to one integer that anyone recomputes from a few opened
//! leaves.
//!
//! ```text
//! coarse tree   one leaf per position and boundary (`shape`)
//!   fine tree   of one coarse leaf: every row and record that leads from earlier coarse leaves to
//!               it, in an order in which each depends only on earlier ones (`fine`, `part`)
//!     element   one integer of a fine leaf: a step (`Fine::element`, `check_step`)
//! ```
//! Rules: all shapes follow from graph, manifest and the run's parameters by arithmetic, never from
//! a party; a step opens at most 16 kB in at most 6 contiguous ranges of leaves, at every legal
//! size; it calls the element functions of `ops/`, so a step and its op cannot differ. Opened bytes
//! are hostile until their paths hold.
//!
//! Never here: clocks, bonds, whose turn it is: the ledger knows those.

mod attention;
mod choice;
mod fine;
mod norm;
mod opening;
mod part;
mod plan;
mod product;
mod row;
mod shape;
mod tree;

pub use fine::Fine;
pub use opening::{Claim, Evidence, Opening, Path, Roots, Verdict, check_step, open};
pub use part::{Geometry, Part};
pub use plan::Plan;
pub use shape::{CoarseLeaf, OutputLeaf, RunShape, TraceShape};
pub use tree::{Executed, FineTree};

use borsh::{BorshDeserialize, BorshSerialize};

/// A leaf of a fine tree, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The op.
    pub op: u32,
    /// Which of its rows or records.
    pub part: Part,
    /// The position that it belongs to.
    pub position: u32,
    /// Head, channel or block, where a part has several groups.
    pub group: u64,
    /// Leaf within the group.
    pub leaf: u64,
}

/// A contiguous range of leaves that a step opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Operand {
    /// The input token at a position, under the input commitment.
    Input {
        /// The position.
        position: u32,
    },
    /// Pieces of a row of the coarse trace.
    Trace {
        /// Index of the coarse leaf.
        leaf: u64,
        /// First piece.
        first: u64,
        /// How many pieces.
        count: u64,
    },
    /// Earlier leaves of the same fine tree.
    Fine {
        /// First leaf.
        first: u64,
        /// How many leaves.
        count: u64,
    },
    /// One leaf of the weight root.
    Weights {
        /// Its index.
        leaf: u64,
    },
    /// One leaf of the table root.
    Table {
        /// Its index.
        leaf: u64,
    },
}

/// Where a step gets its operands from: a run that is at hand, or openings whose paths hold.
pub trait Source {
    /// The bytes of all leaves of `operand`, one after the other.
    ///
    /// # Errors
    /// An operand that is not there.
    fn open(&mut self, operand: Operand) -> Result<Vec<u8>, StepError>;
}

/// A step that cannot be computed from what was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A coarse leaf that the run does not have.
    #[error("the run has no coarse leaf {index}; it has {leaves}")]
    NoCoarseLeaf {
        /// What was asked for.
        index: u64,
        /// How many there are.
        leaves: u64,
    },
    /// A leaf that the fine tree does not have.
    #[error("the fine tree has no leaf {index}; it has {leaves}")]
    NoLeaf {
        /// What was asked for.
        index: u64,
        /// How many there are.
        leaves: u64,
    },
    /// An element that the leaf does not have.
    #[error("the leaf has no element {element}; it has {elements}")]
    NoElement {
        /// What was asked for.
        element: u64,
        /// How many there are.
        elements: u64,
    },
    /// An operand that the step needs next and that was not opened.
    #[error("the step needs {needed:?} next, which is not what was opened")]
    Missing {
        /// The operand.
        needed: Operand,
    },
    /// An opening that the step does not need.
    #[error("{left} openings more than the step needs were handed over")]
    Unused {
        /// How many are left over.
        left: usize,
    },
    /// Opened bytes of another length than the operand has.
    #[error("{operand:?} takes {expected} bytes, {found} were opened")]
    Length {
        /// The operand.
        operand: Operand,
        /// Bytes that it has.
        expected: u64,
        /// Bytes handed over.
        found: u64,
    },
    /// A path that does not lead to the root.
    #[error("the path of {operand:?} does not hold: {reason}")]
    Path {
        /// The operand.
        operand: Operand,
        /// Why not.
        reason: crypto::merkle::BadProof,
    },
    /// The graph and what is asked of it do not fit each other.
    #[error("the graph has no such op, row or position")]
    Graph,
}
