//! Where the attention of a decoder lies: between linear ops, behind one softmax or fused op.

use std::collections::BTreeSet;

use super::evaluate::Machine;
use super::graph::{Attribute, Graph, Node};
use super::pattern::{Linear, Search};
use crate::import::ImportError;

/// Most products of rows that are looked at for the one of queries and keys.
const PRODUCTS_MAX: usize = 8;

/// Most linear ops behind a value that are told apart.
const LINEARS_MAX: usize = 8;
/// Steps of a look at what may be a linear op.
const LOOK: usize = 1 << 11;

const ONE: &str = "one attention over queries, keys and values of the block's norm";
/// Of a position, in a refusal.
pub(super) const MASK: &str =
    "a mask by which a position sees itself and all before it, and none after it";

/// Rows of a linear op, from `first` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) linear: Linear<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// Queries, keys and values of an attention, and what it gives.
#[derive(Clone, Debug)]
pub(super) struct Attention<'a> {
    pub(super) output: &'a str,
    /// The softmax or fused op.
    pub(super) core: &'a str,
    pub(super) parts: [Part<'a>; 3],
}

/// What lies behind a value, up to linear ops.
#[derive(Default)]
struct Region<'a> {
    linears: Vec<Linear<'a>>,
    cores: Vec<&'a str>,
    products: Vec<(&'a str, &'a str)>,
}

impl<'a> Region<'a> {
    fn find(
        machine: &mut Machine<'_, 'a>,
        from: &'a str,
        stop: Option<&'a str>,
    ) -> Result<Self, ImportError> {
        let search = machine.search;
        let (mut found, mut open, mut seen) = (Self::default(), vec![from], BTreeSet::new());
        while let Some(value) = open.pop() {
            machine.spend(LOOK, value)?;
            if !seen.insert(value) || Some(value) == stop {
                continue;
            }
            if let Some(linear) = matrix(search, value) {
                let known = found.linears.iter().any(|known| known.output == linear.output);
                if !known && found.linears.len() < LINEARS_MAX {
                    found.linears.push(linear);
                }
                continue;
            }
            let Some(node) = search.graph.maker(value) else { continue };
            match node.op {
                // A shape depends on no number.
                "Shape" => continue,
                "Softmax" | "GroupQueryAttention" => found.cores.push(value),
                "MatMul" => found.products.push((node.input(0), node.input(1))),
                _ => {}
            }
            open.extend(node.inputs.iter().copied().filter(|input| !input.is_empty()));
        }
        Ok(found)
    }

    /// The only linear op behind a value.
    fn single(
        machine: &mut Machine<'_, 'a>,
        from: &'a str,
    ) -> Result<Option<Linear<'a>>, ImportError> {
        let found = Self::find(machine, from, None)?;
        Ok(if let [linear] = found.linears[..] { Some(linear) } else { None })
    }
}

/// A linear op whose weights are a matrix: a column of frequencies is none.
fn matrix<'a>(search: Search<'_, 'a>, value: &'a str) -> Option<Linear<'a>> {
    let linear = search.linear(value).ok()?;
    let [rows, columns] = search.graph.constant(linear.weight)?.shape[..] else { return None };
    (rows > 1 && columns > 1).then_some(linear)
}

/// How many rows a linear op has.
fn count_rows(graph: &Graph<'_>, linear: &Linear<'_>) -> usize {
    let shape = graph.constant(linear.weight).map(|tensor| &tensor.shape[..]);
    let at = usize::from(linear.transposed);
    shape.and_then(|shape| shape.get(at).copied()).unwrap_or(0)
}

impl<'a> Attention<'a> {
    /// The attention that gives `output`.
    pub(super) fn find(
        machine: &mut Machine<'_, 'a>,
        output: &'a str,
    ) -> Result<Self, ImportError> {
        let search = machine.search;
        let found = Region::find(machine, output, None)?;
        let [core] = found.cores[..] else { return search.refuse(output, ONE) };
        let Some(node) = search.graph.maker(core) else { return search.refuse(output, ONE) };
        let whole = |linear| Part { linear, first: 0, count: count_rows(search.graph, &linear) };
        if node.op == "Softmax" {
            let values = Region::find(machine, output, Some(core))?;
            let (Some([queries, keys]), [values]) =
                (Self::scores(machine, node.input(0))?, &values.linears[..])
            else {
                return search.refuse(core, ONE);
            };
            return Ok(Self { output, core, parts: [queries, keys, *values].map(whole) });
        }
        let mut linears = Vec::new();
        for input in (0..3).map(|index| node.input(index)).filter(|input| !input.is_empty()) {
            linears.extend(Region::single(machine, input)?);
        }
        match linears[..] {
            [queries, keys, values] => {
                Ok(Self { output, core, parts: [queries, keys, values].map(whole) })
            }
            [all] => {
                let Some([heads, key_heads]) = head_counts(node) else {
                    return search.refuse(core, ONE);
                };
                let rows = count_rows(search.graph, &all);
                let width = rows.checked_div(heads + 2 * key_heads).unwrap_or(0);
                let (queries, keys) = (heads * width, key_heads * width);
                if queries + 2 * keys != rows {
                    return search.refuse(core, ONE);
                }
                let part = |first, count| Part { linear: all, first, count };
                let parts = [part(0, queries), part(queries, keys), part(queries + keys, keys)];
                Ok(Self { output, core, parts })
            }
            _ => search.refuse(core, ONE),
        }
    }

    /// The linear ops of queries and keys behind scores.
    fn scores(
        machine: &mut Machine<'_, 'a>,
        scores: &'a str,
    ) -> Result<Option<[Linear<'a>; 2]>, ImportError> {
        let found = Region::find(machine, scores, None)?;
        for (queries, keys) in found.products.into_iter().take(PRODUCTS_MAX) {
            let queries = Region::single(machine, queries)?;
            let keys = Region::single(machine, keys)?;
            if let (Some(queries), Some(keys)) = (queries, keys)
                && queries.output != keys.output
            {
                return Ok(Some([queries, keys]));
            }
        }
        Ok(None)
    }
}

/// Heads and key heads of a fused attention.
pub(super) fn head_counts(node: &Node<'_>) -> Option<[usize; 2]> {
    let count = |name: &str| match node.attribute(name) {
        Some(Attribute::Integer(count @ 1..=65_536)) => usize::try_from(*count).ok(),
        _ => None,
    };
    Some([count("num_heads")?, count("kv_num_heads")?])
}
