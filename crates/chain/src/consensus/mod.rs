//! The consensus engine around the state machine: which actors there are and how they meet.
//!
//! ```text
//! simplex ──asks──▶ deferred ──▶ paced ──▶ stateful ──▶ node (application.rs)
//!    └─certificates─▶ marshal ──final blocks in order──▶ stateful
//! ```
//!
//! Rules: everything is generic over the runtime and over the network's traits, so that the
//! same wiring runs alone in a process, among peers and under a simulated clock.
//! Never here: validity, economic rules, sizes (see [`settings`]).

mod settings;

use crate::{
    Pace,
    application::Node,
    block::Block,
    demand::Demand,
    keys::{PeerKey, Scheme},
    machine::Machine,
    pacing::Paced,
    seeds::Seeds,
    tree::Tree,
};
use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporters,
    marshal::{
        core::Actor as MarshalActor,
        resolver::p2p as backfill,
        standard::{Deferred, Standard},
    },
    simplex,
};
use commonware_cryptography::{Digested, Digestible as _};
use commonware_glue::stateful::{
    Mailbox as StatefulMailbox, Stateful, SyncPlan, db::p2p as tree_sync,
};
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage};
use commonware_storage::{archive::prunable, mmr};
use rand_core::CryptoRng;
use std::sync::Arc;

/// What the engine needs of a runtime.
pub(crate) trait Runtime: Clock + CryptoRng + Spawner + Storage + Metrics {}

impl<T: Clock + CryptoRng + Spawner + Storage + Metrics> Runtime for T {}

/// The ends of the six channels between validators.
pub(crate) struct Channels<S, R> {
    pub(crate) votes: (S, R),
    pub(crate) certificates: (S, R),
    pub(crate) resolver: (S, R),
    pub(crate) backfill: (S, R),
    pub(crate) blocks: (S, R),
    pub(crate) tree: (S, R),
}

/// What one validator brings.
pub(crate) struct Validator {
    pub(crate) me: PeerKey,
    pub(crate) scheme: Scheme,
    pub(crate) genesis: Block,
    pub(crate) machine: Arc<Machine>,
    pub(crate) pace: Pace,
}

/// A running engine.
pub(crate) struct Engine<E: Runtime> {
    pub(crate) handle: Handle<()>,
    pub(crate) stateful: StatefulMailbox<E, Node>,
}

/// Starts all actors of one validator.
pub(crate) async fn start<E, S, R, P>(
    runtime: E,
    validator: Validator,
    channels: Channels<S, R>,
    peers: P,
) -> Engine<E>
where
    E: Runtime,
    S: Sender<PublicKey = PeerKey>,
    R: Receiver<PublicKey = PeerKey>,
    P: Provider<PublicKey = PeerKey> + Blocker<PublicKey = PeerKey>,
{
    let Validator { me, scheme, genesis, machine, pace } = validator;
    let (cache, digest) = (settings::page_cache(), genesis.digest());
    let plan = SyncPlan::init(runtime.child("plan"), settings::PARTITION).await;

    let to_backfill = settings::backfill(me.clone(), &peers);
    let resolver = backfill::init(runtime.child("backfill"), to_backfill, channels.backfill);
    let to_broadcast = settings::broadcast(me.clone(), &peers);
    let (broadcast, buffer) = buffered::Engine::new(runtime.child("broadcast"), to_broadcast);
    broadcast.start(channels.blocks);

    let certificates = prunable::Archive::init(
        runtime.child("certificates"),
        settings::archive("finalizations", cache.clone()),
    );
    let blocks = prunable::Archive::init(
        runtime.child("blocks"),
        settings::archive("blocks", cache.clone()),
    );
    let start = plan.marshal_start(Digested::precomputed(genesis.clone(), digest));
    let (marshal_actor, marshal, floor) = MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
        runtime.child("marshal"),
        certificates.await.expect("the certificates can be opened"),
        blocks.await.expect("the blocks can be opened"),
        settings::marshal(scheme.clone(), start, cache.clone()),
    )
    .await;

    let (sync_actor, sync_resolver) =
        tree_sync::Actor::<_, PeerKey, _, _, mmr::Family, Tree<E>>::new(
            runtime.child("tree_sync"),
            settings::tree_sync(me, &peers),
        );
    sync_actor.start(channels.tree);

    let seeds = Seeds::new(scheme.clone());
    let demand = Demand::new(Arc::clone(&machine), machine.mempool().clone());
    let node = Node { machine, seeds: seeds.clone(), genesis, marshal: marshal.clone() };
    let (stateful_actor, stateful) = Stateful::new(
        runtime.child("stateful"),
        settings::stateful(node.clone(), (marshal.clone(), floor), plan, sync_resolver, &cache),
    );
    let paced = Paced::new(stateful.clone(), pace, demand);
    let deferred = Deferred::new(runtime.child("deferred"), paced, marshal, settings::committees());
    marshal_actor.start(stateful.clone(), buffer, resolver);
    // Before the tree hears of any block: the journal is never behind it.
    node.catch_up().await;
    stateful_actor.start();

    let reporter = Reporters::from((seeds, deferred.clone()));
    let to_vote = settings::voting((scheme, peers), (deferred, reporter), (digest, pace, cache));
    let engine = simplex::Engine::new(runtime, to_vote);
    let handle = engine.start(channels.votes, channels.certificates, channels.resolver);
    Engine { handle, stateful }
}
