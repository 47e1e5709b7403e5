//! The BERT family in an ONNX graph, found from an output backwards, block by block.

use model::Reach;

use super::attention::Attention;
use super::evaluate::Machine;
use super::graph::{Graph, Node};
use super::pattern::{Linear, Norm, Search, close};
use super::trial::Kind;
use super::weight::{Refusal, Weights, behind_outputs, floats};
use crate::import::ImportError;
use crate::import::source::BLOCKS_MAX;

/// Steps of the search for a block: of all outputs together, no more than 1,024 are looked at.
const BLOCK: usize = 1 << 18;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Encoder<'a> {
    pub(super) weights: Weights<'a>,
    pub(super) heads: u32,
    pub(super) epsilon: f64,
}

/// Finds the encoder behind one of the graph's outputs. Where none is one, the refusal is that of
/// the output of which most was recognised.
pub(super) fn find<'a>(graph: &Graph<'a>) -> Result<Encoder<'a>, Refusal> {
    let search = Search { graph };
    let mut machine = Machine::new(search);
    behind_outputs(graph, |output| {
        let (blocks, rows) = (Vec::new(), Vec::new());
        let machine = &mut machine;
        let mut found = Found { search, machine, blocks, rows, heads: None, epsilon: None };
        found.encoder(output).map_err(|error| (found.blocks.len(), error))
    })
}

struct Found<'f, 'g, 'a> {
    search: Search<'g, 'a>,
    machine: &'f mut Machine<'g, 'a>,
    /// Last block first.
    blocks: Vec<Block<'a>>,
    /// Values that hold rows of the stream's width.
    rows: Vec<&'a str>,
    heads: Option<u32>,
    epsilon: Option<f64>,
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
                encoder.weights.linear(&name(part), linear, None);
            }
            for (part, norm) in &block.norms {
                encoder.norm(&name(part), norm);
            }
        }
        Ok(encoder)
    }

    /// A norm, whose epsilon all others share.
    fn norm(&mut self, value: &'a str) -> Result<Norm<'a>, ImportError> {
        let output = self.search.rows(value);
        let norm = self.search.norm(output)?;
        self.rows.push(output);
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
        self.rows.push(input);
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

    /// The linear ops of queries, keys and values behind the attention that gives `value`.
    fn attention(&mut self, value: &'a str) -> Result<[Linear<'a>; 3], ImportError> {
        let graph = self.search.graph;
        self.machine.spend(BLOCK, value)?;
        let attention = Attention::find(self.machine, self.search.rows(value))?;
        let linears = attention.parts.map(|part| part.linear);
        let mut stream = 0;
        for linear in &linears {
            // No number of rows is believed before its data.
            let [rows, columns] = floats(graph, linear.weight)?.0.shape[..] else { continue };
            stream = if linear.transposed { rows } else { columns };
        }
        let Kind { heads, .. } = attention.check(self.machine, &self.rows, stream, Reach::Full)?;
        let heads = u32::try_from(heads).unwrap_or(u32::MAX);
        if *self.heads.get_or_insert(heads) != heads {
            return self.search.refuse(attention.core, "one number of heads in all blocks");
        }
        Ok(linears)
    }

    fn embedding(&self, norm: &Norm<'a>, encoder: &mut Encoder<'a>) -> Result<(), ImportError> {
        encoder.norm("embeddings.LayerNorm", norm);
        for term in self.search.terms(norm.input) {
            let gather = self.search.node(term, "Gather", "a look-up of embeddings")?;
            let name = self.embedding_name(gather)?;
            let table = self.search.plain(gather.input(0));
            let name = format!("embeddings.{name}_embeddings.weight");
            if encoder.weights.0.contains_key(&name) {
                return self.search.refuse(term, "one look-up each of words, positions and types");
            }
            encoder.weights.add(name, table);
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
    fn norm(&mut self, name: &str, norm: &Norm<'a>) {
        self.weights.add(format!("{name}.weight"), norm.gamma);
        self.weights.add(format!("{name}.bias"), norm.beta);
    }
}
