//! Why a box does not start.

use client::{rpc::RpcError, store::StoreError};
use crypto::{ChainId, ModelId, OperatorId, PublicKey};
use std::{io, path::PathBuf};

/// Why a box does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting outside its bounds.
    #[error("{name} is {value}, it must lie between {low} and {high}")]
    Setting {
        /// Which.
        name: &'static str,
        /// What was given.
        value: usize,
        /// The least allowed.
        low: usize,
        /// The most allowed.
        high: usize,
    },
    /// The folder or a thread cannot be made.
    #[error("{path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The records cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The records do not follow each other.
    #[error("the records of a lane are damaged: {reason}; restore them from a copy")]
    Records {
        /// What does not fit.
        reason: String,
    },
    /// The folder holds records of another chain or operator.
    #[error("{path} belongs to operator {operator} on chain {chain}; choose another folder")]
    OtherBox {
        /// The folder.
        path: PathBuf,
        /// Whose records it holds.
        operator: OperatorId,
        /// On which chain.
        chain: ChainId,
    },
    /// The node does not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The chain has no record that must be there.
    #[error("the chain has no {what}; is it the right node?")]
    Missing {
        /// Which.
        what: &'static str,
    },
    /// The operator does not exist on the chain.
    #[error("operator {operator} is not registered on the chain; register it with this box key")]
    NotRegistered {
        /// Which.
        operator: OperatorId,
    },
    /// The chain knows another box key.
    #[error("the box key of {operator} on the chain is {registered}, this box holds {held}")]
    BoxKey {
        /// Whose.
        operator: OperatorId,
        /// On the chain.
        registered: PublicKey,
        /// Here.
        held: PublicKey,
    },
    /// A model's threads cannot be started.
    #[error("model {model}: {source}")]
    Threads {
        /// Which.
        model: ModelId,
        /// Why.
        source: std::io::Error,
    },
    /// The box key cannot be used on a link.
    #[error(transparent)]
    Link(#[from] link::Error),
}
