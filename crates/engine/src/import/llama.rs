//! Decoders of the llama family: RMSNorm, rotated positions, grouped keys, gated SiLU.
//!
//! ```text
//! x = E[token]            per block:  n = norm(x); q, k = turn(linear(n)); v = linear(n)
//!                                     x = x + linear(attention(q, k, v))
//! logits = E·norm(x)                  n = norm(x); x = x + linear(silu(linear(n))·linear(n))
//! ```
//! Every linear op but those that write the stream stands behind a norm, so its range is bounded
//! by the weights. The stream has no useful bound: its units come from the recipe, where the
//! publisher's calibration put them, and it clamps where a hostile input drives it beyond.

use model::constants::POSITIONS_MAX;
use model::layout::size;
use model::rows::Rows;
use model::{Op, OpWeights, Reach, RopeTable, WeightType};

use super::builder::{Activation, Builder, Ending, Heads, Linear, Normed, STEPS_PER_NAT, count};
use super::quantise::{
    A16_MOST, NormOutput, Requantise, SCALE, SCALE_WIDE, Units, bits, channels, integer, largest,
    power_of_two, rows_w8, table,
};
use super::source::{Matrix, Source};
use super::{Built, ImportError, Recipe};

/// Finest unit of the rows before SiLU, as an exponent.
const GATE_BITS: u32 = 14;
/// Largest sum of weighted gate products, in steps of the stream: the stream's own 2^26 and 2 % for
/// the rounding of weights stay below the 2^31 where 64 bits end.
const GATE_MOST: f64 = 1.9 * (1_u64 << 30) as f64;
/// Largest logit: 2^31, so that a kernel may keep logits in 32 bits.
const LOGIT_MOST: f64 = (1_u64 << 31) as f64;
/// Largest multiplier of an embedding row that is not shared with the logits.
const EMBEDDING_MULTIPLIER: f64 = 255.0;

/// See [`super::import`].
pub(super) fn import(
    source: &Source<'_>,
    tokenizer: &[u8],
    recipe: &Recipe,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Built, ImportError> {
    let blocks = count_blocks(source);
    let words = source.matrix("model.embed_tokens.weight", None, None)?;
    let width = words.columns;
    let mut decoder =
        Decoder { builder: Builder::new(recipe, width), gates: Vec::new(), writes: 0 };
    let output = read_norm(source, "model.norm.weight", width)?;
    let vocabulary = count(words.count())?;
    let has_head = source.has(HEAD).then_some(HEAD);
    let head = has_head.map(|name| source.matrix(name, Some(words.count()), Some(width)));
    let head = head.transpose()?;
    let logits = Logits::new(&decoder.builder, head.as_ref().unwrap_or(&words), &output);
    let (mut stream, logits) = decoder.embedding(&words, head.as_ref(), logits)?;
    drop((words, head));
    for block in 0..blocks {
        progress(block, blocks);
        stream = decoder.block(&Block::read(source, block, width)?, stream)?;
    }
    let normed = decoder.norm(stream, &output)?;
    let mut builder = decoder.builder;
    let multiplier = STEPS_PER_NAT * logits.unit * output.unit * SCALE_WIDE;
    let multiplier = integer("the temperature multiplier", multiplier, i64::from(u32::MAX))?;
    let multiplier = count(multiplier.max(1).unsigned_abs() as usize)?;
    let tied = logits.weights == OpWeights::Nothing;
    let op = Op::Logits { input: normed.value, tied, multiplier };
    builder.push(op, logits.weights)?;
    builder.weights.tables = decoder.gates.iter().map(|bits| silu_table(*bits)).collect();
    let pairs = width / (2 * size(recipe.heads.max(1)));
    builder.weights.rope = rope_table(recipe, pairs)?;
    let ending = Ending { reach: Reach::Causal, vocabulary, rope_pairs: count(pairs)? };
    let built = builder.finish(tokenizer, ending)?;
    progress(blocks, blocks);
    Ok(built)
}

/// Where logits of their own would stand.
const HEAD: &str = "lm_head.weight";

/// How many blocks the source has.
pub(super) fn count_blocks(source: &Source<'_>) -> usize {
    source.blocks(|block| format!("model.layers.{block}.self_attn.q_proj.weight"))
}

fn read_norm(source: &Source<'_>, name: &str, width: usize) -> Result<NormOutput, ImportError> {
    Ok(NormOutput::new(&source.vector(name, width)?, &vec![0.0; width]))
}

/// A block's floats.
struct Block {
    mix_norm: NormOutput,
    query: Linear,
    key: Linear,
    value: Linear,
    mix: Linear,
    hidden_norm: NormOutput,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn read(source: &Source<'_>, block: usize, width: usize) -> Result<Self, ImportError> {
        let name = |part: &str| format!("model.layers.{block}.{part}");
        let read = |part: &str, rows: Option<usize>, columns: Option<usize>| {
            Linear::read(source, &name(part), (rows, columns), false)
        };
        let query = read("self_attn.q_proj", None, Some(width))?;
        let key = read("self_attn.k_proj", None, Some(width))?;
        let gate = read("mlp.gate_proj", None, Some(width))?;
        let (mixed, keys, hidden) =
            (query.weights.count(), key.weights.count(), gate.weights.count());
        Ok(Self {
            mix_norm: read_norm(source, &name("input_layernorm.weight"), width)?,
            query,
            key,
            value: read("self_attn.v_proj", Some(keys), Some(width))?,
            mix: read("self_attn.o_proj", Some(width), Some(mixed))?,
            hidden_norm: read_norm(source, &name("post_attention_layernorm.weight"), width)?,
            gate,
            up: read("mlp.up_proj", Some(hidden), Some(width))?,
            down: read("mlp.down_proj", Some(width), Some(hidden))?,
        })
    }
}

/// Unit and weights of the logits; `Nothing` for those of the embedding.
struct Logits {
    /// Real value of one step of multiplier times weight.
    unit: f64,
    weights: OpWeights,
}

impl Logits {
    /// The unit at which no logit reaches 2^31.
    fn new(builder: &Builder<'_>, head: &Matrix, output: &NormOutput) -> Self {
        let reach = output.linear_reach(head, &vec![0.0; head.count()]);
        let unit = builder.roomy(largest(reach.into_iter())) / (LOGIT_MOST * output.unit);
        Self { unit, weights: OpWeights::Nothing }
    }
}

/// The stream: its value and the exponent of its unit.
#[derive(Clone, Copy)]
struct Stream {
    activation: Activation,
    bits: u32,
}

/// The graph under way, with the decoder's own rules.
struct Decoder<'a> {
    builder: Builder<'a>,
    /// Exponents of the units of SiLU tables.
    gates: Vec<u32>,
    /// How many ops have written the stream.
    writes: usize,
}

impl Decoder<'_> {
    /// The exponent that the recipe has for the op that writes the stream next.
    fn residual_bits(&mut self) -> u32 {
        let bits = self.builder.recipe.scales.residual(self.writes);
        self.writes += 1;
        bits
    }

    fn stream(&mut self, value: u32, bits: u32) -> Stream {
        Stream { activation: Activation { value, unit: 1.0 / power_of_two(bits) }, bits }
    }

    /// The embedding; a unit that it shares with the logits grows until its factor is whole.
    fn embedding(
        &mut self,
        words: &Matrix,
        head: Option<&Matrix>,
        logits: Logits,
    ) -> Result<(Stream, Logits), ImportError> {
        let bits = self.residual_bits();
        let steps = power_of_two(bits) * SCALE;
        let most = largest(words.data.iter().map(|value| value.abs()));
        let own = most / (127.0 * EMBEDDING_MULTIPLIER);
        let unit = if head.is_some() { own } else { logits.unit };
        let factor = (unit * steps).ceil().max(1.0);
        let factor = integer("the embedding's factor", factor, i64::from(u32::MAX))?;
        let unit = factor as f64 / steps;
        let weights = OpWeights::Channels(rows_w8(words, 1.0 / unit)?);
        let factor = count(factor.unsigned_abs() as usize)?;
        let op = Op::EmbeddingScaled { width: count(words.columns)?, factor };
        let value = self.builder.written(op, weights, 1.0 / power_of_two(bits))?;
        self.builder.boundaries.push(value);
        let logits = match head {
            Some(head) => {
                let weights = OpWeights::Channels(rows_w8(head, 1.0 / logits.unit)?);
                Logits { weights, ..logits }
            }
            None => Logits { unit, ..logits },
        };
        Ok((self.stream(value, bits), logits))
    }

    fn norm(&mut self, stream: Stream, output: &NormOutput) -> Result<Normed, ImportError> {
        self.builder.norm(stream.activation.value, stream.bits, false, output.clone())
    }

    fn block(&mut self, block: &Block, stream: Stream) -> Result<Stream, ImportError> {
        let x = self.norm(stream, &block.mix_norm)?;
        let (query, key, value) = (&block.query, &block.key, &block.value);
        let mixed = self.builder.attention(&Heads { query, key, value, turned: true }, &x)?;
        // The unit only ever grows: a proof would have to watch the clamp where it shrinks.
        let bits = self.residual_bits().min(stream.bits);
        let sum = self.builder.add(&block.mix, mixed, stream.activation, bits)?;
        let stream = self.stream(sum, bits);
        let x = self.norm(stream, &block.hidden_norm)?;
        let stream = self.feed_forward(block, &x, stream)?;
        self.builder.boundaries.push(stream.activation.value);
        Ok(stream)
    }

    fn feed_forward(
        &mut self,
        block: &Block,
        x: &Normed,
        stream: Stream,
    ) -> Result<Stream, ImportError> {
        let reach = |linear: &Linear| x.reach(linear);
        let most = self.builder.roomy(largest(reach(&block.gate).into_iter()));
        let gate_bits = bits(most, A16_MOST, GATE_BITS);
        let gate_unit = 1.0 / power_of_two(gate_bits);
        let up_reach = reach(&block.up);
        let up_unit = self.builder.roomy(largest(up_reach.iter().copied())) / A16_MOST;
        let gate = self.builder.linear(&block.gate, x, gate_unit)?;
        let up = self.builder.linear(&block.up, x, up_unit)?;
        let op = Op::Table { input: gate.value, table: self.table(gate_bits)? };
        let gate = self.builder.push(op, OpWeights::Nothing)?;
        // The largest entry of the table is that of the largest activation.
        let gate_most = silu(f64::from(i16::MAX) * gate_unit);
        let products: Vec<f64> = up_reach.iter().map(|up| up * gate_most).collect();
        let most = self.builder.roomy(block.down.most(&products, &[]));
        let finest = self.residual_bits().min(stream.bits);
        let scale = bits(most, GATE_MOST, finest);
        let input = gate_unit * up_unit;
        let output = 1.0 / power_of_two(scale);
        let units = Units { input, output, requantise: Requantise::Wide };
        let (down, unit) = (&block.down, stream.activation.unit);
        let made = channels(&down.weights, &down.bias, units, Some(unit))?;
        let (up, stream) = (up.value, stream.activation.value);
        let op = Op::GateResidual { gate, up, stream, weights: WeightType::W8 };
        let value = self.builder.written(op, OpWeights::Channels(made), output)?;
        Ok(self.stream(value, scale))
    }

    /// The table for gates in steps of 2^-bits.
    fn table(&mut self, bits: u32) -> Result<u32, ImportError> {
        let known = self.gates.iter().position(|gate| *gate == bits);
        count(known.unwrap_or_else(|| {
            self.gates.push(bits);
            self.gates.len() - 1
        }))
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + libm::exp(-x))
}

fn silu_table(bits: u32) -> Vec<i16> {
    let unit = 1.0 / power_of_two(bits);
    table(silu, unit, unit)
}

/// Cosines and sines of position times frequency; frequency i is base^(−i / pairs).
fn rope_table(recipe: &Recipe, pairs: usize) -> Result<RopeTable, ImportError> {
    let missing = || ImportError::Recipe { reason: "a decoder needs rope_base".to_owned() };
    let base = recipe.rope_base.ok_or_else(missing)?;
    let frequencies: Vec<f64> =
        (0..pairs).map(|pair| libm::pow(base, -(pair as f64) / pairs as f64)).collect();
    let (mut cos, mut sin) = (Rows::new(pairs), Rows::new(pairs));
    for position in 0..recipe.max_positions().min(POSITIONS_MAX) {
        let angles = frequencies.iter().map(|frequency| f64::from(position) * frequency);
        let turn = |value: f64| (value * SCALE).round() as i32;
        cos.push(&angles.clone().map(|angle| turn(libm::cos(angle))).collect::<Vec<_>>());
        sin.push(&angles.map(|angle| turn(libm::sin(angle))).collect::<Vec<_>>());
    }
    Ok(RopeTable { cos, sin })
}
