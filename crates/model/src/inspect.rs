//! The machine gate: decides from manifest and graph alone whether they are a model, and counts
//! its work.
//!
//! Rules: every limit is a named constant; nothing is believed that can be computed; the cost is
//! linear in the number of ops, at most `OPS_MAX`. Weights are not looked at here.

use borsh::BorshDeserialize;
use units::WorkUnits;

use crate::blocks::check_blocks;
use crate::constants::{
    GRAPH_BYTES_MAX, HEAD_WIDTH_MAX, HEADS_MAX, INPUTS_MAX, OFFSET_MAX, POSITIONS_MAX,
    SCORE_MULTIPLIER_MAX, SEMANTICS, TABLES_MAX, VOCABULARY_MAX, WEIGHT_BYTES_MAX, WIDTH_MAX,
    WORK_UNIT_BITS,
};
use crate::error::ModelError;
use crate::graph::{Graph, Op, Reach, ValueId, WeightType};
use crate::int::Int;
use crate::layout;
use crate::manifest::Manifest;

/// What a model gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Tokens, one after the other.
    Generate,
    /// One row of length one.
    Embed,
}

/// What is known of a model from manifest and graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the model gives.
    pub task: Task,
    /// Which keys a position attends to.
    pub reach: Reach,
    /// Multiply-adds of matrix products per position (a).
    pub per_position: u64,
    /// Multiply-adds of matrix products per output (h).
    pub per_output: u64,
    /// Multiply-adds of attention per pair of positions (p).
    pub per_pair: u64,
    /// Elements of the output row (embedding) or of the stream (generation).
    pub width: u32,
    /// Token ids are below this.
    pub vocabulary: u32,
    /// Blocks between boundaries.
    pub blocks: u32,
    /// Bytes of weights and tables.
    pub weight_bytes: u64,
    /// Most tokens of an input.
    pub max_input: u32,
    /// Most positions of a run.
    pub max_positions: u32,
}

/// What a value's rows hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Residual stream, i32 within ±2^26.
    Res,
    /// Activations, i16.
    A16,
    /// One exact number per vocabulary entry.
    Logits,
    /// The sum of all positions' rows.
    Pooled,
    /// The output row of an embedding.
    Unit,
}

/// Sort and width of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What the rows hold.
    pub kind: Kind,
    /// Elements of a row.
    pub width: u32,
}

/// As [`inspect`], from canonical bytes of at most `GRAPH_BYTES_MAX` each.
///
/// # Errors
/// Whatever makes them no model.
pub fn inspect_bytes(manifest: &[u8], graph: &[u8]) -> Result<Facts, ModelError> {
    let manifest: Manifest = decode("the manifest", manifest)?;
    let graph: Graph = decode("the graph", graph)?;
    inspect(&manifest, &graph)
}

fn decode<T: BorshDeserialize>(what: &'static str, bytes: &[u8]) -> Result<T, ModelError> {
    at_most(what, length(bytes), length_of(GRAPH_BYTES_MAX))?;
    borsh::from_slice(bytes)
        .map_err(|error| ModelError::Encoding { what, reason: error.to_string() })
}

fn length(bytes: &[u8]) -> u64 {
    length_of(bytes.len())
}

pub(crate) fn length_of(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

pub(crate) fn at_most(
    what: &'static str,
    value: impl Into<u64>,
    limit: impl Into<u64>,
) -> Result<(), ModelError> {
    let (value, limit) = (value.into(), limit.into());
    if value > limit { Err(ModelError::TooLarge { what, value, limit }) } else { Ok(()) }
}

pub(crate) fn at_least(
    what: &'static str,
    value: impl Into<u64>,
    least: u64,
) -> Result<(), ModelError> {
    let value = value.into();
    if value < least { Err(ModelError::TooSmall { what, value, least }) } else { Ok(()) }
}

/// Checks manifest and graph and counts the model's work.
///
/// # Errors
/// The first rule that is broken, with its numbers.
pub fn inspect(manifest: &Manifest, graph: &Graph) -> Result<Facts, ModelError> {
    check_manifest(manifest, graph)?;
    let shapes = check_graph(graph)?;
    let weight_bytes = layout::total_bytes(graph, &shapes, manifest.max_positions);
    at_most("the size of the weights", weight_bytes, WEIGHT_BYTES_MAX)?;
    let work = work(graph, &shapes);
    let stream = graph.boundaries.last().and_then(|value| shape_of(&shapes, *value));
    Ok(Facts {
        task: match graph.reach {
            Reach::Causal => Task::Generate,
            Reach::Full => Task::Embed,
        },
        reach: graph.reach,
        per_position: work.per_position.to_u64(),
        per_output: work.per_output.to_u64(),
        per_pair: work.per_pair.to_u64(),
        width: stream.map_or(0, |shape| shape.width),
        vocabulary: graph.vocabulary,
        blocks: u32::try_from(graph.boundaries.len().saturating_sub(1)).unwrap_or(u32::MAX),
        weight_bytes,
        max_input: manifest.max_input,
        max_positions: manifest.max_positions,
    })
}

fn check_manifest(manifest: &Manifest, graph: &Graph) -> Result<(), ModelError> {
    if manifest.semantics != SEMANTICS {
        let found = manifest.semantics;
        return Err(ModelError::Semantics { found, supported: SEMANTICS });
    }
    let found = graph.root();
    if found != manifest.graph_root {
        let declared = manifest.graph_root;
        return Err(ModelError::Root { what: "the graph", found, declared });
    }
    at_most("max_positions", manifest.max_positions, POSITIONS_MAX)?;
    at_least("max_input", manifest.max_input, 1)?;
    at_most("max_input", manifest.max_input, manifest.max_positions)?;
    let mut lowest = 0;
    for id in manifest.stop_ids.iter().copied() {
        let reason = if graph.reach == Reach::Full {
            "an embedding model generates nothing that could stop"
        } else if id >= graph.vocabulary {
            "it is outside the vocabulary"
        } else if id < lowest {
            "stop ids must ascend"
        } else {
            lowest = id.saturating_add(1);
            continue;
        };
        return Err(ModelError::StopId { id, reason });
    }
    let printable = manifest.licence.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if manifest.licence.is_empty() || !printable { Err(ModelError::Licence) } else { Ok(()) }
}

/// Checks a graph by itself and gives the shape of each value.
///
/// # Errors
/// The first rule that is broken.
pub fn check_graph(graph: &Graph) -> Result<Vec<Shape>, ModelError> {
    at_least("the vocabulary", graph.vocabulary, 1)?;
    at_most("the vocabulary", graph.vocabulary, VOCABULARY_MAX)?;
    at_most("the number of tables", graph.tables, TABLES_MAX)?;
    at_most("rope_pairs", graph.rope_pairs, HEAD_WIDTH_MAX / 2)?;
    at_least("the number of ops", length_of(graph.ops.len()), 1)?;
    let mut shapes = Vec::with_capacity(graph.ops.len());
    for (index, op) in graph.ops.iter().enumerate() {
        let view = View { graph, shapes: &shapes, op: index };
        let shape = view.shape(op)?;
        shapes.push(shape);
    }
    check_blocks(graph, &shapes)?;
    Ok(shapes)
}

/// The shape of value `value`.
pub fn shape_of(shapes: &[Shape], value: ValueId) -> Option<Shape> {
    usize::try_from(value).ok().and_then(|index| shapes.get(index)).copied()
}

/// One op and the values before it.
struct View<'a> {
    graph: &'a Graph,
    shapes: &'a [Shape],
    op: usize,
}

impl View<'_> {
    fn shape(&self, op: &Op) -> Result<Shape, ModelError> {
        let is_embedding = matches!(op, Op::EmbeddingSum { .. } | Op::EmbeddingScaled { .. });
        if is_embedding != (self.op == 0) {
            return self.fails("the embedding is the first op, and only that");
        }
        match *op {
            Op::EmbeddingSum { width } => self.stream(width),
            Op::EmbeddingScaled { width, factor } => {
                at_least("the embedding's factor", factor, 1)?;
                self.stream(width)
            }
            Op::Norm { input, centred: _, offset } => {
                at_least("a norm's offset", offset, 1)?;
                at_most("a norm's offset", offset, OFFSET_MAX)?;
                let width = self.operand(input, Kind::Res)?;
                Ok(Shape { kind: Kind::A16, width })
            }
            Op::Linear { input, outputs, weights } => {
                self.weights(weights)?;
                self.operand(input, Kind::A16)?;
                self.activation(outputs)
            }
            Op::Table { input, table } => {
                if table >= self.graph.tables {
                    return self.fails("the model has no such table");
                }
                self.activation(self.operand(input, Kind::A16)?)
            }
            Op::LinearResidual { input, stream, weights } => {
                self.weights(weights)?;
                self.operand(input, Kind::A16)?;
                let shape = self.value(stream)?;
                match shape.kind {
                    Kind::Res | Kind::A16 => self.stream(shape.width),
                    _ => self.refuses(stream, "it cannot be added to"),
                }
            }
            Op::GateResidual { gate, up, stream, weights } => {
                self.weights(weights)?;
                if self.operand(gate, Kind::A16)? != self.operand(up, Kind::A16)? {
                    return self.fails("gate and up differ in width");
                }
                self.stream(self.operand(stream, Kind::Res)?)
            }
            Op::Rope { input, heads } => self.rope(input, heads),
            Op::Attention { .. } => self.attention(op),
            Op::Logits { input, tied, multiplier } => self.logits(input, tied, multiplier),
            Op::SumPool { input } => {
                if self.graph.reach != Reach::Full {
                    return self.fails("only a graph of full reach pools");
                }
                let width = self.operand(input, Kind::A16)?;
                Ok(Shape { kind: Kind::Pooled, width })
            }
            Op::Unit { input } => {
                self.last(Reach::Full)?;
                let width = self.operand(input, Kind::Pooled)?;
                Ok(Shape { kind: Kind::Unit, width })
            }
        }
    }

    fn logits(&self, input: ValueId, tied: bool, multiplier: u32) -> Result<Shape, ModelError> {
        at_least("the temperature multiplier", multiplier, 1)?;
        let width = self.operand(input, Kind::A16)?;
        self.last(Reach::Causal)?;
        let first = self.graph.ops.first();
        let fits = matches!(first, Some(Op::EmbeddingScaled { width: w, .. }) if *w == width);
        if tied && !fits {
            return self.fails("tied logits need a scaled embedding of their input's width");
        }
        Ok(Shape { kind: Kind::Logits, width: self.graph.vocabulary })
    }

    fn rope(&self, input: ValueId, heads: u32) -> Result<Shape, ModelError> {
        let width = self.operand(input, Kind::A16)?;
        at_most("the number of heads", heads, HEADS_MAX)?;
        let turned = u64::from(heads).saturating_mul(u64::from(self.graph.rope_pairs));
        if heads == 0 || turned.saturating_mul(2) != u64::from(width) {
            return self.fails("heads × 2 × rope_pairs is not the width");
        }
        Ok(Shape { kind: Kind::A16, width })
    }

    fn attention(&self, op: &Op) -> Result<Shape, ModelError> {
        let Op::Attention { queries, keys, values, heads, key_heads, multiplier } = *op else {
            return self.fails("not an attention");
        };
        let width = self.operand(queries, Kind::A16)?;
        let key_width = self.operand(keys, Kind::A16)?;
        at_most("the number of heads", heads, HEADS_MAX)?;
        at_least("the score multiplier", multiplier, 1)?;
        at_most("the score multiplier", multiplier, SCORE_MULTIPLIER_MAX)?;
        if heads == 0 || key_heads == 0 || heads.checked_rem(key_heads) != Some(0) {
            return self.fails("key heads do not divide the heads");
        }
        let head_width = width.checked_div(heads).unwrap_or(0);
        at_most("the width of a head", head_width, HEAD_WIDTH_MAX)?;
        let whole = u64::from(head_width).saturating_mul(u64::from(heads)) == u64::from(width);
        let keyed = u64::from(head_width).saturating_mul(u64::from(key_heads));
        if !whole || keyed != u64::from(key_width) {
            return self.fails("queries and keys do not have heads of one width");
        }
        if self.operand(values, Kind::A16)? != key_width {
            return self.fails("keys and values differ in width");
        }
        Ok(Shape { kind: Kind::A16, width })
    }

    fn value(&self, value: ValueId) -> Result<Shape, ModelError> {
        let op = self.op;
        shape_of(self.shapes, value).ok_or(ModelError::Operand {
            op,
            value,
            reason: "no op before this one makes it",
        })
    }

    fn operand(&self, value: ValueId, kind: Kind) -> Result<u32, ModelError> {
        let shape = self.value(value)?;
        if shape.kind == kind {
            Ok(shape.width)
        } else {
            self.refuses(value, "it holds another kind of row")
        }
    }

    fn stream(&self, width: u32) -> Result<Shape, ModelError> {
        self.even(width)?;
        at_most("the width of the stream", width, WIDTH_MAX)?;
        Ok(Shape { kind: Kind::Res, width })
    }

    fn activation(&self, width: u32) -> Result<Shape, ModelError> {
        self.even(width)?;
        at_most("the width of a row", width, INPUTS_MAX)?;
        Ok(Shape { kind: Kind::A16, width })
    }

    /// Kernels take operands in pairs.
    fn even(&self, width: u32) -> Result<(), ModelError> {
        if width == 0 || width.checked_rem(2) != Some(0) {
            return self.fails("a row's width is a positive even number");
        }
        Ok(())
    }

    fn weights(&self, weights: WeightType) -> Result<(), ModelError> {
        match weights {
            WeightType::W8 => Ok(()),
            WeightType::W4Grouped => Err(ModelError::ReservedWeights { op: self.op }),
        }
    }

    fn last(&self, reach: Reach) -> Result<(), ModelError> {
        if self.graph.reach != reach || self.op.saturating_add(1) != self.graph.ops.len() {
            return self.fails("a causal graph ends in logits, one of full reach in a unit row");
        }
        Ok(())
    }

    fn fails<T>(&self, reason: &'static str) -> Result<T, ModelError> {
        Err(ModelError::Op { op: self.op, reason })
    }

    fn refuses<T>(&self, value: ValueId, reason: &'static str) -> Result<T, ModelError> {
        Err(ModelError::Operand { op: self.op, value, reason })
    }
}

/// The values that an op reads.
pub fn inputs(op: &Op) -> Vec<ValueId> {
    match *op {
        Op::EmbeddingSum { .. } | Op::EmbeddingScaled { .. } => Vec::new(),
        Op::Norm { input, .. }
        | Op::Linear { input, .. }
        | Op::Table { input, .. }
        | Op::Rope { input, .. }
        | Op::Logits { input, .. }
        | Op::SumPool { input }
        | Op::Unit { input } => vec![input],
        Op::LinearResidual { input, stream, .. } => vec![input, stream],
        Op::GateResidual { gate, up, stream, .. } => vec![gate, up, stream],
        Op::Attention { queries, keys, values, .. } => vec![queries, keys, values],
    }
}

struct Work {
    per_position: Int,
    per_output: Int,
    per_pair: Int,
}

/// Multiply-adds of matrix products. Element-wise ops cost in proportion and are not counted.
fn work(graph: &Graph, shapes: &[Shape]) -> Work {
    let last = graph.boundaries.last().copied().unwrap_or(0);
    let zero = Int::ZERO;
    let mut work = Work { per_position: zero, per_output: zero, per_pair: zero };
    for (index, (op, shape)) in graph.ops.iter().zip(shapes).enumerate() {
        let width = |value: ValueId| shape_of(shapes, value).map_or(0, |shape| shape.width);
        let inputs = match op {
            Op::Linear { input, .. }
            | Op::LinearResidual { input, .. }
            | Op::GateResidual { gate: input, .. }
            | Op::Logits { input, .. } => width(*input),
            Op::Attention { .. } => {
                work.per_pair = work.per_pair + Int::from(2_u32) * Int::from(shape.width);
                continue;
            }
            _ => continue,
        };
        let products = Int::from(inputs) * Int::from(shape.width);
        if u32::try_from(index).is_ok_and(|index| index <= last) {
            work.per_position = work.per_position + products;
        } else {
            work.per_output = work.per_output + products;
        }
    }
    work
}

/// Work of a run in units of 2^20 multiply-adds, rounded up: `n_in` input tokens, `n_out` outputs
/// (an embedding row is one).
pub fn work_units(facts: &Facts, n_in: u32, n_out: u32) -> WorkUnits {
    let one = Int::from(1_u32);
    let positions = Int::from(n_in) + Int::from(n_out.max(1)) - one;
    let pairs = match facts.reach {
        Reach::Causal => (positions * (positions + one)).div_floor(Int::from(2_u32)),
        Reach::Full => Int::from(n_in) * Int::from(n_in),
    };
    let total = Int::from(facts.per_position) * positions
        + Int::from(facts.per_output) * Int::from(n_out)
        + Int::from(facts.per_pair) * pairs;
    WorkUnits::new(total.div_ceil(Int::power_of_two(WORK_UNIT_BITS)).to_u64())
}
