//! The node's HTTP interface.
//!
//! Rules: each connection is served under limits of its own, so that a slow or greedy caller
//! costs a bounded place: [`Bounds`]. A header that does not arrive in time, a body that
//! is too large or too slow, too many headers: all end the request, not the node. Every answer
//! outside 2xx is an `ErrorBody`.
//! Never here: rules of the ledger.

mod error;
mod events;
mod routes;
mod submit;

use crate::{
    machine::Machine,
    tree::{self, SharedTree},
};
use axum::Router;
use commonware_runtime::Spawner;
use commonware_storage::Context as StorageContext;
use crypto::Digest;
use futures::future::BoxFuture;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ledger::Genesis;
use light::StateProof;
use std::{net::TcpListener, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// Limits of the interface.
pub(crate) struct Bounds;

impl Bounds {
    /// Connections at a time; more wait to be accepted.
    const CONNECTIONS: usize = 1_024;
    /// For a request's head to arrive, which also ends idle connections.
    const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
    /// For a request's body to arrive.
    const BODY_TIMEOUT: Duration = Duration::from_secs(30);
    /// Headers in a request.
    const HEADERS: usize = 64;
    /// Bytes of a request's head.
    const HEAD_BYTES: usize = 16 << 10;
    /// For open requests to end when the node stops.
    const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
}

/// The authenticated tree as the interface asks it.
pub(crate) trait Prover: Send + Sync {
    /// The tree's root and a proof about `key` under it; `None` if the disk fails.
    fn prove<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Option<(Digest, StateProof)>>;
}

impl<E: Spawner + StorageContext + Sync> Prover for SharedTree<E> {
    fn prove<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Option<(Digest, StateProof)>> {
        Box::pin(async move {
            let tree = self.read().await;
            let root = crate::block::plain_digest(&tree.root());
            let proof = tree::prove(&tree, key).await.ok()?;
            Some((root, proof))
        })
    }
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    machine: Arc<Machine>,
    prover: Arc<dyn Prover>,
    genesis: Arc<str>,
    closed: watch::Receiver<bool>,
}

/// The interface, not listening yet.
pub(crate) struct Server {
    machine: Arc<Machine>,
    prover: Arc<dyn Prover>,
    genesis: Arc<str>,
}

impl Server {
    /// An interface to this machine and its tree.
    pub(crate) fn new(machine: Arc<Machine>, prover: Arc<dyn Prover>, genesis: &Genesis) -> Self {
        let genesis = serde_json::to_string(genesis).unwrap_or_default().into();
        Self { machine, prover, genesis }
    }

    /// Accepts connections until `closed` turns true, then gives open requests a moment.
    pub(crate) async fn serve(self, listener: TcpListener, mut closed: watch::Receiver<bool>) {
        let Self { machine, prover, genesis } = self;
        let shared = Shared { machine, prover, genesis, closed: closed.clone() };
        let router = routes::router(shared);
        let listener =
            tokio::net::TcpListener::from_std(listener).expect("a bound socket can be watched");
        let places = Arc::new(Semaphore::new(Bounds::CONNECTIONS));
        let watched = closed.clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = closed.wait_for(|closed| *closed) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                stream = accept(&listener, &places) => {
                    let (router, closed) = (router.clone(), watched.clone());
                    connections.spawn(async move {
                        let (stream, _place) = stream;
                        connection(stream, router, closed).await;
                    });
                }
            }
        }
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(Bounds::CLOSE_TIMEOUT, all).await.is_err() {
            connections.abort_all();
        }
    }
}

/// The next connection with its place among those allowed.
async fn accept(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("places are never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                // Out of file handles, most likely: connections that end give some back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, mut closed: watch::Receiver<bool>) {
    drop(stream.set_nodelay(true));
    let service = TowerToHyperService::new(router);
    let serving = http1::Builder::new()
        // Without a timer the header timeout is silently off.
        .timer(TokioTimer::new())
        .header_read_timeout(Bounds::HEAD_TIMEOUT)
        .max_headers(Bounds::HEADERS)
        .max_buf_size(Bounds::HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        // A caller that breaks the protocol or the connection harms only itself.
        _ended = serving.as_mut() => return,
        _ = closed.wait_for(|closed| *closed) => serving.as_mut().graceful_shutdown(),
    }
    let _ended = serving.await;
}
