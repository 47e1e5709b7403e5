//! The graph of a model: a flat list of ops with integer attributes, hashed into the graph root.
//!
//! Op `i` makes value `i`; an op reads only values before it. Shapes of weights follow from the
//! attributes and are never declared a second time. Decoding accepts any bounded list; whether it
//! is a model is decided by `inspect`.

use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{Digest, Domain, hash_of, merkle};
use units::List;

use crate::constants::{BOUNDARIES_MAX, OPS_MAX};

/// Index of the op that made a value.
pub type ValueId = u32;

/// Which keys a position attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Reach {
    /// Itself and all before it: the model generates tokens.
    Causal = 1,
    /// All positions of the input: the model gives one row.
    Full = 2,
}

/// How the weights of a linear op are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum WeightType {
    /// One signed byte per weight, −127 to 127, one multiplier per output channel.
    W8 = 1,
    /// Groups of 4-bit weights with an integer scale each. The number is reserved; `inspect`
    /// refuses it.
    W4Grouped = 2,
}

/// One op. Numbers are hashed into model ids: never reuse one.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Op {
    /// Sum of a token's row and its position's row (16-bit rows) → `res`.
    EmbeddingSum {
        /// Elements of a row.
        width: u32,
    } = 1,
    /// A token's row of 8-bit weights times its multiplier and one factor per model → `res`.
    EmbeddingScaled {
        /// Elements of a row.
        width: u32,
        /// The factor c.
        factor: u32,
    } = 2,
    /// LayerNorm (`centred`) or RMSNorm of a `res` row → `a16`.
    Norm {
        /// The `res` rows to normalise.
        input: ValueId,
        /// Whether the mean is taken off.
        centred: bool,
        /// What is added to the variance sum, at least 1.
        offset: u64,
    } = 3,
    /// Weighted sums of an `a16` row, requantised → `a16`.
    Linear {
        /// The `a16` rows to multiply.
        input: ValueId,
        /// Output channels.
        outputs: u32,
        /// Storage of the weights.
        weights: WeightType,
    } = 4,
    /// Look-up of each element of an `a16` row in a table of 65,536 rows → `a16`.
    Table {
        /// The `a16` rows to look up.
        input: ValueId,
        /// Which activation table.
        table: u32,
    } = 5,
    /// Weighted sums of an `a16` row added to a stream → `res` of the stream's width.
    LinearResidual {
        /// The `a16` rows to multiply.
        input: ValueId,
        /// What is added: `res` or `a16` rows.
        stream: ValueId,
        /// Storage of the weights.
        weights: WeightType,
    } = 6,
    /// Weighted sums of the exact products `gate·up` added to a stream → `res`.
    GateResidual {
        /// `a16` rows, already through their table.
        gate: ValueId,
        /// `a16` rows of the same width.
        up: ValueId,
        /// `res` rows that are added.
        stream: ValueId,
        /// Storage of the weights.
        weights: WeightType,
    } = 7,
    /// Rotation of channel pairs by position → `a16`.
    Rope {
        /// The `a16` rows to rotate.
        input: ValueId,
        /// Heads in a row; each is twice the graph's `rope_pairs` wide.
        heads: u32,
    } = 8,
    /// Softmax-weighted averages of value rows, four times their scale → `a16`.
    Attention {
        /// `a16` rows with one query per head.
        queries: ValueId,
        /// `a16` rows with one key per key head.
        keys: ValueId,
        /// `a16` rows with one value per key head.
        values: ValueId,
        /// Query heads.
        heads: u32,
        /// Key heads; divides `heads`.
        key_heads: u32,
        /// Multiplier from score differences to steps of 1/64 nat, 16 fraction bits.
        multiplier: u32,
    } = 9,
    /// One exact number per vocabulary entry.
    Logits {
        /// The `a16` rows to multiply.
        input: ValueId,
        /// Whether rows and multipliers are those of the scaled embedding.
        tied: bool,
        /// Multiplier from logit differences to steps of 1/64 nat at temperature 1, 32 fraction
        /// bits.
        multiplier: u32,
    } = 10,
    /// Exact sum of the `a16` rows of all positions → one row.
    SumPool {
        /// The rows to add up.
        input: ValueId,
    } = 11,
    /// The pooled row at length 2^24.
    Unit {
        /// The pooled row.
        input: ValueId,
    } = 12,
}

/// A model's graph.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Graph {
    /// Which keys a position attends to.
    pub reach: Reach,
    /// Token ids are below this.
    pub vocabulary: u32,
    /// How many activation tables the model has.
    pub tables: u32,
    /// Channel pairs that a rotation turns in each head; 0 when no op rotates.
    pub rope_pairs: u32,
    /// The ops in order of evaluation.
    pub ops: List<Op, OPS_MAX>,
    /// Values whose rows are trace leaves: the embedding first, then the stream after each block.
    /// All that comes later depends on nothing before the last boundary passed.
    pub boundaries: List<ValueId, BOUNDARIES_MAX>,
}

/// All of a graph but its ops: the first leaf under the graph root.
#[derive(BorshSerialize)]
struct Frame<'a> {
    reach: Reach,
    vocabulary: u32,
    tables: u32,
    rope_pairs: u32,
    op_count: u32,
    boundaries: &'a List<ValueId, BOUNDARIES_MAX>,
}

impl Graph {
    /// Merkle root over the frame and then each op, so that a dispute opens a single op.
    pub fn root(&self) -> Digest {
        let frame = Frame {
            reach: self.reach,
            vocabulary: self.vocabulary,
            tables: self.tables,
            rope_pairs: self.rope_pairs,
            op_count: u32::try_from(self.ops.len()).unwrap_or(u32::MAX),
            boundaries: &self.boundaries,
        };
        let mut leaves = vec![hash_of(Domain::Graph, &frame)];
        leaves.extend(self.ops.iter().map(|op| hash_of(Domain::Graph, op)));
        merkle::root(&leaves)
    }
}
