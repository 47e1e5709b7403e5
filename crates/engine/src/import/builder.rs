//! What the architectures share: ops in order, their integers, and the rules for units.

use model::constants::{RES_MAX, SCORE_MULTIPLIER_MAX};
use model::layout::size;
use model::{Graph, Model, Op, OpWeights, Parts, Reach, ValueId, WeightType, Weights};
use preprocess::{Config, DecodeRule, Form, VERSION, Vector};
use units::{List, Text};

use super::quantise::{
    A16_MOST, NormOutput, Requantise, SCALE, Units, bits, channels, integer, largest, power_of_two,
};
use super::source::{Matrix, Source};
use super::{Architecture, Built, ImportError, Recipe};

/// Steps of the exponential in one nat.
pub(super) const STEPS_PER_NAT: f64 = 64.0;
/// Largest value of an attention's operand v that units are chosen for: its average is four times
/// finer. 1 % below the 8,191 of the certificate, for the rounding of weights.
const VALUE_MOST: f64 = 8_100.0;
/// Largest length of a head's query or key that units are chosen for: 1 % below √2^31, so that a
/// score stays below 2^31.
const HEAD_MOST: f64 = 45_900.0;

/// A size that a graph can name.
pub(super) fn count(value: usize) -> Result<u32, ImportError> {
    u32::try_from(value).map_err(|_| ImportError::Unbounded { what: "a size", value: value as f64 })
}

/// A linear op's floats.
pub(super) struct Linear {
    pub(super) weights: Matrix,
    pub(super) bias: Vec<f64>,
}

impl Linear {
    /// Reads weights and bias; a bias that is not there is 0 unless the architecture needs one.
    pub(super) fn read(
        source: &Source<'_>,
        name: &str,
        (rows, columns): (Option<usize>, Option<usize>),
        biased: bool,
    ) -> Result<Self, ImportError> {
        let weights = source.matrix(&format!("{name}.weight"), rows, columns)?;
        let bias = format!("{name}.bias");
        let bias = if biased || source.has(&bias) {
            source.vector(&bias, weights.count())?
        } else {
            vec![0.0; weights.count()]
        };
        Ok(Self { weights, bias })
    }

    /// Largest magnitude of each output for inputs of at most `reach`.
    fn reach(&self, reach: &[f64]) -> impl Iterator<Item = f64> {
        self.weights.rows().zip(&self.bias).map(move |(row, bias)| {
            row.iter().zip(reach).fold(bias.abs(), |sum, (w, most)| sum + w.abs() * most)
        })
    }

    /// The largest of all magnitudes for inputs of at most `reach`, each added to its `stream`.
    pub(super) fn most(&self, reach: &[f64], stream: &[f64]) -> f64 {
        let stream = stream.iter().copied().chain(std::iter::repeat(0.0));
        largest(self.reach(reach).zip(stream).map(|(sum, x)| sum + x))
    }
}

/// Values of `a16` rows: what they are, and the real value of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activation {
    pub(super) value: ValueId,
    pub(super) unit: f64,
}

/// A norm's output in the graph.
pub(super) struct Normed {
    pub(super) value: ValueId,
    pub(super) output: NormOutput,
}

impl Normed {
    pub(super) fn reach(&self, linear: &Linear) -> Vec<f64> {
        self.output.linear_reach(&linear.weights, &linear.bias)
    }
}

/// Queries, keys and values of a block.
pub(super) struct Heads<'a> {
    pub(super) query: &'a Linear,
    pub(super) key: &'a Linear,
    pub(super) value: &'a Linear,
    /// Whether queries and keys are turned by position.
    pub(super) turned: bool,
}

/// What a finished graph still needs.
pub(super) struct Ending {
    pub(super) reach: Reach,
    pub(super) vocabulary: u32,
    pub(super) rope_pairs: u32,
}

pub(super) struct Builder<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) width: usize,
    ops: Vec<Op>,
    pub(super) boundaries: Vec<ValueId>,
    pub(super) weights: Weights,
    /// One per op: the real value of one step of its output, for ops with weighted sums.
    units: Vec<Option<f64>>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(recipe: &'a Recipe, width: usize) -> Self {
        let (ops, boundaries, units) = (Vec::new(), Vec::new(), Vec::new());
        Self { recipe, width, ops, boundaries, weights: Weights::default(), units }
    }

    pub(super) fn push(&mut self, op: Op, weights: OpWeights) -> Result<ValueId, ImportError> {
        let value = count(self.ops.len())?;
        self.ops.push(op);
        self.weights.ops.push(weights);
        self.units.push(None);
        Ok(value)
    }

    /// As [`Self::push`], of an op whose output has steps of `unit`.
    pub(super) fn written(
        &mut self,
        op: Op,
        weights: OpWeights,
        unit: f64,
    ) -> Result<ValueId, ImportError> {
        let value = self.push(op, weights)?;
        self.units[value as usize] = Some(unit);
        Ok(value)
    }

    /// A reach with the recipe's room above it.
    pub(super) fn roomy(&self, reach: f64) -> f64 {
        reach * (1.0 + f64::from(self.recipe.scales.headroom_milli) / 1000.0)
    }

    /// A norm of rows in steps of 2^-scale.
    pub(super) fn norm(
        &mut self,
        input: ValueId,
        scale: u32,
        centred: bool,
        output: NormOutput,
    ) -> Result<Normed, ImportError> {
        let step = power_of_two(scale);
        let offset = self.recipe.norm_epsilon * self.width as f64 * step * step;
        let offset = integer("a norm's offset", offset, 1 << 61)?.max(1).unsigned_abs();
        let op = Op::Norm { input, centred, offset };
        let value = self.push(op, output.weights()?)?;
        Ok(Normed { value, output })
    }

    pub(super) fn linear(
        &mut self,
        linear: &Linear,
        input: &Normed,
        output: f64,
    ) -> Result<Activation, ImportError> {
        let units = Units { input: input.output.unit, output, requantise: Requantise::Narrow };
        let made = channels(&linear.weights, &linear.bias, units, None)?;
        let outputs = count(linear.weights.count())?;
        let op = Op::Linear { input: input.value, outputs, weights: WeightType::W8 };
        let value = self.written(op, OpWeights::Channels(made), output)?;
        Ok(Activation { value, unit: output })
    }

    /// A linear op added to a stream whose steps are `stream` wide, giving steps of 2^-scale.
    pub(super) fn add(
        &mut self,
        linear: &Linear,
        input: Activation,
        stream: Activation,
        scale: u32,
    ) -> Result<ValueId, ImportError> {
        let output = 1.0 / power_of_two(scale);
        let units = Units { input: input.unit, output, requantise: Requantise::Narrow };
        let made = channels(&linear.weights, &linear.bias, units, Some(stream.unit))?;
        let op = Op::LinearResidual {
            input: input.value,
            stream: stream.value,
            weights: WeightType::W8,
        };
        self.written(op, OpWeights::Channels(made), output)
    }

    /// The finest exponent, at most `finest`, at which a stream of at most `most` never clamps.
    pub(super) fn unclamped(&self, most: f64, finest: u32) -> u32 {
        bits(self.roomy(most), RES_MAX as f64, finest)
    }

    /// Queries, keys, values and their attention; gives the averages.
    pub(super) fn attention(
        &mut self,
        heads: &Heads<'_>,
        x: &Normed,
    ) -> Result<Activation, ImportError> {
        let (count_heads, key_heads) = (self.recipe.heads, self.recipe.key_heads());
        let head_width = heads.query.weights.count() / size(count_heads.max(1));
        let head_unit = |linear: &Linear| {
            let reach = x.reach(linear);
            let heads_of = |reach: &[f64]| -> Vec<Vec<f64>> {
                reach.chunks(head_width.max(1)).map(<[f64]>::to_vec).collect()
            };
            let mut parts = heads_of(&reach);
            if heads.turned {
                parts.iter_mut().for_each(|head| turn(head));
            }
            let single = largest(parts.iter().flatten().copied()) / A16_MOST;
            let length = |head: &Vec<f64>| head.iter().fold(0.0, |sum, r| sum + r * r).sqrt();
            self.roomy(single.max(largest(parts.iter().map(length)) / HEAD_MOST))
        };
        let key_unit = head_unit(heads.key);
        // Steps of the exponential per step of score, 16 fraction bits. The query's unit grows
        // until this is a whole number.
        let per_unit = key_unit * STEPS_PER_NAT * SCALE / (head_width as f64).sqrt();
        let steps = (head_unit(heads.query) * per_unit).ceil();
        let multiplier = integer("a score multiplier", steps, i64::from(SCORE_MULTIPLIER_MAX))?;
        let query_unit = multiplier as f64 / per_unit;
        let value_unit = self.roomy(largest(x.reach(heads.value).into_iter())) / VALUE_MOST;
        let queries = self.linear(heads.query, x, query_unit)?.value;
        let keys = self.linear(heads.key, x, key_unit)?.value;
        let values = self.linear(heads.value, x, value_unit)?.value;
        let (queries, keys) = if heads.turned {
            let turned = Op::Rope { input: queries, heads: count_heads };
            let queries = self.push(turned, OpWeights::Nothing)?;
            let turned = Op::Rope { input: keys, heads: key_heads };
            (queries, self.push(turned, OpWeights::Nothing)?)
        } else {
            (queries, keys)
        };
        let multiplier = count(multiplier.unsigned_abs() as usize)?;
        let heads = count_heads;
        let op = Op::Attention { queries, keys, values, heads, key_heads, multiplier };
        let value = self.push(op, OpWeights::Nothing)?;
        // An average has four times the steps of its values.
        Ok(Activation { value, unit: value_unit / 4.0 })
    }

    pub(super) fn finish(self, tokenizer: &[u8], ending: Ending) -> Result<Built, ImportError> {
        let graph = Graph {
            reach: ending.reach,
            vocabulary: ending.vocabulary,
            tables: count(self.weights.tables.len())?,
            rope_pairs: ending.rope_pairs,
            ops: List::new(self.ops)?,
            boundaries: List::new(self.boundaries)?,
        };
        let model = Model::from_parts(Parts {
            graph,
            weights: self.weights,
            preprocess: config(self.recipe, tokenizer)?.to_bytes(),
            preprocess_version: VERSION,
            max_input: self.recipe.max_input,
            max_positions: self.recipe.max_positions(),
            stop_ids: List::new(self.recipe.stop_ids.clone())?,
            licence: Text::new(self.recipe.licence.as_str())?,
        })?;
        Ok(Built { model, units: self.units })
    }
}

/// The preprocess configuration of a recipe.
pub(super) fn config(recipe: &Recipe, tokenizer: &[u8]) -> Result<Config, ImportError> {
    let vectors = recipe.vectors.iter().map(|vector| {
        let (text, ids) = (Text::new(vector.text.as_str())?, List::new(vector.ids.clone())?);
        Ok(Vector { text, ids })
    });
    Ok(Config {
        tokenizer: List::new(tokenizer.to_vec())?,
        form: match &recipe.chat {
            Some(chat) => Form::Chat(chat.template()?),
            None => Form::Text,
        },
        decode: match recipe.architecture {
            Architecture::Bert => DecodeRule::None,
            Architecture::Llama => DecodeRule::ByteLevel,
        },
        vectors: List::new(vectors.collect::<Result<_, ImportError>>()?)?,
    })
}

/// Reach of a head's channels once they have been turned: a pair keeps its length, which either of
/// its two may then have.
fn turn(head: &mut [f64]) {
    let (first, second) = head.split_at_mut(head.len() / 2);
    for (a, b) in first.iter_mut().zip(second) {
        let length = (*a * *a + *b * *b).sqrt();
        (*a, *b) = (length, length);
    }
}
