//! A BERT encoder in 64-bit floats: the plainest forward pass, for comparison only.

use engine::import::{Recipe, Source};

/// Rows of floats of one width.
type Rows = Vec<Vec<f64>>;

/// The float model.
pub(crate) struct Bert {
    words: Rows,
    places: Rows,
    first_norm: Norm,
    blocks: Vec<Block>,
    heads: usize,
}

struct Norm {
    gamma: Vec<f64>,
    beta: Vec<f64>,
}

struct Linear {
    weights: Rows,
    bias: Vec<f64>,
}

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
    /// Reads the weights of a model that `recipe` describes.
    pub(crate) fn read(weights: &[u8], recipe: &Recipe) -> Self {
        let source = Source::read(weights).expect("a safetensors file");
        let floats = |name: &str| source.floats(name).expect("the tensor is there");
        let rows = |name: &str| {
            let (shape, data) = floats(name);
            data.chunks_exact(*shape.last().expect("a matrix")).map(<[f64]>::to_vec).collect()
        };
        let vector = |name: &str| floats(name).1;
        let norm = |name: &str| Norm {
            gamma: vector(&format!("{name}.weight")),
            beta: vector(&format!("{name}.bias")),
        };
        let linear = |name: &str| Linear {
            weights: rows(&format!("{name}.weight")),
            bias: vector(&format!("{name}.bias")),
        };
        let block = |index: usize| {
            let name = |part: &str| format!("encoder.layer.{index}.{part}");
            Block {
                query: linear(&name("attention.self.query")),
                key: linear(&name("attention.self.key")),
                value: linear(&name("attention.self.value")),
                mix: linear(&name("attention.output.dense")),
                mix_norm: norm(&name("attention.output.LayerNorm")),
                up: linear(&name("intermediate.dense")),
                down: linear(&name("output.dense")),
                down_norm: norm(&name("output.LayerNorm")),
            }
        };
        let mut places: Rows = rows("embeddings.position_embeddings.weight");
        let kinds: Rows = rows("embeddings.token_type_embeddings.weight");
        places.iter_mut().for_each(|place| *place = add(place, &kinds[0]));
        let count = (0..)
            .take_while(|index| source.has(&format!("encoder.layer.{index}.output.dense.weight")));
        Self {
            words: rows("embeddings.word_embeddings.weight"),
            places,
            first_norm: norm("embeddings.LayerNorm"),
            blocks: count.map(block).collect(),
            heads: recipe.heads as usize,
        }
    }

    /// The mean of the last rows; its length does not matter for a cosine.
    pub(crate) fn embed(&self, ids: &[u32]) -> Vec<f64> {
        let words = ids.iter().zip(&self.places);
        let mut x: Rows = words
            .map(|(id, place)| self.first_norm.apply(&add(&self.words[*id as usize], place)))
            .collect();
        for block in &self.blocks {
            x = block.apply(&x, self.heads);
        }
        x.iter().fold(vec![0.0; x[0].len()], |sum, row| add(&sum, row))
    }
}

impl Block {
    fn apply(&self, x: &Rows, heads: usize) -> Rows {
        let (queries, keys, values) = (self.query.apply(x), self.key.apply(x), self.value.apply(x));
        let width = queries[0].len() / heads;
        let mixed: Rows = queries
            .iter()
            .map(|query| {
                let heads = query.chunks_exact(width).enumerate();
                heads.flat_map(|(head, query)| attend(query, &keys, &values, head)).collect()
            })
            .collect();
        let x: Rows = self
            .mix
            .apply(&mixed)
            .iter()
            .zip(x)
            .map(|(sum, x)| self.mix_norm.apply(&add(sum, x)))
            .collect();
        let mut hidden = self.up.apply(&x);
        let gelu = |x: f64| x / 2.0 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2));
        hidden.iter_mut().flatten().for_each(|value| *value = gelu(*value));
        let down = self.down.apply(&hidden);
        down.iter().zip(&x).map(|(sum, x)| self.down_norm.apply(&add(sum, x))).collect()
    }
}

fn attend(query: &[f64], keys: &Rows, values: &Rows, head: usize) -> Vec<f64> {
    let width = query.len();
    let part = |row: &'_ [f64]| row[head * width..][..width].to_vec();
    let scores: Vec<f64> =
        keys.iter().map(|key| dot(query, &part(key)) / (width as f64).sqrt()).collect();
    let best = scores.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - best).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; width];
    for (weight, value) in weights.iter().zip(values) {
        for (out, value) in out.iter_mut().zip(part(value)) {
            *out += weight / total * value;
        }
    }
    out
}

impl Linear {
    fn apply(&self, rows: &Rows) -> Rows {
        let row = |input: &Vec<f64>| {
            let channels = self.weights.iter().zip(&self.bias);
            channels.map(|(weights, bias)| dot(weights, input) + bias).collect()
        };
        rows.iter().map(row).collect()
    }
}

impl Norm {
    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let count = x.len() as f64;
        let mean = x.iter().sum::<f64>() / count;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        let scale = 1.0 / (variance + 1e-12).sqrt();
        let weights = self.gamma.iter().zip(&self.beta);
        x.iter().zip(weights).map(|(x, (gamma, beta))| (x - mean) * scale * gamma + beta).collect()
    }
}

fn add(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(left, right)| left + right).collect()
}

/// In eight partial sums, so that the processor may do several at once.
fn dot(left: &[f64], right: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (left, right) in left.chunks_exact(8).zip(right.chunks_exact(8)) {
        for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += left * right;
        }
    }
    sums.iter().sum()
}
