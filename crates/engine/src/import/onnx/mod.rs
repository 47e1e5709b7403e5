//! ONNX files of transformers, as the usual exporters write them.
//!
//! A file holds a graph of small ops. Nothing runs it: the patterns of the architecture are looked
//! for from the output backwards, every op on the way must be exactly what the pattern needs, and
//! the first one that is not is named. What is found are the checkpoint's own tensors, so the same
//! builder makes the same model from them.
//!
//! Known are encoders of the BERT family and decoders of the llama family. Between the linear ops
//! of an attention exporters differ most: that piece is run on a few made-up rows instead,
//! and must give what the architecture does.

mod attention;
mod bert;
mod decoder;
mod evaluate;
mod fused;
mod graph;
mod llama;
mod ops;
mod pattern;
mod trial;
mod value;
mod weight;
mod window;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use super::gguf::Stored;
use super::names::RowOrder;
use super::{Architecture, ImportError};
use bert::Encoder;
use graph::{Graph, Tensor};
use llama::Decoder;
use weight::{Weights, stored};

/// An open file whose graph is a known architecture.
#[derive(Debug)]
pub(super) struct Onnx<'a> {
    tensors: BTreeMap<String, (Stored<'a>, RowOrder)>,
    pub(super) shape: Shape,
    /// Tensors of the file that the model does not need.
    pub(super) unused: Vec<String>,
}

/// What the graph tells besides its weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) architecture: Architecture,
    /// Attention heads.
    pub(super) heads: u32,
    pub(super) key_heads: Option<u32>,
    /// What the norms add to a variance.
    pub(super) norm_epsilon: f64,
    /// Base of the rotation's frequencies.
    pub(super) rope_base: Option<f64>,
}

/// An architecture in a graph.
struct Found<'a> {
    weights: Weights<'a>,
    shape: Shape,
    /// Constants besides the weights that tell what the model is.
    read: BTreeSet<&'a str>,
}

/// Whether these bytes may be a model message: exporters write its version first.
pub(super) fn is_onnx(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x08) && bytes.get(8) != Some(&b'{')
}

impl<'a> Onnx<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let graph = Graph::read(bytes)?;
        let Found { weights, shape, read } = find(&graph)?;
        let mut tensors = BTreeMap::new();
        for (name, weight) in &weights.0 {
            tensors.insert(name.clone(), stored(&graph, weight)?);
        }
        // Single numbers and shapes belong to ops, not to a model.
        let is_tensor = |tensor: &Tensor<'_>| {
            tensor.element().is_some() && tensor.shape.iter().any(|size| *size > 1)
        };
        let used: BTreeSet<&str> = weights.0.values().map(|weight| weight.tensor).collect();
        let unused = graph.tensors.iter().filter(|(name, tensor)| {
            is_tensor(tensor) && !used.contains(*name) && !read.contains(*name)
        });
        let unused = unused.map(|(name, _)| (*name).to_owned()).collect();
        Ok(Self { tensors, shape, unused })
    }

    /// A tensor under its name in checkpoints, and how its rows lie.
    pub(super) fn tensor(&self, name: &str) -> Option<(Stored<'a>, RowOrder)> {
        self.tensors.get(name).cloned()
    }
}

/// The architecture in a graph. Where none is, the refusal of the one of which most was recognised.
fn find<'a>(graph: &Graph<'a>) -> Result<Found<'a>, ImportError> {
    let (encoder, refusal) = match bert::find(graph) {
        Ok(Encoder { weights, heads, epsilon }) => {
            let architecture = Architecture::Bert;
            let (key_heads, rope_base) = (None, None);
            let shape = Shape { architecture, heads, key_heads, norm_epsilon: epsilon, rope_base };
            return Ok(Found { weights, shape, read: BTreeSet::new() });
        }
        Err(refusal) => refusal,
    };
    match llama::find(graph) {
        Ok(Decoder { weights, kind, epsilon, read }) => {
            let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            let shape = Shape {
                architecture: Architecture::Llama,
                heads: count(kind.heads),
                key_heads: Some(count(kind.key_heads)),
                norm_epsilon: epsilon,
                rope_base: kind.base,
            };
            Ok(Found { weights, shape, read })
        }
        Err((decoder, error)) => {
            // Gates have a sigmoid, encoders have none.
            let gated = graph.nodes.iter().any(|node| node.op == "Sigmoid");
            let is_decoder = decoder > encoder || (decoder == encoder && gated);
            Err(if is_decoder { error } else { refusal })
        }
    }
}
