//! Steps at the largest legal sizes: context 8,192, vocabulary 2^18, width 16,384, hidden 65,536.
//!
//! Weights and rows are drawn from a seed where a step opens them, so nothing large is ever held.

use std::cell::RefCell;
use std::collections::BTreeMap;

use model::constants::{PIECE, RES_MAX, RES_MIN, STEP_BYTES_MAX, STEP_RANGES_MAX};
use model::inspect::Kind;
use model::layout::Tensors;
use model::step::{
    Address, CoarseLeaf, Fine, Operand, Part, Plan, RunShape, Source, StepError, TraceShape,
};
use model::{Graph, Manifest, Op, Reach, Sampling, WeightType};
use units::List;

use crate::support::{Random, chat};

const WIDTH: u32 = 16_384;
const HIDDEN: u32 = 65_536;
const VOCABULARY: u32 = 1 << 18;
const POSITIONS: u32 = 8_192;
const W8: WeightType = WeightType::W8;

fn linear(input: u32, outputs: u32) -> Op {
    Op::Linear { input, outputs, weights: W8 }
}

/// A decoder in which every op has its largest size.
pub(crate) fn decoder() -> Plan {
    let norm = |input| Op::Norm { input, centred: true, offset: 1 };
    let (heads, multiplier) = (64, 30);
    let attention =
        Op::Attention { queries: 5, keys: 6, values: 4, heads, key_heads: heads, multiplier };
    plan(
        Reach::Causal,
        128,
        vec![
            Op::EmbeddingScaled { width: WIDTH, factor: 1 << 19 },
            norm(0),
            linear(1, WIDTH),
            linear(1, WIDTH),
            linear(1, WIDTH),
            Op::Rope { input: 2, heads },
            Op::Rope { input: 3, heads },
            attention,
            Op::LinearResidual { input: 7, stream: 0, weights: W8 },
            norm(8),
            linear(9, HIDDEN),
            linear(9, HIDDEN),
            Op::Table { input: 10, table: 0 },
            Op::GateResidual { gate: 12, up: 11, stream: 8, weights: W8 },
            Op::LinearResidual { input: 12, stream: 13, weights: W8 },
            Op::Norm { input: 14, centred: false, offset: 1 },
            linear(15, HIDDEN),
            Op::Logits { input: 16, tied: false, multiplier: 1 << 20 },
        ],
        vec![0, 14],
    )
}

/// An encoder in which every op has its largest size.
pub(crate) fn encoder() -> Plan {
    let (heads, key_heads) = (256, 256);
    let attention =
        Op::Attention { queries: 2, keys: 3, values: 4, heads, key_heads, multiplier: 9 };
    plan(
        Reach::Full,
        0,
        vec![
            Op::EmbeddingSum { width: WIDTH },
            Op::Norm { input: 0, centred: true, offset: 1 },
            linear(1, HIDDEN),
            linear(1, HIDDEN),
            linear(1, HIDDEN),
            attention,
            Op::LinearResidual { input: 5, stream: 1, weights: W8 },
            Op::Norm { input: 6, centred: true, offset: 1 },
            linear(7, HIDDEN),
            Op::SumPool { input: 8 },
            Op::Unit { input: 9 },
        ],
        vec![1, 6],
    )
}

fn plan(reach: Reach, rope_pairs: u32, ops: Vec<Op>, boundaries: Vec<u32>) -> Plan {
    let graph = Graph {
        reach,
        vocabulary: VOCABULARY,
        tables: 8,
        rope_pairs,
        ops: List::new(ops).unwrap(),
        boundaries: List::new(boundaries).unwrap(),
    };
    let manifest = Manifest {
        graph_root: graph.root(),
        max_input: POSITIONS,
        max_positions: POSITIONS,
        stop_ids: List::default(),
        ..chat().manifest().clone()
    };
    Plan::new(&manifest, &graph).unwrap()
}

/// The longest run: the position before the last gives the last token but one.
pub(crate) fn longest(plan: &Plan) -> TraceShape<'_> {
    let sampling = Sampling { temperature_milli: 1_000, top_p_milli: 950, top_k: 50_000 };
    let n_out = if plan.graph().reach == Reach::Causal { 3 } else { 1 };
    let n_in = POSITIONS + 1 - n_out;
    TraceShape::new(plan, RunShape { n_in, n_out, sampling, seed: 77 }).unwrap()
}

/// The fine trees of the last position: of its first and last boundary and of what it gives.
pub(crate) fn last_trees<'a>(shape: &TraceShape<'a>) -> Vec<Fine<'a>> {
    let last = (shape.plan().graph().boundaries.len() - 1) as u32;
    let output = match shape.plan().graph().reach {
        Reach::Causal => CoarseLeaf::Token { output: 2 },
        Reach::Full => CoarseLeaf::Row,
    };
    let at = |boundary| CoarseLeaf::Boundary { position: POSITIONS - 1, boundary };
    let leaves = [at(0), at(last), output];
    leaves.map(|leaf| shape.fine(shape.index(leaf).unwrap()).unwrap()).into()
}

/// Draws operands from a seed, except those that `steps` says are computed, step by step.
pub(crate) struct Drawn<'a> {
    pub(crate) fine: &'a Fine<'a>,
    random: Random,
    steps: &'a dyn Fn(&Address) -> bool,
    computed: RefCell<BTreeMap<u64, Vec<u8>>>,
    /// The leaf drawn last: steps of one leaf open the same ones again and again.
    last: RefCell<(Option<u64>, Vec<u8>)>,
}

impl<'a> Drawn<'a> {
    pub(crate) fn new(fine: &'a Fine<'a>, steps: &'a dyn Fn(&Address) -> bool) -> Self {
        Self {
            fine,
            random: Random::new(3),
            steps,
            computed: RefCell::default(),
            last: RefCell::default(),
        }
    }

    /// One leaf of `length` bytes.
    fn leaf(&self, operand: Operand, length: u64) -> Vec<u8> {
        let tag = |kind: u64, leaf: u64| self.random.of(kind << 56 | leaf);
        match operand {
            Operand::Input { position } => token(&mut tag(1, u64::from(position))),
            Operand::Trace { leaf, first, .. } => {
                let mut random = tag(2, leaf << 20 | first);
                match self.fine.shape().leaf(leaf).unwrap() {
                    CoarseLeaf::Token { .. } => token(&mut random),
                    CoarseLeaf::Row => unreachable!("no step opens the output row"),
                    CoarseLeaf::Boundary { boundary, .. } => {
                        let plan = self.fine.shape().plan();
                        let value = plan.graph().boundaries[boundary as usize];
                        row(plan.shapes()[value as usize].kind, length, &mut random)
                    }
                }
            }
            Operand::Weights { leaf } => self.weights(leaf, length, &mut tag(3, leaf)),
            Operand::Table { leaf } => {
                let mut random = tag(4, leaf);
                if leaf <= 8 * 64 {
                    row(Kind::A16, length, &mut random)
                } else {
                    let angle = |_| (random.within(-65_536, 65_536) as i32).to_le_bytes();
                    (0..length / 4).flat_map(angle).collect()
                }
            }
            Operand::Fine { first, .. } => self.fine_leaf(first, length, &mut tag(5, first)),
        }
    }

    fn weights(&self, leaf: u64, length: u64, random: &mut Random) -> Vec<u8> {
        let plan = self.fine.shape().plan();
        let mut before = 0;
        let tensors = plan.tensors().iter().find(|tensors| {
            before += model::layout::weight_leaves(tensors);
            leaf < before
        });
        match tensors.unwrap() {
            Tensors::Rows { .. } => row(Kind::A16, length, random),
            Tensors::Norm { .. } => {
                let gains = (0..length / 12)
                    .flat_map(|_| (random.within(-32_767, 32_767) as i32).to_le_bytes());
                let mut bytes: Vec<u8> = gains.collect();
                bytes.extend(
                    (0..length / 12).flat_map(|_| random.within(-9 << 32, 9 << 32).to_le_bytes()),
                );
                bytes
            }
            Tensors::Channels(_) => {
                let weights = (0..length - 20).map(|_| random.within(-127, 127) as i8);
                let mut bytes: Vec<u8> = weights.flat_map(i8::to_le_bytes).collect();
                // All blocks of a channel carry the same numbers: they follow from the op alone.
                bytes.extend(3_i32.to_le_bytes());
                bytes.extend((1_i64 << 15).to_le_bytes());
                bytes.extend((1_i64 << 15).to_le_bytes());
                bytes
            }
            Tensors::Nothing => unreachable!("an op without weights has no leaf"),
        }
    }

    fn fine_leaf(&self, index: u64, length: u64, random: &mut Random) -> Vec<u8> {
        let address = self.fine.address(index).unwrap();
        if (self.steps)(&address) {
            if let Some(leaf) = self.computed.borrow().get(&index) {
                return leaf.clone();
            }
            let leaf = self.fine.leaf_bytes(&address, &mut &*self).unwrap();
            self.computed.borrow_mut().insert(index, leaf.clone());
            return leaf;
        }
        if self.last.borrow().0 == Some(index) {
            return self.last.borrow().1.clone();
        }
        let kind = self.fine.shape().plan().shapes()[address.op as usize].kind;
        let leaf = match address.part {
            Part::Row => row(kind, length, random),
            Part::Steps => (0..length / 2)
                .flat_map(|_| (random.within(0, 1_023) as i16).to_le_bytes())
                .collect(),
            _ => row(Kind::A16, length, random),
        };
        self.last.replace((Some(index), leaf.clone()));
        leaf
    }

    /// The whole row of a value.
    pub(crate) fn row(&self, value: u32, position: u32) -> Vec<i64> {
        let shape = self.fine.shape();
        let plan = shape.plan();
        let of_value = plan.shapes()[value as usize];
        let count = u64::from(of_value.width).div_ceil(PIECE as u64);
        let boundary = plan.graph().boundaries.iter().position(|boundary| *boundary == value);
        let address = Address { op: value, part: Part::Row, position, group: 0, leaf: 0 };
        let operand = match (self.fine.index(&address), boundary) {
            (Some(first), _) => Operand::Fine { first, count },
            (None, Some(boundary)) => {
                let leaf = CoarseLeaf::Boundary { position, boundary: boundary as u32 };
                Operand::Trace { leaf: shape.index(leaf).unwrap(), first: 0, count }
            }
            _ => panic!("value {value} has no row here"),
        };
        let bytes = { self }.open(operand).unwrap();
        match of_value.kind {
            Kind::A16 => {
                bytes.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b).into()).collect()
            }
            Kind::Logits => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            _ => bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
        }
    }
}

impl Source for &Drawn<'_> {
    fn open(&mut self, operand: Operand) -> Result<Vec<u8>, StepError> {
        let lengths = self.fine.lengths(&operand).ok_or(StepError::Graph)?;
        let single = |index: u64| match operand {
            Operand::Trace { leaf, first, .. } => {
                Operand::Trace { leaf, first: first + index, count: 1 }
            }
            Operand::Fine { first, .. } => Operand::Fine { first: first + index, count: 1 },
            other => other,
        };
        let mut bytes = Vec::new();
        for (index, length) in (0..).zip(lengths) {
            bytes.extend_from_slice(&self.leaf(single(index), length));
        }
        Ok(bytes)
    }
}

fn token(random: &mut Random) -> Vec<u8> {
    (random.within(0, i64::from(VOCABULARY) - 1) as u32).to_le_bytes().to_vec()
}

fn row(kind: Kind, length: u64, random: &mut Random) -> Vec<u8> {
    match kind {
        Kind::A16 => (0..length.div_ceil(8))
            .flat_map(|_| random.next().to_le_bytes())
            .take(length as usize)
            .collect(),
        Kind::Logits => {
            (0..length / 8).flat_map(|_| random.within(-1 << 34, 1 << 34).to_le_bytes()).collect()
        }
        _ => (0..length / 4)
            .flat_map(|_| (random.within(RES_MIN, RES_MAX) as i32).to_le_bytes())
            .collect(),
    }
}

/// Notes what a step opens.
struct Counted<'a> {
    inner: &'a Drawn<'a>,
    ranges: usize,
    bytes: usize,
}

impl Source for Counted<'_> {
    fn open(&mut self, operand: Operand) -> Result<Vec<u8>, StepError> {
        let bytes = { self.inner }.open(operand)?;
        self.ranges += 1;
        self.bytes += bytes.len();
        Ok(bytes)
    }
}

/// One address of every part of every op, of the first, a middle and the last position.
pub(crate) fn every_part(fine: &Fine<'_>) -> Vec<Address> {
    let mut found: Vec<Address> = Vec::new();
    let mut index = 0;
    while index < fine.leaves() {
        let address = fine.address(index).unwrap();
        let again =
            found.first().filter(|first| first.op == address.op && first.part == address.part);
        if again.is_some() && address.position == 1 {
            // The section repeats for each position: go on behind its last one.
            let section = found.clone();
            let last = fine.shape().positions() as u32 - 1;
            let end = Address { position: last, ..*section.last().unwrap() };
            let geometry = fine.geometry(&end).unwrap();
            index = fine.index(&end).unwrap() + geometry.leaves();
            for position in [last / 2, last] {
                found.extend(section.iter().map(|address| Address { position, ..*address }));
            }
            continue;
        }
        found.push(address);
        index += fine.geometry(&address).unwrap().leaves();
    }
    found
}

#[test]
fn every_step_opens_at_most_16_kb_in_6_ranges() {
    let (mut most_bytes, mut most_ranges, mut parts) = (0, 0, 0);
    for plan in [decoder(), encoder()] {
        let shape = longest(&plan);
        for fine in last_trees(&shape) {
            let mut random = Random::new(11);
            let drawn = Drawn::new(&fine, &|_| false);
            for address in every_part(&fine) {
                parts += 1;
                let geometry = fine.geometry(&address).unwrap();
                assert!(geometry.elements(0) * geometry.bytes <= 8_192, "{address:?}");
                for _ in 0..8 {
                    let pick = |most: u64, random: &mut Random| match random.next() % 3 {
                        0 => 0,
                        1 => most - 1,
                        _ => random.next() % most,
                    };
                    let group = pick(geometry.groups, &mut random);
                    let leaf = pick(geometry.leaves_of_group(), &mut random);
                    let address = Address { group, leaf, ..address };
                    let element = pick(geometry.elements(leaf), &mut random);
                    let mut counted = Counted { inner: &drawn, ranges: 0, bytes: 0 };
                    fine.element(&address, element, &mut counted).unwrap();
                    assert!(counted.bytes <= STEP_BYTES_MAX, "{address:?}: {}", counted.bytes);
                    assert!(counted.ranges <= STEP_RANGES_MAX, "{address:?}: {}", counted.ranges);
                    most_bytes = most_bytes.max(counted.bytes);
                    most_ranges = most_ranges.max(counted.ranges);
                }
            }
        }
    }
    eprintln!("{parts} parts; at most {most_bytes} bytes in {most_ranges} ranges");
}
