//! Models with random and extreme numbers: where no certificate holds, sums leave 32 bits and
//! clamps are reached, every executor still agrees with the reference.

use std::sync::Arc;

use engine::{Job, Sampling};
use model::certificate::{Certificate, certify};
use model::inspect::check_graph;
use model::layout::{Tensors, tensors};
use model::rows::Rows;
use model::{Channels, Graph, Model, Op, OpWeights, Parts, Reach, RopeTable, WeightType, Weights};
use proptest::prelude::*;
use units::{List, Text};

use crate::support::check;

const W8: WeightType = WeightType::W8;
const POSITIONS: u32 = 24;
const VOCABULARY: u32 = 40;

/// Every op of a decoder in two blocks, with odd sizes: heads of 6, rows of 18 and 600.
fn decoder_graph() -> Graph {
    let mut ops = vec![Op::EmbeddingScaled { width: 18, factor: 90_000 }];
    let mut boundaries = vec![0];
    for _ in 0..2 {
        let stream = boundaries[boundaries.len() - 1];
        let at = u32::try_from(ops.len()).unwrap();
        ops.extend([
            Op::Norm { input: stream, centred: at == 1, offset: 3 },
            Op::Linear { input: at, outputs: 18, weights: W8 },
            Op::Linear { input: at, outputs: 6, weights: W8 },
            Op::Linear { input: at, outputs: 6, weights: W8 },
            Op::Rope { input: at + 1, heads: 3 },
            Op::Rope { input: at + 2, heads: 1 },
            Op::Attention {
                queries: at + 4,
                keys: at + 5,
                values: at + 3,
                heads: 3,
                key_heads: 1,
                multiplier: 3,
            },
            Op::LinearResidual { input: at + 6, stream, weights: W8 },
            Op::Norm { input: at + 7, centred: false, offset: 1 << 40 },
            Op::Linear { input: at + 8, outputs: 600, weights: W8 },
            Op::Linear { input: at + 8, outputs: 600, weights: W8 },
            Op::Table { input: at + 9, table: 0 },
            Op::GateResidual { gate: at + 11, up: at + 10, stream: at + 7, weights: W8 },
        ]);
        boundaries.push(at + 12);
    }
    let last = boundaries[boundaries.len() - 1];
    ops.push(Op::Norm { input: last, centred: false, offset: 1 });
    ops.push(Op::Logits { input: last + 1, tied: false, multiplier: 100 });
    graph(Reach::Causal, 3, ops, boundaries)
}

/// Every op of an encoder, with the norm after the sum and a residual of an activation.
fn encoder_graph() -> Graph {
    let ops = vec![
        Op::EmbeddingSum { width: 18 },
        Op::Norm { input: 0, centred: true, offset: 1 },
        Op::Linear { input: 1, outputs: 18, weights: W8 },
        Op::Linear { input: 1, outputs: 18, weights: W8 },
        Op::Attention { queries: 2, keys: 3, values: 3, heads: 3, key_heads: 3, multiplier: 900 },
        Op::LinearResidual { input: 4, stream: 1, weights: W8 },
        Op::Norm { input: 5, centred: true, offset: 9 },
        Op::SumPool { input: 6 },
        Op::Unit { input: 7 },
    ];
    graph(Reach::Full, 0, ops, vec![1, 6])
}

fn graph(reach: Reach, rope_pairs: u32, ops: Vec<Op>, boundaries: Vec<u32>) -> Graph {
    let (ops, boundaries) = (List::new(ops).unwrap(), List::new(boundaries).unwrap());
    Graph { reach, vocabulary: VOCABULARY, tables: 1, rope_pairs, ops, boundaries }
}

/// How wild the numbers are.
#[derive(Clone, Copy, Debug)]
enum Mood {
    /// Within what certificates allow, mostly.
    Calm,
    /// Anything that is legal.
    Wild,
    /// Only the ends of every range.
    Extreme,
}

struct Numbers {
    state: u64,
    mood: Mood,
}

impl Numbers {
    /// A number in `-most..=most` (SplitMix64).
    fn within(&mut self, most: i64) -> i64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = i128::from(z ^ (z >> 31)) % (2 * i128::from(most) + 1);
        i64::try_from(drawn - i128::from(most)).unwrap()
    }

    fn pick(&mut self, calm: i64, most: i64) -> i64 {
        match self.mood {
            Mood::Calm => self.within(calm),
            Mood::Wild => self.within(most),
            Mood::Extreme => most * self.within(1),
        }
    }

    fn many(&mut self, count: usize, calm: i64, most: i64) -> Vec<i64> {
        (0..count).map(|_| self.pick(calm, most)).collect()
    }

    fn a16s(&mut self, count: usize) -> Vec<i16> {
        let shift = |value: i64| i16::try_from(value.clamp(-32_768, 32_767)).unwrap();
        self.many(count, 2_000, 32_768).into_iter().map(shift).collect()
    }

    fn weights(&mut self, tensors: &Tensors) -> OpWeights {
        match *tensors {
            Tensors::Nothing => OpWeights::Nothing,
            Tensors::Rows { words, positions, width } => OpWeights::Rows {
                words: Rows::from_data(width, self.a16s(words * width)),
                positions: Rows::from_data(width, self.a16s(positions * width)),
            },
            Tensors::Norm { width } => OpWeights::Norm {
                gains: self.i32s(width, 9_000, 32_767),
                biases: self.many(width, 1 << 40, (1 << 60) - 1),
            },
            Tensors::Channels(shape) => {
                let optional = |present| if present { shape.outputs } else { 0 };
                let w8 = self.i32s(shape.outputs * shape.inputs, 127, 127);
                let w8 = w8.into_iter().map(|w| i8::try_from(w).unwrap()).collect();
                let positive = |m: i32| m.abs().max(1);
                let multipliers = self.i32s(shape.outputs, 60, (1 << 24) - 1);
                OpWeights::Channels(Channels {
                    weights: Rows::from_data(shape.inputs, w8),
                    multipliers: multipliers.into_iter().map(positive).collect(),
                    biases: self.many(optional(shape.biased), 1 << 20, (1 << 60) - 1),
                    streams: self.many(optional(shape.streamed), 1 << 16, 1 << 34),
                })
            }
        }
    }

    fn i32s(&mut self, count: usize, calm: i64, most: i64) -> Vec<i32> {
        let narrow = |value| i32::try_from(value).unwrap();
        self.many(count, calm, most).into_iter().map(narrow).collect()
    }

    fn model(&mut self, graph: Graph) -> Model {
        let shapes = check_graph(&graph).unwrap();
        let ops = graph
            .ops
            .iter()
            .map(|op| self.weights(&tensors(&graph, &shapes, op, POSITIONS)))
            .collect();
        let pairs = usize::try_from(graph.rope_pairs).unwrap();
        let count = pairs * if pairs == 0 { 0 } else { usize::try_from(POSITIONS).unwrap() };
        let rope = RopeTable {
            cos: Rows::from_data(pairs, self.i32s(count, 1 << 16, 1 << 16)),
            sin: Rows::from_data(pairs, self.i32s(count, 1 << 16, 1 << 16)),
        };
        let tables = vec![self.a16s(1 << 16)];
        Model::from_parts(Parts {
            graph,
            weights: Weights { ops, tables, rope },
            preprocess: Vec::new(),
            preprocess_version: 0,
            max_input: POSITIONS,
            max_positions: POSITIONS,
            stop_ids: List::empty(),
            licence: Text::new("none").unwrap(),
        })
        .unwrap()
    }
}

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![Just(Mood::Calm), Just(Mood::Wild), Just(Mood::Extreme)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn decoders_with_any_numbers_agree(
        seed: u64,
        mood in mood(),
        ids in prop::collection::vec(0..VOCABULARY, 1..20),
        temperature_milli in prop_oneof![Just(0_u16), 1..=u16::MAX],
        top_p_milli in 0..=1_000_u16,
        top_k in 0..=VOCABULARY as u16,
        draw_seed: u64,
    ) {
        let model = Arc::new(Numbers { state: seed, mood }.model(decoder_graph()));
        let sampling = Sampling { temperature_milli, top_p_milli, top_k };
        let job = Job { ids: &ids, sampling, seed: draw_seed, max_tokens: 4, stop: &[] };
        let short = Job { ids: &ids[..1], ..job };
        check(&model, &[job, short]);
    }

    #[test]
    fn encoders_with_any_numbers_agree(
        seed: u64,
        mood in mood(),
        ids in prop::collection::vec(0..VOCABULARY, 1..24),
    ) {
        let model = Arc::new(Numbers { state: seed, mood }.model(encoder_graph()));
        check(&model, &[Job::embed(&ids), Job::embed(&ids[..1])]);
    }
}

/// The suite above would prove little if all its models took the same path.
#[test]
fn moods_reach_both_the_narrow_and_the_wide_paths() {
    let certified = |mood| {
        let model = Numbers { state: 1, mood }.model(decoder_graph());
        let certificates = certify(&model).into_iter();
        certificates.filter(|c| matches!(c, Certificate::Linear { narrow: true, .. })).count()
    };
    assert!(certified(Mood::Calm) > 0);
    assert_eq!(certified(Mood::Extreme), 0);
}
