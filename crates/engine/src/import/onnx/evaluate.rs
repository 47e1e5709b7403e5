//! The value of a small piece of a graph, computed.
//!
//! Masks, rotations and repeated heads have as many writings as there are exporters, and new ones
//! come with each of their versions. So they are not compared op by op: the piece between known
//! values is run on made-up numbers, and what comes out is compared. An op that is not known is
//! refused by name.
//!
//! Bounds: all runs of an import share one number of steps, charged before they are taken; what a
//! run keeps is limited; values come in the order of a search without recursion, and a value that
//! needs itself is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::attention::MASK;
use super::graph::Node;
use super::pattern::Search;
use super::value::Value;
use super::window::{Origin, is_hidden, is_other_mask, origin};
use super::{fused, ops};
use crate::import::ImportError;

/// Steps of all runs, and of the search for what is run: eighty small blocks take a third.
const STEPS_MAX: usize = 1 << 28;
/// Steps of a look at one value.
const LOOK: usize = 256;
/// Most elements that a run keeps, and most of constants that are kept for other runs.
const HELD_MAX: usize = 1 << 24;
/// What stands where an op cannot be computed.
const EXPECTED: &str = "an op of masks, rotations and attentions whose value can be computed";
const HELD: &str = "an attention whose run keeps fewer numbers";

/// Values that are given, and what they depend on.
pub(super) type Given<'a> = BTreeMap<&'a str, (Rc<Value>, Origin)>;

/// Runs pieces of a graph.
pub(super) struct Machine<'g, 'a> {
    pub(super) search: Search<'g, 'a>,
    steps: usize,
    /// All inputs of nodes that were run: the constants among them tell what the model is.
    pub(super) read: BTreeSet<&'a str>,
    /// Constants that were decoded, and their elements.
    constants: BTreeMap<&'a str, Rc<Value>>,
    held: usize,
}

impl<'g, 'a> Machine<'g, 'a> {
    pub(super) const fn new(search: Search<'g, 'a>) -> Self {
        Self { search, steps: 0, read: BTreeSet::new(), constants: BTreeMap::new(), held: 0 }
    }

    /// The value of `wanted` where those of `given` are as they are given.
    pub(super) fn run(
        &mut self,
        given: &Given<'a>,
        wanted: &'a str,
    ) -> Result<Rc<Value>, ImportError> {
        let (mut known, mut begun, mut open) = (Given::new(), BTreeSet::new(), vec![wanted]);
        let mut held = 0_usize;
        while let Some(name) = open.last().copied() {
            self.look(name)?;
            if known.contains_key(name) {
                open.pop();
                continue;
            }
            if let Some(value) = given.get(name) {
                known.insert(name, value.clone());
                continue;
            }
            if let Some(value) = self.constant(name)? {
                known.insert(name, (value, Origin::Constant));
                continue;
            }
            let Some(node) = self.search.graph.maker(name) else {
                return self.search.refuse(name, "an input whose meaning its name tells");
            };
            let Some(count) = fused::inputs(node).or_else(|| ops::inputs(node)) else {
                return self.search.refuse(name, EXPECTED);
            };
            let missing = |input: &&&str| !input.is_empty() && !known.contains_key(**input);
            let needed = node.inputs.iter().take(count);
            let missing: Vec<&str> = needed.filter(missing).copied().collect();
            if missing.is_empty() {
                let (value, origin) = self.apply(node, name, &known, count)?;
                held = held.saturating_add(value.data.len());
                if held > HELD_MAX {
                    return self.search.refuse(name, HELD);
                }
                known.insert(name, (Rc::new(value), origin));
            } else if begun.insert(name) {
                open.extend(missing);
            } else {
                return self.search.refuse(name, "a value that does not need itself");
            }
        }
        match known.remove(wanted) {
            Some((value, _)) => Ok(value),
            None => self.search.refuse(wanted, EXPECTED),
        }
    }

    /// Counts a look at a value.
    pub(super) fn look(&mut self, name: &str) -> Result<(), ImportError> {
        self.spend(LOOK, name)
    }

    /// Counts steps that are about to be taken.
    pub(super) fn spend(&mut self, steps: usize, name: &str) -> Result<(), ImportError> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > STEPS_MAX {
            return self.search.refuse(name, "a graph of attentions that take fewer steps");
        }
        Ok(())
    }

    fn constant(&mut self, name: &'a str) -> Result<Option<Rc<Value>>, ImportError> {
        if let Some(value) = self.constants.get(name) {
            return Ok(Some(Rc::clone(value)));
        }
        let Some(value) = self.decoded(name) else { return Ok(None) };
        self.spend(value.data.len().saturating_mul(4), name)?;
        if is_other_mask(&value) {
            return self.search.refuse(name, MASK);
        }
        self.held = self.held.saturating_add(value.data.len());
        if self.held > HELD_MAX {
            return self.search.refuse(name, HELD);
        }
        let value = Rc::new(value);
        self.constants.insert(name, Rc::clone(&value));
        Ok(Some(value))
    }

    fn decoded(&self, name: &'a str) -> Option<Value> {
        let graph = self.search.graph;
        if let Some(tensor) = graph.constant(name) {
            return Value::of(tensor);
        }
        if let Some(numbers) = graph.integers(name) {
            let data: Vec<f64> = numbers.iter().map(|number| *number as f64).collect();
            // `value_int` is a number, `value_ints` a list.
            let list = graph.maker(name).is_some_and(|node| node.attribute("value_ints").is_some());
            let shape = if list { vec![data.len()] } else { Vec::new() };
            return Some(Value::of_whole(&shape, data));
        }
        graph.scalar(name).map(|number| Value::new(&[], vec![number]))
    }

    /// The value of a node from its first `count` inputs.
    fn apply(
        &mut self,
        node: &'g Node<'a>,
        name: &'a str,
        known: &Given<'a>,
        count: usize,
    ) -> Result<(Value, Origin), ImportError> {
        let used = || node.inputs.iter().take(count).map(|input| known.get(input));
        let inputs: Vec<Option<Rc<Value>>> =
            used().map(|known| known.map(|(value, _)| Rc::clone(value))).collect();
        let none = Origin::Constant;
        let origins: Vec<Origin> =
            used().map(|known| known.map_or(none, |known| known.1)).collect();
        if is_hidden(node, &inputs, &origins) {
            return self.search.refuse(name, MASK);
        }
        let output = node.outputs.iter().position(|output| *output == name).unwrap_or(0);
        let taken: usize = inputs.iter().flatten().map(|input| input.data.len()).sum();
        let work = fused::work(node, &inputs).unwrap_or_else(|| ops::work(node, &inputs));
        self.spend(taken.saturating_add(work), name)?;
        let value = match fused::inputs(node) {
            Some(_) => fused::value(self.search.graph, node, &inputs, output),
            None => ops::value(node, &inputs, output),
        };
        let Some(value) = value else { return self.search.refuse(name, EXPECTED) };
        self.spend(value.data.len(), name)?;
        self.read.extend(node.inputs.iter().filter(|input| !input.is_empty()));
        Ok((value, origin(node, &origins)))
    }
}
