//! What a search for an architecture gives: constants of the graph that are weights, or a refusal.

use std::collections::BTreeMap;

use super::graph::{Graph, Tensor};
use super::pattern::Linear;
use crate::import::ImportError;
use crate::import::element::Element;
use crate::import::gguf::Stored;
use crate::import::names::RowOrder;

/// A refusal, and how many pieces were recognised before it.
pub(super) type Refusal = (usize, ImportError);

/// What `find` finds behind the first of the graph's outputs that has it. Where none has, the
/// refusal is that of the output of which most was recognised.
pub(super) fn behind_outputs<'a, T>(
    graph: &Graph<'a>,
    mut find: impl FnMut(&'a str) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut best: Option<Refusal> = None;
    for output in &graph.outputs {
        match find(output) {
            Ok(found) => return Ok(found),
            Err(refusal) if best.as_ref().is_none_or(|(pieces, _)| refusal.0 > *pieces) => {
                best = Some(refusal);
            }
            Err(_) => {}
        }
    }
    let none = || (0, ImportError::Source { reason: "the graph has no outputs".to_owned() });
    Err(best.unwrap_or_else(none))
}

/// A constant, and whether its rows lie as columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight<'a> {
    pub(super) tensor: &'a str,
    pub(super) transposed: bool,
    /// First row and number of those that are meant; all where there is none.
    pub(super) part: Option<(usize, usize)>,
}

impl<'a> Weight<'a> {
    /// All of a constant, whose rows lie as rows.
    pub(super) const fn rows_of(tensor: &'a str) -> Self {
        Self { tensor, transposed: false, part: None }
    }
}

/// Weights by their names in checkpoints.
#[derive(Debug, Default)]
pub(super) struct Weights<'a>(pub(super) BTreeMap<String, Weight<'a>>);

impl<'a> Weights<'a> {
    /// All of a constant.
    pub(super) fn add(&mut self, name: String, tensor: &'a str) {
        self.0.insert(name, Weight::rows_of(tensor));
    }

    /// A linear op's weights, and its bias where it has one; all rows, or a part of them.
    pub(super) fn linear(&mut self, name: &str, linear: &Linear<'a>, part: Option<(usize, usize)>) {
        let Linear { weight, transposed, bias, .. } = *linear;
        self.0.insert(format!("{name}.weight"), Weight { tensor: weight, transposed, part });
        if let Some(tensor) = bias {
            self.0.insert(format!("{name}.bias"), Weight { tensor, transposed: false, part });
        }
    }
}

/// A constant of floats that lie in as many bytes as its shape needs.
pub(super) fn floats<'g, 'a>(
    graph: &'g Graph<'a>,
    name: &str,
) -> Result<(&'g Tensor<'a>, Element), ImportError> {
    let missing = || ImportError::MissingTensor { name: name.to_owned() };
    let tensor = graph.constant(name).ok_or_else(missing)?;
    let element = tensor.floats().map_err(|found| refused(name, found))?;
    Ok((tensor, element))
}

fn refused(name: &str, found: String) -> ImportError {
    let expected = "F32, F16 or BF16, in as many bytes as its shape needs".to_owned();
    ImportError::Tensor { name: name.to_owned(), found, expected }
}

/// The floats of a weight, and how its rows lie.
pub(super) fn stored<'a>(
    graph: &Graph<'a>,
    weight: &Weight<'_>,
) -> Result<(Stored<'a>, RowOrder), ImportError> {
    let name = weight.tensor;
    let (tensor, element) = floats(graph, name)?;
    let mut shape = tensor.shape.clone();
    let refused = |found: String| refused(name, found);
    if weight.transposed {
        shape.reverse();
    }
    let of = shape.first().copied().unwrap_or(0);
    let (first, count) = weight.part.unwrap_or((0, of));
    let within = || refused(format!("{shape:?}, less than {first} and {count} rows"));
    let last = first.checked_add(count).filter(|last| *last <= of).ok_or_else(within)?;
    let (mut data, mut order) = (tensor.data, RowOrder::Columns { first, of });
    if !weight.transposed {
        let row = data.len().checked_div(of).unwrap_or(0);
        data = data.get(first * row..last * row).unwrap_or_default();
        order = RowOrder::Plain;
    }
    if let Some(rows) = shape.first_mut() {
        *rows = count;
    }
    Ok((Stored { shape, element, data }, order))
}
