//! What a search for an architecture gives: constants of the graph that are weights, or a refusal.

use super::graph::{Graph, Tensor};
use crate::import::ImportError;
use crate::import::element::Element;
use crate::import::gguf::Stored;
use crate::import::names::RowOrder;

/// A refusal, and how many pieces were recognised before it.
pub(super) type Refusal = (usize, ImportError);

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
