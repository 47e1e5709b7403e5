//! The BERT family in an ONNX graph, found from an output backwards, block by block.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Attribute, Graph, Node};
use super::pattern::{Linear, Norm, Search, close, perm_is};
use super::weight::{Refusal, Weight};
use crate::import::ImportError;
use crate::import::source::BLOCKS_MAX;

/// Ops of which a mask of absent positions is made. What makes a mask depend on the order of
/// positions is not among them.
const MASK_OPS: [&str; 22] = [
    "Unsqueeze",
    "Squeeze",
    "Cast",
    "Sub",
    "Mul",
    "Add",
    "Expand",
    "Where",
    "Equal",
    "Not",
    "Reshape",
    "Shape",
    "Gather",
    "Slice",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Identity",
    "And",
    "Or",
    "Min",
    "Max",
];

/// Most values behind masks that are looked at, for all outputs together.
const MASK_VALUES_MAX: usize = 1 << 18;
/// Most blocks that are looked at, for all outputs together.
const ALL_BLOCKS_MAX: usize = 4 * BLOCKS_MAX;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Encoder<'a> {
    /// By their names in checkpoints.
    pub(super) weights: BTreeMap<String, Weight<'a>>,
    pub(super) heads: u32,
    pub(super) epsilon: f64,
}

/// Finds the encoder behind one of the graph's outputs. Where none is one, the refusal is that of
/// the output of which most was recognised.
pub(super) fn find<'a>(graph: &Graph<'a>) -> Result<Encoder<'a>, Refusal> {
    let mut best: Option<Refusal> = None;
    let (mut left, mut blocks) = (MASK_VALUES_MAX, 0);
    for output in &graph.outputs {
        let mut found = Found {
            search: Search { graph },
            blocks: Vec::new(),
            heads: None,
            epsilon: None,
            masks: BTreeSet::new(),
            left: &mut left,
        };
        match found.encoder(output) {
            Ok(encoder) => return Ok(encoder),
            Err(error) if best.as_ref().is_none_or(|(blocks, _)| found.blocks.len() > *blocks) => {
                best = Some((found.blocks.len(), error));
            }
            Err(_) => {}
        }
        blocks += found.blocks.len();
        if blocks > ALL_BLOCKS_MAX {
            break;
        }
    }
    let none = || (0, ImportError::Source { reason: "the graph has no outputs".to_owned() });
    Err(best.unwrap_or_else(none))
}

struct Found<'f, 'g, 'a> {
    search: Search<'g, 'a>,
    /// Last block first.
    blocks: Vec<Block<'a>>,
    heads: Option<u32>,
    epsilon: Option<f64>,
    /// Values behind masks that were looked at.
    masks: BTreeSet<&'a str>,
    /// How many more may be, of all outputs.
    left: &'f mut usize,
}

struct Block<'a> {
    linears: [(&'static str, Linear<'a>); 6],
    norms: [(&'static str, Norm<'a>); 2],
}

impl<'g, 'a> Found<'_, 'g, 'a> {
    fn encoder(&mut self, output: &'a str) -> Result<Encoder<'a>, ImportError> {
        let mut value = output;
        let first = loop {
            let norm = self.norm(value)?;
            let terms = self.search.terms(norm.input);
            if terms.iter().all(|term| !self.search.is(self.search.rows(term), "MatMul"))
                && terms.iter().any(|term| self.search.is(term, "Gather"))
            {
                break norm;
            }
            if self.blocks.len() == BLOCKS_MAX {
                return self.search.refuse(value, "at most 256 blocks");
            }
            let (block, input) = self.block(norm)?;
            self.blocks.push(block);
            value = input;
        };
        let mut encoder = Encoder {
            heads: self.heads.unwrap_or(0),
            epsilon: self.epsilon.unwrap_or(0.0),
            ..Encoder::default()
        };
        self.embedding(&first, &mut encoder)?;
        for (index, block) in self.blocks.iter().rev().enumerate() {
            let name = |part: &str| format!("encoder.layer.{index}.{part}");
            for (part, linear) in &block.linears {
                let Linear { weight, transposed, bias, .. } = *linear;
                encoder.add(format!("{}.weight", name(part)), weight, transposed);
                if let Some(bias) = bias {
                    encoder.add(format!("{}.bias", name(part)), bias, false);
                }
            }
            for (part, norm) in &block.norms {
                encoder.norm(&name(part), norm);
            }
        }
        Ok(encoder)
    }

    /// A norm, whose epsilon all others share.
    fn norm(&mut self, value: &'a str) -> Result<Norm<'a>, ImportError> {
        let norm = self.search.norm(self.search.rows(value))?;
        if self.epsilon.is_some_and(|epsilon| !close(norm.epsilon, epsilon)) {
            return self.search.refuse(value, "one epsilon in all norms");
        }
        self.epsilon.get_or_insert(norm.epsilon);
        Ok(norm)
    }

    /// The two values of a sum, one of which is a linear op.
    fn residual(&self, value: &'a str) -> Result<(Linear<'a>, &'a str), ImportError> {
        let sum = self.search.node(self.search.rows(value), "Add", "the addition to a stream")?;
        let (a, b) = (sum.input(0), sum.input(1));
        match self.search.linear(a) {
            Ok(linear) => Ok((linear, self.search.rows(b))),
            Err(_) => Ok((self.search.linear(b)?, self.search.rows(a))),
        }
    }

    /// The block that ends in `last`, and what it reads.
    fn block(&mut self, last: Norm<'a>) -> Result<(Block<'a>, &'a str), ImportError> {
        let (down, middle) = self.residual(last.input)?;
        let up = self.search.linear(self.search.gelu(self.search.rows(down.input))?)?;
        let middle_norm = self.norm(middle)?;
        let (mix, input) = self.residual(middle_norm.input)?;
        let [query, key, value] = self.attention(mix.input)?;
        for (linear, expected) in [(&up, middle), (&query, input), (&key, input), (&value, input)] {
            if self.search.rows(linear.input) != expected {
                return self.search.refuse(linear.input, "the rows that the block reads");
            }
        }
        let block = Block {
            linears: [
                ("attention.self.query", query),
                ("attention.self.key", key),
                ("attention.self.value", value),
                ("attention.output.dense", mix),
                ("intermediate.dense", up),
                ("output.dense", down),
            ],
            norms: [("attention.output.LayerNorm", middle_norm), ("output.LayerNorm", last)],
        };
        Ok((block, input))
    }

    /// The linear ops behind the attention that gives `value`.
    fn attention(&mut self, value: &'a str) -> Result<[Linear<'a>; 3], ImportError> {
        let merged = self.search.rows(value);
        let merged = self.search.node(merged, "Transpose", "heads put side by side")?;
        if !perm_is(merged, &[0, 2, 1, 3]) {
            return self.search.refuse(value, "heads put side by side");
        }
        let mixed = self.search.node(merged.input(0), "MatMul", "the averages of an attention")?;
        let (values, value_width, factor) = self.heads(mixed.input(1), false)?;
        let weights = self.search.node(mixed.input(0), "Softmax", "the weights of an attention")?;
        let last = match weights.attribute("axis") {
            None => true,
            Some(axis) => matches!(axis, Attribute::Integer(-1 | 3)),
        };
        if !last || factor != 1.0 {
            return self.search.refuse(mixed.input(0), "a softmax over all keys");
        }
        let (scores, scale) = self.scores(weights.input(0))?;
        let (queries, width, query_scale) = self.heads(scores.input(0), false)?;
        let (keys, key_width, key_scale) = self.heads(scores.input(1), true)?;
        let expected = 1.0 / (width as f64).sqrt();
        if width != key_width || width != value_width {
            return self.search.refuse(scores.input(0), "heads of one width");
        }
        if !close(scale * query_scale * key_scale, expected) {
            return self.search.refuse(weights.input(0), "scores over the root of a head's width");
        }
        Ok([queries, keys, values])
    }

    /// The product of queries and keys behind the scores, and what they are multiplied with.
    fn scores(&mut self, value: &'a str) -> Result<(&'g Node<'a>, f64), ImportError> {
        let search = self.search;
        let sum = search.graph.maker(search.plain(value)).filter(|node| node.op == "Add");
        let scores = match sum.map(|sum| (sum.input(0), sum.input(1))) {
            None => value,
            Some((a, b)) => {
                let first = search.is(search.scaled(a).0, "MatMul");
                let (scores, mask) = if first { (a, b) } else { (b, a) };
                self.check_mask(mask)?;
                scores
            }
        };
        let (product, scale) = search.scaled(scores);
        Ok((search.node(product, "MatMul", "the scores of an attention")?, scale))
    }

    /// A mask may depend on which positions are there, not on where they stand.
    fn check_mask(&mut self, mask: &'a str) -> Result<(), ImportError> {
        let mut open = vec![mask];
        while let Some(value) = open.pop() {
            if !self.masks.insert(value) {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else {
                return self.search.refuse(value, "masks made of fewer values");
            };
            *self.left = left;
            if let Some(node) = self.search.graph.maker(value) {
                if !MASK_OPS.contains(&node.op) {
                    return self.search.refuse(value, "a mask of absent positions");
                }
                // A shape depends on no number.
                if node.op != "Shape" {
                    open.extend(node.inputs.iter().copied().filter(|input| !input.is_empty()));
                }
            }
        }
        Ok(())
    }

    /// The linear op whose rows are cut into heads, the width of a head, and what the rows are
    /// multiplied with. Keys come with their last two axes exchanged.
    fn heads(
        &mut self,
        value: &'a str,
        exchanged: bool,
    ) -> Result<(Linear<'a>, usize, f64), ImportError> {
        const EXPECTED: &str = "rows cut into heads";
        let (mut value, mut factor) = self.search.scaled(value);
        let mut exchanged = exchanged;
        let mut turn = self.search.node(value, "Transpose", EXPECTED)?;
        if exchanged && perm_is(turn, &[0, 1, 3, 2]) {
            let (inner, scale) = self.search.scaled(turn.input(0));
            (value, factor, exchanged) = (inner, factor * scale, false);
            turn = self.search.node(value, "Transpose", EXPECTED)?;
        }
        let perm: &[i64] = if exchanged { &[0, 2, 3, 1] } else { &[0, 2, 1, 3] };
        if !perm_is(turn, perm) {
            return self.search.refuse(value, EXPECTED);
        }
        let cut = self.search.node(turn.input(0), "Reshape", EXPECTED)?;
        let shape = self.last_two(self.search.indexes(cut.input(1)));
        let Some([heads, width]) = shape else {
            return self.search.refuse(turn.input(0), "heads of a constant number and width");
        };
        if *self.heads.get_or_insert(heads) != heads {
            return self.search.refuse(turn.input(0), "one number of heads in all blocks");
        }
        let (rows, scale) = self.search.scaled(cut.input(0));
        Ok((self.search.linear(rows)?, width as usize, factor * scale))
    }

    /// The last two numbers of a shape, constant or put together.
    fn last_two(&self, shape: &'a str) -> Option<[u32; 2]> {
        let graph = self.search.graph;
        let numbers = graph.integers(shape).or_else(|| {
            let node = graph.maker(shape).filter(|node| node.op == "Concat")?;
            let parts = node.inputs.len().checked_sub(2)?;
            let last = node.inputs[parts..].iter();
            let number = |value: &&'a str| match graph.integers(self.search.indexes(value)) {
                Some(numbers) if numbers.len() == 1 => numbers.first().copied(),
                _ => None,
            };
            last.map(number).collect()
        })?;
        let last = numbers.get(numbers.len().checked_sub(2)?..)?;
        Some([
            u32::try_from(last[0]).ok()?,
            u32::try_from(last[1]).ok().filter(|width| *width > 0)?,
        ])
    }

    fn embedding(&self, norm: &Norm<'a>, encoder: &mut Encoder<'a>) -> Result<(), ImportError> {
        encoder.norm("embeddings.LayerNorm", norm);
        for term in self.search.terms(norm.input) {
            let gather = self.search.node(term, "Gather", "a look-up of embeddings")?;
            let name = self.embedding_name(gather)?;
            let table = self.search.plain(gather.input(0));
            let name = format!("embeddings.{name}_embeddings.weight");
            if encoder.weights.contains_key(&name) {
                return self.search.refuse(term, "one look-up each of words, positions and types");
            }
            encoder.add(name, table, false);
        }
        Ok(())
    }

    /// Which embedding a look-up is, by where its indexes come from.
    fn embedding_name(&self, gather: &Node<'a>) -> Result<&'static str, ImportError> {
        let graph = self.search.graph;
        let mut value = gather.input(1);
        for _ in 0..BLOCKS_MAX {
            value = self.search.indexes(value);
            if graph.inputs.contains(&value) {
                return Ok(if value.contains("type") { "token_type" } else { "word" });
            }
            if let Some(numbers) = graph.integers(value) {
                if numbers.iter().all(|number| *number == 0) {
                    return Ok("token_type");
                }
                if (0..).zip(&numbers).all(|(place, number): (i64, _)| place == *number) {
                    return Ok("position");
                }
                break;
            }
            let Some(node) = graph.maker(value) else { break };
            let starts_at_0 = || {
                let starts = graph.integers(self.search.indexes(node.input(1)));
                starts.is_some_and(|starts| starts.iter().all(|start| *start == 0))
            };
            match node.op {
                "Expand" => value = node.input(0),
                "Slice" if starts_at_0() => value = node.input(0),
                "Range" => {
                    let number = |index| graph.scalar(self.search.indexes(node.input(index)));
                    if (number(0), number(2)) == (Some(0.0), Some(1.0)) {
                        return Ok("position");
                    }
                    break;
                }
                _ => break,
            }
        }
        self.search.refuse(value, "words from an input, positions from 0 on, or types")
    }
}

impl<'a> Encoder<'a> {
    fn add(&mut self, name: String, tensor: &'a str, transposed: bool) {
        self.weights.insert(name, Weight { tensor, transposed, part: None });
    }

    fn norm(&mut self, name: &str, norm: &Norm<'a>) {
        self.add(format!("{name}.weight"), norm.gamma, false);
        self.add(format!("{name}.bias"), norm.beta, false);
    }
}
