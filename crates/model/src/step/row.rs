//! Steps of the ops whose elements need no record: embeddings, tables, rotations and the sums of a
//! pooling op.

use super::fine::{Step, integer};
use super::part::Part;
use super::plan::Plan;
use super::shape::CoarseLeaf;
use super::{Address, Operand, StepError};
use crate::constants::{EMBEDDING_BLOCK, PIECE};
use crate::graph::{Op, ValueId};
use crate::int::Int;
use crate::layout::size;
use crate::ops::embedding::{added, scaled};
use crate::ops::rope::turned;
use crate::ops::table::index;

impl Step<'_, '_> {
    pub(super) fn embedding(&mut self, op: &Op) -> Result<i128, StepError> {
        let token = size(self.token()?);
        match *op {
            Op::EmbeddingScaled { factor, .. } => {
                let shape = self.fine.plan().channels(self.address.op).ok_or(StepError::Graph)?;
                let block = self.index.checked_div(shape.block).ok_or(StepError::Graph)?;
                let within = self.index.checked_rem(shape.block).ok_or(StepError::Graph)?;
                let leaf = self.channel(&shape, token, block)?;
                let channel = leaf.channel();
                let weight = channel.weights.get(within).copied().ok_or(StepError::Graph)?;
                Ok(i128::from(scaled(weight, channel.multiplier, factor)))
            }
            _ => {
                let vocabulary = size(self.fine.plan().graph().vocabulary);
                let position = vocabulary.saturating_add(size(self.address.position));
                let word = self.entry(token)?;
                Ok(i128::from(added(word, self.entry(position)?)))
            }
        }
    }

    /// This step's element of row `row` of 16-bit embedding rows.
    fn entry(&mut self, row: usize) -> Result<i16, StepError> {
        let width = size(self.fine.plan().width(self.address.op));
        let block = self.index.checked_div(EMBEDDING_BLOCK).ok_or(StepError::Graph)?;
        let within = self.index.checked_rem(EMBEDDING_BLOCK).ok_or(StepError::Graph)?;
        let leaf = row.saturating_mul(width.div_ceil(EMBEDDING_BLOCK)).saturating_add(block);
        let bytes = self.own_leaf(leaf)?;
        let value = bytes.chunks_exact(2).nth(within).map(integer).ok_or(StepError::Graph)?;
        Ok(Int::from(value).to_a16())
    }

    /// The token that stands at the step's position: of the input, or emitted before.
    fn token(&mut self) -> Result<u32, StepError> {
        let position = self.address.position;
        let shape = self.fine.shape();
        let operand = match position.checked_sub(shape.run().n_in) {
            None => Operand::Input { position },
            Some(output) => {
                let leaf = shape.index(CoarseLeaf::Token { output }).ok_or(StepError::Graph)?;
                Operand::Trace { leaf, first: 0, count: 1 }
            }
        };
        let id = self.open(operand)?;
        let id = id.first_chunk().copied().map(u32::from_le_bytes).ok_or(StepError::Graph)?;
        if id < self.fine.plan().graph().vocabulary { Ok(id) } else { Err(StepError::Graph) }
    }

    pub(super) fn table(&mut self, input: ValueId, table: u32) -> Result<i128, StepError> {
        let elements = self.index..self.index.saturating_add(1);
        let y = self.activations(input, self.address.position, elements)?;
        let row = index(y.first().copied().ok_or(StepError::Graph)?);
        let bytes = self.open(Operand::Table { leaf: Plan::table_leaf(table, row) })?;
        let within = row.checked_rem(PIECE).ok_or(StepError::Graph)?;
        bytes.chunks_exact(2).nth(within).map(integer).ok_or(StepError::Graph)
    }

    pub(super) fn rope(&mut self, input: ValueId) -> Result<i128, StepError> {
        let pairs = size(self.fine.plan().graph().rope_pairs);
        let width = pairs.saturating_mul(2);
        let channel = self.index.checked_rem(width).ok_or(StepError::Graph)?;
        let pair = channel.checked_rem(pairs).ok_or(StepError::Graph)?;
        let first = self.index.saturating_sub(channel).saturating_add(pair);
        let span = first..first.saturating_add(pairs).saturating_add(1);
        let row = self.activations(input, self.address.position, span)?;
        let (a, b) = row.first().zip(row.last()).ok_or(StepError::Graph)?;
        let leaf = self.fine.plan().rotation_leaf(self.address.position);
        let angles = self.open(Operand::Table { leaf })?;
        let angle = |index: usize| {
            let value = angles.chunks_exact(4).nth(index).map(integer).ok_or(StepError::Graph)?;
            Ok::<i32, StepError>(Int::from(value).to_i32())
        };
        let (cos, sin) = (angle(pair)?, Int::from(angle(pairs.saturating_add(pair))?));
        let y = if channel < pairs { turned(*a, *b, cos, -sin) } else { turned(*b, *a, cos, sin) };
        Ok(i128::from(y))
    }

    /// The sum of a channel over all positions up to this one.
    pub(super) fn pool(&mut self, input: ValueId) -> Result<i128, StepError> {
        let elements = self.index..self.index.saturating_add(1);
        let before = match self.address.position.checked_sub(1) {
            Some(position) => {
                let address = Address { part: Part::Row, position, leaf: 0, ..self.address };
                self.elements(&address, &elements)?
            }
            None => Vec::new(),
        };
        let value = self.row(input, self.address.position, elements)?;
        let value = value.first().copied().map(Int::from).ok_or(StepError::Graph)?;
        Ok((before.first().copied().map_or(Int::ZERO, Int::from) + value).get())
    }
}
