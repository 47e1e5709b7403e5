//! Puts the parts together and takes them apart again.

use crate::{
    api::Api,
    boxes::Boxes,
    caps::Caps,
    claims::{Books, Claims},
    config::Config,
    duplicates::Duplicates,
    funds::{Account, Funds, FundsError},
    http,
    keys::Keys,
    lanes::Lanes,
    now,
    receipts::Receipts,
    router::Router,
    run::Runner,
    store::Records,
    tasks::{IDEMPOTENCY_WINDOW_MS, MAX_RECENT, Tasks},
    work::Shop,
};
use client::{
    follow::Follower,
    rpc::{Rpc, RpcError},
    store::StoreError,
    transactions::Sender,
};
use crypto::ChainId;
use ledger::{Params, tables::PARAMS};
use link::{Limits, Listener, TlsListener};
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The chain does not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The records cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The link cannot listen.
    #[error("the link cannot listen at {address}: {source}")]
    Link {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: link::Error,
    },
    /// The HTTP server cannot listen.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The folder cannot be made.
    #[error("{path}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ledger's parameters are missing.
    #[error("the node's state has no parameters; is its genesis complete?")]
    NoParameters,
    /// The account could not be funded.
    #[error("the gateway's account cannot be funded: {0}")]
    Funds(String),
}

impl From<FundsError> for GatewayError {
    fn from(error: FundsError) -> Self {
        Self::Funds(error.to_string())
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    link_address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    accepting: JoinHandle<()>,
    /// What it looks after beside: value caps, claims.
    looking: [JoinHandle<()>; 2],
    lanes: Arc<Lanes>,
    router: Arc<Router>,
}

impl Gateway {
    /// What callers set as their base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where boxes connect.
    #[must_use]
    pub const fn link_addr(&self) -> SocketAddr {
        self.link_address
    }

    /// Boxes that are connected now.
    #[must_use]
    pub fn operators(&self) -> usize {
        self.router.all().len()
    }

    /// Stops: takes no more requests, lets open ones end within the drain time, pays what is
    /// owed, lets the boxes go.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // The server ends by itself; a panic in it has been reported already.
        self.serving.await.ok();
        self.lanes.settle_all().await;
        self.accepting.abort();
        self.looking.iter().for_each(JoinHandle::abort);
        self.accepting.await.ok();
        for handle in self.router.all() {
            handle.end();
            self.router.remove(&handle);
        }
    }
}

/// Starts a gateway. Must be called within a Tokio runtime.
///
/// # Errors
/// [`GatewayError`].
pub async fn start(config: Config) -> Result<Gateway, GatewayError> {
    let rpc = Rpc::new(&config.rpc_url)?;
    let status = rpc.status().await?;
    let folder = |source| GatewayError::Folder { path: config.data_dir.clone(), source };
    std::fs::create_dir_all(&config.data_dir).map_err(folder)?;
    let records = Records::open(&config.data_dir.join("gateway.redb")).await?;
    let router = Arc::new(Router::default());
    let params = rpc.record(&PARAMS, &()).await?.ok_or(GatewayError::NoParameters)?;
    let chain = status.chain_id;
    let runner = Arc::new(runner(&config, &params, &rpc, chain, &records, &router).await?);
    let (lanes, funds) = (Arc::clone(&runner.lanes), Arc::clone(&runner.funds));
    let looking = [
        tokio::spawn(Arc::clone(&runner.caps).keep()),
        tokio::spawn(claims(&params, &rpc, &runner, &records).keep()),
    ];
    let duplicates = Duplicates::new(config.duplicates, Arc::clone(&runner), Arc::clone(&funds));
    let keys = Keys::open(&config.api_keys, &records)?;
    let shop = Arc::new(Shop {
        anchor: status.anchor,
        margin: config.margin,
        runner,
        duplicates: Arc::new(duplicates),
        records: records.clone(),
        keys: Arc::clone(&keys),
    });

    let link_error = |source| GatewayError::Link { address: config.link_listen, source };
    let links = TlsListener::bind(config.link_listen, &config.link_key, Limits::default());
    let links = links.await.map_err(link_error)?;
    let link_address = links.address();
    let listen_error = |source| GatewayError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let boxes = Arc::new(Boxes {
        chain: status.chain_id,
        account: config.account,
        rpc: rpc.clone(),
        router: Arc::clone(&router),
        records: records.clone(),
        funds,
        connections: AtomicU64::new(0),
    });
    let accepting = tokio::spawn(boxes.accept(links));
    let (stop, stopping) = watch::channel(false);
    let models = config.models.into_iter();
    let api = Api {
        keys,
        models: models.map(|model| (model.name.clone(), Arc::new(model))).collect(),
        router: Arc::clone(&router),
        tasks: recent_tasks(&records)?,
        shop,
        receipts: Receipts { records, rpc },
        limits: config.http,
        stopping: stopping.clone(),
    };
    let serving = tokio::spawn(http::serve(listener, Arc::new(api), config.http, stopping));
    Ok(Gateway { address, link_address, stop, serving, accepting, looking, lanes, router })
}

/// What sends requests and pays for them, with the account's money in place.
async fn runner(
    config: &Config,
    params: &Params,
    rpc: &Rpc,
    chain: ChainId,
    records: &Records,
    router: &Arc<Router>,
) -> Result<Runner, GatewayError> {
    let (account, session_key) = (config.account, config.session_key.clone());
    let follower = Follower::start(rpc.clone()).await?;
    let router = Arc::clone(router);
    let lanes =
        Lanes::open(chain, account, session_key.clone(), records.clone(), Arc::clone(&router))?;
    let sender = |key| Sender::new(rpc.clone(), chain, account, key);
    let funds = Arc::new(Funds::new(
        Account {
            rpc: rpc.clone(),
            follower: follower.clone(),
            account,
            signer: session_key.public(),
            params: params.clone(),
            policy: config.funding,
        },
        Arc::clone(&lanes),
        config.owner_key.clone().map(sender),
        sender(session_key.clone()),
    ));
    funds.open().await?;
    let (params, seen) = (params.clone(), follower.clone());
    let caps = Caps::new(rpc.clone(), seen, params, Arc::clone(&router), Arc::clone(&lanes));
    let caps = Arc::new(caps);
    Ok(Runner { chain, account, session_key, follower, router, lanes, funds, caps })
}

/// What looks after the claims over the account's lanes.
fn claims(params: &Params, rpc: &Rpc, runner: &Runner, records: &Records) -> Claims {
    let books = Books {
        rpc: rpc.clone(),
        follower: runner.follower.clone(),
        account: runner.account,
        lanes: Arc::clone(&runner.lanes),
        funds: Arc::clone(&runner.funds),
        records: records.clone(),
    };
    Claims::new(books, params)
}

/// Tasks of an earlier run that a repeat may still mean.
fn recent_tasks(records: &Records) -> Result<Tasks, StoreError> {
    let since = now().get().saturating_sub(IDEMPOTENCY_WINDOW_MS);
    let mut recent = records.tasks_since(since, MAX_RECENT)?;
    recent.reverse();
    let tasks = Tasks::default();
    tasks.restore(recent);
    Ok(tasks)
}
