//! The fine tree of an executed run: all leaves of one coarse leaf.
//!
//! Rows come from whoever executed the run; records, and rows that it does not have, are computed
//! step by step, so that the leaves are those of `Fine` by construction.

use crypto::{Digest, Domain, hash_bytes, merkle};

use super::fine::Fine;
use super::part::Part;
use super::shape::CoarseLeaf;
use super::{Operand, Source, StepError};
use crate::constants::PIECE;
use crate::graph::ValueId;
use crate::inspect::Kind;
use crate::model::Model;

/// A run whose rows can be read again.
pub trait Executed {
    /// The input token at `position`.
    fn input(&self, position: u32) -> Option<u32>;

    /// Token `output` of those given.
    fn token(&self, output: u32) -> Option<u32>;

    /// The row of `value` at `position`, little-endian: 16-bit elements of an activation, 32-bit
    /// elements of the stream. Rows at boundaries have to be there; others may be left to steps.
    fn row(&self, value: ValueId, position: u32) -> Option<Vec<u8>>;
}

/// All leaves of a fine tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FineTree {
    leaves: Vec<Vec<u8>>,
    digests: Vec<Digest>,
}

impl FineTree {
    /// Builds the fine tree of one coarse leaf of a run.
    ///
    /// # Errors
    /// A row at a boundary that `run` does not have.
    pub fn new(fine: &Fine<'_>, model: &Model, run: &dyn Executed) -> Result<Self, StepError> {
        let mut building = Building { fine, model, run, leaves: Vec::new() };
        for index in 0..fine.leaves() {
            let leaf = building.leaf(index)?;
            building.leaves.push(leaf);
        }
        let leaves = building.leaves;
        let digests = leaves.iter().map(|leaf| hash_bytes(Domain::TraceLeaf, leaf)).collect();
        Ok(Self { leaves, digests })
    }

    /// Root over all leaves.
    pub fn root(&self) -> Digest {
        merkle::root(&self.digests)
    }

    /// Digest of each leaf.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Bytes of leaf `index`; past the end there are none.
    pub fn leaf(&self, index: u64) -> &[u8] {
        let index = usize::try_from(index).ok();
        index.and_then(|index| self.leaves.get(index)).map_or(&[], Vec::as_slice)
    }
}

struct Building<'a> {
    fine: &'a Fine<'a>,
    model: &'a Model,
    run: &'a dyn Executed,
    leaves: Vec<Vec<u8>>,
}

impl Building<'_> {
    fn leaf(&mut self, index: u64) -> Result<Vec<u8>, StepError> {
        let address = self.fine.address(index)?;
        let kind = self.fine.plan().kind(address.op);
        if address.part == Part::Row
            && matches!(kind, Some(Kind::A16 | Kind::Res))
            && let Some(row) = self.run.row(address.op, address.position)
        {
            let lengths = self.fine.lengths(&Operand::Fine { first: index, count: 1 });
            let whole = super::part::element_bytes(kind).saturating_mul(1_024);
            let first = usize::try_from(address.leaf.saturating_mul(whole)).unwrap_or(usize::MAX);
            let length = lengths.and_then(|lengths| usize::try_from(*lengths.first()?).ok());
            let bytes = length.and_then(|length| row.get(first..first.checked_add(length)?));
            return bytes.map(<[u8]>::to_vec).ok_or(StepError::Graph);
        }
        let fine = self.fine;
        fine.leaf_bytes(&address, self)
    }
}

impl Source for Building<'_> {
    fn open(&mut self, operand: Operand) -> Result<Vec<u8>, StepError> {
        if let Operand::Fine { first, count } = operand {
            let range = usize::try_from(first).ok().zip(usize::try_from(count).ok());
            let leaves =
                range.and_then(|(first, count)| self.leaves.get(first..first.checked_add(count)?));
            return leaves.map(<[Vec<u8>]>::concat).ok_or(StepError::Missing { needed: operand });
        }
        operand_bytes(self.fine, self.model, self.run, operand)
    }
}

/// The bytes of an operand that is no leaf of a fine tree.
pub(super) fn operand_bytes(
    fine: &Fine<'_>,
    model: &Model,
    run: &dyn Executed,
    operand: Operand,
) -> Result<Vec<u8>, StepError> {
    let missing = StepError::Missing { needed: operand };
    match operand {
        Operand::Input { position } => {
            run.input(position).map(|id| id.to_le_bytes().to_vec()).ok_or(missing)
        }
        Operand::Trace { leaf, first, count } => {
            let (value, position) = match fine.shape().leaf(leaf)? {
                CoarseLeaf::Token { output } => {
                    return run.token(output).map(|id| id.to_le_bytes().to_vec()).ok_or(missing);
                }
                CoarseLeaf::Boundary { position, boundary } => {
                    (fine.plan().boundary(boundary).ok_or(missing)?, position)
                }
                CoarseLeaf::Row => return Err(missing),
            };
            let row = run.row(value, position).ok_or(missing)?;
            let bytes = super::part::element_bytes(fine.plan().kind(value));
            let piece = usize::try_from(bytes).unwrap_or(0).saturating_mul(PIECE);
            let cut = |leaf: u64| usize::try_from(leaf).unwrap_or(usize::MAX).saturating_mul(piece);
            let end = cut(first.saturating_add(count)).min(row.len());
            row.get(cut(first)..end).map(<[u8]>::to_vec).ok_or(missing)
        }
        Operand::Weights { leaf } => {
            let (op, leaf) = fine.plan().weight_op(leaf).ok_or(missing)?;
            let leaf = usize::try_from(leaf).map_err(|_| missing)?;
            Ok(model.weights().leaf(fine.plan().tensors(), op, leaf))
        }
        Operand::Table { leaf } => {
            let leaf = usize::try_from(leaf).map_err(|_| missing)?;
            Ok(model.weights().table_leaf(leaf))
        }
        Operand::Fine { .. } => Err(missing),
    }
}
