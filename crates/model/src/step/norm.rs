//! Steps of a norm and of the unit row: sums over 1,024 elements, the record made from them, and
//! the elements.

use std::ops::Range;

use super::StepError;
use super::fine::{Step, integer};
use super::part::Part;
use crate::constants::{NORM_BLOCK, PIECE};
use crate::graph::ValueId;
use crate::int::{Int, sum};
use crate::layout::size;
use crate::ops::norm::{Scale, element, mean, scale, square};
use crate::ops::unit::{length, part};

impl Step<'_, '_> {
    /// A norm's totals, squares, record (S, V, r, R) and row.
    pub(super) fn norm(
        &mut self,
        input: ValueId,
        centred: bool,
        offset: u64,
    ) -> Result<i128, StepError> {
        let width = size(self.fine.plan().width(input));
        let count = Int::from(width);
        let mean = |total: Int| if centred { mean(total, count) } else { Int::ZERO };
        match self.address.part {
            Part::Totals => {
                let x = self.piece(input, width)?;
                Ok(sum(x.into_iter().map(Int::from)).get())
            }
            Part::Squares => {
                let mean = mean(self.total(centred, width)?);
                let x = self.piece(input, width)?;
                Ok(sum(x.into_iter().map(|x| square(x, mean))).get())
            }
            Part::Scale => {
                let total = self.total(centred, width)?;
                let squares = self.part(Part::Squares, 0, 0..width.div_ceil(PIECE))?;
                let variance = sum(squares.into_iter().map(Int::from)) + Int::from(offset);
                let scale = scale(variance);
                let record = [total, variance, scale.root, scale.reciprocal];
                record.get(self.index).map(|value| value.get()).ok_or(StepError::Graph)
            }
            _ => {
                let record = self.part(Part::Scale, 0, 0..4)?;
                let field = |index: usize| record.get(index).copied().map_or(Int::ZERO, Int::from);
                let scale = Scale { root: field(2), reciprocal: field(3) };
                let x = self.one(input, self.index)?;
                let (gain, bias) = self.gain(width)?;
                Ok(i128::from(element(x, mean(field(0)), scale, gain, bias)))
            }
        }
    }

    /// S, which is 0 where the mean is not taken off.
    fn total(&mut self, centred: bool, width: usize) -> Result<Int, StepError> {
        if !centred {
            return Ok(Int::ZERO);
        }
        let totals = self.part(Part::Totals, 0, 0..width.div_ceil(PIECE))?;
        Ok(sum(totals.into_iter().map(Int::from)))
    }

    /// The unit row's squares, record (V, r) and elements.
    pub(super) fn unit(&mut self, input: ValueId) -> Result<i128, StepError> {
        let width = size(self.fine.plan().width(input));
        match self.address.part {
            Part::Squares => {
                let v = self.piece(input, width)?;
                Ok(sum(v.into_iter().map(|v| square(v, Int::ZERO))).get())
            }
            Part::Scale => {
                let squares = self.part(Part::Squares, 0, 0..width.div_ceil(PIECE))?;
                let square = sum(squares.into_iter().map(Int::from));
                let record = [square, length(square)];
                record.get(self.index).map(|value| value.get()).ok_or(StepError::Graph)
            }
            _ => {
                let record = self.part(Part::Scale, 0, 0..2)?;
                let length = record.get(1).copied().map_or(Int::ZERO, Int::from);
                Ok(i128::from(part(self.one(input, self.index)?, length)))
            }
        }
    }

    /// The 1,024 elements of `value` whose sum has this step's index.
    fn piece(&mut self, value: ValueId, width: usize) -> Result<Vec<i32>, StepError> {
        let first = self.index.saturating_mul(PIECE);
        self.wide(value, first..first.saturating_add(PIECE).min(width))
    }

    fn one(&mut self, value: ValueId, index: usize) -> Result<i32, StepError> {
        let x = self.wide(value, index..index.saturating_add(1))?;
        x.first().copied().ok_or(StepError::Graph)
    }

    /// Some elements of a row of 32-bit elements at the step's position.
    fn wide(&mut self, value: ValueId, elements: Range<usize>) -> Result<Vec<i32>, StepError> {
        let row = self.row(value, self.address.position, elements)?;
        Ok(row.into_iter().map(|x| Int::from(x).to_i32()).collect())
    }

    /// Gain and bias of the step's channel.
    fn gain(&mut self, width: usize) -> Result<(i32, i64), StepError> {
        let block = self.index.checked_div(NORM_BLOCK).ok_or(StepError::Graph)?;
        let within = self.index.checked_rem(NORM_BLOCK).ok_or(StepError::Graph)?;
        let channels = width.saturating_sub(block.saturating_mul(NORM_BLOCK)).min(NORM_BLOCK);
        let bytes = self.own_leaf(block)?;
        let (gains, biases) =
            bytes.split_at_checked(channels.saturating_mul(4)).unwrap_or_default();
        let gain = gains.chunks_exact(4).nth(within).map(integer).ok_or(StepError::Graph)?;
        let bias = biases.chunks_exact(8).nth(within).map(integer).ok_or(StepError::Graph)?;
        Ok((Int::from(gain).to_i32(), Int::from(bias).to_i64()))
    }
}
