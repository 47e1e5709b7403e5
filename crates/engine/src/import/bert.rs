//! Encoders of the BERT family: norm after each sum, GELU, learned positions, mean pooling.
//!
//! ```text
//! x = norm(word + position + type)        per block:  q, k, v = linear(x)
//! x = norm(linear(attention(q, k, v)) + x)            x = norm(linear(gelu(linear(x))) + x)
//! ```
//! All activations stand directly behind a norm or an average of what does, so every range is
//! bounded by the weights and nothing is calibrated.

use std::f64::consts::SQRT_2;

use model::constants::{RES_MAX, SCORE_MULTIPLIER_MAX};
use model::layout::size;
use model::rows::Rows;
use model::{Graph, Model, Op, OpWeights, Parts, Reach, RopeTable, ValueId, WeightType, Weights};
use preprocess::{Config, DecodeRule, Form, VERSION, Vector};
use units::{List, Text};

use super::quantise::{
    A16_MOST, NormOutput, SCALE, Units, bits, channels, integer, largest, power_of_two, table,
};
use super::source::{Matrix, Source};
use super::{ImportError, Recipe};

/// Steps of the exponential in one nat.
const STEPS_PER_NAT: f64 = 64.0;
/// Largest value of an attention's operand v that units are chosen for: its average is four times
/// finer. 1 % below the 8,191 of the certificate, for the rounding of weights.
const VALUE_MOST: f64 = 8_100.0;
/// Largest length of a head's query or key that units are chosen for: 1 % below √2^31, so that a
/// score stays below 2^31.
const HEAD_MOST: f64 = 45_900.0;
/// Finest unit of embedding rows, as an exponent.
const EMBEDDING_BITS: u32 = 22;
/// The most blocks that are looked for.
const BLOCKS_MAX: usize = 256;

/// See [`super::import_safetensors`].
pub(super) fn import(
    source: &Source<'_>,
    tokenizer: &[u8],
    recipe: &Recipe,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Model, ImportError> {
    let blocks = (0..BLOCKS_MAX).take_while(|block| source.has(&query_name(*block))).count();
    let words = source.matrix("embeddings.word_embeddings.weight", None, None)?;
    let floats = (0..blocks).map(|block| Block::read(source, block, words.columns));
    let floats = floats.collect::<Result<Vec<_>, ImportError>>()?;
    let mut builder = Builder::new(recipe, words.columns);
    let mut stream = builder.embedding(source, &words)?;
    let hidden_unit = builder.hidden_unit(&floats);
    for (index, block) in floats.iter().enumerate() {
        progress(index, blocks);
        stream = builder.block(block, &stream, hidden_unit)?;
    }
    let gelu = |x: f64| x / 2.0 * (1.0 + libm::erf(x / SQRT_2));
    builder.weights.tables = vec![table(gelu, hidden_unit, hidden_unit)];
    let input = builder.push(Op::SumPool { input: stream.value }, OpWeights::Nothing)?;
    builder.push(Op::Unit { input }, OpWeights::Nothing)?;
    let vocabulary = count(words.count())?;
    let model = builder.finish(vocabulary, tokenizer)?;
    progress(blocks, blocks);
    Ok(model)
}

fn query_name(block: usize) -> String {
    format!("encoder.layer.{block}.attention.self.query.weight")
}

fn count(value: usize) -> Result<u32, ImportError> {
    u32::try_from(value).map_err(|_| ImportError::Unbounded { what: "a size", value: value as f64 })
}

/// A linear op's floats.
struct Linear {
    weights: Matrix,
    bias: Vec<f64>,
}

impl Linear {
    fn read(
        source: &Source<'_>,
        name: &str,
        rows: Option<usize>,
        columns: Option<usize>,
    ) -> Result<Self, ImportError> {
        let weights = source.matrix(&format!("{name}.weight"), rows, columns)?;
        let bias = source.vector(&format!("{name}.bias"), weights.count())?;
        Ok(Self { weights, bias })
    }

    /// Largest magnitude of each output for inputs of at most `reach`.
    fn reach(&self, reach: &[f64]) -> impl Iterator<Item = f64> {
        self.weights.rows().zip(&self.bias).map(move |(row, bias)| {
            row.iter().zip(reach).fold(bias.abs(), |sum, (w, most)| sum + w.abs() * most)
        })
    }
}

fn read_norm(source: &Source<'_>, name: &str, width: usize) -> Result<NormOutput, ImportError> {
    let gamma = source.vector(&format!("{name}.weight"), width)?;
    let beta = source.vector(&format!("{name}.bias"), width)?;
    Ok(NormOutput::new(&gamma, &beta))
}

/// A block's floats.
struct Block {
    query: Linear,
    key: Linear,
    value: Linear,
    mix: Linear,
    mix_norm: NormOutput,
    up: Linear,
    down: Linear,
    down_norm: NormOutput,
}

impl Block {
    fn read(source: &Source<'_>, block: usize, width: usize) -> Result<Self, ImportError> {
        let name = |part: &str| format!("encoder.layer.{block}.{part}");
        let square = |part: &str| Linear::read(source, &name(part), Some(width), Some(width));
        let up = Linear::read(source, &name("intermediate.dense"), None, Some(width))?;
        let hidden = up.weights.count();
        Ok(Self {
            query: square("attention.self.query")?,
            key: square("attention.self.key")?,
            value: square("attention.self.value")?,
            mix: square("attention.output.dense")?,
            mix_norm: read_norm(source, &name("attention.output.LayerNorm"), width)?,
            up,
            down: Linear::read(source, &name("output.dense"), Some(width), Some(hidden))?,
            down_norm: read_norm(source, &name("output.LayerNorm"), width)?,
        })
    }
}

/// A norm's output in the graph.
struct Stream {
    value: ValueId,
    output: NormOutput,
}

struct Builder<'a> {
    recipe: &'a Recipe,
    width: usize,
    ops: Vec<Op>,
    boundaries: Vec<ValueId>,
    weights: Weights,
}

impl<'a> Builder<'a> {
    fn new(recipe: &'a Recipe, width: usize) -> Self {
        let (ops, boundaries) = (Vec::new(), Vec::new());
        Self { recipe, width, ops, boundaries, weights: Weights::default() }
    }

    fn push(&mut self, op: Op, weights: OpWeights) -> Result<ValueId, ImportError> {
        let value = count(self.ops.len())?;
        self.ops.push(op);
        self.weights.ops.push(weights);
        Ok(value)
    }

    /// A reach with the recipe's room above it.
    fn roomy(&self, reach: f64) -> f64 {
        reach * (1.0 + f64::from(self.recipe.scales.headroom_milli) / 1000.0)
    }

    fn embedding(&mut self, source: &Source<'_>, words: &Matrix) -> Result<Stream, ImportError> {
        let columns = Some(self.width);
        let mut places = source.matrix("embeddings.position_embeddings.weight", None, columns)?;
        let kinds = source.matrix("embeddings.token_type_embeddings.weight", None, columns)?;
        // Every token is of the first type.
        for row in places.data.chunks_exact_mut(self.width) {
            row.iter_mut().zip(&kinds.data).for_each(|(place, kind)| *place += kind);
        }
        places.data.truncate(size(self.recipe.max_input) * self.width);
        let most = largest(words.data.iter().chain(&places.data).map(|value| value.abs()));
        let scale = bits(most, A16_MOST, EMBEDDING_BITS);
        let rows = |matrix: &Matrix| {
            let steps =
                matrix.data.iter().map(|value| (value * power_of_two(scale)).round() as i16);
            Rows::from_data(matrix.columns, steps.collect())
        };
        let weights = OpWeights::Rows { words: rows(words), positions: rows(&places) };
        let sum = self.push(Op::EmbeddingSum { width: count(self.width)? }, weights)?;
        let output = read_norm(source, "embeddings.LayerNorm", self.width)?;
        self.norm(sum, scale, output)
    }

    /// A norm of rows in steps of 2^-scale. The first one ends the embedding.
    fn norm(
        &mut self,
        input: ValueId,
        scale: u32,
        output: NormOutput,
    ) -> Result<Stream, ImportError> {
        let step = power_of_two(scale);
        let offset = self.recipe.norm_epsilon * self.width as f64 * step * step;
        let offset = integer("a norm's offset", offset, 1 << 61)?.max(1).unsigned_abs();
        let op = Op::Norm { input, centred: true, offset };
        let value = self.push(op, output.weights()?)?;
        if self.boundaries.is_empty() {
            self.boundaries.push(value);
        }
        Ok(Stream { value, output })
    }

    /// One unit for the hidden rows of all blocks, so that one table serves them.
    fn hidden_unit(&self, blocks: &[Block]) -> f64 {
        let reach = blocks
            .iter()
            .flat_map(|block| block.mix_norm.linear_reach(&block.up.weights, &block.up.bias));
        self.roomy(largest(reach)) / A16_MOST
    }

    fn linear(
        &mut self,
        linear: &Linear,
        input: &Stream,
        output: f64,
    ) -> Result<ValueId, ImportError> {
        let units = Units { input: input.output.unit, output };
        let made = channels(&linear.weights, &linear.bias, units, None)?;
        let outputs = count(linear.weights.count())?;
        let op = Op::Linear { input: input.value, outputs, weights: WeightType::W8 };
        self.push(op, OpWeights::Channels(made))
    }

    /// A linear op added to a stream, whose inputs reach at most `reach`; gives the value and the
    /// exponent of its unit.
    fn add(
        &mut self,
        linear: &Linear,
        input: (ValueId, f64, &[f64]),
        stream: &Stream,
    ) -> Result<(ValueId, u32), ImportError> {
        let (input, unit, reach) = input;
        let sums = linear.reach(reach).zip(stream.output.reach());
        let most = self.roomy(largest(sums.map(|(sum, x)| sum + x)));
        let scale = bits(most, RES_MAX as f64, self.recipe.scales.residual_bits);
        let units = Units { input: unit, output: 1.0 / power_of_two(scale) };
        let made = channels(&linear.weights, &linear.bias, units, Some(stream.output.unit))?;
        let op = Op::LinearResidual { input, stream: stream.value, weights: WeightType::W8 };
        Ok((self.push(op, OpWeights::Channels(made))?, scale))
    }

    fn block(
        &mut self,
        block: &Block,
        x: &Stream,
        hidden_unit: f64,
    ) -> Result<Stream, ImportError> {
        let reach = |linear: &Linear| x.output.linear_reach(&linear.weights, &linear.bias);
        let head_width = self.width / size(self.recipe.heads.max(1));
        let head_unit = |reach: &[f64]| {
            let single = largest(reach.iter().copied()) / A16_MOST;
            let heads = reach.chunks(head_width.max(1));
            let length = |head: &[f64]| head.iter().fold(0.0, |sum, r| sum + r * r).sqrt();
            self.roomy(single.max(largest(heads.map(length)) / HEAD_MOST))
        };
        let key_unit = head_unit(&reach(&block.key));
        // Steps of the exponential per step of score, 16 fraction bits. The query's unit grows
        // until this is a whole number.
        let per_unit = key_unit * STEPS_PER_NAT * SCALE / (head_width as f64).sqrt();
        let steps = (head_unit(&reach(&block.query)) * per_unit).ceil();
        let multiplier = integer("a score multiplier", steps, i64::from(SCORE_MULTIPLIER_MAX))?;
        let query_unit = multiplier as f64 / per_unit;
        let value_reach = reach(&block.value);
        let value_unit = self.roomy(largest(value_reach.iter().copied())) / VALUE_MOST;
        let queries = self.linear(&block.query, x, query_unit)?;
        let keys = self.linear(&block.key, x, key_unit)?;
        let values = self.linear(&block.value, x, value_unit)?;
        let (heads, key_heads) = (self.recipe.heads, self.recipe.heads);
        let multiplier = count(multiplier.unsigned_abs() as usize)?;
        let op = Op::Attention { queries, keys, values, heads, key_heads, multiplier };
        let mixed = self.push(op, OpWeights::Nothing)?;
        // An average has four times the steps of its values.
        let (sum, scale) = self.add(&block.mix, (mixed, value_unit / 4.0, &value_reach), x)?;
        let middle = self.norm(sum, scale, block.mix_norm.clone())?;
        let hidden = self.linear(&block.up, &middle, hidden_unit)?;
        let hidden = self.push(Op::Table { input: hidden, table: 0 }, OpWeights::Nothing)?;
        let hidden_reach = middle.output.linear_reach(&block.up.weights, &block.up.bias);
        let input = (hidden, hidden_unit, hidden_reach.as_slice());
        let (sum, scale) = self.add(&block.down, input, &middle)?;
        let out = self.norm(sum, scale, block.down_norm.clone())?;
        self.boundaries.push(out.value);
        Ok(out)
    }

    fn finish(self, vocabulary: u32, tokenizer: &[u8]) -> Result<Model, ImportError> {
        let vectors = self.recipe.vectors.iter().map(|vector| {
            let (text, ids) = (Text::new(vector.text.as_str())?, List::new(vector.ids.clone())?);
            Ok(Vector { text, ids })
        });
        let config = Config {
            tokenizer: List::new(tokenizer.to_vec())?,
            form: Form::Text,
            decode: DecodeRule::None,
            vectors: List::new(vectors.collect::<Result<_, ImportError>>()?)?,
        };
        let graph = Graph {
            reach: Reach::Full,
            vocabulary,
            tables: 1,
            rope_pairs: 0,
            ops: List::new(self.ops)?,
            boundaries: List::new(self.boundaries)?,
        };
        Ok(Model::from_parts(Parts {
            graph,
            weights: Weights { rope: RopeTable::default(), ..self.weights },
            preprocess: config.to_bytes(),
            preprocess_version: VERSION,
            max_input: self.recipe.max_input,
            max_positions: self.recipe.max_input,
            stop_ids: List::empty(),
            licence: Text::new(self.recipe.licence.as_str())?,
        })?)
    }
}
