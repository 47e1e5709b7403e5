//! What an import found out: how much of each range is used, and how close the integers come.

use model::Model;
use model::certificate::certified;
use model::constants::RES_MAX;

use super::accuracy::Accuracy;
use super::float::Part;

/// Bits that may lie unused above the largest value seen before a report warns.
pub const WASTE_MAX: f64 = 4.0;
/// Bits that should lie between the stream's largest value seen and its clamp.
pub const HEADROOM_LEAST: f64 = 2.0;

/// One op's range: what is certain of every input, and what the calibration texts reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Block, from 0 on.
    pub block: usize,
    /// Which rows of the block.
    pub part: Part,
    /// Largest magnitude that any input can reach, in steps; for the stream where it clamps.
    pub certified: f64,
    /// Largest magnitude seen, in steps.
    pub seen: f64,
}

impl Range {
    /// Bits between both.
    #[must_use]
    pub fn unused_bits(&self) -> f64 {
        (self.certified / self.seen.max(1.0)).log2()
    }

    /// Whether precision is wasted, or for the stream whether the clamp is near.
    #[must_use]
    pub fn warns(&self) -> bool {
        match self.part {
            // Where the weights bound the stream it never clamps.
            Part::Stream => self.certified >= RES_MAX as f64 && self.unused_bits() < HEADROOM_LEAST,
            _ => self.unused_bits() > WASTE_MAX,
        }
    }
}

/// What an import found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Tokens of the calibration texts.
    pub tokens: usize,
    /// Ranges in the order of the ops.
    pub ranges: Vec<Range>,
    /// The integers beside the float original.
    pub accuracy: Option<Accuracy>,
    /// Tensors of the source that no op uses.
    pub unused: Vec<String>,
}

impl Report {
    /// The ranges that warn.
    pub fn warnings(&self) -> impl Iterator<Item = &Range> {
        self.ranges.iter().filter(|range| range.warns())
    }
}

/// The ranges of a model: its certificates beside what a float forward pass saw, op by op in the
/// same order. `units` holds the real value of one step of each op's output.
pub(super) fn ranges(
    model: &Model,
    units: &[Option<f64>],
    seen: &[(usize, Part, f64)],
) -> Vec<Range> {
    let largest = certified(model).into_iter().map(|certified| certified.largest);
    let written = largest.zip(units).filter_map(|(most, unit)| Some((most as f64, (*unit)?)));
    let range = |((certified, unit), (block, part, seen)): ((f64, f64), &(usize, Part, f64))| {
        Range { block: *block, part: *part, certified, seen: seen / unit }
    };
    written.zip(seen).map(range).collect()
}
