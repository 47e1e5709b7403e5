//! Blocks: how boundaries cut a graph, and which ops of a block make keys and values.
//!
//! Rules: an op behind a boundary reads nothing before it, so that the rows at a boundary are all
//! that a block needs; keys and values depend on no other attention of their block, so that a
//! dispute over one row recomputes a number of rows that grows with the context, not its square.

use crate::error::ModelError;
use crate::graph::{Graph, Op};
use crate::inspect::{Kind, Shape, at_least, inputs, length_of, shape_of};
use crate::layout::size;

/// For each op, whether keys or values of an attention of its block depend on it.
///
/// # Errors
/// An attention on which keys or values of another one of its block depend.
pub fn key_path(graph: &Graph) -> Result<Vec<bool>, ModelError> {
    let mut path = vec![false; graph.ops.len()];
    let mark = |path: &mut Vec<bool>, value: u32| {
        if let Some(flag) = path.get_mut(size(value)) {
            *flag = true;
        }
    };
    for (index, op) in graph.ops.iter().enumerate().rev() {
        let is_boundary = graph.boundaries.iter().any(|value| size(*value) == index);
        if is_boundary {
            // It belongs to the trace: what reads it opens it there.
            mark_not(&mut path, index);
        }
        let marked = path.get(index).copied().unwrap_or(false);
        match *op {
            Op::Attention { .. } if marked => {
                let reason = "keys and values of an attention depend on it; a boundary must lie \
                              between the two";
                return Err(ModelError::Op { op: index, reason });
            }
            Op::Attention { keys, values, .. } => {
                mark(&mut path, keys);
                mark(&mut path, values);
            }
            _ if marked => inputs(op).into_iter().for_each(|value| mark(&mut path, value)),
            _ => {}
        }
    }
    Ok(path)
}

fn mark_not(path: &mut [bool], index: usize) {
    if let Some(flag) = path.get_mut(index) {
        *flag = false;
    }
}

/// Boundaries ascend, hold rows, and cut: an op after a boundary reads nothing before it. Attention
/// and rotation stand inside blocks; pooling, logits and unit after the last boundary.
pub(crate) fn check_blocks(graph: &Graph, shapes: &[Shape]) -> Result<(), ModelError> {
    at_least("the number of boundaries", length_of(graph.boundaries.len()), 1)?;
    let mut before = None;
    for (boundary, value) in graph.boundaries.iter().copied().enumerate() {
        let fails = |reason| Err(ModelError::Boundary { boundary, reason });
        if before.is_some_and(|last| value <= last) {
            return fails("boundaries must ascend");
        }
        match shape_of(shapes, value).map(|shape| shape.kind) {
            Some(Kind::Res | Kind::A16) => before = Some(value),
            Some(_) => return fails("it is not a row of each position"),
            None => return fails("no op makes it"),
        }
    }
    let last = graph.boundaries.last().copied().unwrap_or(0);
    let first = graph.boundaries.first().copied().unwrap_or(0);
    let mut cuts = graph.boundaries.iter().copied().peekable();
    let mut floor = 0;
    for (index, op) in graph.ops.iter().enumerate() {
        let position = u32::try_from(index).unwrap_or(u32::MAX);
        if let Some(value) = inputs(op).into_iter().find(|value| *value < floor) {
            let reason = "it lies before the last boundary";
            return Err(ModelError::Operand { op: index, value, reason });
        }
        let in_head = position > last;
        let misplaced = match op {
            Op::Attention { .. } => position <= first || in_head,
            Op::Rope { .. } => in_head,
            Op::SumPool { .. } | Op::Unit { .. } | Op::Logits { .. } => !in_head,
            _ => false,
        };
        if misplaced {
            let reason =
                "attention and rotation stand inside blocks, outputs after the last boundary";
            return Err(ModelError::Op { op: index, reason });
        }
        if cuts.next_if_eq(&position).is_some() {
            floor = position;
        }
    }
    key_path(graph)?;
    let ends = matches!(graph.ops.last(), Some(Op::Logits { .. } | Op::Unit { .. }));
    let op = graph.ops.len().saturating_sub(1);
    if ends { Ok(()) } else { Err(ModelError::Op { op, reason: "the last op gives no output" }) }
}
