//! A devnet with the test models, a consumer, and the chain's events.
//!
//! Rules: waits are bounded, and a wait that runs out is a failure of the test.

use client::rpc::Rpc;
use crypto::{AccountId, OperatorId};
use devnet::{Config, Devnet, Liar};
use ledger::Event;
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use units::Height;

/// Longest wait for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);
/// The consumer's key.
const API_KEY: &str = "sk-test";

/// A network with a liar.
pub(crate) struct World {
    pub(crate) network: Devnet,
    pub(crate) rpc: Rpc,
    /// Questions of the consumer that were answered.
    answered: AtomicU64,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn new(liar: Option<Liar>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            data_dir: folder.path().join("devnet"),
            model_dir: folder.path().join("models"),
            listen: loopback,
            rpc_listen: loopback,
            offline: true,
            api_key: API_KEY.to_owned(),
            liar,
        };
        let network = devnet::start(config, &mut |_| {}).await.unwrap();
        let rpc = Rpc::new(network.rpc_url()).unwrap();
        Self { network, rpc, answered: AtomicU64::new(0), _folder: folder }
    }

    pub(crate) fn liar(&self) -> OperatorId {
        self.network.liar().unwrap()
    }

    pub(crate) fn outsider(&self) -> AccountId {
        self.network.outsider().unwrap()
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Asks for embeddings, twice a second, for ever.
    pub(crate) async fn consume(&self) {
        for number in 0_u64.. {
            let body = format!(r#"{{"model":"tiny-test-embed","input":"question {number}"}}"#);
            let url = self.network.base_url();
            let status = tokio::task::spawn_blocking(move || post(&url, "/embeddings", &body));
            let status = status.await.unwrap();
            assert!([200, 429, 503].contains(&status), "{status}");
            self.answered.fetch_add(u64::from(status == 200), Ordering::Relaxed);
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// The chain's events from its first block, handed over until one of them is the last; all the
    /// while somebody consumes.
    pub(crate) async fn watch(&self, mut is_last: impl FnMut(&Event) -> bool) {
        let watching = async {
            let mut events = self.rpc.events(Height::new(1)).await.unwrap();
            while let Ok(block) = events.next().await {
                if block.events.iter().any(&mut is_last) {
                    return;
                }
            }
            panic!("the events ended");
        };
        tokio::select! {
            done = timeout(PATIENCE, watching) => done.expect("the network gets there"),
            () = self.consume() => {}
        }
    }
}

/// Status of a call with a JSON body.
fn post(base_url: &str, path: &str, body: &str) -> u16 {
    let rest = base_url.strip_prefix("http://").unwrap();
    let (host, prefix) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /{prefix}{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {API_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
