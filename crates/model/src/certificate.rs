//! Certificates: which ops may be computed in narrow integers without changing a bit.
//!
//! The normative ops are exact and clamp. Where the weights show that no input can reach the clamp
//! or leave 32 bits, a kernel may drop the clamp and let partial sums wrap: two's-complement
//! addition is a ring, so only the final value has to fit. Every executor computes these from the
//! integers it loaded; a file cannot claim them, and nothing on a ledger rests on them.
//!
//! Behind a norm the bound is Cauchy–Schwarz: its output is `z_k·G_k + β_k + ε_k` with ‖z‖ < 1 and
//! |ε| ≤ ½, hence `|Σ w·y| ≤ √Σ(w·G)² + |Σ w·β| + ½Σ|w|`. Elsewhere it is Σ|w|·max|a|.

use crate::constants::{
    A16_MIN, HALF, HALF_WIDE, POSITIONS_MAX, RES_MIN, SHIFT, SHIFT_WIDE, UNIT_BITS,
};
use crate::graph::{Op, ValueId};
use crate::inspect::{Kind, Shape};
use crate::int::{Int, dot_gains, dot_limits, dot_offsets, sum, sum_magnitudes};
use crate::layout::size;
use crate::model::Model;
use crate::rows::{Rows, head};
use crate::weights::{Channel, Channels, OpWeights};

/// What is certain of one op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing to say.
    Nothing,
    /// A linear op: whether `m·acc + B` lies in i32 for every input, and its largest magnitude.
    Linear {
        /// Whether the whole requantise may run in wrapping i32, without clamp.
        narrow: bool,
        /// Bound on |m·acc + B|.
        worst: i128,
    },
    /// A gated residual: whether the products stay below 2^30, and the sum inside i64.
    Gate {
        /// Whether both hold.
        narrow: bool,
    },
    /// An attention.
    Attention {
        /// Whether scores fit i32.
        scores: bool,
        /// Whether 64 weighted values fit i32 and the averages need no clamp.
        averages: bool,
    },
}

/// Certificates of all ops of a model, in order.
pub fn certify(model: &Model) -> Vec<Certificate> {
    certified(model).into_iter().map(|op| op.certificate).collect()
}

/// What is certain of one op and of the row it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certified {
    /// What is certain of the arithmetic.
    pub certificate: Certificate,
    /// No element of the op's row is larger in magnitude, whatever the input: at most what its type
    /// holds. An importer prints it beside the largest magnitude that it has seen.
    pub largest: i64,
}

/// Calls what it is given with each of `0..count` and gives the results in order.
pub type BoundsOf<'a> = dyn Fn(usize, &(dyn Fn(usize) -> Int + Sync)) -> Vec<Int> + 'a;

/// Certificates and largest magnitudes of all ops of a model, in order. One pass over the weights.
pub fn certified(model: &Model) -> Vec<Certified> {
    certified_with(model, &|count, bound| (0..count).map(bound).collect())
}

/// As [`certified`], with the bounds of an op's channels from `bounds`: it may take channels side
/// by side.
pub fn certified_with(model: &Model, bounds: &BoundsOf<'_>) -> Vec<Certified> {
    let mut known: Vec<Bound> = Vec::new();
    let mut ops = Vec::new();
    for (op, weights) in model.graph().ops.iter().zip(&model.weights().ops) {
        let view = View { model, known: &known, bounds };
        let (certificate, bound) = view.op(op, weights);
        ops.push(Certified { certificate, largest: view.largest(&bound) });
        known.push(bound);
    }
    ops
}

/// What is known of a value's elements.
#[derive(Clone, Debug)]
enum Bound {
    /// No more than their type says.
    Unknown,
    /// Largest magnitude of each channel.
    Channels(Vec<Int>),
    /// The output of a norm that never clamps: gains, biases without the half of the rounding (none
    /// if all are 0), and the largest magnitude of each channel.
    Norm { gains: Vec<i32>, offsets: Vec<i64>, channels: Vec<Int> },
}

struct View<'a> {
    model: &'a Model,
    known: &'a [Bound],
    bounds: &'a BoundsOf<'a>,
}

impl View<'_> {
    fn op(&self, op: &Op, weights: &OpWeights) -> (Certificate, Bound) {
        match (op, weights) {
            (Op::EmbeddingSum { .. }, OpWeights::Rows { words, positions }) => {
                let most = |row: &Rows<i16>| largest(row.data().iter().map(|x| Int::from(*x)));
                (Certificate::Nothing, self.flat(most(words) + most(positions)))
            }
            (Op::EmbeddingScaled { factor, .. }, OpWeights::Channels(channels)) => {
                let row = |channel: Channel<'_>| {
                    let most = channel.weights.iter().map(|w| w.unsigned_abs()).max();
                    Int::from(most.unwrap_or(0))
                        * Int::from(channel.multiplier)
                        * Int::from(*factor)
                        + Int::from(HALF)
                };
                let most = largest(channels.iter().map(row)).div_ceil(Int::power_of_two(SHIFT));
                (Certificate::Nothing, self.flat(most))
            }
            (Op::LinearResidual { input, stream, .. }, OpWeights::Channels(channels)) => {
                let sums = self.sums(*input, channels);
                (Certificate::Nothing, self.added(channels, &sums, *stream, SHIFT))
            }
            (Op::Norm { .. }, OpWeights::Norm { gains, biases }) => {
                (Certificate::Nothing, norm_bound(gains, biases))
            }
            (Op::Linear { input, .. }, OpWeights::Channels(channels)) => {
                self.linear(*input, channels)
            }
            (Op::Table { table, .. }, _) => {
                let table = self.model.weights().tables.get(size(*table));
                let entries = table.map_or(&[][..], Vec::as_slice);
                let most = largest(entries.iter().map(|entry| Int::from(*entry)));
                (Certificate::Nothing, self.flat(most))
            }
            (Op::GateResidual { gate, up, stream, .. }, OpWeights::Channels(channels)) => {
                let products: Vec<Int> = self
                    .channels(*gate, channels.weights.width())
                    .into_iter()
                    .zip(self.channels(*up, channels.weights.width()))
                    .map(|(gate, up)| gate * up)
                    .collect();
                let limits = narrow(&products);
                let sums = (self.bounds)(channels.multipliers.len(), &|channel| {
                    dot_limits(channels.channel(channel).weights, &limits)
                });
                let bound = self.added(channels, &sums, *stream, SHIFT_WIDE);
                (Certificate::Gate { narrow: gate_is_narrow(channels, &products, &sums) }, bound)
            }
            (Op::Rope { input, heads }, _) => {
                (Certificate::Nothing, self.rope(*input, size(*heads)))
            }
            (Op::Attention { .. }, _) => self.attention(op),
            _ => (Certificate::Nothing, Bound::Unknown),
        }
    }

    /// Largest magnitude of each of the `width` channels of a value.
    fn channels(&self, value: ValueId, width: usize) -> Vec<Int> {
        match self.known.get(size(value)) {
            Some(Bound::Channels(channels) | Bound::Norm { channels, .. }) => channels.clone(),
            _ => vec![-Int::from(A16_MIN); width],
        }
    }

    /// Bound on |Σ w·a| of each channel.
    fn sums(&self, input: ValueId, channels: &Channels) -> Vec<Int> {
        let limits = narrow(&self.channels(input, channels.weights.width()));
        let known = self.known.get(size(input));
        (self.bounds)(channels.multipliers.len(), &|channel| {
            let weights = channels.channel(channel).weights;
            match known {
                Some(Bound::Norm { gains, offsets, .. }) => cauchy_schwarz(weights, gains, offsets),
                _ => dot_limits(weights, &limits),
            }
        })
    }

    fn linear(&self, input: ValueId, channels: &Channels) -> (Certificate, Bound) {
        let sums = self.sums(input, channels);
        let bounds: Vec<Int> =
            channels.iter().zip(sums).map(|(channel, sum)| worst(&channel, sum)).collect();
        let most = largest(bounds.iter().copied());
        let narrow = most < Int::power_of_two(31);
        let clamp = -Int::from(A16_MIN);
        let outputs =
            bounds.into_iter().map(|v| v.div_ceil(Int::power_of_two(SHIFT)).min(clamp)).collect();
        (Certificate::Linear { narrow, worst: most.get() }, Bound::Channels(outputs))
    }

    /// Bound on what a residual add gives.
    fn added(&self, channels: &Channels, sums: &[Int], stream: ValueId, shift: u32) -> Bound {
        let clamp = -Int::from(RES_MIN);
        let limits = match self.known.get(size(stream)) {
            Some(Bound::Channels(limits) | Bound::Norm { channels: limits, .. }) => limits.clone(),
            _ => vec![clamp; sums.len()],
        };
        let one = |(channel, (sum, x)): (Channel<'_>, (&Int, Int))| {
            let v = worst(&channel, *sum) + Int::from(channel.stream).abs() * x;
            v.div_ceil(Int::power_of_two(shift)).min(clamp)
        };
        Bound::Channels(channels.iter().zip(sums.iter().zip(limits)).map(one).collect())
    }

    /// One bound for all channels of the op's row.
    fn flat(&self, most: Int) -> Bound {
        Bound::Channels(vec![most; self.shape().map_or(0, |shape| size(shape.width))])
    }

    fn shape(&self) -> Option<&Shape> {
        self.model.shapes().get(self.known.len())
    }

    fn largest(&self, bound: &Bound) -> i64 {
        let of_type = match self.shape().map(|shape| shape.kind) {
            Some(Kind::A16) => -Int::from(A16_MIN),
            Some(Kind::Res) => -Int::from(RES_MIN),
            Some(Kind::Pooled) => -Int::from(A16_MIN) * Int::from(POSITIONS_MAX),
            Some(Kind::Unit) => Int::power_of_two(UNIT_BITS),
            Some(Kind::Logits) | None => Int::power_of_two(62),
        };
        match bound {
            Bound::Unknown => of_type,
            Bound::Channels(channels) | Bound::Norm { channels, .. } => {
                largest(channels.iter().copied()).min(of_type)
            }
        }
        .to_i64()
    }

    /// A rotation by an angle keeps the norm of each pair; what the tables hold is any pair of
    /// numbers, so the longest of each channel counts. Rounding adds at most 1.
    fn rope(&self, input: ValueId, heads: usize) -> Bound {
        let pairs = size(self.model.graph().rope_pairs);
        let width = pairs.saturating_mul(2);
        let limits = self.channels(input, width.saturating_mul(heads));
        let lengths = self.rotations(pairs);
        let one = Int::power_of_two(SHIFT_WIDE);
        let mut out = Vec::new();
        for index in 0..heads {
            let (first, second) =
                head(&limits, index, width).split_at_checked(pairs).unwrap_or((&[], &[]));
            let norms: Vec<Int> = first
                .iter()
                .zip(second)
                .zip(&lengths)
                .map(|((a, b), length)| ((*a * *a + *b * *b) * *length).div_ceil(one))
                .map(|square| square.sqrt_ceil() + Int::from(1_u32))
                .map(|norm| norm.min(-Int::from(A16_MIN)))
                .collect();
            out.extend_from_slice(&norms);
            out.extend_from_slice(&norms);
        }
        Bound::Channels(out)
    }

    /// The largest C² + D² of each channel pair.
    fn rotations(&self, pairs: usize) -> Vec<Int> {
        let mut longest = vec![Int::ZERO; pairs];
        let tables = &self.model.weights().rope;
        for (cos, sin) in tables.cos.iter().zip(tables.sin.iter()) {
            for (longest, (c, d)) in longest.iter_mut().zip(cos.iter().zip(sin)) {
                let (c, d) = (Int::from(*c), Int::from(*d));
                *longest = (*longest).max(c * c + d * d);
            }
        }
        longest
    }

    fn attention(&self, op: &Op) -> (Certificate, Bound) {
        let Op::Attention { queries, keys, values, heads, key_heads, .. } = *op else {
            return (Certificate::Nothing, Bound::Unknown);
        };
        let width = self.model.shapes().get(size(queries)).map_or(0, |shape| size(shape.width));
        let head_width = width.checked_div(size(heads)).unwrap_or(0);
        let key_width = head_width.saturating_mul(size(key_heads));
        let group = size(heads).checked_div(size(key_heads)).unwrap_or(1);
        let (queries, keys) = (self.channels(queries, width), self.channels(keys, key_width));
        let values = self.channels(values, key_width);
        let square = |limits: &[Int]| sum(limits.iter().map(|limit| *limit * *limit));
        let mut scores = true;
        let mut averages = Vec::new();
        for index in 0..size(heads) {
            let key_head = index.checked_div(group).unwrap_or(0);
            let (query, key) =
                (head(&queries, index, head_width), head(&keys, key_head, head_width));
            scores &= square(query) * square(key) < Int::power_of_two(62);
            averages.extend_from_slice(head(&values, key_head, head_width));
        }
        let narrow = averages.iter().all(|value| *value <= Int::from(8_191_u32));
        let most = |value: Int| Int::from(4_u32) * value + Int::from(1_u32);
        let bounds =
            averages.into_iter().map(|value| most(value).min(-Int::from(A16_MIN))).collect();
        (Certificate::Attention { scores, averages: narrow }, Bound::Channels(bounds))
    }
}

/// `|G| + |β| + 1 ≤ 32,767` for every channel means that the norm never clamps.
fn norm_bound(gains: &[i32], biases: &[i64]) -> Bound {
    let channels: Vec<Int> = gains
        .iter()
        .zip(biases)
        .map(|(gain, bias)| {
            let beta = (Int::from(*bias) - Int::from(HALF_WIDE)).abs();
            let one = Int::from(1_u32);
            Int::from(*gain).abs() + beta.div_ceil(Int::power_of_two(SHIFT_WIDE)) + one
        })
        .collect();
    if channels.iter().all(|limit| *limit < -Int::from(A16_MIN)) {
        let offset = |bias: &i64| (Int::from(*bias) - Int::from(HALF_WIDE)).to_i64();
        let mut offsets: Vec<i64> = biases.iter().map(offset).collect();
        if offsets.iter().all(|offset| *offset == 0) {
            // The rule of norms without bias: nothing to add up.
            offsets.clear();
        }
        Bound::Norm { gains: gains.to_vec(), offsets, channels }
    } else {
        Bound::Unknown
    }
}

/// Bound on |Σ w·y| for y the output of a norm that never clamps.
fn cauchy_schwarz(weights: &[i8], gains: &[i32], offsets: &[i64]) -> Int {
    dot_gains(weights, gains).sqrt_ceil()
        + dot_offsets(weights, offsets).abs().div_ceil(Int::power_of_two(SHIFT_WIDE))
        + sum_magnitudes(weights).div_ceil(Int::from(2_u32))
        + Int::from(1_u32)
}

/// Limits as `dot_limits` takes them: those of activations and of gate products are at most 2^30.
fn narrow(limits: &[Int]) -> Vec<u32> {
    limits.iter().map(|limit| u32::try_from(limit.get()).unwrap_or(u32::MAX)).collect()
}

/// Bound on |m·acc + B| for |acc| ≤ `sum`.
fn worst(channel: &Channel<'_>, sum: Int) -> Int {
    Int::from(channel.multiplier) * sum + Int::from(channel.bias).abs()
}

fn gate_is_narrow(channels: &Channels, products: &[Int], sums: &[Int]) -> bool {
    let small = products.iter().all(|product| *product < Int::power_of_two(30));
    small
        && channels.iter().zip(sums).all(|(channel, sum)| {
            let stream = Int::from(channel.stream).abs() * Int::power_of_two(26);
            worst(&channel, *sum) + stream < Int::power_of_two(63)
        })
}

fn largest(values: impl Iterator<Item = Int>) -> Int {
    values.map(Int::abs).max().unwrap_or(Int::ZERO)
}
