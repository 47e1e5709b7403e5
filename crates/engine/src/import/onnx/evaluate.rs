//! The value of a small piece of a graph, computed.
//!
//! Masks, rotations and repeated heads have as many writings as there are exporters, and new ones
//! come with each of their versions. So they are not compared op by op: the piece between known
//! values is run on made-up numbers, and what comes out is compared. An op that is not known is
//! refused by name.
//!
//! Bounds: all runs of an import share one number of steps; values come in the order of a search
//! without recursion, and a value that needs itself is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::fused;
use super::graph::Node;
use super::ops::{self, Inputs};
use super::pattern::Search;
use super::value::Value;
use crate::import::ImportError;

/// Steps of all runs: a model of two thousand million weights takes a tenth.
const STEPS_MAX: usize = 1 << 30;
/// Steps of a look at one value.
const LOOK: usize = 128;
/// What stands where an op cannot be computed.
const EXPECTED: &str = "an op of masks, rotations and attentions whose value can be computed";

/// Values that are given.
pub(super) type Given<'a> = BTreeMap<&'a str, Rc<Value>>;

/// Runs pieces of a graph.
pub(super) struct Machine<'g, 'a> {
    pub(super) search: Search<'g, 'a>,
    steps: usize,
    /// Constants that a value was computed from.
    pub(super) read: BTreeSet<&'a str>,
}

impl<'g, 'a> Machine<'g, 'a> {
    pub(super) const fn new(search: Search<'g, 'a>) -> Self {
        Self { search, steps: 0, read: BTreeSet::new() }
    }

    /// The value of `wanted` where those of `given` are as they are given.
    pub(super) fn run(
        &mut self,
        given: &Given<'a>,
        wanted: &'a str,
    ) -> Result<Rc<Value>, ImportError> {
        let (mut known, mut begun, mut open) = (Given::new(), BTreeSet::new(), vec![wanted]);
        while let Some(name) = open.last().copied() {
            self.look(name)?;
            if known.contains_key(name) {
                open.pop();
                continue;
            }
            if let Some(value) = given.get(name) {
                known.insert(name, Rc::clone(value));
                continue;
            }
            if let Some(value) = self.constant(name) {
                self.spend(value.data.len(), name)?;
                known.insert(name, Rc::new(value));
                continue;
            }
            let Some(node) = self.search.graph.maker(name) else {
                return self.search.refuse(name, "an input whose meaning its name tells");
            };
            let missing = |input: &&&str| !input.is_empty() && !known.contains_key(**input);
            let needed = node.inputs.iter().take(fused::inputs(node));
            let missing: Vec<&str> = needed.filter(missing).copied().collect();
            if missing.is_empty() {
                let value = self.apply(node, name, &known)?;
                known.insert(name, Rc::new(value));
            } else if begun.insert(name) {
                open.extend(missing);
            } else {
                return self.search.refuse(name, "a value that does not need itself");
            }
        }
        known.remove(wanted).map_or_else(|| self.search.refuse(wanted, EXPECTED), Ok)
    }

    /// Counts a look at a value.
    pub(super) fn look(&mut self, name: &str) -> Result<(), ImportError> {
        self.spend(LOOK, name)
    }

    fn spend(&mut self, steps: usize, name: &str) -> Result<(), ImportError> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > STEPS_MAX {
            return self.search.refuse(name, "a graph of attentions that take fewer steps");
        }
        Ok(())
    }

    fn constant(&self, name: &'a str) -> Option<Value> {
        let graph = self.search.graph;
        if let Some(tensor) = graph.constant(name) {
            return Value::of(tensor);
        }
        if let Some(numbers) = graph.integers(name) {
            let data: Vec<f64> = numbers.iter().map(|number| *number as f64).collect();
            // `value_int` is a number, `value_ints` a list.
            let list = graph.maker(name).is_some_and(|node| node.attribute("value_ints").is_some());
            let shape = if list { vec![data.len()] } else { Vec::new() };
            return Some(Value::whole(&shape, data));
        }
        graph.scalar(name).map(|number| Value::new(&[], vec![number]))
    }

    fn apply(
        &mut self,
        node: &'g Node<'a>,
        name: &'a str,
        known: &Given<'a>,
    ) -> Result<Value, ImportError> {
        let input = |input: &&str| known.get(input).cloned();
        let inputs: Vec<Option<Rc<Value>>> = node.inputs.iter().map(input).collect();
        let output = node.outputs.iter().position(|output| *output == name).unwrap_or(0);
        let value = match node.domain {
            "" | "ai.onnx" => ops::value(node, &inputs, output),
            _ => fused::value(self.search.graph, node, &inputs, output),
        };
        let Some(value) = value else { return self.search.refuse(name, EXPECTED) };
        self.read.extend(&node.inputs);
        self.spend(cost(node, &inputs, &value), name)?;
        Ok(value)
    }
}

/// Steps of an op that gave `value`.
fn cost(node: &Node<'_>, inputs: &Inputs, value: &Value) -> usize {
    let first = inputs.first().and_then(Option::as_deref);
    let depth = match node.op {
        "MatMul" => first.and_then(|x| x.shape.last().copied()).unwrap_or(1),
        _ => 1,
    };
    let taken: usize = inputs.iter().flatten().map(|input| input.data.len()).sum();
    value.data.len().saturating_mul(depth.max(1)).saturating_add(taken)
}
