//! The manifest: everything a model id stands for.

use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{Digest, Domain, hash_of, id::ModelId};
use units::{List, Text};

use crate::constants::{LICENCE_MAX, STOP_IDS_MAX};

/// What a model is, by hashes. Two models with equal ids give equal answers to equal requests.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// Version of the arithmetic, [`crate::constants::SEMANTICS`].
    pub semantics: u16,
    /// [`crate::Graph::root`].
    pub graph_root: Digest,
    /// Merkle root over the weights, one leaf per output channel.
    pub weight_root: Digest,
    /// Merkle root over activation and rotation tables.
    pub table_root: Digest,
    /// Hash of the preprocess configuration.
    pub preprocess_hash: Digest,
    /// Version of the rules by which that configuration is read.
    pub preprocess_version: u16,
    /// Most tokens of an input; a longer one is refused, never cut.
    pub max_input: u32,
    /// Most positions of a run, input and output together.
    pub max_positions: u32,
    /// Ids that end a generation, ascending. The stop id itself is the last output.
    pub stop_ids: List<u32, STOP_IDS_MAX>,
    /// Licence of the weights, as a short SPDX expression.
    pub licence: Text<LICENCE_MAX>,
}

impl Manifest {
    /// The model id.
    pub fn id(&self) -> ModelId {
        ModelId::new(hash_of(Domain::Manifest, self))
    }
}
