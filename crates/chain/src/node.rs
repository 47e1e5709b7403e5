//! Starting and stopping a node: from a folder and a genesis to a chain that answers.
//!
//! Rules: everything that can be checked before the engine starts is, with an error of its own;
//! the engine runs on a thread of its own, and when it cannot go on safely it stops and says
//! why. A second start from the same folder goes on with the same chain.
//! Never here: what a block does.

use crate::{
    Config, Pace,
    archive::Archive,
    block::Block,
    consensus::{self, Channels, Validator},
    error::{Crashed, StartError, other_chain},
    journal::Journal,
    keys::{PeerKey, Scheme},
    machine::{Head, Machine},
    mempool::{Limits, Mempool},
    network::Solitude,
    ports::Models,
    rpc, tree,
};
use commonware_runtime::{Runner as _, Supervisor as _, tokio as engine};
use crypto::{ChainId, Digest};
use ledger::{Ed25519, Genesis, Ports, State};
use light::{ChainAnchor, Header};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, TryLockError},
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};
use tokio::sync::{oneshot, watch};
use units::{Height, List, Millis, Round};

/// Threads of the engine: one to execute, one to answer meanwhile.
const WORKERS: usize = 2;

/// Stack of the engine's thread: its start is one large future, larger still unoptimised.
pub(crate) const STACK_BYTES: usize = 16 << 20;

/// Name of the file that says which chain a folder holds.
const DESCRIPTION: &str = "chain.json";

/// What a folder says about its chain.
#[derive(Serialize, Deserialize)]
struct Description {
    anchor: ChainAnchor,
}

/// A running node.
pub struct Chain {
    anchor: ChainAnchor,
    rpc: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    running: watch::Receiver<bool>,
    /// Held while the node runs.
    _lock: File,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("anchor", &self.anchor).field("rpc", &self.rpc).finish()
    }
}

impl Chain {
    /// What identifies the chain.
    #[must_use]
    pub const fn anchor(&self) -> &ChainAnchor {
        &self.anchor
    }

    /// The chain's id.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.anchor.chain_id()
    }

    /// Where the RPC listens.
    #[must_use]
    pub const fn rpc_addr(&self) -> SocketAddr {
        self.rpc
    }

    /// Resolves once the node has stopped by itself, which only a failure makes it do;
    /// [`Chain::shutdown`] then says why.
    pub async fn stopped(&self) {
        let mut running = self.running.clone();
        // An error means that the engine's thread is gone, which is what is waited for.
        let _gone = running.wait_for(|running| !running).await;
    }

    /// Stops the node and waits until everything is on disk. Blocks.
    ///
    /// # Errors
    /// [`Crashed`] if the node had stopped by itself.
    pub fn shutdown(mut self) -> Result<(), Crashed> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Crashed> {
        if let Some(stop) = self.stop.take() {
            // If nobody listens, the engine has stopped already.
            let _gone = stop.send(());
        }
        self.thread.take().map_or(Ok(()), join)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Err(crashed) = self.end() {
            tracing::error!(%crashed);
        }
    }
}

/// Starts a node. Returns once the RPC listens and the state is loaded.
///
/// # Errors
/// [`StartError`].
pub fn start(config: Config) -> Result<Chain, StartError> {
    let Config { dir, genesis, keys, rpc_listen } = config;
    let at = |path: PathBuf| move |source| StartError::Io { path, source };
    fs::create_dir_all(&dir).map_err(at(dir.clone()))?;
    let lock = lock(&dir)?;
    let anchor = ChainAnchor {
        name: genesis.name.clone(),
        group_key: keys.group_key(),
        genesis: genesis.digest(),
    };
    describe(&dir, &anchor)?;
    let first = first_block(&genesis, &keys.identity());
    let machine = Arc::new(load(&dir.join("ledger"), &genesis, &anchor, &first)?);
    let listener = TcpListener::bind(rpc_listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| StartError::Listen { address: rpc_listen, source })?;
    let rpc = listener
        .local_addr()
        .map_err(|source| StartError::Listen { address: rpc_listen, source })?;

    let parts = Parts {
        store: dir.join("consensus"),
        me: keys.peer(),
        scheme: keys.scheme(&anchor),
        first,
        pace: Pace::of(&genesis.params),
        genesis,
        machine,
        listener,
    };
    let (stop, stopped) = oneshot::channel();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (alive, running) = watch::channel(true);
    let thread = std::thread::Builder::new()
        .name("chain".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let _alive = alive;
            run(parts, stopped, &ready);
        })
        .map_err(at(dir))?;
    if is_ready.recv().is_err() {
        join(thread)?;
        return Err(Crashed { reason: "it ended while it started".into() }.into());
    }
    Ok(Chain { anchor, rpc, stop: Some(stop), thread: Some(thread), running, _lock: lock })
}

/// All that the engine's thread takes along.
struct Parts {
    store: PathBuf,
    me: PeerKey,
    scheme: Scheme,
    first: Block,
    pace: Pace,
    genesis: Genesis,
    machine: Arc<Machine>,
    listener: TcpListener,
}

/// Runs consensus and RPC until told to stop; a failure of either panics, and the panic ends
/// the thread.
fn run(parts: Parts, stopped: oneshot::Receiver<()>, ready: &std::sync::mpsc::Sender<()>) {
    let settings =
        engine::Config::new().with_worker_threads(WORKERS).with_storage_directory(&parts.store);
    engine::Runner::new(settings).start(|runtime| async move {
        let Parts { me, scheme, first, pace, genesis, machine, listener, .. } = parts;
        let channels = Channels {
            votes: Solitude::channel(),
            certificates: Solitude::channel(),
            resolver: Solitude::channel(),
            backfill: Solitude::channel(),
            blocks: Solitude::channel(),
            tree: Solitude::channel(),
        };
        let validator = Validator {
            me: me.clone(),
            scheme,
            genesis: first,
            machine: Arc::clone(&machine),
            pace,
        };
        let running =
            consensus::start(runtime.child("validator"), validator, channels, Solitude::new(me))
                .await;
        let tree = running.stateful.subscribe_databases().await;
        let server = rpc::Server::new(machine, Arc::new(tree), &genesis);
        let (closing, closed) = watch::channel(false);
        let serving = tokio::spawn(server.serve(listener, closed));
        // If nobody waits for it any more, the stop signal comes next.
        let _unwanted = ready.send(());
        tokio::select! {
            _ = stopped => {}
            ended = running.handle => panic!("consensus ended: {ended:?}"),
        }
        closing.send_replace(true);
        serving.await.expect("the RPC ends when it is told to");
    });
}

fn join(thread: JoinHandle<()>) -> Result<(), Crashed> {
    thread.join().map_err(|panic| crashed(&panic))
}

/// The text of a panic.
pub(crate) fn crashed(panic: &Box<dyn std::any::Any + Send>) -> Crashed {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    Crashed { reason: text.unwrap_or("it panicked").into() }
}

/// Takes the folder for this process.
pub(crate) fn lock(dir: &Path) -> Result<File, StartError> {
    let path = dir.join("lock");
    let at = |source| StartError::Io { path: path.clone(), source };
    let file = File::create(&path).map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse { dir: dir.into() }),
        Err(TryLockError::Error(source)) => Err(at(source)),
    }
}

/// Which chain a folder holds.
pub(crate) fn description(dir: &Path) -> Result<ChainAnchor, StartError> {
    let path = dir.join(DESCRIPTION);
    let bytes = fs::read(&path).map_err(|source| StartError::Io { path: path.clone(), source })?;
    serde_json::from_slice::<Description>(&bytes)
        .map(|description| description.anchor)
        .map_err(|error| StartError::Description { path, reason: error.to_string() })
}

/// Writes which chain the folder holds, or checks that it is this one.
fn describe(dir: &Path, anchor: &ChainAnchor) -> Result<(), StartError> {
    let path = dir.join(DESCRIPTION);
    if path.exists() {
        let found = description(dir)?;
        let same = found == *anchor;
        return if same { Ok(()) } else { Err(other_chain(dir.into(), &found, anchor)) };
    }
    let write = || {
        let description = Description { anchor: anchor.clone() };
        let draft = dir.join("chain.draft");
        fs::write(&draft, serde_json::to_string_pretty(&description)?)?;
        File::open(&draft)?.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source: io::Error| StartError::Io { path: path.clone(), source })
}

/// Block 0: it commits to the genesis document and to the empty tree; block 1 brings the
/// entries of genesis into the tree.
pub(crate) fn first_block(genesis: &Genesis, proposer: &crypto::PublicKey) -> Block {
    let header = Header {
        parent: Digest::ZERO,
        height: Height::ZERO,
        time: genesis.time,
        committee: 0,
        round: Round::ZERO,
        parent_round: Round::ZERO,
        proposer: *proposer,
        transactions: genesis.digest(),
        state: tree::empty::<engine::Context>(),
        messages: Digest::ZERO,
        payload: None,
        seeded: Round::ZERO,
        seeds: List::default(),
    };
    Block::genesis(header).expect("the first block is within its bounds")
}

/// The ledger's state as of the newest final block in the journal.
pub(crate) fn load(
    dir: &Path,
    genesis: &Genesis,
    anchor: &ChainAnchor,
    first: &Block,
) -> Result<Machine, StartError> {
    let (journal, base) = Journal::open(dir)?;
    let models = Models::default();
    let ports = Ports { verifier: &models, signatures: &Ed25519 };
    let mut state = match base.state {
        Some(state) => state,
        None => State::from_genesis(genesis, anchor.chain_id(), &ports)?,
    };
    let mut last = None;
    let archive = Archive::new(journal, |height, record| {
        if height > base.height {
            state.commit(&record.writes);
        }
        last = Some((height, record.block.clone(), record.certificate.clone(), record.clock));
    })?;
    let head = match last {
        None => Head {
            header: first.header().clone(),
            id: first.id(),
            certificate: None,
            clock: Millis::ZERO,
        },
        Some((height, block, certificate, clock)) => {
            let block = Block::decode_content(&block).ok_or(StartError::Block { height })?;
            Head { header: block.header().clone(), id: block.id(), certificate, clock }
        }
    };
    let mempool = Mempool::new(Limits::default());
    Ok(Machine::new(anchor.clone(), archive, mempool, state, head))
}
