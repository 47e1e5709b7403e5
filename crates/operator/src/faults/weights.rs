//! Swapped weights: runs another model than it says.

use super::Fault;
use crypto::ModelId;
use model::{Model, ModelError, OpWeights, Parts, rows::Rows};
use std::collections::BTreeMap;

/// Serves models with a swapped weight row under the name of the right ones.
#[derive(Debug, Clone, Default)]
pub struct SwappedWeights {
    /// The right id by the id of what is run.
    names: BTreeMap<ModelId, ModelId>,
}

impl SwappedWeights {
    /// The model with the weights of its first two output channels swapped, to be run in place of
    /// the right one.
    ///
    /// # Errors
    /// Never for a model with two output channels; else it is no other model.
    pub fn swap(&mut self, model: &Model) -> Result<Model, ModelError> {
        let mut weights = model.weights().clone();
        // The first op is the embedding, whose rows few inputs read.
        let channels = weights.ops.iter_mut().skip(1).find_map(|op| match op {
            OpWeights::Channels(channels) if channels.multipliers.len() > 1 => Some(channels),
            _ => None,
        });
        if let Some(channels) = channels {
            let right = &channels.weights;
            let mut swapped = Rows::new(right.width());
            let rows = [1, 0].into_iter().chain(2..right.len());
            rows.for_each(|row| swapped.push(right.row(row)));
            channels.weights = swapped;
        }
        let manifest = model.manifest();
        let swapped = Model::from_parts(Parts {
            graph: model.graph().clone(),
            weights,
            preprocess: model.preprocess().to_vec(),
            preprocess_version: manifest.preprocess_version,
            max_input: manifest.max_input,
            max_positions: manifest.max_positions,
            stop_ids: manifest.stop_ids.clone(),
            licence: manifest.licence.clone(),
        })?;
        self.names.insert(swapped.id(), model.id());
        Ok(swapped)
    }
}

impl Fault for SwappedWeights {
    fn poses_as(&self, model: ModelId) -> ModelId {
        self.names.get(&model).copied().unwrap_or(model)
    }
}
