//! What the fused ops of ONNX Runtime give: rotations and attentions, domain `com.microsoft`.
//!
//! Caches of earlier positions are taken as empty, and how long they are is not read: a run here
//! starts at position 0.

use super::graph::{Attribute, Graph, Node, RUNTIME, Tensor};
use super::ops::{Inputs, softmax};
use super::value::{Value, elements};
use crate::import::element::Element;

/// What an attention has besides switches that must be off.
const ATTRIBUTES: [&str; 6] =
    ["num_heads", "kv_num_heads", "scale", "do_rotary", "local_window_size", "softcap"];

/// How many of a fused op's inputs its value is computed from; tables of rotations are read row by
/// row.
pub(super) fn inputs(node: &Node<'_>) -> Option<usize> {
    match (node.domain, node.op) {
        (RUNTIME, "RotaryEmbedding") => Some(2),
        (RUNTIME, "GroupQueryAttention") => Some(3),
        _ => None,
    }
}

/// Steps of a fused op besides those for what it reads and gives.
pub(super) fn work(node: &Node<'_>, inputs: &Inputs) -> Option<usize> {
    self::inputs(node)?;
    let first = inputs.first()?.as_deref()?;
    let positions = first.shape.iter().rev().nth(1).copied().unwrap_or(1);
    Some(first.data.len().saturating_mul(positions.saturating_add(1)).saturating_mul(4))
}

/// The value of a node's output.
pub(super) fn value(
    graph: &Graph<'_>,
    node: &Node<'_>,
    inputs: &Inputs,
    output: usize,
) -> Option<Value> {
    let input = |index: usize| inputs.get(index)?.as_deref();
    match (node.domain, node.op, output) {
        (RUNTIME, "RotaryEmbedding", 0) => rotated(graph, node, input(0)?, input(1)?),
        (RUNTIME, "GroupQueryAttention", 0) => attention(graph, node, inputs),
        _ => None,
    }
}

fn number(node: &Node<'_>, name: &str, default: i64) -> Option<i64> {
    match node.attribute(name) {
        None => Some(default),
        Some(Attribute::Integer(value)) => Some(*value),
        Some(_) => None,
    }
}

fn float(node: &Node<'_>, name: &str, default: f32) -> Option<f64> {
    match node.attribute(name) {
        None => Some(f64::from(default)),
        Some(Attribute::Float(value)) => Some(f64::from(*value)),
        Some(_) => None,
    }
}

/// A row of a table of cosines or sines.
fn row(table: &Tensor<'_>, at: usize, pairs: usize) -> Option<Vec<f64>> {
    let [rows, columns] = table.shape[..] else { return None };
    let element = table.element()?;
    let bytes = element.bytes(columns)?;
    let start = bytes.checked_mul(at)?;
    let data = table.data.get(start..start.checked_add(bytes)?)?;
    if at >= rows || columns != pairs {
        return None;
    }
    let mut out = Vec::new();
    element.decode(data, &mut out);
    Some(out)
}

/// The constants by whose rows a node turns heads: cosines and sines.
pub(super) fn tables<'a>(node: &Node<'a>) -> Option<[&'a str; 2]> {
    let first = match (node.domain, node.op) {
        (RUNTIME, "RotaryEmbedding") => 2,
        (RUNTIME, "GroupQueryAttention") if !node.input(7).is_empty() => 7,
        _ => return None,
    };
    Some([node.input(first), node.input(first + 1)])
}

/// Whether a table has, in all its rows, this of position times base^(−i / pairs).
pub(super) fn is_table(table: &Tensor<'_>, pairs: usize, base: f64, of: fn(f64) -> f64) -> bool {
    let Ok(element) = table.floats() else { return false };
    let precision = match element {
        Element::F32 => 1e-4,
        Element::F16 => 2e-3,
        _ => 1e-2,
    };
    let right = |at: usize| {
        // Angles of 32 bits are the less certain the larger they are.
        let tolerance = precision + at as f64 * 1e-6;
        let expected = |pair: usize| of(at as f64 * base.powf(-(pair as f64) / pairs as f64));
        let is = |(pair, found): (usize, &f64)| (found - expected(pair)).abs() <= tolerance;
        row(table, at, pairs).is_some_and(|row| row.iter().enumerate().all(is))
    };
    table.shape.first().is_some_and(|rows| (0..*rows).all(right))
}

/// Heads of rows: `[position][head][element]`.
struct Heads {
    positions: usize,
    count: usize,
    width: usize,
    data: Vec<f64>,
}

impl Heads {
    fn cut(rows: &Value, count: usize) -> Option<Self> {
        let [1, positions, columns] = rows.shape[..] else { return None };
        let width = columns.checked_div(count)?;
        let whole = width > 0 && width * count == columns;
        whole.then(|| Self { positions, count, width, data: rows.data.clone() })
    }

    fn head(&self, position: usize, head: usize) -> Option<&[f64]> {
        self.data.get((position * self.count + head) * self.width..)?.get(..self.width)
    }

    /// Turns all heads by the angles of their positions: halves against each other.
    fn turn(&mut self, places: &[usize], (cos, sin): (&Tensor<'_>, &Tensor<'_>)) -> Option<()> {
        let half = self.width / 2;
        for (position, place) in (0..self.positions).zip(places) {
            let (cos, sin) = (row(cos, *place, half)?, row(sin, *place, half)?);
            for head in 0..self.count {
                let start = (position * self.count + head) * self.width;
                let (first, second) =
                    self.data.get_mut(start..)?.get_mut(..self.width)?.split_at_mut(half);
                for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(cos.iter().zip(&sin)) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
        Some(())
    }
}

/// Rows `[1, positions, heads · width]` or heads `[1, heads, positions, width]`, turned.
fn rotated(graph: &Graph<'_>, node: &Node<'_>, x: &Value, places: &Value) -> Option<Value> {
    let zeros = ["interleaved", "is_packed_batching", "rotary_embedding_dim"];
    let plain = zeros.iter().all(|name| number(node, name, 0) == Some(0))
        && float(node, "scale", 1.0) == Some(1.0)
        && node.has_only(&[&zeros[..], &["scale", "num_heads"]].concat());
    if !plain {
        return None;
    }
    let tables = (graph.constant(node.input(2))?, graph.constant(node.input(3))?);
    let turned = x.shape.len() == 4;
    let rows = if turned {
        let heads = x.transposed(&[0, 2, 1, 3])?;
        let [batch, positions, count, width] = heads.shape[..] else { return None };
        Value { shape: vec![batch, positions, count.checked_mul(width)?], ..heads }
    } else {
        x.clone()
    };
    let count = if turned {
        x.shape[1]
    } else {
        let named = usize::try_from(number(node, "num_heads", 0)?).ok()?;
        // Without a number of heads, tables as wide as half a head tell it.
        let width = tables.0.shape.last()?.checked_mul(2)?;
        if named == 0 { rows.shape.last()?.checked_div(width)? } else { named }
    };
    let mut heads = Heads::cut(&rows, count)?;
    let places = positions(places, heads.positions)?;
    heads.turn(&places, tables)?;
    let shape = [1, heads.positions, heads.count, heads.width];
    if turned {
        return Value::new(&shape, heads.data).transposed(&[0, 2, 1, 3]);
    }
    Some(Value::new(&x.shape, heads.data))
}

/// Positions `[1, n]`, or `[1]` for the first of them.
fn positions(places: &Value, count: usize) -> Option<Vec<usize>> {
    let place = |value: &i64| usize::try_from(*value).ok();
    let places: Vec<usize> = places.integers().iter().map(place).collect::<Option<_>>()?;
    match places[..] {
        [first] => (0..count).map(|at| first.checked_add(at)).collect(),
        _ => (places.len() == count).then_some(places),
    }
}

/// Causal attention over grouped keys.
fn attention(graph: &Graph<'_>, node: &Node<'_>, inputs: &Inputs) -> Option<Value> {
    let zeros = ["rotary_interleaved", "smooth_softmax"];
    let plain = zeros.iter().all(|name| matches!(number(node, name, 0), Some(-1..=0)))
        && number(node, "local_window_size", -1) == Some(-1)
        && float(node, "softcap", 0.0) == Some(0.0)
        && node.has_only(&[&zeros[..], &ATTRIBUTES].concat())
        && (9..node.inputs.len()).all(|index| node.input(index).is_empty());
    // What comes before all words is nothing, or a cache that starts empty.
    let past =
        |index: usize| node.input(index).is_empty() || graph.inputs.contains(&node.input(index));
    if !plain || !past(3) || !past(4) {
        return None;
    }
    let whole = |name: &str| usize::try_from(number(node, name, 0)?).ok().filter(|n| *n > 0);
    let (count, key_count) = (whole("num_heads")?, whole("kv_num_heads")?);
    let [mut queries, mut keys, values] = operands(inputs, count, key_count)?;
    if !count.is_multiple_of(key_count) || values.width != queries.width {
        return None;
    }
    if number(node, "do_rotary", 0)? == 1 {
        let tables = (graph.constant(node.input(7))?, graph.constant(node.input(8))?);
        let places: Vec<usize> = (0..queries.positions).collect();
        queries.turn(&places, tables)?;
        keys.turn(&places, tables)?;
    }
    let scale = match float(node, "scale", 0.0)? {
        0.0 => (queries.width as f64).sqrt().recip(),
        scale => scale,
    };
    mixed(&queries, &keys, &values, scale)
}

/// Queries, keys and values of an attention: apart, or side by side in one row.
fn operands(inputs: &Inputs, count: usize, key_count: usize) -> Option<[Heads; 3]> {
    let input = |index: usize| inputs.get(index)?.as_deref();
    let first = input(0)?;
    let Some(keys) = input(1) else {
        let [1, positions, columns] = first.shape[..] else { return None };
        let all = key_count.checked_mul(2)?.checked_add(count)?;
        let width = columns.checked_div(all).filter(|width| width * all == columns)?;
        let part = |start: usize, heads: usize| {
            let rows = first.picked(&[1, positions, heads * width], &[0, columns, 1], start)?;
            Heads::cut(&rows, heads)
        };
        let (keys, values) = (count * width, (count + key_count) * width);
        return Some([part(0, count)?, part(keys, key_count)?, part(values, key_count)?]);
    };
    Some([
        Heads::cut(first, count)?,
        Heads::cut(keys, key_count)?,
        Heads::cut(input(2)?, key_count)?,
    ])
}

fn mixed(queries: &Heads, keys: &Heads, values: &Heads, scale: f64) -> Option<Value> {
    let (positions, group) = (queries.positions, queries.count.checked_div(keys.count)?);
    let (mut data, shape) = (Vec::new(), [1, positions, queries.count * values.width]);
    elements(&shape)?;
    for position in 0..positions {
        for head in 0..queries.count {
            let (query, key_head) = (queries.head(position, head)?, head.checked_div(group)?);
            let score = |at: usize| {
                let terms = query.iter().zip(keys.head(at, key_head)?);
                Some(scale * terms.map(|(q, k)| q * k).sum::<f64>())
            };
            let mut shares = (0..=position).map(score).collect::<Option<Vec<f64>>>()?;
            softmax(&mut shares);
            let mut sum = vec![0.0; values.width];
            for (at, share) in shares.iter().enumerate() {
                let row = values.head(at, key_head)?;
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += share * value);
            }
            data.extend(sum);
        }
    }
    Some(Value::new(&shape, data))
}
