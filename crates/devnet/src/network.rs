//! Starting and stopping all roles, in the order in which each needs the one before.
//!
//! Rules: chain first, then models on the chain, then the gateway, then the boxes that dial it;
//! stopping begins at the gateway, so that its last vouchers reach the boxes before those go.
//! Never here: what a role does.

use crate::{
    Error, OPERATORS, Served, genesis,
    identities::{Identities, OperatorKeys, account},
    liar::{self, Liar},
    models::{self, PRICE},
};
use chain::{Chain, ValidatorKeys};
use client::{rpc::Rpc, transactions::Sender};
use crypto::{ChainId, SecretKey};
use engine::{
    Engine, EngineError,
    store::{Loaded, Store},
};
use gateway::{ApiKey, Funding, Gateway, HttpLimits, KnownModel};
use ledger::{Call, staking};
use operator::{Auditor, AuditorConfig, Operator, ServedModel, faults::Fault};
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
/// What stands behind an auditor's findings.
const AUDITOR_BOND: Coin = Coin::new(2_000 * NANO);
/// Runs of one model at the same time, per box; they share passes.
const AT_ONCE: usize = 4;
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
    /// A further operator that does something wrong, to see it caught.
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
    operators: Vec<Operator>,
    auditors: Vec<Auditor>,
    liar: Option<crypto::OperatorId>,
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
    pub const fn liar(&self) -> Option<crypto::OperatorId> {
        self.liar
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
        let Self { chain, gateway, operators, auditors, .. } = self;
        gateway.shutdown().await;
        drop(auditors);
        for operator in operators {
            operator.shutdown().await;
        }
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
    let place = Place { config: &config, rpc_url: &rpc_url, gateway: &gateway };
    let link = identities.link.public();
    let mut operators = Vec::new();
    let mut auditors = Vec::new();
    for (index, keys) in (0..OPERATORS).zip(&identities.operators) {
        operators.push(place.operator(index, keys, link, models.clone(), None).await?);
        let auditor = place.auditor(index, keys, &models).await?;
        let enlisted = auditor.enlist(&mut sender(&keys.owner), AUDITOR_BOND).await;
        enlisted.map_err(|source| Error::Send { what: "enlist an auditor", source })?;
        auditors.push(auditor);
    }
    let mut liar = None;
    if let Some(kind) = config.liar {
        let keys = &identities.liar;
        register(&rpc, &mut sender(&keys.owner), keys).await?;
        let (fault, models) = liar::make(kind, models)?;
        let operator = place.operator(OPERATORS, keys, link, models, Some(fault)).await?;
        liar = Some(operator.id());
        operators.push(operator);
    }
    report(Event::Started { part: "operators and auditors" });
    ready(&gateway, operators.len()).await?;

    let models = loaded
        .iter()
        .map(|Loaded { entry, .. }| Served { name: entry.name.clone(), test: entry.test })
        .collect();
    Ok(Devnet { chain, gateway, operators, auditors, liar, models, rpc_url })
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
    let api_key =
        ApiKey { name: "devnet".to_owned(), secret: config.api_key.clone(), budget: BUDGET };
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

/// Where operators and auditors of a devnet find everybody.
struct Place<'a> {
    config: &'a Config,
    rpc_url: &'a str,
    gateway: &'a Gateway,
}

impl Place<'_> {
    async fn operator(
        &self,
        index: u32,
        keys: &OperatorKeys,
        link: crypto::PublicKey,
        models: Vec<ServedModel>,
        fault: Option<Arc<dyn Fault>>,
    ) -> Result<Operator, Error> {
        let started = operator::start(operator::Config {
            data_dir: self.config.data_dir.join(format!("operator-{index}")),
            owner: account(&keys.owner),
            index: 0,
            box_key: keys.box_key.clone(),
            rpc_url: self.rpc_url.to_owned(),
            gateways: vec![operator::Gateway {
                address: self.gateway.link_addr().to_string(),
                key: link,
            }],
            models,
            at_once: AT_ONCE,
            queue: operator::Config::QUEUE,
            credit_limit: operator::Config::CREDIT_LIMIT,
            fault,
        });
        started.await.map_err(|source| Error::Operator { index, source })
    }

    async fn auditor(
        &self,
        index: u32,
        keys: &OperatorKeys,
        models: &[ServedModel],
    ) -> Result<Auditor, Error> {
        let started = operator::start_auditor(AuditorConfig {
            data_dir: self.config.data_dir.join(format!("auditor-{index}")),
            account: account(&keys.owner),
            key: keys.auditor.clone(),
            rpc_url: self.rpc_url.to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            engines: models.iter().map(|served| Arc::clone(&served.engine)).collect(),
        });
        started.await.map_err(|source| Error::Operator { index, source })
    }
}

/// Registers the operator with the fault, as any newcomer does.
async fn register(rpc: &Rpc, owner: &mut Sender, keys: &OperatorKeys) -> Result<(), Error> {
    let id = crypto::OperatorId::derive(&account(&keys.owner), 0);
    if rpc.record(&staking::OPERATORS, &id).await?.is_some() {
        return Ok(());
    }
    let call = Call::Staking(staking::Tx::Register(genesis::registration(keys)));
    let sent = owner.send(call).await;
    sent.map(|_| ()).map_err(|source| Error::Send { what: "register an operator", source })
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
