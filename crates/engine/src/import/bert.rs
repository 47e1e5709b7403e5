//! Encoders of the BERT family: norm after each sum, GELU, learned positions, mean pooling.
//!
//! ```text
//! x = norm(word + position + type)        per block:  q, k, v = linear(x)
//! x = norm(linear(attention(q, k, v)) + x)            x = norm(linear(gelu(linear(x))) + x)
//! ```
//! All activations stand directly behind a norm or an average of what does, so every range is
//! bounded by the weights and nothing is calibrated.

use std::f64::consts::SQRT_2;

use model::layout::size;
use model::rows::Rows;
use model::{Op, OpWeights, Reach};

use super::builder::{Activation, Builder, Ending, Heads, Linear, Normed, count};
use super::quantise::{A16_MOST, NormOutput, bits, largest, power_of_two, table};
use super::source::{Matrix, Source};
use super::{Built, ImportError, Recipe};

/// Finest unit of embedding rows, as an exponent.
const EMBEDDING_BITS: u32 = 22;

/// See [`super::import`].
pub(super) fn import(
    source: &Source<'_>,
    tokenizer: &[u8],
    recipe: &Recipe,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Built, ImportError> {
    let blocks = count_blocks(source);
    let words = source.matrix("embeddings.word_embeddings.weight", None, None)?;
    let floats = (0..blocks).map(|block| Block::read(source, block, words.columns));
    let floats = floats.collect::<Result<Vec<_>, ImportError>>()?;
    let builder = Builder::new(recipe, words.columns);
    let hidden = floats.iter().flat_map(|b| b.mix_norm.linear_reach(&b.up.weights, &b.up.bias));
    let hidden_unit = builder.roomy(largest(hidden)) / A16_MOST;
    let mut encoder = Encoder { builder, hidden_unit, writes: 0 };
    let mut stream = encoder.embedding(source, &words)?;
    for (index, block) in floats.iter().enumerate() {
        progress(index, blocks);
        stream = encoder.block(block, &stream)?;
    }
    let mut builder = encoder.builder;
    let gelu = |x: f64| x / 2.0 * (1.0 + libm::erf(x / SQRT_2));
    builder.weights.tables = vec![table(gelu, hidden_unit, hidden_unit)];
    let input = builder.push(Op::SumPool { input: stream.value }, OpWeights::Nothing)?;
    builder.push(Op::Unit { input }, OpWeights::Nothing)?;
    let vocabulary = count(words.count())?;
    let ending = Ending { reach: Reach::Full, vocabulary, rope_pairs: 0 };
    let built = builder.finish(tokenizer, ending)?;
    progress(blocks, blocks);
    Ok(built)
}

/// How many blocks the source has.
pub(super) fn count_blocks(source: &Source<'_>) -> usize {
    source.blocks(|block| format!("encoder.layer.{block}.attention.self.query.weight"))
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
        let read = |part: &str, rows: Option<usize>, columns: usize| {
            Linear::read(source, &name(part), (rows, Some(columns)), true)
        };
        let square = |part: &str| read(part, Some(width), width);
        let up = read("intermediate.dense", None, width)?;
        let hidden = up.weights.count();
        Ok(Self {
            query: square("attention.self.query")?,
            key: square("attention.self.key")?,
            value: square("attention.self.value")?,
            mix: square("attention.output.dense")?,
            mix_norm: read_norm(source, &name("attention.output.LayerNorm"), width)?,
            up,
            down: read("output.dense", Some(width), hidden)?,
            down_norm: read_norm(source, &name("output.LayerNorm"), width)?,
        })
    }
}

/// The graph under way, with the encoder's own rules.
struct Encoder<'a> {
    builder: Builder<'a>,
    /// One unit for the hidden rows of all blocks, so that one table serves them.
    hidden_unit: f64,
    writes: usize,
}

impl Encoder<'_> {
    fn embedding(&mut self, source: &Source<'_>, words: &Matrix) -> Result<Normed, ImportError> {
        let width = self.builder.width;
        let columns = Some(width);
        let mut places = source.matrix("embeddings.position_embeddings.weight", None, columns)?;
        let kinds = source.matrix("embeddings.token_type_embeddings.weight", None, columns)?;
        // Every token is of the first type.
        for row in places.data.chunks_exact_mut(width) {
            row.iter_mut().zip(&kinds.data).for_each(|(place, kind)| *place += kind);
        }
        places.data.truncate(size(self.builder.recipe.max_input) * width);
        let most = largest(words.data.iter().chain(&places.data).map(|value| value.abs()));
        let scale = bits(most, A16_MOST, EMBEDDING_BITS);
        let rows = |matrix: &Matrix| {
            let steps =
                matrix.data.iter().map(|value| (value * power_of_two(scale)).round() as i16);
            Rows::from_data(matrix.columns, steps.collect())
        };
        let weights = OpWeights::Rows { words: rows(words), positions: rows(&places) };
        let sum = self.builder.push(Op::EmbeddingSum { width: count(width)? }, weights)?;
        let output = read_norm(source, "embeddings.LayerNorm", width)?;
        let stream = self.builder.norm(sum, scale, true, output)?;
        self.builder.boundaries.push(stream.value);
        Ok(stream)
    }

    /// A linear op, whose inputs reach at most `reach`, added to a stream and normalised.
    fn add(
        &mut self,
        linear: &Linear,
        (input, reach): (Activation, &[f64]),
        stream: &Normed,
        norm: &NormOutput,
    ) -> Result<Normed, ImportError> {
        let most = linear.most(reach, &stream.output.reach());
        let finest = self.builder.recipe.scales.residual(self.writes);
        self.writes += 1;
        let scale = self.builder.unclamped(most, finest);
        let stream = Activation { value: stream.value, unit: stream.output.unit };
        let sum = self.builder.add(linear, input, stream, scale)?;
        self.builder.norm(sum, scale, true, norm.clone())
    }

    fn block(&mut self, block: &Block, x: &Normed) -> Result<Normed, ImportError> {
        let (query, key, value) = (&block.query, &block.key, &block.value);
        let heads = Heads { query, key, value, turned: false };
        let mixed = self.builder.attention(&heads, x)?;
        let middle = self.add(&block.mix, (mixed, &x.reach(value)), x, &block.mix_norm)?;
        let hidden = self.builder.linear(&block.up, &middle, self.hidden_unit)?;
        let table = Op::Table { input: hidden.value, table: 0 };
        let hidden = Activation { value: self.builder.push(table, OpWeights::Nothing)?, ..hidden };
        let reach = middle.reach(&block.up);
        let out = self.add(&block.down, (hidden, &reach), &middle, &block.down_norm)?;
        self.builder.boundaries.push(out.value);
        Ok(out)
    }
}
