//! ONNX files of transformers, as the usual exporters write them.
//!
//! A file holds a graph of small ops. Nothing runs it: the patterns of the architecture are looked
//! for from the output backwards, every op on the way must be exactly what the pattern needs, and
//! the first one that is not is named. What is found are the checkpoint's own tensors, so the same
//! builder makes the same model from them.

mod bert;
mod graph;
mod pattern;
mod wire;

use std::collections::BTreeMap;

use super::ImportError;
use super::gguf::Stored;
use bert::{Encoder, Weight};
use graph::Graph;

/// An open file whose graph is a known architecture.
#[derive(Debug)]
pub(super) struct Onnx<'a> {
    tensors: BTreeMap<String, (Stored<'a>, bool)>,
    /// Attention heads.
    pub(super) heads: u32,
    /// What the norms add to a variance.
    pub(super) norm_epsilon: f64,
    /// Nodes and constants of the file that the model does not need.
    pub(super) unused: Vec<String>,
}

/// Whether these bytes may be a model message: exporters write its version first.
pub(super) fn is_onnx(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x08) && bytes.get(8) != Some(&b'{')
}

impl<'a> Onnx<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let graph = Graph::read(bytes)?;
        let Encoder { weights, heads, epsilon } = bert::find(&graph)?;
        let mut tensors = BTreeMap::new();
        for (name, Weight { tensor, transposed }) in &weights {
            tensors.insert(name.clone(), (stored(&graph, tensor)?, *transposed));
        }
        let used = |name: &&&str| !weights.values().any(|weight| weight.tensor == **name);
        let unused = graph.tensors.keys().filter(used).map(|name| (*name).to_owned()).collect();
        Ok(Self { tensors, heads, norm_epsilon: epsilon, unused })
    }

    /// A tensor under its name in checkpoints, and whether its rows lie as columns.
    pub(super) fn tensor(&self, name: &str) -> Option<(Stored<'a>, bool)> {
        self.tensors.get(name).cloned()
    }
}

fn stored<'a>(graph: &Graph<'a>, name: &str) -> Result<Stored<'a>, ImportError> {
    let missing = || ImportError::MissingTensor { name: name.to_owned() };
    let tensor = graph.constant(name).ok_or_else(missing)?;
    let shape = tensor.shape.clone();
    let refused = |found: String| ImportError::Tensor {
        name: name.to_owned(),
        found,
        expected: "F32, F16 or BF16, in as many bytes as its shape needs".to_owned(),
    };
    let kind = || refused(format!("of ONNX type {}", tensor.kind));
    let element = tensor.element().ok_or_else(kind)?;
    let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
    let bytes = count.and_then(|count| element.bytes(count));
    if bytes != Some(tensor.data.len()) {
        return Err(refused(format!("{element:?} {shape:?} in {} bytes", tensor.data.len())));
    }
    Ok(Stored { shape, element, data: tensor.data })
}
