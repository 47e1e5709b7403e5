//! A model: manifest, graph, weights and preprocess configuration that fit each other.
//!
//! A `Model` that exists is whole: shapes, ranges and all four hashes were checked when it was
//! made, so the ops may rely on them.

use crypto::{Digest, Domain, hash_bytes, id::ModelId};
use units::{List, Text};

use crate::constants::{LICENCE_MAX, PREPROCESS_MAX, SEMANTICS, STOP_IDS_MAX};
use crate::error::ModelError;
use crate::graph::Graph;
use crate::inspect::{Facts, Shape, at_most, check_graph, inspect};
use crate::layout::{Tensors, size, tensors};
use crate::manifest::Manifest;
use crate::weights::Weights;

/// A complete model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    manifest: Manifest,
    graph: Graph,
    weights: Weights,
    preprocess: Vec<u8>,
    facts: Facts,
    shapes: Vec<Shape>,
}

/// What a model is made of before it has an id.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The ops.
    pub graph: Graph,
    /// Their numbers.
    pub weights: Weights,
    /// The preprocess configuration, as its own crate reads it.
    pub preprocess: Vec<u8>,
    /// Version of the rules by which that is read.
    pub preprocess_version: u16,
    /// Most tokens of an input.
    pub max_input: u32,
    /// Most positions of a run.
    pub max_positions: u32,
    /// Ids that end a generation, ascending.
    pub stop_ids: List<u32, STOP_IDS_MAX>,
    /// Licence of the weights.
    pub licence: Text<LICENCE_MAX>,
}

/// Computes a weight root.
pub type RootOf<'a> = dyn Fn(&Weights, &[Tensors]) -> Digest + 'a;

impl Model {
    /// A model from its parts, its manifest computed.
    ///
    /// # Errors
    /// Whatever makes them no model.
    pub fn from_parts(parts: Parts) -> Result<Self, ModelError> {
        let shapes = check_graph(&parts.graph)?;
        let tensors = all_tensors(&parts.graph, &shapes, parts.max_positions);
        let manifest = Manifest {
            semantics: SEMANTICS,
            graph_root: parts.graph.root(),
            weight_root: parts.weights.root(&tensors),
            table_root: parts.weights.table_root(),
            preprocess_hash: preprocess_hash(&parts.preprocess),
            preprocess_version: parts.preprocess_version,
            max_input: parts.max_input,
            max_positions: parts.max_positions,
            stop_ids: parts.stop_ids,
            licence: parts.licence,
        };
        Self::new(manifest, parts.graph, parts.weights, parts.preprocess)
    }

    /// A model from a manifest and what it stands for.
    ///
    /// # Errors
    /// Whatever does not fit the manifest, or is no model.
    pub fn new(
        manifest: Manifest,
        graph: Graph,
        weights: Weights,
        preprocess: Vec<u8>,
    ) -> Result<Self, ModelError> {
        Self::with_root(manifest, graph, weights, preprocess, &Weights::root)
    }

    /// As [`Model::new`], with the weight root from `root`, which must give what [`Weights::root`]
    /// gives: it may take the ops side by side.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn with_root(
        manifest: Manifest,
        graph: Graph,
        weights: Weights,
        preprocess: Vec<u8>,
        root: &RootOf<'_>,
    ) -> Result<Self, ModelError> {
        let facts = inspect(&manifest, &graph)?;
        let shapes = check_graph(&graph)?;
        let tensors = all_tensors(&graph, &shapes, manifest.max_positions);
        if weights.ops.len() != tensors.len() {
            return Err(ModelError::Shape { what: "the list of weights" });
        }
        for (op, (weights, tensors)) in weights.ops.iter().zip(&tensors).enumerate() {
            weights.check(op, tensors)?;
        }
        let (pairs, positions) = (size(graph.rope_pairs), size(manifest.max_positions));
        weights.check_tables(size(graph.tables), pairs, positions)?;
        let length = u64::try_from(preprocess.len()).unwrap_or(u64::MAX);
        let limit = u64::try_from(PREPROCESS_MAX).unwrap_or(u64::MAX);
        at_most("the preprocess configuration", length, limit)?;
        matches("the weights", root(&weights, &tensors), manifest.weight_root)?;
        matches("the tables", weights.table_root(), manifest.table_root)?;
        let found = preprocess_hash(&preprocess);
        matches("the preprocess configuration", found, manifest.preprocess_hash)?;
        Ok(Self { manifest, graph, weights, preprocess, facts, shapes })
    }

    /// The model id.
    pub fn id(&self) -> ModelId {
        self.manifest.id()
    }

    /// The manifest.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The graph.
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The numbers.
    pub const fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The preprocess configuration.
    pub fn preprocess(&self) -> &[u8] {
        &self.preprocess
    }

    /// What is known from manifest and graph.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The shape of each value.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }
}

/// The tensors of each op.
pub(crate) fn all_tensors(graph: &Graph, shapes: &[Shape], positions: u32) -> Vec<Tensors> {
    graph.ops.iter().map(|op| tensors(graph, shapes, op, positions)).collect()
}

/// Hash of a preprocess configuration, as a manifest carries it.
pub fn preprocess_hash(bytes: &[u8]) -> Digest {
    hash_bytes(Domain::Preprocess, bytes)
}

fn matches(what: &'static str, found: Digest, declared: Digest) -> Result<(), ModelError> {
    if found == declared { Ok(()) } else { Err(ModelError::Root { what, found, declared }) }
}
