//! An encoder of the BERT family in floats.

use std::f64::consts::SQRT_2;

use super::{Linear, Part, Reach, Rows, Seen, attend, floats};
use crate::import::bert::count_blocks;
use crate::import::source::Source;
use crate::import::{ImportError, Recipe};

/// The float model.
#[derive(Debug)]
pub struct Bert {
    words: Rows,
    places: Rows,
    first_norm: Norm,
    blocks: Vec<Block>,
    heads: usize,
}

#[derive(Debug)]
struct Norm {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    epsilon: f64,
}

#[derive(Debug)]
struct Block {
    query: Linear,
    key: Linear,
    value: Linear,
    mix: Linear,
    mix_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

impl Bert {
    /// Reads the weights; heads and epsilon are the recipe's.
    ///
    /// # Errors
    /// A source that lacks a tensor.
    pub fn read(source: &Source<'_>, recipe: &Recipe) -> Result<Self, ImportError> {
        let rows =
            |name: &str| source.matrix(name, None, None).map(|matrix| Rows::from_matrix(&matrix));
        let norm = |name: &str| {
            let gamma = floats(source, &format!("{name}.weight"))?;
            let beta = floats(source, &format!("{name}.bias"))?;
            Ok::<_, ImportError>(Norm { gamma, beta, epsilon: recipe.norm_epsilon })
        };
        let block = |index: usize| {
            let name = |part: &str| format!("encoder.layer.{index}.{part}");
            let linear = |part: &str| Linear::read(source, &name(part));
            Ok(Block {
                query: linear("attention.self.query")?,
                key: linear("attention.self.key")?,
                value: linear("attention.self.value")?,
                mix: linear("attention.output.dense")?,
                mix_norm: norm(&name("attention.output.LayerNorm"))?,
                up: linear("intermediate.dense")?,
                down: linear("output.dense")?,
                down_norm: norm(&name("output.LayerNorm"))?,
            })
        };
        let mut places = rows("embeddings.position_embeddings.weight")?;
        let kinds = rows("embeddings.token_type_embeddings.weight")?;
        for place in places.iter_mut() {
            place.iter_mut().zip(&kinds.data).for_each(|(place, kind)| *place += kind);
        }
        Ok(Self {
            words: rows("embeddings.word_embeddings.weight")?,
            places,
            first_norm: norm("embeddings.LayerNorm")?,
            blocks: (0..count_blocks(source)).map(block).collect::<Result<_, ImportError>>()?,
            heads: recipe.heads as usize,
        })
    }

    /// The sum of the last rows of all positions; its length does not matter for a cosine.
    pub fn embed(&self, ids: &[u32], seen: Seen<'_>) -> Vec<f32> {
        let mut x = self.words.gather(ids);
        for (row, place) in x.iter_mut().zip(self.places.iter()) {
            row.iter_mut().zip(place).for_each(|(x, place)| *x += place);
        }
        self.first_norm.apply(&mut x);
        for (index, block) in self.blocks.iter().enumerate() {
            let mut seen = |part, rows: &Rows| seen(index, part, rows.most());
            let (q, k, v) = (block.query.apply(&x), block.key.apply(&x), block.value.apply(&x));
            seen(Part::Query, &q);
            seen(Part::Key, &k);
            seen(Part::Value, &v);
            let width = q.width / self.heads.max(1);
            x.add(&block.mix.apply(&attend(&q, &k, &v, width, Reach::Full)));
            seen(Part::Stream, &x);
            block.mix_norm.apply(&mut x);
            let mut hidden = block.up.apply(&x);
            seen(Part::Up, &hidden);
            for value in &mut hidden.data {
                let x = f64::from(*value);
                *value = (x / 2.0 * (1.0 + libm::erf(x / SQRT_2))) as f32;
            }
            x.add(&block.down.apply(&hidden));
            seen(Part::Stream, &x);
            block.down_norm.apply(&mut x);
        }
        let mut sum = vec![0.0; x.width];
        for row in x.iter() {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        sum
    }
}

impl Norm {
    fn apply(&self, rows: &mut Rows) {
        let count = rows.width as f64;
        for row in rows.iter_mut() {
            let mean = row.iter().copied().map(f64::from).sum::<f64>() / count;
            let square = |x: &f32| (f64::from(*x) - mean) * (f64::from(*x) - mean);
            let variance = row.iter().map(square).sum::<f64>() / count;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            for (x, (gamma, beta)) in row.iter_mut().zip(self.gamma.iter().zip(&self.beta)) {
                *x = ((f64::from(*x) - mean) * scale) as f32 * gamma + beta;
            }
        }
    }
}
