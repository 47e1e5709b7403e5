//! A decoder of the llama family in floats.

use super::{Rows, Strided, product};
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
    recipe: Recipe,
    base: f64,
}

#[derive(Debug)]
struct Linear {
    weights: Rows,
    bias: Option<Vec<f32>>,
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

/// A row set that a forward pass has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The stream after the embedding, or after a block's attention or feed-forward op.
    Stream,
    /// Queries before they are turned.
    Query,
    /// Keys before they are turned.
    Key,
    /// Values.
    Value,
    /// Gates before SiLU.
    Gate,
    /// What gates multiply.
    Up,
}

fn floats(source: &Source<'_>, name: &str) -> Result<Vec<f32>, ImportError> {
    Ok(source.floats(name)?.1.into_iter().map(|value| value as f32).collect())
}

impl Linear {
    fn read(source: &Source<'_>, name: &str) -> Result<Self, ImportError> {
        let bias = format!("{name}.bias");
        let bias = source.has(&bias).then(|| floats(source, &bias)).transpose()?;
        let weights = source.matrix(&format!("{name}.weight"), None, None)?;
        Ok(Self { weights: Rows::from_matrix(&weights), bias })
    }

    fn apply(&self, rows: &Rows) -> Rows {
        let mut out = rows.times(&self.weights);
        if let Some(bias) = &self.bias {
            for row in out.iter_mut() {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
        }
        out
    }
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
            recipe: recipe.clone(),
        })
    }

    /// The last rows of all positions, normalised. `seen` gets block, part and largest magnitude of
    /// what is made on the way; the embedding counts as block 0, the blocks from 1 on.
    pub fn hidden(&self, ids: &[u32], seen: &mut dyn FnMut(usize, Part, f64)) -> Vec<Vec<f32>> {
        let mut x = Rows::zeros(ids.len(), self.words.width);
        for (row, id) in x.iter_mut().zip(ids) {
            row.copy_from_slice(&self.words.data[*id as usize * self.words.width..][..row.len()]);
        }
        seen(0, Part::Stream, x.most());
        for (index, block) in (1..).zip(&self.blocks) {
            let mut seen = |part, rows: &Rows| seen(index, part, rows.most());
            let n = self.norm(&x, &block.mix_norm);
            let (mut q, mut k, v) =
                (block.query.apply(&n), block.key.apply(&n), block.value.apply(&n));
            seen(Part::Query, &q);
            seen(Part::Key, &k);
            seen(Part::Value, &v);
            let width = q.width / self.recipe.heads as usize;
            self.turn(&mut q, width);
            self.turn(&mut k, width);
            x.add(&block.mix.apply(&attend(&q, &k, &v, width)));
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
        self.norm(&x, &self.output).iter().map(<[f32]>::to_vec).collect()
    }

    /// The logits of some rows.
    pub fn logits(&self, hidden: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let rows = Rows { width: self.words.width, data: hidden.concat() };
        rows.times(self.head.as_ref().unwrap_or(&self.words)).iter().map(<[f32]>::to_vec).collect()
    }

    fn norm(&self, x: &Rows, gamma: &[f32]) -> Rows {
        let mut out = x.clone();
        for row in out.iter_mut() {
            let square: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            let scale = 1.0 / (square / x.width as f64 + self.recipe.norm_epsilon).sqrt();
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

/// Causal attention of all heads.
fn attend(queries: &Rows, keys: &Rows, values: &Rows, width: usize) -> Rows {
    let count = queries.count();
    let group = queries.width / keys.width;
    let mut out = Rows::zeros(count, queries.width);
    let (mut scores, mut mixed) = (vec![0.0; count * count], vec![0.0; count * width]);
    for head in 0..queries.width / width {
        let part = |rows: &'_ Rows, head: usize| head * width..rows.data.len();
        let key_head = head / group;
        let q = Strided { data: &queries.data[part(queries, head)], row: queries.width, column: 1 };
        let k = Strided { data: &keys.data[part(keys, key_head)], row: 1, column: keys.width };
        product((count, width, count), q, k, &mut scores);
        for (reach, row) in (1..).zip(scores.chunks_exact_mut(count)) {
            softmax(&mut row[..reach], 1.0 / (width as f32).sqrt());
            row[reach..].fill(0.0);
        }
        let e = Strided { data: &scores, row: count, column: 1 };
        let v =
            Strided { data: &values.data[part(values, key_head)], row: values.width, column: 1 };
        product((count, count, width), e, v, &mut mixed);
        for (out, mixed) in out.iter_mut().zip(mixed.chunks_exact(width)) {
            out[head * width..][..width].copy_from_slice(mixed);
        }
    }
    out
}

fn softmax(row: &mut [f32], scale: f32) {
    let most = row.iter().copied().fold(f32::MIN, f32::max);
    row.iter_mut().for_each(|score| *score = ((*score - most) * scale).exp());
    let total: f32 = row.iter().sum();
    row.iter_mut().for_each(|score| *score /= total);
}
