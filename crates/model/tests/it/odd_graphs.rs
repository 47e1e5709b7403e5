//! Fine trees of graphs unlike any real model: rows that end within a piece, several blocks of
//! inputs, two attentions side by side, an activation as stream, ops between blocks and pooling.

use std::ops::ControlFlow;

use crypto::merkle;
use model::constants::{HALF, HALF_WIDE};
use model::inspect::check_graph;
use model::layout::{ChannelShape, Tensors, tensors};
use model::reference::{evaluate, run};
use model::rows::Rows;
use model::step::{Executed, FineTree, Plan, RunShape, TraceShape};
use model::{
    Channels, Graph, Job, Model, Op, OpWeights, Output, Parts, Reach, RopeTable, Sampling,
    WeightType, Weights,
};
use units::{List, Text};

use crate::steps::Bare;
use crate::support::Random;

const W8: WeightType = WeightType::W8;
const POSITIONS: u32 = 16;

fn linear(input: u32, outputs: u32) -> Op {
    Op::Linear { input, outputs, weights: W8 }
}

fn attention(queries: u32, keys: u32, values: u32, heads: (u32, u32), multiplier: u32) -> Op {
    let (heads, key_heads) = heads;
    Op::Attention { queries, keys, values, heads, key_heads, multiplier }
}

/// A decoder that starts like an encoder and has two attentions in its block.
fn decoder() -> Graph {
    Graph {
        reach: Reach::Causal,
        vocabulary: 1_100,
        tables: 1,
        rope_pairs: 65,
        ops: List::new(vec![
            Op::EmbeddingSum { width: 1_030 },
            Op::Norm { input: 0, centred: true, offset: 5 },
            linear(1, 1_040),
            linear(1, 260),
            linear(1, 260),
            Op::Rope { input: 2, heads: 8 },
            Op::Rope { input: 3, heads: 2 },
            attention(5, 6, 4, (8, 2), 2),
            attention(2, 4, 3, (8, 2), 1),
            Op::LinearResidual { input: 7, stream: 1, weights: W8 },
            Op::LinearResidual { input: 8, stream: 9, weights: W8 },
            Op::Norm { input: 10, centred: false, offset: 1 },
            linear(11, 4_200),
            linear(11, 4_200),
            Op::Table { input: 12, table: 0 },
            Op::GateResidual { gate: 14, up: 13, stream: 10, weights: W8 },
            Op::LinearResidual { input: 14, stream: 15, weights: W8 },
            Op::Norm { input: 16, centred: true, offset: 1 },
            linear(17, 5_000),
            Op::Logits { input: 18, tied: false, multiplier: 1 << 12 },
        ])
        .unwrap(),
        boundaries: List::new(vec![1, 16]).unwrap(),
    }
}

/// An encoder with a decoder's embedding, and two ops behind its last boundary.
fn encoder() -> Graph {
    Graph {
        reach: Reach::Full,
        vocabulary: 300,
        tables: 1,
        rope_pairs: 0,
        ops: List::new(vec![
            Op::EmbeddingScaled { width: 1_030, factor: 1 << 19 },
            Op::Norm { input: 0, centred: false, offset: 9 },
            linear(1, 1_040),
            linear(1, 520),
            attention(2, 3, 3, (8, 4), 3),
            Op::LinearResidual { input: 4, stream: 0, weights: W8 },
            Op::Norm { input: 5, centred: true, offset: 1 },
            Op::Table { input: 6, table: 0 },
            linear(7, 1_100),
            Op::SumPool { input: 8 },
            Op::Unit { input: 9 },
        ])
        .unwrap(),
        boundaries: List::new(vec![0, 5]).unwrap(),
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
        multipliers: vec![if wide { 300 } else { 3 }; shape.outputs],
        biases: (0..optional(shape.biased)).map(|_| random.within(-half, 3 * half)).collect(),
        streams: vec![one; optional(shape.streamed)],
    }
}

fn model(graph: Graph, seed: u64) -> Model {
    let mut random = Random::fixed(seed);
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
    Model::from_parts(Parts {
        graph,
        weights: Weights { ops, tables, rope },
        preprocess: Vec::new(),
        preprocess_version: 0,
        max_input: POSITIONS,
        max_positions: POSITIONS,
        stop_ids: List::default(),
        licence: Text::new("MIT").unwrap(),
    })
    .unwrap()
}

#[test]
fn graphs_unlike_any_model_have_trees_that_give_their_rows() {
    let sampling = Sampling { temperature_milli: 1_500, top_p_milli: 990, top_k: 0 };
    for (graph, ids, seed) in [(decoder(), [1_099, 3, 500], 1), (encoder(), [7, 299, 7], 2)] {
        let model = model(graph, seed);
        let job = Job { ids: &ids, sampling, seed: 4, max_tokens: 3, stop: &[] };
        let given = run(&model, &job, &mut |_| ControlFlow::Continue(())).unwrap();
        let tokens = match given.output {
            Output::Tokens(tokens) => tokens,
            Output::Row(_) => Vec::new(),
        };
        let evaluated = evaluate(&model, &ids, &tokens);
        assert_eq!(merkle::root(evaluated.trace()), given.trace_root);
        let plan = Plan::of(&model).unwrap();
        let shape = RunShape { n_in: 3, n_out: given.n_out, sampling, seed: 4 };
        let shape = TraceShape::new(&plan, shape).unwrap();
        assert_eq!(shape.leaves(), evaluated.trace().len() as u64);
        for (index, leaf) in (0..).zip(evaluated.trace()) {
            let fine = shape.fine(index).unwrap();
            let runs: [&dyn Executed; 2] = [&evaluated, &Bare(&evaluated, &model)];
            let [tree, stepped] = runs.map(|run| FineTree::new(&fine, &model, run).unwrap());
            assert_eq!(tree, stepped, "{:?}", fine.leaf());
            let output = fine.output();
            let digests = &tree.digests()[output.start as usize..output.end as usize];
            assert_eq!(merkle::root(digests), *leaf, "{:?}", fine.leaf());
        }
    }
}
