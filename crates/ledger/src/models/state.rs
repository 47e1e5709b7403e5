//! Models: the stored records, and reading them.

use super::schema::{FullName, MODELS, NAMES, Name};
use crate::{
    store::{Corrupt, Read},
    verifier::ModelFacts,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, ModelId};
use serde::{Deserialize, Serialize};
use units::{Coin, Millis};

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Model {
    /// What the machine gate computed (R2). Invariant: `facts.model` is the record's key.
    pub facts: ModelFacts,
    /// The publisher's name.
    pub publisher: Name,
    /// The model's name among the publisher's.
    pub name: Name,
    /// Who published it.
    pub owner: AccountId,
    /// What lies in `model_deposits` for it. Invariant: their sum is the pot (R5).
    pub deposit: Coin,
    /// The clock at which it was registered.
    pub published: Millis,
}

/// A model, or `None` if it is not registered.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn model(state: &impl Read, id: &ModelId) -> Result<Option<Model>, Corrupt> {
    state.get(&MODELS, id)
}

/// What a `publisher/name` stands for.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn by_name(state: &impl Read, name: &FullName) -> Result<Option<ModelId>, Corrupt> {
    state.get(&NAMES, name)
}
