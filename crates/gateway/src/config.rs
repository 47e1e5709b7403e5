//! What a gateway is told when it starts.
//!
//! Never here: state.

use crate::http::HttpLimits;
use crypto::{AccountId, ModelId, SecretKey};
use ledger::payments::messages::AuditMode;
use model::{Facts, Manifest, Model};
use preprocess::{Preprocess, PreprocessError};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use units::{BasisPoints, Coin, Credit};

/// How to run a gateway.
#[derive(Debug)]
pub struct Config {
    /// Where vouchers, tasks and bundles are kept.
    pub data_dir: PathBuf,
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Where boxes connect.
    pub link_listen: SocketAddr,
    /// The key boxes pin.
    pub link_key: SecretKey,
    /// The chain's HTTP interface.
    pub rpc_url: String,
    /// The account that pays.
    pub account: AccountId,
    /// The account's own key, if the gateway shall buy credits and deposit them by itself.
    pub owner_key: Option<SecretKey>,
    /// The hot key that signs requests and vouchers and opens allocations: a session key of the
    /// account, or its own key.
    pub session_key: SecretKey,
    /// How much to deposit and allocate.
    pub funding: Funding,
    /// Models that callers can name.
    pub models: Vec<KnownModel>,
    /// Keys of callers. A key that is known already keeps what it has spent.
    pub api_keys: Vec<ApiKey>,
    /// What the gateway takes on top of the operators' fees; stated in every bundle.
    pub margin: BasisPoints,
    /// How many requests are asked of a second operator too, at the gateway's own cost, so that
    /// wrong answers come to light; [`DUPLICATES`] unless there is a reason.
    pub duplicates: BasisPoints,
    /// Bounds of the HTTP server.
    pub http: HttpLimits,
}

/// The usual share of duplicates: one in a hundred. Each request is one that may be checked, and
/// no box can tell which.
pub const DUPLICATES: BasisPoints = BasisPoints::PER_CENT;

/// How much the gateway puts at stake on chain.
#[derive(Debug, Clone, Copy)]
pub struct Funding {
    /// Coin that is turned into credits when the deposit runs low. Needs the owner's key.
    pub coin_per_purchase: Coin,
    /// Step by which an operator's allocation grows: the most that is owed to it in vain if it
    /// never claims.
    pub allocation: Credit,
}

/// A caller's key.
#[derive(Clone)]
pub struct ApiKey {
    /// Whose, for the gateway's own books.
    pub name: String,
    /// The secret itself; only its hash is kept.
    pub secret: String,
    /// What it may spend in all.
    pub budget: Credit,
    /// Who may see its requests if their receipts are drawn, unless a request says otherwise in the
    /// header `x-audit-mode`.
    pub audit_mode: AuditMode,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey(of {}, budget {})", self.name, self.budget)
    }
}

/// A model that callers can name.
#[derive(Debug, Clone)]
pub struct KnownModel {
    /// The name, as callers give it.
    pub name: String,
    /// The model's id.
    pub id: ModelId,
    /// What its answers rest on.
    pub manifest: Manifest,
    /// What was computed from its graph.
    pub facts: Facts,
    /// Its tokenizer and template.
    pub preprocess: Arc<Preprocess>,
    /// Whether it is a test model, whose answers mean nothing.
    pub test: bool,
}

impl KnownModel {
    /// What a gateway needs of a model; the weights are left behind.
    ///
    /// # Errors
    /// [`PreprocessError`] if the model's configuration does not load.
    pub fn of(name: impl Into<String>, model: &Model, test: bool) -> Result<Self, PreprocessError> {
        Ok(Self {
            name: name.into(),
            id: model.id(),
            manifest: model.manifest().clone(),
            facts: model.facts().clone(),
            preprocess: Arc::new(Preprocess::from_bytes(model.preprocess())?),
            test,
        })
    }
}
