//! The network of a validator that is alone: no peers, no sockets, no buffers.
//!
//! Rules: with one validator every certificate is made of its own vote, so nothing is ever
//! sent and nothing ever arrives; a real network would only reserve memory for peers that
//! cannot exist and open a port for nobody. Whatever takes part in consensus asks for these
//! traits alone, so that a network with peers can stand in the same place.
//! Never here: delivery.

use crate::keys::PeerKey;
use commonware_actor::{Feedback, Unreliable};
use commonware_p2p::{
    BlockedSubscription, Blocker, CheckedSender, LimitedSender, Message, PeerSetSubscription,
    PeerSetUpdate, Provider, Receiver, Recipients, TrackedPeers,
};
use commonware_runtime::IoBufs;
use commonware_utils::{
    NZUsize,
    channel::{mpsc, ring},
    ordered::Set,
    sync::Mutex,
};
use std::{convert::Infallible, num::NonZeroUsize, sync::Arc, time::SystemTime};

/// The peer set of a lone validator: itself.
#[derive(Clone, Debug)]
pub(crate) struct Solitude {
    peers: TrackedPeers<PeerKey>,
    /// Kept so that subscriptions stay open: a closed one reads as a network that has failed.
    subscribers: Arc<Mutex<Subscribers>>,
}

#[derive(Default)]
struct Subscribers {
    sets: Vec<mpsc::UnboundedSender<PeerSetUpdate<PeerKey>>>,
    blocked: Vec<ring::Sender<Set<PeerKey>>>,
}

impl std::fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscribers({} + {})", self.sets.len(), self.blocked.len())
    }
}

impl Solitude {
    /// A network in which only `me` exists.
    pub(crate) fn new(me: PeerKey) -> Self {
        let peers = TrackedPeers::primary(Set::from_iter_dedup([me]));
        Self { peers, subscribers: Arc::default() }
    }

    /// The two ends of one channel.
    pub(crate) const fn channel() -> (NoSender, NoReceiver) {
        (NoSender, NoReceiver)
    }
}

impl Provider for Solitude {
    type PublicKey = PeerKey;

    async fn peer_set(&mut self, _: u64) -> Option<TrackedPeers<PeerKey>> {
        Some(self.peers.clone())
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<PeerKey> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let update =
            PeerSetUpdate { index: 0, latest: self.peers.clone(), all: self.peers.clone() };
        if sender.send(update).is_ok() {
            self.subscribers.lock().sets.push(sender);
        }
        receiver
    }
}

impl Blocker for Solitude {
    type PublicKey = PeerKey;

    fn block(&mut self, _: PeerKey) -> Feedback {
        Feedback::Ok
    }

    fn blocked(&mut self) -> BlockedSubscription<PeerKey> {
        let (sender, receiver) = ring::channel(NZUsize!(1));
        sender.send_lossy(Set::default());
        self.subscribers.lock().blocked.push(sender);
        receiver
    }
}

/// Sends to nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSender;

impl LimitedSender for NoSender {
    type PublicKey = PeerKey;
    type Checked<'a> = Self;

    fn check(&mut self, _: Recipients<PeerKey>) -> Result<Self, SystemTime> {
        Ok(*self)
    }
}

impl CheckedSender for NoSender {
    type PublicKey = PeerKey;

    fn recipients(&self) -> Vec<PeerKey> {
        Vec::new()
    }

    fn send(self, _: impl Into<IoBufs> + Send, _: bool) -> Unreliable<Feedback> {
        Unreliable::new(Feedback::Ok)
    }
}

/// Receives nothing, for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoReceiver;

impl Receiver for NoReceiver {
    type Error = Infallible;
    type PublicKey = PeerKey;

    async fn recv(&mut self) -> Result<Message<PeerKey>, Infallible> {
        std::future::pending().await
    }

    fn capacity(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }
}
