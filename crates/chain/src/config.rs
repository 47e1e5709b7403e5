//! What a node is told before it starts.
//!
//! Rules: everything that other nodes must agree on stands in genesis; this is the rest.
//! Never here: defaults of the ledger.

use crate::ValidatorKeys;
use ledger::{Genesis, Params};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Settings of one node.
#[derive(Debug)]
pub struct Config {
    /// Folder of the chain; created if missing. One node at a time.
    pub dir: PathBuf,
    /// What the chain starts from. Must be the same at every start.
    pub genesis: Genesis,
    /// The validator's secrets. Must be the same at every start.
    pub keys: ValidatorKeys,
    /// Where the RPC listens; port 0 takes any free port.
    pub rpc_listen: SocketAddr,
}

/// The distance between blocks, as genesis says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// While there is work.
    pub busy: Duration,
    /// While there is none; at least `busy`.
    pub idle: Duration,
}

impl Pace {
    /// From a chain's parameters.
    #[must_use]
    pub fn of(params: &Params) -> Self {
        let busy = Duration::from_millis(params.block.pace.get());
        Self { busy, idle: Duration::from_millis(params.block.idle.get()).max(busy) }
    }
}
