//! Why a node does not start, or does not go on.
//!
//! Rules: each error says what, why and what to do.
//! Never here: errors of callers of the RPC.

use crate::journal::JournalError;
use light::ChainAnchor;
use std::{io, net::SocketAddr, path::PathBuf};

/// Why a validator's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The key file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The file is no key file.
    #[error("{path} is no validator key: restore it from a copy, or remove the whole folder")]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
    /// There are no random bytes to be had.
    #[error("the operating system gives no random bytes: {source}")]
    Entropy {
        /// Its reason.
        source: getrandom::Error,
    },
}

/// Why a chain does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// Another process runs from this folder.
    #[error("{dir} is in use by another node: stop it first, or choose another folder")]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds another chain.
    #[error(
        "{dir} holds chain {found}, not {expected}: its genesis or its validator differs. Use \
         another folder, or remove this one to start over"
    )]
    OtherChain {
        /// The folder.
        dir: PathBuf,
        /// The chain in the folder.
        found: crypto::ChainId,
        /// The chain of the configuration.
        expected: crypto::ChainId,
    },
    /// The folder's description of its chain does not read.
    #[error("{path} is damaged ({reason}): restore the folder from a copy, or remove it")]
    Description {
        /// The file.
        path: PathBuf,
        /// What the reader met.
        reason: String,
    },
    /// Genesis is not a valid start of a ledger.
    #[error("the genesis is invalid: {0}")]
    Genesis(#[from] ledger::GenesisError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal's last block does not decode.
    #[error("block {height} of the journal does not decode: restore the folder from a copy")]
    Block {
        /// Its height.
        height: units::Height,
    },
    /// The address of the RPC.
    #[error("cannot listen on {address}: {source}. Choose another address, or port 0")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The engine stopped while it started.
    #[error(transparent)]
    Crashed(#[from] Crashed),
}

/// Why a folder does not stand up to a replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The folder cannot be read, or the scratch folder cannot be written.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The genesis is that of another chain.
    #[error("{dir} holds a chain with another genesis")]
    OtherGenesis {
        /// The folder.
        dir: PathBuf,
    },
    /// There is nothing to start from.
    #[error("{dir} has no block 1: it is empty, or its first blocks are no longer kept")]
    NoFirstBlock {
        /// The folder.
        dir: PathBuf,
    },
    /// A block comes out differently.
    #[error("block {height} does not replay: {what}")]
    Differs {
        /// The block.
        height: units::Height,
        /// How.
        what: &'static str,
    },
}

/// A node that stopped because it could not go on safely.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the node stopped: {reason}")]
pub struct Crashed {
    /// What it met.
    pub reason: String,
}

/// The anchor is not a chain's, as found on disk.
pub(crate) fn other_chain(dir: PathBuf, found: &ChainAnchor, expected: &ChainAnchor) -> StartError {
    StartError::OtherChain { dir, found: found.chain_id(), expected: expected.chain_id() }
}
