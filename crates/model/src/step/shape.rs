//! The coarse tree of a run: how many leaves it has and what each of them is, by arithmetic.

use super::plan::Plan;
use super::{Fine, StepError};
use crate::constants::PIECE;
use crate::graph::Reach;
use crate::int::Int;
use crate::layout::size;
use crate::run::Sampling;

/// What decides the shape of a run's trace and the draws of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunShape {
    /// Tokens of the input, at least 1.
    pub n_in: u32,
    /// Tokens given, or 1 for a row.
    pub n_out: u32,
    /// How tokens are chosen; at temperature 0 the fine trees of tokens are shorter.
    pub sampling: Sampling,
    /// Decides the draws.
    pub seed: u64,
}

/// A leaf of the coarse trace, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoarseLeaf {
    /// The row of a position at a boundary.
    Boundary {
        /// The position.
        position: u32,
        /// Index in the graph's list of boundaries.
        boundary: u32,
    },
    /// An emitted token.
    Token {
        /// Which output it is, from 0.
        output: u32,
    },
    /// The output row of an embedding.
    Row,
}

/// Where a leaf of the output commitment stands in the trace: the same bytes, without salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLeaf {
    /// Index of the coarse leaf.
    pub leaf: u64,
    /// Piece of its row.
    pub piece: u64,
    /// Pieces of its row.
    pub pieces: u64,
}

/// The shape of the coarse tree of one run.
#[derive(Clone, Copy, Debug)]
pub struct TraceShape<'a> {
    plan: &'a Plan,
    run: RunShape,
}

impl<'a> TraceShape<'a> {
    /// The shape of `run` on a model.
    ///
    /// # Errors
    /// A run longer than the model admits, or one without input.
    pub fn new(plan: &'a Plan, run: RunShape) -> Result<Self, StepError> {
        let shape = Self { plan, run };
        let fits = run.n_in > 0 && shape.positions() <= u64::from(plan.positions());
        let row = plan.graph().reach == Reach::Causal || run.n_out == 1;
        if fits && row { Ok(shape) } else { Err(StepError::Graph) }
    }

    /// The run.
    pub const fn run(&self) -> &RunShape {
        &self.run
    }

    /// The model.
    pub const fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// Positions that were run: the last emitted token is never fed back.
    pub fn positions(&self) -> u64 {
        match self.plan.graph().reach {
            Reach::Causal => u64::from(self.run.n_in)
                .saturating_add(u64::from(self.run.n_out.max(1)))
                .saturating_sub(1),
            Reach::Full => u64::from(self.run.n_in),
        }
    }

    fn boundaries(&self) -> u64 {
        u64::try_from(self.plan.graph().boundaries.len()).unwrap_or(u64::MAX)
    }

    /// Positions before the one that gives the first token.
    fn silent(&self) -> u64 {
        u64::from(self.run.n_in).saturating_sub(1)
    }

    /// Leaves of the coarse tree.
    pub fn leaves(&self) -> u64 {
        let rows = Int::from(self.positions()) * Int::from(self.boundaries());
        let outputs = match self.plan.graph().reach {
            Reach::Causal => self.run.n_out,
            Reach::Full => 1,
        };
        (rows + Int::from(outputs)).to_u64()
    }

    /// What leaf `index` is.
    ///
    /// # Errors
    /// An index past the end.
    pub fn leaf(&self, index: u64) -> Result<CoarseLeaf, StepError> {
        let leaves = self.leaves();
        if index >= leaves {
            return Err(StepError::NoCoarseLeaf { index, leaves });
        }
        let boundaries = self.boundaries();
        let cut = |value: u64, by: u64| {
            let quotient = value.checked_div(by).unwrap_or(0);
            (quotient, value.checked_rem(by).unwrap_or(0))
        };
        let (position, boundary) = match self.plan.graph().reach {
            Reach::Full => {
                let (boundary, position) = cut(index, u64::from(self.run.n_in));
                if boundary == boundaries {
                    return Ok(CoarseLeaf::Row);
                }
                (position, boundary)
            }
            Reach::Causal => match index.checked_sub(self.silent().saturating_mul(boundaries)) {
                None => cut(index, boundaries),
                Some(rest) => {
                    let (output, boundary) = cut(rest, boundaries.saturating_add(1));
                    if boundary == boundaries {
                        let output = u32::try_from(output).unwrap_or(u32::MAX);
                        return Ok(CoarseLeaf::Token { output });
                    }
                    (self.silent().saturating_add(output), boundary)
                }
            },
        };
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(CoarseLeaf::Boundary { position: narrow(position), boundary: narrow(boundary) })
    }

    /// Index of a leaf; one that the run does not have gets no index.
    pub fn index(&self, leaf: CoarseLeaf) -> Option<u64> {
        let boundaries = Int::from(self.boundaries());
        let index = match (leaf, self.plan.graph().reach) {
            (CoarseLeaf::Row, _) => Int::from(self.leaves()) - Int::from(1_u32),
            (CoarseLeaf::Token { output }, _) => {
                let position = Int::from(self.silent()) + Int::from(output);
                (position + Int::from(1_u32)) * boundaries + Int::from(output)
            }
            (CoarseLeaf::Boundary { position, boundary }, Reach::Full) => {
                Int::from(boundary) * Int::from(self.run.n_in) + Int::from(position)
            }
            (CoarseLeaf::Boundary { position, boundary }, Reach::Causal) => {
                let position = Int::from(position);
                let tokens = (position - Int::from(self.silent())).max(Int::ZERO);
                position * boundaries + Int::from(boundary) + tokens
            }
        };
        let index = index.to_u64();
        self.leaf(index).is_ok_and(|found| found == leaf).then_some(index)
    }

    /// Pieces of a leaf's row.
    pub fn pieces(&self, leaf: CoarseLeaf) -> u64 {
        let width = match leaf {
            CoarseLeaf::Token { .. } => 1,
            CoarseLeaf::Row => self.plan.shapes().last().map_or(0, |shape| size(shape.width)),
            CoarseLeaf::Boundary { boundary, .. } => {
                let value = self.plan.boundary(boundary);
                value.map_or(0, |value| size(self.plan.width(value)))
            }
        };
        u64::try_from(width.div_ceil(PIECE)).unwrap_or(u64::MAX)
    }

    /// Where leaf `index` of the output commitment stands in the trace: one leaf per token, or
    /// one per piece of the row.
    pub fn output_leaf(&self, index: u64) -> Option<OutputLeaf> {
        let (coarse, piece) = match self.plan.graph().reach {
            Reach::Causal => (CoarseLeaf::Token { output: u32::try_from(index).ok()? }, 0),
            Reach::Full => (CoarseLeaf::Row, index),
        };
        let (leaf, pieces) = (self.index(coarse)?, self.pieces(coarse));
        (piece < pieces).then_some(OutputLeaf { leaf, piece, pieces })
    }

    /// The fine tree of coarse leaf `index`.
    ///
    /// # Errors
    /// An index past the end.
    pub fn fine(&self, index: u64) -> Result<Fine<'a>, StepError> {
        Fine::new(*self, self.leaf(index)?)
    }
}
