//! Whether the next block is wanted soon.
//!
//! Rules: it is, if a transaction waits or the ledger has something to do by itself within
//! [`HORIZON`]. Otherwise the chain idles.
//! Never here: how long to wait; that is the pace.

use crate::{machine::Machine, mempool::Mempool};
use std::sync::Arc;
use units::Millis;

/// A deadline this near keeps the chain busy: windows of the ledger should end on time.
const HORIZON: Millis = Millis::new(30_000);

/// What makes a block due.
#[derive(Clone)]
pub(crate) struct Demand {
    machine: Arc<Machine>,
    mempool: Mempool,
}

impl Demand {
    /// Demand by these transactions and this ledger.
    pub(crate) const fn new(machine: Arc<Machine>, mempool: Mempool) -> Self {
        Self { machine, mempool }
    }

    /// Resolves once a block is wanted.
    pub(crate) async fn arises(&self) {
        if !self.machine.has_deadline_within(HORIZON) {
            self.mempool.waits().await;
        }
    }
}
