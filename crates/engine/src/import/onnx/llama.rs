//! Decoders of the llama family in an ONNX graph, found from the logits backwards, block by block.

use std::collections::BTreeSet;

use model::Reach;

use super::attention::Attention;
use super::decoder::{Rms, Stream};
use super::evaluate::Machine;
use super::fused::{is_table, tables};
use super::graph::{Attribute, Graph};
use super::pattern::{Linear, Search, close};
use super::trial::Kind;
use super::weight::{Refusal, Weights, behind_outputs, floats};
use crate::import::ImportError;
use crate::import::source::BLOCKS_MAX;

/// The largest number that may end a slice that takes all: exporters write several.
const ALL: i64 = 1 << 31;

/// Steps of the search for a block. Many outputs may end in the same ones.
const BLOCK: usize = 1 << 15;

/// What was found.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    pub(super) weights: Weights<'a>,
    pub(super) kind: Kind,
    pub(super) epsilon: f64,
    /// Constants besides the weights that tell what the model is.
    pub(super) read: BTreeSet<&'a str>,
}

/// Finds the decoder behind one of the graph's outputs. Where none is one, the refusal is that of
/// the output of which most was recognised.
pub(super) fn find<'a>(graph: &Graph<'a>) -> Result<Decoder<'a>, Refusal> {
    let search = Search { graph };
    let mut machine = Machine::new(search);
    behind_outputs(graph, |output| {
        let (blocks, rows) = (Vec::new(), Vec::new());
        let machine = &mut machine;
        let mut walk = Walk { search, machine, blocks, rows, epsilon: None, pieces: 0 };
        walk.decoder(output).map_err(|error| (walk.pieces, error))
    })
}

/// Whether an input of this name holds words.
fn is_words(name: &str) -> bool {
    name.contains("ids") && !name.contains("position") && !name.contains("type")
}

struct Walk<'w, 'g, 'a> {
    search: Search<'g, 'a>,
    machine: &'w mut Machine<'g, 'a>,
    /// Last block first.
    blocks: Vec<Block<'a>>,
    /// Values that hold rows of the stream's width.
    rows: Vec<&'a str>,
    epsilon: Option<f64>,
    pieces: usize,
}

struct Block<'a> {
    attention: Attention<'a>,
    linears: [(&'static str, Linear<'a>); 4],
    norms: [(&'static str, Rms<'a>); 2],
}

impl<'a> Walk<'_, '_, 'a> {
    fn decoder(&mut self, output: &'a str) -> Result<Decoder<'a>, ImportError> {
        let head = self.search.linear(self.whole(output))?;
        if head.bias.is_some() {
            return self.search.refuse(head.output, "logits without a bias");
        }
        let last = self.norm(self.whole(head.input))?;
        self.pieces += 1;
        let mut stream = last.input;
        let table = loop {
            if let Some(table) = self.embedding(stream) {
                break table;
            }
            if self.blocks.len() == BLOCKS_MAX {
                return self.search.refuse(output, "at most 256 blocks");
            }
            stream = self.block(stream)?;
            self.pieces += 1;
        };
        self.check_floats(&[table, head.weight, last.gamma])?;
        let kind = self.kind(output, table)?;
        let mut read = std::mem::take(&mut self.machine.read);
        read.insert(head.weight);
        let mut weights = Weights::default();
        weights.add("model.embed_tokens.weight".to_owned(), table);
        weights.add("model.norm.weight".to_owned(), last.gamma);
        if !self.tied(&head, table) {
            weights.linear("lm_head", &head, None);
        }
        for (index, block) in self.blocks.iter().rev().enumerate() {
            let name = |part: &str| format!("model.layers.{index}.{part}");
            let names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
            for (part, found) in names.iter().zip(&block.attention.parts) {
                weights.linear(&name(part), &found.linear, Some((found.first, found.count)));
            }
            for (part, linear) in &block.linears {
                weights.linear(&name(part), linear, None);
            }
            for (part, norm) in &block.norms {
                weights.add(format!("{}.weight", name(part)), norm.gamma);
            }
        }
        Ok(Decoder { weights, kind, epsilon: self.epsilon.unwrap_or(0.0), read })
    }

    /// The value behind slices that take all.
    fn whole(&self, value: &'a str) -> &'a str {
        let mut value = self.search.rows(value);
        for _ in 0..4 {
            let Some(node) = self.search.graph.maker(value) else { break };
            let numbers =
                |index| self.search.graph.integers(self.search.indexes(node.input(index)));
            let every = |index, judge: fn(i64) -> bool| {
                numbers(index).is_some_and(|numbers| numbers.into_iter().all(judge))
            };
            let steps = node.input(4).is_empty() || every(4, |step| step == 1);
            let all = every(1, |start| start == 0) && every(2, |end| end >= ALL - 1) && steps;
            if node.op != "Slice" || !all {
                break;
            }
            value = self.search.rows(node.input(0));
        }
        value
    }

    /// A norm, whose epsilon all others share.
    fn norm(&mut self, value: &'a str) -> Result<Rms<'a>, ImportError> {
        let norm = self.search.rms(value)?;
        if self.epsilon.is_some_and(|epsilon| !close(norm.epsilon, epsilon)) {
            return self.search.refuse(norm.output, "one epsilon in all norms");
        }
        self.epsilon.get_or_insert(norm.epsilon);
        self.rows.push(norm.output);
        Ok(norm)
    }

    /// The table of words, where the stream is a look-up.
    fn embedding(&mut self, stream: Stream<'a>) -> Option<&'a str> {
        let Stream::Value(value) = stream else { return None };
        let node = self.search.graph.maker(value).filter(|node| node.op == "Gather")?;
        let (table, words) = (self.search.plain(node.input(0)), self.search.indexes(node.input(1)));
        let named = self.search.graph.inputs.contains(&words)
            && is_words(words)
            && matches!(node.attribute("axis"), None | Some(Attribute::Integer(0)));
        let found = named && self.search.graph.constant(table)?.shape.len() == 2;
        self.rows.push(value);
        found.then_some(table)
    }

    /// The linear op of a sum, and the stream that it is added to.
    fn residual(&mut self, stream: Stream<'a>) -> Result<(Linear<'a>, Stream<'a>), ImportError> {
        let (a, b) = match stream {
            Stream::Sum(a, b) => (a, b),
            Stream::Value(value) => {
                return self.search.refuse(value, "the addition to a stream");
            }
        };
        let (linear, rest) = match self.search.linear(a) {
            Ok(linear) => (linear, b),
            Err(_) => (self.search.linear(b)?, a),
        };
        self.rows.push(rest);
        Ok((linear, self.search.stream(rest)))
    }

    /// The block that ends in a stream, and the stream that it reads.
    fn block(&mut self, stream: Stream<'a>) -> Result<Stream<'a>, ImportError> {
        const READ: &str = "the norm of the stream that the block adds to";
        self.machine.spend(BLOCK, self.search.value_of(stream))?;
        let (down, middle) = self.residual(stream)?;
        let (gate, up) = self.search.gated(down.input)?;
        let (gate, up) = (self.search.linear(gate)?, self.search.linear(up)?);
        let hidden_norm = self.norm(gate.input)?;
        if self.search.rows(up.input) != hidden_norm.output || hidden_norm.input != middle {
            return self.search.refuse(hidden_norm.output, READ);
        }
        let (mix, input) = self.residual(middle)?;
        let attention = Attention::find(self.machine, self.search.rows(mix.input))?;
        let [query, key, value] = attention.parts.map(|part| part.linear.input);
        let norm = self.norm(query)?;
        let one = [key, value].iter().all(|rows| self.search.rows(rows) == norm.output);
        if !one || norm.input != input {
            return self.search.refuse(norm.output, READ);
        }
        let linears = [
            ("self_attn.o_proj", mix),
            ("mlp.gate_proj", gate),
            ("mlp.up_proj", up),
            ("mlp.down_proj", down),
        ];
        let norms = [("input_layernorm", norm), ("post_attention_layernorm", hidden_norm)];
        self.blocks.push(Block { attention, linears, norms });
        Ok(input)
    }

    /// Holds all weights against their shapes: no number of rows is believed before.
    fn check_floats(&self, besides: &[&'a str]) -> Result<(), ImportError> {
        let mut names = besides.to_vec();
        for block in &self.blocks {
            let parts = block.attention.parts.iter().map(|part| part.linear);
            let linears = parts.chain(block.linears.iter().map(|(_, linear)| *linear));
            names.extend(linears.flat_map(|linear| linear.bias.into_iter().chain([linear.weight])));
            names.extend(block.norms.iter().map(|(_, norm)| norm.gamma));
        }
        names.into_iter().try_for_each(|name| floats(self.search.graph, name).map(|_| ()))
    }

    /// What all attentions are.
    fn kind(&mut self, output: &'a str, table: &'a str) -> Result<Kind, ImportError> {
        let shape = self.search.graph.constant(table).map_or(&[][..], |tensor| &tensor.shape);
        let width = shape.get(1).copied().unwrap_or(0);
        let mut kind = None;
        for block in &self.blocks {
            let found = block.attention.check(self.machine, &self.rows, width, Reach::Causal)?;
            if *kind.get_or_insert(found) != found {
                return self.search.refuse(output, "one kind of attention in all blocks");
            }
        }
        match kind {
            Some(kind) if kind.heads * kind.width == width => {
                self.check_tables(&kind)?;
                Ok(kind)
            }
            Some(_) => self.search.refuse(output, "heads as wide together as the stream"),
            None => self.search.refuse(output, "blocks behind the last norm"),
        }
    }

    /// Holds tables of rotations against the base to their last row: a run reads the first few.
    fn check_tables(&mut self, kind: &Kind) -> Result<(), ImportError> {
        const TABLE: &str = "cosines or sines of each position times base^(-i / pairs)";
        let Some(base) = kind.base else { return Ok(()) };
        let graph = self.search.graph;
        let tables: BTreeSet<[&str; 2]> = graph.nodes.iter().filter_map(tables).collect();
        for [cos, sin] in tables {
            for (name, of) in [(cos, f64::cos as fn(f64) -> f64), (sin, f64::sin)] {
                let Some(table) = graph.constant(name) else { continue };
                self.machine.spend(table.data.len().saturating_mul(4), name)?;
                if !is_table(table, kind.width / 2, base, of) {
                    return self.search.refuse(name, TABLE);
                }
            }
        }
        Ok(())
    }

    /// Whether logits come from the table of words: the same constant, or a copy of it.
    fn tied(&self, head: &Linear<'a>, table: &'a str) -> bool {
        let graph = self.search.graph;
        let (Some(words), Some(copy)) = (graph.constant(table), graph.constant(head.weight)) else {
            return false;
        };
        let [rows, columns] = words.shape[..] else { return false };
        let bytes = words.element().map_or(0, |element| element.piece().1);
        let length = rows.checked_mul(columns).and_then(|count| count.checked_mul(bytes));
        let whole = |data: &[u8]| bytes > 0 && length == Some(data.len());
        if words.kind != copy.kind || !whole(words.data) || !whole(copy.data) {
            return false;
        }
        if !head.transposed {
            return copy.shape == words.shape && copy.data == words.data;
        }
        let element = |at: usize| {
            let turned = at % columns * rows + at / columns;
            words.data[at * bytes..][..bytes] == copy.data[turned * bytes..][..bytes]
        };
        copy.shape == [columns, rows] && (0..rows * columns).all(element)
    }
}
