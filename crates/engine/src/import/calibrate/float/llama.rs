//! A decoder of the llama family in floats.

use super::{Linear, Part, Reach, Rows, Seen, attend, floats};
use crate::import::llama::count_blocks;
use crate::import::source::Source;
use crate::import::{ImportError, Recipe};

/// The float model.
#[derive(Debug)]
pub struct Llama {
    words: Rows,
    head: Option<Rows>,
    blocks: Vec<Block>,
    output: Vec<f32>,
    heads: usize,
    epsilon: f64,
    base: f64,
}

#[derive(Debug)]
struct Block {
    mix_norm: Vec<f32>,
    query: Linear,
    key: Linear,
    value: Linear,
    mix: Linear,
    hidden_norm: Vec<f32>,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn read(source: &Source<'_>, block: usize) -> Result<Self, ImportError> {
        let name = |part: &str| format!("model.layers.{block}.{part}");
        let linear = |part: &str| Linear::read(source, &name(part));
        Ok(Self {
            mix_norm: floats(source, &name("input_layernorm.weight"))?,
            query: linear("self_attn.q_proj")?,
            key: linear("self_attn.k_proj")?,
            value: linear("self_attn.v_proj")?,
            mix: linear("self_attn.o_proj")?,
            hidden_norm: floats(source, &name("post_attention_layernorm.weight"))?,
            gate: linear("mlp.gate_proj")?,
            up: linear("mlp.up_proj")?,
            down: linear("mlp.down_proj")?,
        })
    }
}

impl Llama {
    /// Reads the weights; heads, epsilon and the rotation's base are the recipe's.
    ///
    /// # Errors
    /// A source that lacks a tensor, or a recipe that lacks the base.
    pub fn read(source: &Source<'_>, recipe: &Recipe) -> Result<Self, ImportError> {
        let missing = || ImportError::Recipe { reason: "a decoder needs rope_base".to_owned() };
        let rows =
            |name: &str| source.matrix(name, None, None).map(|matrix| Rows::from_matrix(&matrix));
        let head = source.has("lm_head.weight").then(|| rows("lm_head.weight")).transpose()?;
        let blocks = (0..count_blocks(source)).map(|block| Block::read(source, block));
        Ok(Self {
            words: rows("model.embed_tokens.weight")?,
            head,
            blocks: blocks.collect::<Result<_, _>>()?,
            output: floats(source, "model.norm.weight")?,
            base: recipe.rope_base.ok_or_else(missing)?,
            heads: recipe.heads.max(1) as usize,
            epsilon: recipe.norm_epsilon,
        })
    }

    /// The last rows of all positions, normalised; `seen` gets what is made on the way.
    pub fn hidden(&self, ids: &[u32], seen: Seen<'_>) -> Rows {
        let mut x = self.words.gather(ids);
        seen(0, Part::Stream, x.most());
        for (index, block) in self.blocks.iter().enumerate() {
            let mut seen = |part, rows: &Rows| seen(index, part, rows.most());
            let n = self.norm(&x, &block.mix_norm);
            let (mut q, mut k, v) =
                (block.query.apply(&n), block.key.apply(&n), block.value.apply(&n));
            seen(Part::Query, &q);
            seen(Part::Key, &k);
            seen(Part::Value, &v);
            let width = q.width / self.heads;
            self.turn(&mut q, width);
            self.turn(&mut k, width);
            x.add(&block.mix.apply(&attend(&q, &k, &v, width, Reach::Causal)));
            seen(Part::Stream, &x);
            let n = self.norm(&x, &block.hidden_norm);
            let (mut gate, up) = (block.gate.apply(&n), block.up.apply(&n));
            seen(Part::Gate, &gate);
            seen(Part::Up, &up);
            for (gate, up) in gate.data.iter_mut().zip(&up.data) {
                *gate = *gate / (1.0 + (-*gate).exp()) * up;
            }
            x.add(&block.down.apply(&gate));
            seen(Part::Stream, &x);
        }
        self.norm(&x, &self.output)
    }

    /// The logits of rows that [`Self::hidden`] gave.
    pub fn logits(&self, hidden: &Rows) -> Rows {
        hidden.times(self.head.as_ref().unwrap_or(&self.words))
    }

    fn norm(&self, x: &Rows, gamma: &[f32]) -> Rows {
        let mut out = x.clone();
        for row in out.iter_mut() {
            let square: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            let scale = 1.0 / (square / x.width as f64 + self.epsilon).sqrt();
            row.iter_mut().zip(gamma).for_each(|(x, gamma)| *x *= scale as f32 * gamma);
        }
        out
    }

    fn turn(&self, rows: &mut Rows, width: usize) {
        let pairs = width / 2;
        let frequency = |pair: usize| self.base.powf(-(pair as f64) / pairs as f64);
        let frequencies: Vec<f64> = (0..pairs).map(frequency).collect();
        for (position, row) in rows.iter_mut().enumerate() {
            for head in row.chunks_exact_mut(width) {
                let (first, second) = head.split_at_mut(pairs);
                for ((a, b), frequency) in first.iter_mut().zip(second).zip(&frequencies) {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    let (sin, cos) = (sin as f32, cos as f32);
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        }
    }
}
