//! The ledger's port to models, bound to their canonical semantics.
//!
//! Rules: what the ledger learns of a model is computed from its manifest and graph, never
//! taken from its publisher; a model that the semantics refuses is refused with its reason.
//! Never here: weights, economic rules.

use ledger::{
    ModelFacts, ModelRejected, Verifier,
    verifier::{Reach, Task},
};
use model::Manifest;

/// Knowledge of models.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Models;

impl Verifier for Models {
    fn inspect_model(&self, manifest: &[u8], graph: &[u8]) -> Result<ModelFacts, ModelRejected> {
        let reject = |reason: &dyn std::fmt::Display| ModelRejected::new(&reason.to_string());
        let facts = model::inspect_bytes(manifest, graph).map_err(|error| reject(&error))?;
        let manifest: Manifest = borsh::from_slice(manifest).map_err(|error| reject(&error))?;
        let task = match facts.task {
            model::Task::Generate => Task::Generate,
            model::Task::Embed => Task::Embed,
        };
        let reach = match facts.reach {
            model::Reach::Causal => Reach::Causal,
            model::Reach::Full => Reach::Full,
        };
        Ok(ModelFacts {
            model: manifest.id(),
            semantics: manifest.semantics,
            task,
            graph_root: manifest.graph_root,
            weight_root: manifest.weight_root,
            preprocess: manifest.preprocess_hash,
            reach,
            per_position: facts.per_position,
            per_output: facts.per_output,
            per_pair: facts.per_pair,
            blocks: facts.blocks,
            max_input: facts.max_input,
            max_positions: facts.max_positions,
            vocabulary: facts.vocabulary,
            width: facts.width,
        })
    }
}
