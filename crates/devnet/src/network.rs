//! Starting and stopping all roles, in the order in which each needs the one before.
//!
//! Rules: chain first, then models on the chain, then the gateway, then the boxes that dial it;
//! stopping begins at the gateway, so that its last vouchers reach the boxes before those go.
//! Never here: what a role does.

use crate::{
    Error, Served, genesis,
    identities::{Identities, account},
    liar::Liar,
    models::{self, PRICE},
    roles::{Place, Roles},
};
use chain::{Chain, ValidatorKeys};
use client::{rpc::Rpc, transactions::Sender};
use crypto::{AccountId, ChainId, OperatorId, SecretKey};
use engine::{
    Engine, EngineError,
    store::{Loaded, Store},
};
use gateway::{ApiKey, Funding, Gateway, HttpLimits, KnownModel};
use ledger::payments::messages::AuditMode;
use operator::ServedModel;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use units::{BasisPoints, Coin, Credit, NANO};

/// Coin that is burned for credits when the payer's deposit runs low: about 100 credits.
const COIN_PER_PURCHASE: Coin = Coin::new(1_000 * NANO);
/// Step by which an operator's allocation grows.
const ALLOCATION: Credit = Credit::new(10 * NANO);
/// What the API key may spend.
const BUDGET: Credit = Credit::new(100_000 * NANO);
/// Longest wait for the boxes to be ready.
const READY_SECONDS: u64 = 60;
/// Pause between looks whether they are.
const LOOK: Duration = Duration::from_millis(100);

/// Settings of a devnet.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its folder; created if missing. One devnet at a time.
    pub data_dir: PathBuf,
    /// Imported models, which devnets share.
    pub model_dir: PathBuf,
    /// Where the gateway listens for HTTP; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where the node's interface listens; port 0 takes any free port.
    pub rpc_listen: SocketAddr,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// The API key that the gateway takes.
    pub api_key: String,
    /// What further parties do wrong, to see it caught.
    pub liar: Option<Liar>,
}

/// What happens while a devnet starts.
#[derive(Debug, Clone)]
pub enum Event {
    /// A model is being fetched and imported.
    Pulling {
        /// Which.
        name: String,
        /// How far it is.
        step: engine::Progress,
    },
    /// A model cannot be had; the devnet goes on without it.
    Without {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// A part runs.
    Started {
        /// Which.
        part: &'static str,
    },
}

/// A running devnet.
pub struct Devnet {
    chain: Chain,
    gateway: Gateway,
    roles: Roles,
    models: Vec<Served>,
    rpc_url: String,
}

impl Devnet {
    /// The gateway's address, ending in `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.gateway.base_url()
    }

    /// The node's interface.
    #[must_use]
    pub fn rpc_url(&self) -> &str {
        &self.rpc_url
    }

    /// The chain's id.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.chain.chain_id()
    }

    /// The operator with a fault, if there is one.
    #[must_use]
    pub const fn liar(&self) -> Option<OperatorId> {
        self.roles.liar
    }

    /// The account beside all operators with a fault, an auditor or a challenger, if there is one.
    #[must_use]
    pub const fn outsider(&self) -> Option<AccountId> {
        self.roles.outsider
    }

    /// The models that answer.
    #[must_use]
    pub fn models(&self) -> &[Served] {
        &self.models
    }

    /// Resolves once the chain has stopped by itself, which only a failure makes it do.
    pub async fn stopped(&self) {
        self.chain.stopped().await;
    }

    /// Stops every part, last started first, and waits until all is on disk.
    pub async fn shutdown(self) {
        let Self { chain, gateway, roles, .. } = self;
        gateway.shutdown().await;
        roles.shutdown().await;
        let ended = tokio::task::spawn_blocking(move || chain.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::error!(%error, "the chain had stopped before");
        }
    }
}

/// Starts a devnet and returns once every model answers.
///
/// # Errors
/// [`Error`] names the part that does not start.
pub async fn start(config: Config, report: &mut dyn FnMut(Event)) -> Result<Devnet, Error> {
    let folder = |name: &str| config.data_dir.join(name);
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|source| Error::File { path: config.data_dir.clone(), source })?;
    let identities = Identities::open(&folder("keys"))?;
    let loaded = models::load(&Store::open(&config.model_dir)?, config.offline, report)?;

    let chain = start_chain(&config, &identities)?;
    report(Event::Started { part: "chain" });
    let rpc_url = format!("http://{}", chain.rpc_addr());
    let rpc = Rpc::new(&rpc_url)?;
    let sender =
        |key: &SecretKey| Sender::new(rpc.clone(), chain.chain_id(), account(key), key.clone());
    models::publish(&rpc, &mut sender(&identities.publisher), &loaded).await?;

    let gateway = start_gateway(&config, &identities, &rpc_url, &loaded).await?;
    report(Event::Started { part: "gateway" });
    let models = engines(&loaded).await?;
    let place = Place {
        config: &config,
        identities: &identities,
        rpc: &rpc,
        rpc_url: &rpc_url,
        chain: chain.chain_id(),
        gateway: &gateway,
    };
    let roles = place.fill(models).await?;
    report(Event::Started { part: "operators and auditors" });
    ready(&gateway, roles.boxes()).await?;

    let models = loaded
        .iter()
        .map(|Loaded { entry, .. }| Served { name: entry.name.clone(), test: entry.test })
        .collect();
    Ok(Devnet { chain, gateway, roles, models, rpc_url })
}

fn start_chain(config: &Config, identities: &Identities) -> Result<Chain, Error> {
    let dir = config.data_dir.join("chain");
    let genesis = genesis::open(&config.data_dir.join("genesis.json"), identities)?;
    let keys = ValidatorKeys::open(&config.data_dir.join("keys"))?;
    Ok(chain::start(chain::Config { dir, genesis, keys, rpc_listen: config.rpc_listen })?)
}

async fn start_gateway(
    config: &Config,
    identities: &Identities,
    rpc_url: &str,
    loaded: &[Loaded],
) -> Result<Gateway, Error> {
    let models = loaded
        .iter()
        .map(|Loaded { entry, model, preprocess }| KnownModel {
            name: entry.name.clone(),
            id: model.id(),
            manifest: model.manifest().clone(),
            facts: model.facts().clone(),
            preprocess: Arc::clone(preprocess),
            test: entry.test,
        })
        .collect();
    let api_key = ApiKey {
        name: "devnet".to_owned(),
        secret: config.api_key.clone(),
        budget: BUDGET,
        audit_mode: AuditMode::Open,
    };
    let config = gateway::Config {
        data_dir: config.data_dir.join("gateway"),
        listen: config.listen,
        link_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        link_key: identities.link.clone(),
        rpc_url: rpc_url.to_owned(),
        account: account(&identities.payer),
        owner_key: Some(identities.payer.clone()),
        session_key: identities.session.clone(),
        funding: Funding { coin_per_purchase: COIN_PER_PURCHASE, allocation: ALLOCATION },
        models,
        api_keys: vec![api_key],
        margin: BasisPoints::ZERO,
        duplicates: gateway::DUPLICATES,
        http: HttpLimits::default(),
    };
    Ok(gateway::start(config).await?)
}

/// One engine per model, which all boxes share: they stand on one machine.
async fn engines(loaded: &[Loaded]) -> Result<Vec<ServedModel>, Error> {
    let models: Vec<_> = loaded.iter().map(|loaded| Arc::clone(&loaded.model)).collect();
    let serve = |model| -> Result<ServedModel, EngineError> {
        let engine = Arc::new(Engine::load(model, engine::Options::default())?);
        Ok(ServedModel { engine, price: PRICE })
    };
    // Packing weights takes a while for a large model.
    let engines: Result<Vec<_>, EngineError> =
        tokio::task::spawn_blocking(move || models.into_iter().map(serve).collect())
            .await
            .unwrap_or_else(|error| Err(EngineError::Pool { reason: error.to_string() }));
    Ok(engines?)
}

/// Waits until all boxes are connected.
async fn ready(gateway: &Gateway, boxes: usize) -> Result<(), Error> {
    let start = Instant::now();
    while gateway.operators() < boxes {
        if start.elapsed() > Duration::from_secs(READY_SECONDS) {
            return Err(Error::Timeout { what: "the boxes", seconds: READY_SECONDS });
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
