//! The test models without a tokenizer, and ways to break them.

use model::tiny::{Vocabulary, decoder, encoder};
use model::{Graph, Manifest, Model, Op};
use units::List;

pub(crate) fn vocabulary(stop_ids: Vec<u32>) -> Vocabulary {
    let preprocess = b"no tokenizer".to_vec();
    Vocabulary { size: 96, quiet: 16, stop_ids, preprocess, preprocess_version: 0 }
}

pub(crate) fn chat() -> Model {
    decoder(vocabulary(vec![0, 7])).unwrap()
}

pub(crate) fn embed() -> Model {
    encoder(vocabulary(Vec::new())).unwrap()
}

/// The model's graph with another list of ops, and a manifest that agrees with it.
pub(crate) fn with_ops(model: &Model, change: impl FnOnce(&mut Vec<Op>)) -> (Manifest, Graph) {
    let mut ops = model.graph().ops.to_vec();
    change(&mut ops);
    with_graph(model, |graph| graph.ops = List::new(ops).unwrap())
}

pub(crate) fn with_graph(model: &Model, change: impl FnOnce(&mut Graph)) -> (Manifest, Graph) {
    let mut graph = model.graph().clone();
    change(&mut graph);
    let manifest = Manifest { graph_root: graph.root(), ..model.manifest().clone() };
    (manifest, graph)
}
