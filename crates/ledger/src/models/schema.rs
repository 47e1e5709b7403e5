//! Models: what may be sent, what is recorded, why a sender is refused.

use super::{math, state::Model};
use crate::{
    bytes::Bytes,
    params::{COIN, OutOfBounds, within},
    store::Table,
    verifier::REASON_BYTES_MAX,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, Digest, ModelId};
use serde::{Deserialize, Serialize};
use units::{Coin, NANO, Overflow, Text, UsdNano};

/// Most bytes of a manifest (R6).
pub const MANIFEST_BYTES_MAX: usize = 16 << 10;
/// Most bytes of a graph (R6).
pub const GRAPH_BYTES_MAX: usize = 512 << 10;
/// Most bytes of a publisher's name and of a model's (R4).
pub const NAME_BYTES_MAX: usize = 32;
/// Most bytes of `publisher/name`.
pub const FULL_NAME_BYTES_MAX: usize = 65;

/// A manifest's canonical bytes.
pub type Manifest = Bytes<MANIFEST_BYTES_MAX>;
/// A graph's canonical bytes.
pub type Graph = Bytes<GRAPH_BYTES_MAX>;
/// A publisher's name or a model's.
pub type Name = Text<NAME_BYTES_MAX>;
/// `publisher/name`.
pub type FullName = Text<FULL_NAME_BYTES_MAX>;

/// Registered models.
pub const MODELS: Table<ModelId, Model> = Table::new([4, 0], "models.models");
/// Their manifests (R7).
pub const MANIFESTS: Table<ModelId, Manifest> = Table::new([4, 1], "models.manifests");
/// Their graphs (R7).
pub const GRAPHS: Table<ModelId, Graph> = Table::new([4, 2], "models.graphs");
/// Models by `publisher/name` (R4).
pub const NAMES: Table<FullName, ModelId> = Table::new([4, 3], "models.names");
/// Who owns a publisher's name (R4).
pub const PUBLISHERS: Table<Name, AccountId> = Table::new([4, 4], "models.publishers");
/// Models by weight root (R3).
pub const WEIGHTS: Table<Digest, ModelId> = Table::new([4, 5], "models.weights");

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// The publisher's name (R4).
    pub publisher: Name,
    /// The model's name among the publisher's (R4).
    pub name: Name,
    /// The manifest (R6).
    pub manifest: Manifest,
    /// The graph (R6).
    pub graph: Graph,
}

/// Transactions. Numbers are on the wire: never reuse one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tx {
    /// 0: Registers a model (R1–R6).
    Publish(Publication) = 0,
}

impl Tx {
    /// The fixed fee, plus a fixed amount per started KiB (R6).
    ///
    /// # Errors
    /// [`Overflow`] only under parameters beyond their bounds.
    pub fn fee(&self, params: &Params) -> Result<Coin, Overflow> {
        let Self::Publish(publication) = self;
        math::publish_fee(publication.manifest.len(), publication.graph.len(), params)
    }
}

/// Facts for indexers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Event {
    /// A model was registered.
    Published {
        /// Which.
        model: ModelId,
        /// `publisher/name`.
        name: FullName,
        /// By whom.
        owner: AccountId,
    } = 0,
}

/// Why a sender is refused. Numbers are on the wire: never reuse one.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Error {
    /// R1.
    #[error("model {model} is registered already")]
    AlreadyRegistered {
        /// Which.
        model: ModelId,
    } = 0,
    /// R2.
    #[error("the machine gate refuses the model: {reason}")]
    Rejected {
        /// What is wrong and where.
        reason: Text<REASON_BYTES_MAX>,
    } = 1,
    /// R3.
    #[error("the same weights are registered already as model {model}")]
    DuplicateWeights {
        /// Which.
        model: ModelId,
    } = 2,
    /// R4.
    #[error("{name:?} is no name: use a-z, 0-9, - and ., starting with a letter or digit")]
    BadName {
        /// In the transaction.
        name: Name,
    } = 3,
    /// R4.
    #[error("the publisher's name {publisher:?} belongs to another account")]
    NotThePublisher {
        /// In the transaction.
        publisher: Name,
    } = 4,
    /// R4.
    #[error("the name {name:?} stands for model {model} already")]
    NameTaken {
        /// `publisher/name`.
        name: FullName,
        /// What it stands for.
        model: ModelId,
    } = 5,
}

/// What genesis decides.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Deposit of a publisher, in billionths of a dollar; 0 to 10,000 dollars.
    pub deposit: UsdNano,
    /// Fee of a publication, in coin; 0 to 10.
    pub publish_fee: Coin,
    /// Further fee per started KiB of manifest and graph, in coin; 0 to 0.1.
    pub publish_fee_per_kib: Coin,
}

impl Params {
    /// Holds every field against its bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        within("models.deposit", self.deposit.get(), 0, 10_000 * NANO)?;
        within("models.publish_fee", self.publish_fee.get(), 0, 10 * COIN)?;
        within("models.publish_fee_per_kib", self.publish_fee_per_kib.get(), 0, COIN / 10)
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            deposit: UsdNano::new(50 * NANO),
            publish_fee: Coin::new(100_000_000),
            publish_fee_per_kib: Coin::new(1_000_000),
        }
    }
}
