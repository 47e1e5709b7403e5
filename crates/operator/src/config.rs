//! What a box is told before it starts.
//!
//! Rules: everything is held against its bounds before anything starts. Never here: secrets at
//! rest, defaults that the chain decides.

use crate::{StartError, faults::Fault};
use client::{lanes::CREDIT_LIMIT, wire};
use crypto::{AccountId, PublicKey, SecretKey};
use engine::Engine;
use ledger::payments::messages::AuditMode;
use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc};
use units::Price;

/// Gateways of one box.
pub const MAX_GATEWAYS: usize = 64;
/// Tasks that may wait for one model.
pub const MAX_QUEUE: usize = 4_096;
/// Runs of one model at the same time.
pub const MAX_AT_ONCE: usize = 64;

/// Settings of one box.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of its records; created if missing. One box at a time.
    pub data_dir: PathBuf,
    /// Who owns the operator and is paid.
    pub owner: AccountId,
    /// Which of the owner's operators this is.
    pub index: u32,
    /// Signs receipts and asks, proves the box to gateways, and, as a session key of the owner,
    /// signs claims. Must be the operator's current box key on the chain.
    pub box_key: SecretKey,
    /// The node it asks, for instance `http://127.0.0.1:7700`.
    pub rpc_url: String,
    /// Whom it serves; at most [`MAX_GATEWAYS`].
    pub gateways: Vec<Gateway>,
    /// What it serves; 1 to [`wire::MAX_ASKS`], no model twice.
    pub models: Vec<ServedModel>,
    /// Runs of one model at the same time, which share its engine's passes; 1 to [`MAX_AT_ONCE`].
    pub at_once: usize,
    /// Tasks that may wait for one model; more are refused. 1 to [`MAX_QUEUE`].
    pub queue: usize,
    /// Unpaid receipts it puts up with per lane; 1 to [`wire::MAX_UNPAID`].
    pub credit_limit: usize,
    /// Audit modes of which it takes no task; at most each once. A box that takes those of mode
    /// [`AuditMode::CanaryOnly`] takes half as much of all, because claims that may hold them count
    /// twice against its value cap.
    pub refuses: Vec<AuditMode>,
    /// Whether it audits others, and how: with the models that it serves, in its owner's name.
    pub audit: Option<Auditing>,
    /// What it does wrong: nothing, but in devnets and tests of what catches it.
    pub fault: Option<Arc<dyn Fault>>,
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// `host:port` of its link.
    pub address: String,
    /// The key it must prove.
    pub key: PublicKey,
}

/// How a box audits others. Its owner enlists it: see [`crate::Auditor::enlist`].
#[derive(Debug, Clone)]
pub struct Auditing {
    /// Signs findings, as a session key of the owner, and proves the auditor to operators.
    pub key: SecretKey,
    /// Where operators bring it content; port 0 takes any free port. None where nobody can reach
    /// it: then it demands all content on the ledger.
    pub listen: Option<SocketAddr>,
}

/// One model and its price.
#[derive(Debug, Clone)]
pub struct ServedModel {
    /// The model, ready to run. Boxes of one process may share it.
    pub engine: Arc<Engine>,
    /// What is asked per unit of work.
    pub price: Price,
}

impl Config {
    /// Waiting tasks per model, unless said otherwise.
    pub const QUEUE: usize = 64;
    /// Unpaid receipts per lane, unless said otherwise.
    pub const CREDIT_LIMIT: usize = CREDIT_LIMIT;

    /// Holds every setting against its bounds.
    ///
    /// # Errors
    /// [`StartError::Setting`] names the first that does not fit.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        within("gateways", self.gateways.len(), 0, MAX_GATEWAYS)?;
        within("models", self.models.len(), 1, wire::MAX_ASKS)?;
        within("queue", self.queue, 1, MAX_QUEUE)?;
        within("at_once", self.at_once, 1, MAX_AT_ONCE)?;
        within("credit_limit", self.credit_limit, 1, wire::MAX_UNPAID)?;
        within("refuses", self.refuses.len(), 0, AuditMode::ALL.len())?;
        let ids: BTreeSet<_> =
            self.models.iter().map(|served| served.engine.model().id()).collect();
        within("different models", ids.len(), self.models.len(), self.models.len())
    }
}

fn within(name: &'static str, value: usize, low: usize, high: usize) -> Result<(), StartError> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(StartError::Setting { name, value, low, high })
    }
}
