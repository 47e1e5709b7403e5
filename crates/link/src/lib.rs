//! Authenticated message streams between a box and the network.
//!
//! A box sits behind a router, so it dials out and a gateway listens. Both ends prove an
//! ed25519 key while they shake hands; who dials names the key it expects, who listens learns
//! the key and decides above this crate whether it is welcome.
//!
//! Rules: a stream carries frames, whole and in order, of at most [`MAX_FRAME_BYTES`]; a length
//! is checked before anything is allocated; every queue and every wait has a bound; a silent
//! peer is given up. Never here: what a frame means, retries, knowledge of the ledger.

mod connection;
mod tls;

pub use connection::{Connection, Limits, Receiver, Sender};
pub use tls::{TlsDialer, TlsListener};

use crypto::PublicKey;
use std::{future::Future, io, net::SocketAddr};

/// Largest frame. A task of 8,192 token ids takes 33 kB and a tensor of 224 × 224 × 3 elements
/// 301 kB; larger lists are cut into several frames by who sends them.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Opens connections towards the network.
pub trait Dialer: Send + Sync {
    /// Connects to `address` (`host:port`) and proves that the other end holds `peer`.
    ///
    /// # Errors
    /// [`Error`]: unreachable, too slow, or another key.
    fn dial(
        &self,
        address: &str,
        peer: PublicKey,
    ) -> impl Future<Output = Result<Connection, Error>> + Send;
}

/// Takes connections from boxes.
pub trait Listener: Send {
    /// The next connection whose peer has proved its key. A peer that fails to, or is slow to,
    /// holds up nobody else.
    ///
    /// # Errors
    /// [`Error::Closed`] once the listener has stopped.
    fn accept(&mut self) -> impl Future<Output = Result<Connection, Error>> + Send;

    /// Where it listens.
    fn address(&self) -> SocketAddr;
}

/// Why a connection could not be made or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network or the peer broke the connection.
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    /// The key given as our own cannot be used.
    #[error("unusable identity: {0}")]
    Identity(String),
    /// The peer's key is not a valid ed25519 key.
    #[error("the peer's key is not a valid ed25519 key")]
    PeerKey,
    /// A step took longer than allowed.
    #[error("{step} took longer than {limit_ms} ms")]
    Timeout {
        /// What was waited for.
        step: &'static str,
        /// The bound that passed.
        limit_ms: u128,
    },
    /// A frame longer than [`MAX_FRAME_BYTES`], announced or about to be sent.
    #[error("frame of {length} bytes exceeds the limit of {MAX_FRAME_BYTES}")]
    FrameTooLong {
        /// Its length.
        length: usize,
    },
    /// The connection has ended; nothing more can be sent.
    #[error("the connection is closed")]
    Closed,
}

#[cfg(test)]
mod tests;
