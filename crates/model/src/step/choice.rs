//! Steps from logits to a token: the best of each 1,024, t of each entry, a histogram of t that
//! grows by 1,024 entries a leaf, the entry on which the draw falls, and the token.

use std::ops::Range;

use super::StepError;
use super::fine::Step;
use super::part::Part;
use crate::constants::{EXP_ROWS, PIECE};
use crate::int::Int;
use crate::layout::size;
use crate::ops::logits::argmax;
use crate::ops::sample::{Choice, choose, draw, find, scaled_multiplier, steps};

use super::shape::CoarseLeaf;

impl Step<'_, '_> {
    pub(super) fn choice(&mut self, multiplier: u32) -> Result<i128, StepError> {
        let run = *self.fine.shape().run();
        let vocabulary = size(self.fine.plan().width(self.address.op));
        let pieces = vocabulary.div_ceil(PIECE);
        match self.address.part {
            Part::Best => {
                let piece = self.index.checked_div(2).ok_or(StepError::Graph)?;
                let (id, logit) = self.best_in(piece, vocabulary)?;
                Ok(if self.index.checked_rem(2) == Some(0) { logit } else { id })
            }
            Part::Steps => {
                let (_, best) = self.best_entry(pieces)?;
                let logit = self.part(Part::Row, 0, self.index..self.index.saturating_add(1))?;
                let logit = Int::from(logit.first().copied().ok_or(StepError::Graph)?).to_i64();
                let multiplier = scaled_multiplier(multiplier, run.sampling.temperature_milli);
                Ok(i128::from(steps(best, logit, multiplier)))
            }
            Part::Histogram => {
                let group = self.address.group;
                let before = match group.checked_sub(1) {
                    Some(before) => self.part(Part::Histogram, before, self.bin(self.index))?,
                    None => Vec::new(),
                };
                let piece = usize::try_from(group).map_err(|_| StepError::Graph)?;
                let steps = self.part(Part::Steps, 0, piece_of(piece, vocabulary))?;
                let bin = i128::try_from(self.index).map_err(|_| StepError::Graph)?;
                let alike = Int::from(steps.iter().filter(|t| **t == bin).count());
                Ok((before.first().copied().map_or(Int::ZERO, Int::from) + alike).get())
            }
            Part::Choice => {
                let counts = self.part(Part::Histogram, last(pieces)?, 0..EXP_ROWS)?;
                let counts: Vec<u32> =
                    counts.into_iter().map(|count| u32::try_from(count).unwrap_or(0)).collect();
                let CoarseLeaf::Token { output } = self.fine.leaf() else {
                    return Err(StepError::Graph);
                };
                let choice = choose(&counts, &run.sampling, draw(run.seed, output));
                let record = [i128::from(choice.steps), i128::from(choice.rank)];
                record.get(self.index).copied().ok_or(StepError::Graph)
            }
            Part::Counts => {
                let choice = self.chosen()?;
                let group = u64::try_from(self.index).map_err(|_| StepError::Graph)?;
                let bin = self.bin(usize::from(choice.steps));
                let count = self.part(Part::Histogram, group, bin)?;
                count.first().copied().ok_or(StepError::Graph)
            }
            _ if run.sampling.temperature_milli == 0 => Ok(self.best_entry(pieces)?.0),
            _ => self.drawn(pieces, vocabulary),
        }
    }

    /// Id and value of the best entry of a piece; of equal ones the lowest id.
    fn best_in(&mut self, piece: usize, vocabulary: usize) -> Result<(i128, i128), StepError> {
        let entries = piece_of(piece, vocabulary);
        let first = Int::from(entries.start);
        let logits = self.part(Part::Row, 0, entries)?;
        let logits: Vec<i64> = logits.into_iter().map(|logit| Int::from(logit).to_i64()).collect();
        let best = argmax(&logits);
        let value = logits.get(size(best)).copied().ok_or(StepError::Graph)?;
        Ok(((first + Int::from(best)).get(), i128::from(value)))
    }

    /// Id and value of the best entry of all.
    fn best_entry(&mut self, pieces: usize) -> Result<(i128, i64), StepError> {
        let records = self.part(Part::Best, 0, 0..pieces.saturating_mul(2))?;
        let (pairs, _) = records.as_chunks::<2>();
        let values: Vec<i64> = pairs.iter().map(|[value, _]| Int::from(*value).to_i64()).collect();
        let best = size(argmax(&values));
        let (value, pair) = values.get(best).zip(pairs.get(best)).ok_or(StepError::Graph)?;
        let [_, id] = pair;
        Ok((*id, *value))
    }

    fn chosen(&mut self) -> Result<Choice, StepError> {
        let record = self.part(Part::Choice, 0, 0..2)?;
        let field = |index: usize| record.get(index).copied().unwrap_or(0);
        Ok(Choice {
            steps: u16::try_from(field(0)).unwrap_or(0),
            rank: u32::try_from(field(1)).unwrap_or(0),
        })
    }

    /// The token: the entry of the chosen rank lies in the first piece whose count exceeds it.
    fn drawn(&mut self, pieces: usize, vocabulary: usize) -> Result<i128, StepError> {
        let choice = self.chosen()?;
        let counts = self.part(Part::Counts, 0, 0..pieces)?;
        let rank = i128::from(choice.rank);
        let piece = counts.iter().position(|count| *count > rank).unwrap_or(0);
        let before = piece.checked_sub(1).and_then(|before| counts.get(before)).copied();
        let within = Int::from(rank) - Int::from(before.unwrap_or(0));
        let entries = piece_of(piece, vocabulary);
        let first = Int::from(entries.start);
        let steps = self.part(Part::Steps, 0, entries)?;
        let steps: Vec<u16> = steps.into_iter().map(|t| u16::try_from(t).unwrap_or(0)).collect();
        let rank = u32::try_from(within.get()).unwrap_or(0);
        let found = find(&steps, &Choice { rank, ..choice });
        Ok(found.map_or(0, |id| (first + Int::from(id)).get()))
    }

    /// The one element of bin `bin`.
    fn bin(&self, bin: usize) -> Range<usize> {
        bin..bin.saturating_add(1)
    }
}

/// Entries of a piece of 1,024, the last one shorter.
fn piece_of(piece: usize, vocabulary: usize) -> Range<usize> {
    let first = piece.saturating_mul(PIECE);
    first..first.saturating_add(PIECE).min(vocabulary)
}

fn last(pieces: usize) -> Result<u64, StepError> {
    pieces.checked_sub(1).and_then(|last| u64::try_from(last).ok()).ok_or(StepError::Graph)
}
