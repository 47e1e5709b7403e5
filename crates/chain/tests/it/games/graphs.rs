//! Random models of all ops of the catalogue: small, without meaning, and legal.
//!
//! Rules: a model is a function of its number; weights are random, so that certificates fail and
//! the normative clamps are exercised. Never here: a run.

use super::random::Random;
use model::{
    Channels, Graph, Model, Op, OpWeights, Parts, Reach, RopeTable, ValueId, WeightType, Weights,
    constants::{HALF, HALF_WIDE},
    inspect::check_graph,
    layout::{ChannelShape, Tensors, tensors},
    rows::Rows,
};
use units::{List, Text};

const W8: WeightType = WeightType::W8;
/// Most positions of every random model.
pub(crate) const POSITIONS: u32 = 24;
/// Ids that end an answer of every random model.
const STOP_IDS: [u32; 2] = [3, 5];

/// Builds a graph op by op.
struct Builder<'a> {
    random: &'a mut Random,
    ops: Vec<Op>,
    boundaries: Vec<ValueId>,
}

impl Builder<'_> {
    fn push(&mut self, op: Op) -> ValueId {
        self.ops.push(op);
        ValueId::try_from(self.ops.len() - 1).unwrap()
    }

    fn norm(&mut self, input: ValueId) -> ValueId {
        let (centred, offset) = (self.random.chance(1, 2), 1 + self.random.below(9));
        self.push(Op::Norm { input, centred, offset })
    }

    fn linear(&mut self, input: ValueId, outputs: u32) -> ValueId {
        self.push(Op::Linear { input, outputs, weights: W8 })
    }

    /// Attention and a gate or a table, each added to the stream.
    fn block(&mut self, stream: ValueId, rope_pairs: u32) -> ValueId {
        let head = 2 * rope_pairs.max(1);
        let key_heads = 1 + self.random.below(2) as u32;
        let heads = key_heads * (1 + self.random.below(2) as u32);
        let normed = self.norm(stream);
        let mut queries = self.linear(normed, heads * head);
        let mut keys = self.linear(normed, key_heads * head);
        let values = self.linear(normed, key_heads * head);
        if rope_pairs > 0 {
            queries = self.push(Op::Rope { input: queries, heads });
            keys = self.push(Op::Rope { input: keys, heads: key_heads });
        }
        let multiplier = 1 + self.random.below(4) as u32;
        let averaged =
            self.push(Op::Attention { queries, keys, values, heads, key_heads, multiplier });
        let stream = self.push(Op::LinearResidual { input: averaged, stream, weights: W8 });
        let normed = self.norm(stream);
        // A row of more than one piece makes leaves that are parts of rows.
        let hidden = if self.random.chance(1, 4) { 1_030 } else { 12 };
        let gate = self.linear(normed, hidden);
        let gate = self.push(Op::Table { input: gate, table: 0 });
        if self.random.chance(1, 2) {
            let up = self.linear(normed, hidden);
            self.push(Op::GateResidual { gate, up, stream, weights: W8 })
        } else {
            self.push(Op::LinearResidual { input: gate, stream, weights: W8 })
        }
    }
}

/// A graph of every op that its reach allows, over two to four blocks.
fn graph(random: &mut Random, reach: Reach) -> Graph {
    let rope_pairs = if random.chance(2, 3) { 1 + random.below(3) as u32 } else { 0 };
    let width = if random.chance(1, 5) { 1_028 } else { 8 + 2 * random.below(8) as u32 };
    let vocabulary = if random.chance(1, 5) { 1_100 } else { 40 };
    let scaled = random.chance(1, 2);
    let mut builder = Builder { random, ops: Vec::new(), boundaries: Vec::new() };
    let embedding = match scaled {
        true => Op::EmbeddingScaled { width, factor: 1 << 19 },
        false => Op::EmbeddingSum { width },
    };
    let mut stream = builder.push(embedding);
    builder.boundaries.push(stream);
    for _ in 0..2 + builder.random.below(3) {
        stream = builder.block(stream, rope_pairs);
        builder.boundaries.push(stream);
    }
    let normed = builder.norm(stream);
    match reach {
        Reach::Causal => {
            let tied = scaled && builder.random.chance(1, 2);
            builder.push(Op::Logits { input: normed, tied, multiplier: 1 << 12 });
        }
        Reach::Full => {
            let pooled = builder.push(Op::SumPool { input: normed });
            builder.push(Op::Unit { input: pooled });
        }
    }
    let (ops, boundaries) = (builder.ops, builder.boundaries);
    Graph {
        reach,
        vocabulary,
        tables: 1,
        rope_pairs,
        ops: List::new(ops).unwrap(),
        boundaries: List::new(boundaries).unwrap(),
    }
}

fn i8s(random: &mut Random, count: usize) -> Vec<i8> {
    (0..count).map(|_| random.within(-127, 127) as i8).collect()
}

fn i16s(random: &mut Random, count: usize) -> Vec<i16> {
    (0..count).map(|_| random.within(-32_768, 32_767) as i16).collect()
}

fn i32s(random: &mut Random, count: usize, most: i64) -> Vec<i32> {
    (0..count).map(|_| random.within(-most, most) as i32).collect()
}

fn channels(random: &mut Random, shape: &ChannelShape, wide: bool) -> Channels {
    let optional = |present: bool| if present { shape.outputs } else { 0 };
    let (half, one) = if wide { (HALF_WIDE, 1 << 32) } else { (HALF, 1 << 16) };
    Channels {
        weights: Rows::from_data(shape.inputs, i8s(random, shape.outputs * shape.inputs)),
        multipliers: vec![if wide { 300 } else { 40 }; shape.outputs],
        biases: (0..optional(shape.biased)).map(|_| random.within(-half, 3 * half)).collect(),
        streams: vec![one; optional(shape.streamed)],
    }
}

/// The model with a number: every third one embeds.
pub(crate) fn model(number: u64) -> Model {
    let mut random = Random::new(number);
    let reach = if number % 3 == 2 { Reach::Full } else { Reach::Causal };
    let graph = graph(&mut random, reach);
    let shapes = check_graph(&graph).unwrap();
    let ops = graph.ops.iter().map(|op| match tensors(&graph, &shapes, op, POSITIONS) {
        Tensors::Nothing => OpWeights::Nothing,
        Tensors::Rows { words, positions, width } => OpWeights::Rows {
            words: Rows::from_data(width, i16s(&mut random, words * width)),
            positions: Rows::from_data(width, i16s(&mut random, positions * width)),
        },
        Tensors::Norm { width } => OpWeights::Norm {
            gains: i32s(&mut random, width, 32_767),
            biases: (0..width).map(|_| random.within(-9 << 32, 9 << 32)).collect(),
        },
        Tensors::Channels(shape) => {
            let wide = matches!(op, Op::GateResidual { .. });
            OpWeights::Channels(channels(&mut random, &shape, wide))
        }
    });
    let ops = ops.collect();
    let tables = vec![i16s(&mut random, 1 << 16)];
    let pairs = graph.rope_pairs as usize;
    let rows = if pairs == 0 { 0 } else { POSITIONS as usize };
    let rope = RopeTable {
        cos: Rows::from_data(pairs, i32s(&mut random, rows * pairs, 1 << 16)),
        sin: Rows::from_data(pairs, i32s(&mut random, rows * pairs, 1 << 16)),
    };
    parts(graph, Weights { ops, tables, rope })
}

fn parts(graph: Graph, weights: Weights) -> Model {
    let stop_ids = match graph.reach {
        Reach::Causal => STOP_IDS.to_vec(),
        Reach::Full => Vec::new(),
    };
    Model::from_parts(Parts {
        graph,
        weights,
        preprocess: Vec::new(),
        preprocess_version: 0,
        max_input: POSITIONS,
        max_positions: POSITIONS,
        stop_ids: List::new(stop_ids).unwrap(),
        licence: Text::new("MIT").unwrap(),
    })
    .unwrap()
}

/// The same graph with a few weights of one op changed: what a cheat runs.
pub(crate) fn with_wrong_weights(model: &Model, random: &mut Random) -> Model {
    let mut weights = model.weights().clone();
    let ops: Vec<usize> = (0..weights.ops.len())
        .filter(|op| !matches!(weights.ops[*op], OpWeights::Nothing))
        .collect();
    match &mut weights.ops[ops[random.below(ops.len() as u64) as usize]] {
        OpWeights::Channels(channels) => {
            channels.multipliers.iter_mut().for_each(|multiplier| *multiplier += 7);
        }
        OpWeights::Norm { gains, .. } => gains.iter_mut().for_each(|gain| *gain ^= 0x55),
        OpWeights::Rows { words, .. } => {
            let width = words.width();
            let data: Vec<i16> = words.iter().flatten().map(|word| word ^ 0x55).collect();
            *words = Rows::from_data(width, data);
        }
        OpWeights::Nothing => unreachable!("only ops with weights are drawn"),
    }
    parts(model.graph().clone(), weights)
}
