//! Every number of the arithmetic, in one place, with the semantics version it belongs to.
//!
//! Changing any of them changes what models compute, so it needs another `SEMANTICS`.
//! Size limits stand here too: they are part of what makes each op a total function.

/// Version of the arithmetic that this crate computes. Version 1 is frozen: `docs/spec/cir.md` and
/// the golden files of this crate say what it means, for ever.
pub const SEMANTICS: u16 = 1;

/// Fraction bits dropped by a requantise of 16-bit inputs. Whole 16-bit limbs, so that a proof
/// range-checks a remainder with one look-up.
pub const SHIFT: u32 = 16;

/// Fraction bits dropped where the operand is a gate product, a norm or an attention average.
pub const SHIFT_WIDE: u32 = 32;

/// One in the fixed point of `SHIFT`.
pub const ONE: i32 = 1 << SHIFT;

/// Half of the last place of `SHIFT`, added before the floor so that it rounds to nearest.
pub const HALF: i64 = 1 << (SHIFT - 1);

/// Half of the last place of `SHIFT_WIDE`.
pub const HALF_WIDE: i64 = 1 << (SHIFT_WIDE - 1);

/// Smallest and largest value of an activation (`a16`).
pub const A16_MIN: i64 = -32_768;
/// See [`A16_MIN`].
pub const A16_MAX: i64 = 32_767;

/// Smallest and largest value of the residual stream (`res`): 2^26 leaves the variance sum of
/// 1,024 channels inside 64 bits.
pub const RES_MIN: i64 = -(1 << 26);
/// See [`RES_MIN`].
pub const RES_MAX: i64 = (1 << 26) - 1;

/// Largest magnitude of a weight (`w8`); −128 is refused, so that a weight's negative exists.
pub const W8_MAX: i8 = 127;

/// Multipliers of requantise lie in `1..=MULTIPLIER_MAX`.
pub const MULTIPLIER_MAX: i32 = (1 << 24) - 1;

/// Biases lie in `-BIAS_MAX..=BIAS_MAX`: with 65,536 inputs and the largest multiplier the sum of a
/// requantise then stays inside i64.
pub const BIAS_MAX: i64 = (1 << 60) - 1;

/// Multipliers of the residual stream lie in `-STREAM_MAX..=STREAM_MAX` (2^32 is "times one" after
/// a gate product).
pub const STREAM_MAX: i64 = 1 << 34;

/// Norm gains lie in `-GAIN_MAX..=GAIN_MAX`.
pub const GAIN_MAX: i32 = 32_767;

/// Rows of an activation table: one for each `a16`.
pub const TABLE_ROWS: usize = 1 << 16;

/// Rows of the exponential table, and bins of the sampling histogram.
pub const EXP_ROWS: usize = 1_024;
/// Largest index of the exponential table; its entry is 0.
pub const EXP_LAST: i64 = 1_023;
/// `EXP[0]`: the weight of the best key or token.
pub const EXP_ONE: i64 = 4_096;

/// Numerator of the reciprocal in attention: ⌊2^34 / Z⌋.
pub const SOFTMAX_BITS: u32 = 34;
/// Numerator of the reciprocal in a norm: ⌊2^32 / r⌋.
pub const NORM_BITS: u32 = 32;
/// Fraction bits of a unit row: q·2^-24 is exact in a 32-bit float.
pub const UNIT_BITS: u32 = 24;

/// Elements in one piece of a trace leaf or an output row: what one dispute step opens at once.
pub const PIECE: usize = 1_024;
/// Partial sums in one leaf of a fine tree: half of what a row's leaf may hold, since an element
/// opens them beside a weight leaf and a piece of the stream.
pub const SUMS_PIECE: usize = 512;
/// Weights of one output channel in one weight leaf.
pub const K_BLOCK: usize = 4_096;
/// The same where the operand is a gate product, whose elements take two rows to open.
pub const K_BLOCK_GATE: usize = 2_048;
/// Embedding elements of 16 bits in one weight leaf.
pub const EMBEDDING_BLOCK: usize = 2_048;
/// Channels (gain, bias) in one weight leaf of a norm.
pub const NORM_BLOCK: usize = 256;

/// Widest row of a residual stream.
pub const WIDTH_MAX: u32 = 16_384;
/// Widest input of a linear op (the hidden row of a feed-forward layer).
pub const INPUTS_MAX: u32 = 65_536;
/// Largest vocabulary.
pub const VOCABULARY_MAX: u32 = 1 << 18;
/// Most positions of a run: the reciprocal of an attention row keeps 9 bits up to here.
pub const POSITIONS_MAX: u32 = 8_192;
/// Most ops in a graph.
pub const OPS_MAX: usize = 8_192;
/// Most trace boundaries: blocks + 1.
pub const BOUNDARIES_MAX: usize = 257;
/// Most activation tables in a model.
pub const TABLES_MAX: u32 = 8;
/// Most attention heads in an op.
pub const HEADS_MAX: u32 = 256;
/// Widest attention head.
pub const HEAD_WIDTH_MAX: u32 = 256;
/// Largest multiplier of attention scores.
pub const SCORE_MULTIPLIER_MAX: u32 = (1 << 16) - 1;
/// Largest variance offset of a norm.
pub const OFFSET_MAX: u64 = 1 << 62;
/// Most stop ids of a manifest or a request.
pub const STOP_IDS_MAX: usize = 8;
/// Longest licence name.
pub const LICENCE_MAX: usize = 64;
/// Most bytes of a preprocess configuration.
pub const PREPROCESS_MAX: usize = 32 << 20;
/// Most bytes of a manifest or a graph handed over alone.
pub const GRAPH_BYTES_MAX: usize = 1 << 20;
/// Most bytes of weights and tables: what a model may claim before anybody downloads it.
pub const WEIGHT_BYTES_MAX: u64 = 1 << 40;
/// Multiply-adds in one work unit, as a power of two.
pub const WORK_UNIT_BITS: u32 = 20;

/// Most bytes of operands that one step opens.
pub const STEP_BYTES_MAX: usize = 16 << 10;
/// Most contiguous ranges of leaves that one step opens.
pub const STEP_RANGES_MAX: usize = 6;

const _: () = assert!(A16_MIN == -(1 << 15) && A16_MAX == (1 << 15) - 1);
const _: () = assert!(TABLE_ROWS == 65_536 && EXP_LAST + 1 == 1_024);
// The wide sum m·acc + c·x + B of a residual add with 16-bit inputs fits i64: 2^62 + 2^60 + 2^60.
#[allow(clippy::as_conversions, reason = "widening, evaluated by the compiler")]
const _: () = assert!(
    (MULTIPLIER_MAX as i128) * 127 * 32_768 * (INPUTS_MAX as i128)
        + (STREAM_MAX as i128) * (-RES_MIN as i128)
        + (BIAS_MAX as i128)
        < i64::MAX as i128
);
