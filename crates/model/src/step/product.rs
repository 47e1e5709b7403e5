//! Steps of the ops that multiply by weights: a sum over one block of inputs, and the element made
//! from all sums of its channel.

use super::fine::{Step, integer};
use super::part::{Part, has_sums};
use super::{Operand, StepError};
use crate::constants::{SHIFT, SHIFT_WIDE};
use crate::graph::{Op, ValueId};
use crate::int::{Int, dot_products, dot_w8, sum};
use crate::layout::ChannelShape;
use crate::ops::gate::products;
use crate::ops::linear::requantise;
use crate::ops::logits::logit;
use crate::ops::residual::add;
use crate::weights::Channel;

/// A leaf of the weight root with one channel, or a block of it.
pub(super) struct ChannelLeaf {
    pub(super) weights: Vec<i8>,
    multiplier: i32,
    bias: i64,
    stream: i64,
}

impl ChannelLeaf {
    pub(super) fn channel(&self) -> Channel<'_> {
        Channel {
            weights: &self.weights,
            multiplier: self.multiplier,
            bias: self.bias,
            stream: self.stream,
        }
    }
}

impl Step<'_, '_> {
    /// One block of a channel of the op's weights.
    pub(super) fn channel(
        &mut self,
        shape: &ChannelShape,
        channel: usize,
        block: usize,
    ) -> Result<ChannelLeaf, StepError> {
        let leaf = channel.saturating_mul(shape.blocks()).saturating_add(block);
        let bytes = self.own_leaf(leaf)?;
        let (weights, rest) =
            bytes.split_at_checked(bytes.len().saturating_sub(20)).unwrap_or_default();
        let (multiplier, rest) = rest.split_at_checked(4).unwrap_or_default();
        let (bias, stream) = rest.split_at_checked(8).unwrap_or_default();
        Ok(ChannelLeaf {
            weights: weights.iter().map(|byte| i8::from_le_bytes([*byte])).collect(),
            multiplier: Int::from(integer(multiplier)).to_i32(),
            bias: Int::from(integer(bias)).to_i64(),
            stream: Int::from(integer(stream)).to_i64(),
        })
    }

    /// Leaf `leaf` of the op's own leaves of the weight root.
    pub(super) fn own_leaf(&mut self, leaf: usize) -> Result<Vec<u8>, StepError> {
        let leaf = u64::try_from(leaf).map_err(|_| StepError::Graph)?;
        let leaf = self.fine.plan().weight_leaf(self.address.op, leaf).ok_or(StepError::Graph)?;
        self.open(Operand::Weights { leaf })
    }

    pub(super) fn product(&mut self, op: &Op) -> Result<i128, StepError> {
        let shape = self.fine.plan().channels(self.address.op).ok_or(StepError::Graph)?;
        let blocks = shape.blocks();
        if self.address.part == Part::Sums {
            let channel = self.index.checked_div(blocks).ok_or(StepError::Graph)?;
            let block = self.index.checked_rem(blocks).ok_or(StepError::Graph)?;
            let leaf = self.channel(&shape, channel, block)?;
            return Ok(self.block_sum(op, &shape, block, &leaf.weights)?.get());
        }
        let leaf = self.channel(&shape, self.index, 0)?;
        let total = if has_sums(op, blocks) {
            let first = self.index.saturating_mul(blocks);
            let sums = self.part(Part::Sums, 0, first..first.saturating_add(blocks))?;
            sum(sums.into_iter().map(Int::from))
        } else {
            self.block_sum(op, &shape, 0, &leaf.weights)?
        };
        let channel = leaf.channel();
        Ok(match *op {
            Op::LinearResidual { stream, .. } => {
                i128::from(add(&channel, total, self.stream(stream)?, SHIFT))
            }
            Op::GateResidual { stream, .. } => {
                i128::from(add(&channel, total, self.stream(stream)?, SHIFT_WIDE))
            }
            Op::Logits { .. } => i128::from(logit(&channel, total)),
            _ => i128::from(requantise(&channel, total)),
        })
    }

    fn stream(&mut self, value: ValueId) -> Result<i32, StepError> {
        let elements = self.index..self.index.saturating_add(1);
        let x = self.row(value, self.address.position, elements)?;
        x.first().map(|x| Int::from(*x).to_i32()).ok_or(StepError::Graph)
    }

    /// Σ w·a, or Σ w·p, over one block of inputs.
    fn block_sum(
        &mut self,
        op: &Op,
        shape: &ChannelShape,
        block: usize,
        weights: &[i8],
    ) -> Result<Int, StepError> {
        let first = block.saturating_mul(shape.block);
        let inputs = first..first.saturating_add(weights.len());
        let position = self.address.position;
        match *op {
            Op::GateResidual { gate, up, .. } => {
                let gate = self.activations(gate, position, inputs.clone())?;
                let up = self.activations(up, position, inputs)?;
                Ok(dot_products(weights, &products(&gate, &up)))
            }
            Op::Linear { input, .. }
            | Op::LinearResidual { input, .. }
            | Op::Logits { input, .. } => {
                Ok(dot_w8(weights, &self.activations(input, position, inputs)?))
            }
            _ => Err(StepError::Graph),
        }
    }

    /// Some elements of an `a16` row.
    pub(super) fn activations(
        &mut self,
        value: ValueId,
        position: u32,
        elements: std::ops::Range<usize>,
    ) -> Result<Vec<i16>, StepError> {
        let row = self.row(value, position, elements)?;
        Ok(row.into_iter().map(|a| Int::from(a).to_a16()).collect())
    }
}
