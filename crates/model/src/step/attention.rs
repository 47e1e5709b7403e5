//! Steps of an attention, head by head: a score per key, the best of each 1,024, a weight per key,
//! sums over each 1,024 keys, the record (M, Z, R), and the elements.
//!
//! Values are opened as columns, one channel of 1,024 keys in one leaf, because a sum over keys
//! would otherwise open as many rows as it has keys.

use std::ops::Range;

use super::fine::Step;
use super::part::Part;
use super::{Address, StepError};
use crate::constants::PIECE;
use crate::graph::Op;
use crate::int::{Int, dot_a16, sum};
use crate::layout::size;
use crate::ops::attention::{average, reciprocal, weight};

impl Step<'_, '_> {
    pub(super) fn attention(&mut self, op: &Op) -> Result<i128, StepError> {
        let Op::Attention { queries, keys, values, heads, key_heads, multiplier } = *op else {
            return Err(StepError::Graph);
        };
        let plan = self.fine.plan();
        let width = size(plan.width(queries)).checked_div(size(heads)).ok_or(StepError::Graph)?;
        let group = size(heads).checked_div(size(key_heads)).ok_or(StepError::Graph)?;
        let head = usize::try_from(self.address.group).map_err(|_| StepError::Graph)?;
        let reach = size(self.fine.reach());
        let blocks = reach.div_ceil(PIECE);
        match self.address.part {
            Part::Columns => {
                let position = u32::try_from(self.index).map_err(|_| StepError::Graph)?;
                let value = self.row(values, position, head..head.saturating_add(1))?;
                value.first().copied().ok_or(StepError::Graph)
            }
            Part::Scores => {
                let key = u32::try_from(self.index).map_err(|_| StepError::Graph)?;
                let key_head = head.checked_div(group).ok_or(StepError::Graph)?;
                let q = self.activations(queries, self.address.position, cut(head, width))?;
                let k = self.activations(keys, key, cut(key_head, width))?;
                Ok(dot_a16(&q, &k).get())
            }
            Part::Best => {
                let scores = self.part(Part::Scores, self.address.group, self.keys(reach))?;
                scores.into_iter().max().ok_or(StepError::Graph)
            }
            Part::Weights => {
                let best = self.best_score(blocks)?;
                let elements = self.index..self.index.saturating_add(1);
                let score = self.part(Part::Scores, self.address.group, elements)?;
                let score = score.first().copied().ok_or(StepError::Graph)?;
                Ok(weight(best, Int::from(score), multiplier).get())
            }
            Part::WeightSums => {
                let weights = self.part(Part::Weights, self.address.group, self.keys(reach))?;
                Ok(sum(weights.into_iter().map(Int::from)).get())
            }
            Part::Softmax => {
                let best = self.best_score(blocks)?;
                let sums = self.part(Part::WeightSums, self.address.group, 0..blocks)?;
                let total = sum(sums.into_iter().map(Int::from));
                let record = [best, total, reciprocal(total)];
                record.get(self.index).map(|value| value.get()).ok_or(StepError::Graph)
            }
            Part::WeightedSums => self.weighted_sum(head, width, group, reach),
            _ => self.average(width, blocks),
        }
    }

    /// M.
    fn best_score(&mut self, blocks: usize) -> Result<Int, StepError> {
        let best = self.part(Part::Best, self.address.group, 0..blocks)?;
        best.into_iter().max().map(Int::from).ok_or(StepError::Graph)
    }

    /// The 1,024 keys whose best or sum has this step's index.
    fn keys(&self, reach: usize) -> Range<usize> {
        block(self.index, reach)
    }

    /// Σ e·v of one channel over 1,024 keys.
    fn weighted_sum(
        &mut self,
        head: usize,
        width: usize,
        group: usize,
        reach: usize,
    ) -> Result<i128, StepError> {
        let blocks = reach.div_ceil(PIECE);
        let channel = self.index.checked_div(blocks).ok_or(StepError::Graph)?;
        let keys = block(self.index.checked_rem(blocks).ok_or(StepError::Graph)?, reach);
        let key_head = head.checked_div(group).ok_or(StepError::Graph)?;
        let column = key_head.saturating_mul(width).saturating_add(channel);
        let column = u64::try_from(column).map_err(|_| StepError::Graph)?;
        let weights = self.part(Part::Weights, self.address.group, keys.clone())?;
        let values = self.part(Part::Columns, column, keys)?;
        let terms = weights.into_iter().zip(values);
        Ok(sum(terms.map(|(e, v)| Int::from(e) * Int::from(v))).get())
    }

    /// y of one channel of the row.
    fn average(&mut self, width: usize, blocks: usize) -> Result<i128, StepError> {
        let head = self.index.checked_div(width).ok_or(StepError::Graph)?;
        let channel = self.index.checked_rem(width).ok_or(StepError::Graph)?;
        let group = u64::try_from(head).map_err(|_| StepError::Graph)?;
        let record = Address { part: Part::Softmax, group, leaf: 0, ..self.address };
        let record = self.elements(&record, &(0..3))?;
        let reciprocal = record.get(2).copied().map_or(Int::ZERO, Int::from);
        let sums = self.part(Part::WeightedSums, group, cut(channel, blocks))?;
        Ok(i128::from(average(sum(sums.into_iter().map(Int::from)), reciprocal)))
    }
}

/// Elements of part `index` of parts of `length`.
fn cut(index: usize, length: usize) -> Range<usize> {
    let first = index.saturating_mul(length);
    first..first.saturating_add(length)
}

/// As [`cut`] for pieces of 1,024, the last one shorter.
fn block(index: usize, end: usize) -> Range<usize> {
    let first = index.saturating_mul(PIECE);
    first..first.saturating_add(PIECE).min(end)
}
