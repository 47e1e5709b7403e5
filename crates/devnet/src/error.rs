//! Why a devnet does not start.

use std::path::PathBuf;

/// What went wrong, in which part.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the devnet's folder.
    #[error("cannot use {}: {source}; choose another folder with --data-dir", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The genesis document of the folder.
    #[error("{} is damaged ({reason}); move the folder away to start anew", .path.display())]
    Genesis {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key.
    #[error(transparent)]
    Keys(#[from] client::keystore::KeystoreError),
    /// The validator's keys.
    #[error(transparent)]
    ValidatorKeys(#[from] chain::KeyError),
    /// The validator.
    #[error("the chain does not start: {0}")]
    Chain(#[from] chain::StartError),
    /// The node's interface.
    #[error(transparent)]
    Rpc(#[from] client::rpc::RpcError),
    /// A transaction of the devnet's own.
    #[error("cannot {what}: {source}")]
    Send {
        /// What it was for.
        what: &'static str,
        /// Why it failed.
        source: client::transactions::SendError,
    },
    /// A model.
    #[error(transparent)]
    Model(#[from] engine::store::StoreError),
    /// A model's engine.
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    /// A model with another's weights.
    #[error("the liar's model cannot be made: {0}")]
    Liar(#[from] model::ModelError),
    /// A model that cannot be published.
    #[error("model {name} cannot be published: {reason}")]
    Publish {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// An operator.
    #[error("operator {index} does not start: {source}")]
    Operator {
        /// Which.
        index: u32,
        /// Why.
        source: operator::StartError,
    },
    /// An auditor.
    #[error("the auditor does not start: {source}")]
    Auditor {
        /// Why.
        source: operator::StartError,
    },
    /// The gateway.
    #[error("the gateway does not start: {0}")]
    Gateway(#[from] gateway::GatewayError),
    /// Something took too long.
    #[error("{what} did not come within {seconds} s; run again with SELVEDGE_LOG=info to see why")]
    Timeout {
        /// What.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
}
