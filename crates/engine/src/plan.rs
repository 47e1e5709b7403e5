//! A model made ready to run: certificates, and which working buffer each value lives in.

use model::certificate::{Certificate, certified_with};
use model::inspect::Kind;
use model::layout::size;
use model::{Model, Op, inspect};

use crate::pool::Pool;

/// What a channel's bound costs, in multiply-adds: several for each of some hundreds of weights.
const CHANNEL: usize = 1 << 11;

/// One op, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) op: Op,
    /// What the rows of its value hold.
    pub(crate) kind: Kind,
    /// Elements of a row of its value.
    pub(crate) width: usize,
    pub(crate) certificate: Certificate,
    /// No element of its value is larger in magnitude.
    pub(crate) largest: i64,
    /// The buffer of its value, among those of the value's kind. Buffers are used again once
    /// nobody reads them.
    pub(crate) buffer: usize,
    /// How many ops from this one on are linear ops under a certificate with one input: they may be
    /// computed together. 1 for any other op.
    pub(crate) together: usize,
    /// Which boundary this op's value is.
    pub(crate) boundary: Option<usize>,
    /// Which attention of the graph this is, if it is one.
    pub(crate) attention: usize,
}

/// A model, ready to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Index of the first op behind the last boundary: from here on only rows that give an output
    /// are computed.
    pub(crate) head: usize,
    /// Key heads and head width of each attention op, in order.
    pub(crate) attentions: Vec<(usize, usize)>,
    /// Step multiplier of the logits.
    pub(crate) temperature: u32,
}

impl Plan {
    /// A plan, its certificates computed on all threads of `pool`.
    pub(crate) fn new(model: &Model, pool: &Pool) -> Self {
        let graph = model.graph();
        let certified = certified_with(model, &|count, bound| pool.map(count, CHANNEL, bound));
        let certificates: Vec<Certificate> = certified.iter().map(|op| op.certificate).collect();
        let mut steps = Vec::with_capacity(graph.ops.len());
        let mut attentions = Vec::new();
        let head = graph.boundaries.last().copied().map_or(0, size) + 1;
        // Rows become fewer at the head.
        let end = |index| if index < head { head } else { graph.ops.len() };
        let together: Vec<usize> = (0..graph.ops.len())
            .map(|op| together(&graph.ops[op..end(op)], &certificates[op..end(op)]))
            .collect();
        let buffers = buffers(model, &together);
        for (index, op) in graph.ops.iter().enumerate() {
            let width = size(model.shapes()[index].width);
            let attention = attentions.len();
            if let Op::Attention { heads, key_heads, .. } = op {
                attentions.push((size(*key_heads), width / size(*heads)));
            }
            steps.push(Step {
                op: op.clone(),
                kind: model.shapes()[index].kind,
                width,
                certificate: certificates[index],
                largest: certified[index].largest,
                buffer: buffers[index],
                together: together[index],
                boundary: graph.boundaries.iter().position(|value| size(*value) == index),
                attention,
            });
        }
        let temperature = match graph.ops.last() {
            Some(Op::Logits { multiplier, .. }) => *multiplier,
            _ => 1,
        };
        Self { steps, head, attentions, temperature }
    }

    /// Bytes of keys and values of one position.
    pub(crate) fn position_bytes(&self) -> usize {
        self.attentions.iter().map(|(heads, width)| heads * width * 2 * size_of::<i16>()).sum()
    }
}

/// How many of the first ops are narrow linear ops with the first one's input; at least 1.
fn together(ops: &[Op], certificates: &[Certificate]) -> usize {
    let input = |op: &Op, certificate: &Certificate| match (op, certificate) {
        (Op::Linear { input, .. }, Certificate::Linear { narrow: true, .. }) => Some(*input),
        _ => None,
    };
    let mut inputs = ops.iter().zip(certificates).map(|(op, certificate)| input(op, certificate));
    let Some(first) = inputs.next().flatten() else { return 1 };
    1 + inputs.take_while(|input| *input == Some(first)).count()
}

/// Gives each value the first buffer of its kind that no value still to be read has. A value lives
/// at least as long as those made together with it: a capture may read it though no op does.
fn buffers(model: &Model, together: &[usize]) -> Vec<usize> {
    let graph = model.graph();
    let mut last_use: Vec<usize> =
        together.iter().enumerate().map(|(index, together)| index + together - 1).collect();
    for (index, op) in graph.ops.iter().enumerate() {
        for value in inspect::inputs(op) {
            last_use[size(value)] = index.max(last_use[size(value)]);
        }
    }
    let mut chosen: Vec<usize> = Vec::with_capacity(graph.ops.len());
    for (index, shape) in model.shapes().iter().enumerate() {
        let taken = |buffer: usize| {
            (0..index).any(|value| {
                let alive = last_use[value] >= index;
                alive && same_memory(model, value, shape.kind) && chosen[value] == buffer
            })
        };
        let free = (0..=index).find(|buffer| !taken(*buffer));
        chosen.push(free.unwrap_or(index));
    }
    chosen
}

/// Whether a value's buffers are those of values of kind `kind`.
fn same_memory(model: &Model, value: usize, kind: Kind) -> bool {
    let is_a16 = |kind: Kind| kind == Kind::A16;
    model.shapes().get(value).is_some_and(|shape| is_a16(shape.kind) == is_a16(kind))
}
