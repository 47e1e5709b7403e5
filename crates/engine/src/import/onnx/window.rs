//! Numbers that make windows, chunks and other masks that a run of a few positions does not show.
//!
//! A run has five positions, so a mask by which a position sees the last 64 looks like one by which
//! it sees all. What tells them apart is the number 64, wherever it comes from: while the graph is
//! run, whatever depends on positions may not be shifted by, compared with or divided by a constant
//! beyond what a run shows. Constants that are masks themselves are read to their last row.

use super::graph::Node;
use super::ops::Inputs;
use super::value::Value;

/// Distances from which on a run shows nothing.
pub(super) const SHOWN: f64 = 4.0;
/// Numbers from which on a constant is no number of positions.
const POSITIONS_MAX: f64 = 1_048_576.0;
/// What masks are made of besides the lowest number of 32 bits: that of 16 bits, and one by habit.
const LOWEST: [f64; 2] = [-65_504.0, -10_000.0];

/// What a value depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Constants alone.
    Constant,
    /// Positions, lengths and sizes as well.
    Positions,
    /// Numbers of the stream or of an attention's rows.
    Rows,
}

/// What the numbers that a node gives depend on; its shape may depend on more.
pub(super) fn origin(node: &Node<'_>, of_inputs: &[Origin]) -> Origin {
    let data = match node.op {
        "ConstantOfShape" => return Origin::Constant,
        "Shape" => return Origin::Positions,
        "Reshape" | "Expand" | "Unsqueeze" | "Squeeze" | "Slice" | "Trilu" | "CumSum" => 1,
        _ => of_inputs.len(),
    };
    of_inputs.iter().take(data).copied().max().unwrap_or(Origin::Constant)
}

/// Whether a node holds positions against a constant number of them that a run does not show.
pub(super) fn is_hidden(node: &Node<'_>, inputs: &Inputs, origins: &[Origin]) -> bool {
    let number = |index: usize| {
        let (value, origin) = (inputs.get(index)?.as_deref()?, origins.get(index)?);
        if *origin == Origin::Constant { only(value) } else { None }
    };
    let beyond = |number: f64| {
        let is_lowest = LOWEST.iter().any(|lowest| number <= -SHOWN && number % lowest == 0.0);
        (SHOWN..POSITIONS_MAX).contains(&number.abs()) && !is_lowest
    };
    let positions = origins.iter().take(2).max() == Some(&Origin::Positions);
    let either = |judge: &dyn Fn(f64) -> bool| (0..2).filter_map(number).any(judge);
    match node.op {
        "Trilu" => inputs.get(1).and_then(Option::as_deref).and_then(only).is_some_and(beyond),
        "Add" | "Sub" | "Div" | "Mod" | "Max" | "Min" => positions && either(&beyond),
        "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => positions && either(&beyond),
        "Mul" => {
            let part = |number: f64| (1.0 / POSITIONS_MAX..=1.0 / SHOWN).contains(&number.abs());
            positions && either(&part)
        }
        _ => false,
    }
}

/// The number that all elements are.
fn only(value: &Value) -> Option<f64> {
    let first = *value.data.first()?;
    value.data.iter().all(|element| *element == first).then_some(first)
}

/// Whether a constant is a mask by which a position sees something else than itself and all before
/// it: a square of two numbers that is no triangle.
pub(super) fn is_other_mask(value: &Value) -> bool {
    let [.., rows, columns] = value.shape[..] else { return false };
    if rows != columns || (rows as f64) <= SHOWN {
        return false;
    }
    let Some(first) = value.data.first() else { return false };
    let Some(other) = value.data.iter().find(|element| *element != first) else { return false };
    if value.data.iter().any(|element| element != first && element != other) {
        return false;
    }
    let cells = || value.data.iter().enumerate();
    let place = |at: usize| (at / columns % rows, at % columns);
    // The first element is seen by its own position, so all that is like it must be.
    let (mut causal, mut strict) = (true, true);
    for (at, element) in cells() {
        let (row, column) = place(at);
        causal &= (element == first) == (column <= row);
        strict &= (element == first) == (column >= row);
    }
    !causal && !strict
}
