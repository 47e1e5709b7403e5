//! Test models: a small decoder and a small encoder whose weights come from a seed.
//!
//! They are real models in every respect but one: their answers mean nothing. They need no
//! download and load in milliseconds, so tests and machines without network use them. Everything
//! here is integers, hence equal on every machine.

use units::{List, Text};

use crate::constants::{HALF, HALF_WIDE, SHIFT, TABLE_ROWS};
use crate::error::ModelError;
use crate::graph::{Graph, Op, Reach, ValueId, WeightType};
use crate::inspect::check_graph;
use crate::int::Int;
use crate::layout::{ChannelShape, Tensors};
use crate::model::{Model, Parts, all_tensors};
use crate::ops::attention::exponential;
use crate::rows::Rows;
use crate::weights::{Channels, OpWeights, RopeTable, Weights};

const WIDTH: u32 = 64;
const HEADS: u32 = 4;
const KEY_HEADS: u32 = 2;
const HIDDEN: u32 = 128;
const ROPE_PAIRS: u32 = 8;
const DECODER_BLOCKS: u32 = 3;
const ENCODER_BLOCKS: u32 = 2;
const MAX_POSITIONS: u32 = 2_048;
const MAX_INPUT: u32 = 1_536;
const GAIN: i32 = 16_384;
const DECODER_SEED: u64 = 0x7365_6c76_6564_6765;
const ENCODER_SEED: u64 = 0x656d_6265_6464_696e;

/// What a test model takes from its preprocess configuration.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// Token ids are below this.
    pub size: u32,
    /// Ids below this are rarely emitted by the decoder: bytes that are no text by themselves.
    pub quiet: u32,
    /// Ids that end a generation.
    pub stop_ids: Vec<u32>,
    /// The preprocess configuration.
    pub preprocess: Vec<u8>,
    /// Version of the rules by which that is read.
    pub preprocess_version: u16,
}

/// The decoder: three blocks of width 64, two key heads for four query heads.
///
/// # Errors
/// Never for a vocabulary within the limits.
pub fn decoder(vocabulary: Vocabulary) -> Result<Model, ModelError> {
    let mut builder = Builder::new(EmbeddingKind::Scaled);
    let mut stream = 0;
    for _ in 0..DECODER_BLOCKS {
        stream = builder.decoder_block(stream)?;
    }
    let input = builder.norm(stream, false)?;
    builder.push(Op::Logits { input, tied: true, multiplier: 8_192 })?;
    let graph = builder.graph(Reach::Causal, vocabulary.size, ROPE_PAIRS);
    model(graph, vocabulary, &mut Source(DECODER_SEED))
}

/// The encoder: two blocks of width 64 with the norm after each sum.
///
/// # Errors
/// Never for a vocabulary within the limits.
pub fn encoder(vocabulary: Vocabulary) -> Result<Model, ModelError> {
    let mut builder = Builder::new(EmbeddingKind::Sum);
    let mut stream = builder.norm(0, true)?;
    builder.boundaries = vec![stream];
    for _ in 0..ENCODER_BLOCKS {
        stream = builder.encoder_block(stream)?;
    }
    let input = builder.push(Op::SumPool { input: stream })?;
    builder.push(Op::Unit { input })?;
    let graph = builder.graph(Reach::Full, vocabulary.size, 0);
    model(graph, vocabulary, &mut Source(ENCODER_SEED))
}

enum EmbeddingKind {
    Sum,
    Scaled,
}

struct Builder {
    ops: Vec<Op>,
    boundaries: Vec<ValueId>,
}

impl Builder {
    fn new(kind: EmbeddingKind) -> Self {
        let embedding = match kind {
            EmbeddingKind::Sum => Op::EmbeddingSum { width: WIDTH },
            EmbeddingKind::Scaled => Op::EmbeddingScaled { width: WIDTH, factor: 1 << 19 },
        };
        Self { ops: vec![embedding], boundaries: vec![0] }
    }

    fn push(&mut self, op: Op) -> Result<ValueId, ModelError> {
        let value = ValueId::try_from(self.ops.len());
        self.ops.push(op);
        value.map_err(|_| ModelError::Shape { what: "the list of ops" })
    }

    fn norm(&mut self, input: ValueId, centred: bool) -> Result<ValueId, ModelError> {
        self.push(Op::Norm { input, centred, offset: 1 })
    }

    fn linear(&mut self, input: ValueId, outputs: u32) -> Result<ValueId, ModelError> {
        self.push(Op::Linear { input, outputs, weights: WeightType::W8 })
    }

    fn add(&mut self, input: ValueId, stream: ValueId) -> Result<ValueId, ModelError> {
        self.push(Op::LinearResidual { input, stream, weights: WeightType::W8 })
    }

    fn decoder_block(&mut self, stream: ValueId) -> Result<ValueId, ModelError> {
        let key_width = WIDTH / HEADS * KEY_HEADS;
        let input = self.norm(stream, false)?;
        let queries = self.linear(input, WIDTH)?;
        let keys = self.linear(input, key_width)?;
        let values = self.linear(input, key_width)?;
        let queries = self.push(Op::Rope { input: queries, heads: HEADS })?;
        let keys = self.push(Op::Rope { input: keys, heads: KEY_HEADS })?;
        let (heads, key_heads, multiplier) = (HEADS, KEY_HEADS, 2);
        let mixed =
            self.push(Op::Attention { queries, keys, values, heads, key_heads, multiplier })?;
        let stream = self.add(mixed, stream)?;
        let input = self.norm(stream, false)?;
        let gate = self.linear(input, HIDDEN)?;
        let up = self.linear(input, HIDDEN)?;
        let gate = self.push(Op::Table { input: gate, table: 0 })?;
        let weights = WeightType::W8;
        let stream = self.push(Op::GateResidual { gate, up, stream, weights })?;
        self.boundaries.push(stream);
        Ok(stream)
    }

    fn encoder_block(&mut self, stream: ValueId) -> Result<ValueId, ModelError> {
        let queries = self.linear(stream, WIDTH)?;
        let keys = self.linear(stream, WIDTH)?;
        let values = self.linear(stream, WIDTH)?;
        let (heads, key_heads, multiplier) = (HEADS, HEADS, 1);
        let mixed =
            self.push(Op::Attention { queries, keys, values, heads, key_heads, multiplier })?;
        let sum = self.add(mixed, stream)?;
        let stream = self.norm(sum, true)?;
        let hidden = self.linear(stream, HIDDEN)?;
        let hidden = self.push(Op::Table { input: hidden, table: 0 })?;
        let sum = self.add(hidden, stream)?;
        let stream = self.norm(sum, true)?;
        self.boundaries.push(stream);
        Ok(stream)
    }

    fn graph(self, reach: Reach, vocabulary: u32, rope_pairs: u32) -> Graph {
        // Both lists are far below their bounds.
        Graph {
            reach,
            vocabulary,
            tables: 1,
            rope_pairs,
            ops: List::new(self.ops).unwrap_or_default(),
            boundaries: List::new(self.boundaries).unwrap_or_default(),
        }
    }
}

fn model(graph: Graph, vocabulary: Vocabulary, source: &mut Source) -> Result<Model, ModelError> {
    let shapes = check_graph(&graph)?;
    let tensors = all_tensors(&graph, &shapes, MAX_POSITIONS);
    let ops = graph
        .ops
        .iter()
        .zip(&tensors)
        .map(|(op, tensors)| source.weights(op, tensors, vocabulary.quiet))
        .collect();
    let slope = match graph.reach {
        Reach::Causal => 1_000,
        Reach::Full => 1_702, // y·sigmoid(1.702·y) is close to GELU.
    };
    let rope = if graph.rope_pairs == 0 { RopeTable::default() } else { rope_table() };
    let weights = Weights { ops, tables: vec![gate_table(slope)], rope };
    let long = |_| ModelError::Shape { what: "the list of stop ids" };
    Model::from_parts(Parts {
        graph,
        weights,
        preprocess: vocabulary.preprocess,
        preprocess_version: vocabulary.preprocess_version,
        max_input: MAX_INPUT,
        max_positions: MAX_POSITIONS,
        stop_ids: List::new(vocabulary.stop_ids).map_err(long)?,
        licence: Text::new("MIT OR Apache-2.0").unwrap_or_default(),
    })
}

/// A stream of numbers that depends on its seed alone (SplitMix64).
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `-most..=most`.
    fn within(&mut self, most: u32) -> Int {
        let most = Int::from(most);
        let span = Int::from(2_u32) * most + Int::from(1_u32);
        let drawn = Int::from(self.next());
        drawn - drawn.div_floor(span) * span - most
    }

    fn rows16(&mut self, rows: usize, width: usize, most: u32) -> Rows<i16> {
        let count = rows.saturating_mul(width);
        Rows::from_data(width, (0..count).map(|_| self.within(most).to_a16()).collect())
    }

    fn weights(&mut self, op: &Op, tensors: &Tensors, quiet: u32) -> OpWeights {
        match *tensors {
            Tensors::Nothing => OpWeights::Nothing,
            Tensors::Rows { words, positions, width } => OpWeights::Rows {
                words: self.rows16(words, width, 8_000),
                positions: self.rows16(positions, width, 400),
            },
            Tensors::Norm { width } => {
                OpWeights::Norm { gains: vec![GAIN; width], biases: vec![HALF_WIDE; width] }
            }
            Tensors::Channels(shape) => {
                let scales = match op {
                    Op::EmbeddingScaled { .. } => return self.embedding(&shape, quiet),
                    Op::LinearResidual { stream: 0, .. } => Scales::residual(3_000, 1 << SHIFT),
                    Op::LinearResidual { .. } => Scales::residual(2_000, 1 << SHIFT),
                    Op::GateResidual { .. } => Scales::gate(1 << 19),
                    _ => Scales { multiplier: 48, bias: HALF, stream: 0 },
                };
                OpWeights::Channels(self.channels(&shape, &scales))
            }
        }
    }

    fn w8(&mut self, shape: &ChannelShape) -> Rows<i8> {
        let count = shape.outputs.saturating_mul(shape.inputs);
        let drawn = |source: &mut Self| i8::try_from(source.within(127).to_i32()).unwrap_or(0);
        Rows::from_data(shape.inputs, (0..count).map(|_| drawn(self)).collect())
    }

    fn channels(&mut self, shape: &ChannelShape, scales: &Scales) -> Channels {
        let optional = |present: bool| if present { shape.outputs } else { 0 };
        Channels {
            weights: self.w8(shape),
            multipliers: vec![scales.multiplier; shape.outputs],
            biases: vec![scales.bias; optional(shape.biased)],
            streams: vec![scales.stream; optional(shape.streamed)],
        }
    }

    /// Quiet tokens have short rows: as inputs the norm makes them whole again, as outputs they
    /// lose.
    fn embedding(&mut self, shape: &ChannelShape, quiet: u32) -> OpWeights {
        let ids = 0..u32::try_from(shape.outputs).unwrap_or(u32::MAX);
        OpWeights::Channels(Channels {
            weights: self.w8(shape),
            multipliers: ids.map(|id| if id < quiet { 8 } else { 64 }).collect(),
            biases: Vec::new(),
            streams: Vec::new(),
        })
    }
}

/// Numbers that all channels of an op share.
struct Scales {
    multiplier: i32,
    bias: i64,
    stream: i64,
}

impl Scales {
    const fn residual(multiplier: i32, stream: i64) -> Self {
        Self { multiplier, bias: HALF, stream }
    }

    const fn gate(multiplier: i32) -> Self {
        Self { multiplier, bias: HALF_WIDE, stream: 1 << 32 }
    }
}

/// `y·sigmoid(slope·y / 1000)` at 2^-10 per step, from the exponential table.
fn gate_table(slope: u32) -> Vec<i16> {
    let first = -Int::power_of_two(15);
    (0..TABLE_ROWS)
        .map(|row| {
            let y = Int::from(row) + first;
            // 64 steps of the exponential and 1,024 of y are one nat.
            let steps = (y.abs() * Int::from(slope)).div_floor(Int::from(16_000_u32));
            let (one, e) = (exponential(Int::ZERO), exponential(steps));
            let share = if y < Int::ZERO { e } else { one };
            (y * share).div_floor(one + e).to_a16()
        })
        .collect()
}

/// Rotations by angles whose half has the tangent 2^-k: their cosines and sines are rational.
fn rope_table() -> RopeTable {
    let width = crate::layout::size(ROPE_PAIRS);
    let (mut cos, mut sin) = (Rows::new(width), Rows::new(width));
    let bits = 48;
    let one = Int::power_of_two(bits);
    let mut angles = vec![(one, Int::ZERO); width];
    for _ in 0..MAX_POSITIONS {
        let round = |value: Int| {
            let down = bits.saturating_sub(SHIFT);
            (value + Int::power_of_two(down.saturating_sub(1))).shift_down(down).to_i32()
        };
        cos.push(&angles.iter().map(|(c, _)| round(*c)).collect::<Vec<_>>());
        sin.push(&angles.iter().map(|(_, s)| round(*s)).collect::<Vec<_>>());
        for (k, (c, s)) in (1_u32..).zip(angles.iter_mut()) {
            let tangent = Int::power_of_two(k);
            let square = tangent * tangent;
            let unit = square + Int::from(1_u32);
            let turn_cos = square - Int::from(1_u32);
            let turn_sin = Int::from(2_u32) * tangent;
            let turned = (
                (*c * turn_cos - *s * turn_sin).div_floor(unit),
                (*c * turn_sin + *s * turn_cos).div_floor(unit),
            );
            (*c, *s) = turned;
        }
    }
    RopeTable { cos, sin }
}
