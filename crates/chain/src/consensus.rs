//! The consensus engine around the state machine: which actors there are and how they meet.
//!
//! ```text
//! simplex ──asks──▶ deferred ──▶ paced ──▶ stateful ──▶ node (application.rs)
//!    └─certificates─▶ marshal ──final blocks in order──▶ stateful
//! ```
//!
//! Rules: everything is generic over the runtime and over the network's traits, so that the
//! same wiring runs alone in a process, among peers and under a simulated clock. Sizes of
//! queues and windows stand here by name.
//! Never here: validity, economic rules.

use crate::{
    Pace,
    application::Node,
    block::Block,
    demand::Demand,
    keys::{PeerKey, Scheme},
    machine::Machine,
    pacing::Paced,
    seeds::Seeds,
    tree::{self, Tree},
};
use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporters,
    marshal::{
        self,
        core::Actor as MarshalActor,
        resolver::p2p as marshal_resolver,
        standard::{Deferred, Standard},
    },
    simplex::{
        self,
        config::{Floor, ForwardPolicy, SkipPolicy},
        elector::{Random, RandomVersion},
    },
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{Digested, Digestible as _, Sha256, certificate::ConstantProvider};
use commonware_glue::stateful::{
    Config as StatefulConfig, Mailbox as StatefulMailbox, PruneConfig, Stateful, SyncPlan,
    db::{SyncEngineConfig, p2p as tree_sync},
};
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage, buffer::paged::CacheRef};
use commonware_storage::{archive::prunable, mmr, translator::TwoCap};
use commonware_utils::{NZDuration, NZU16, NZU64, NZUsize};
use rand_core::CryptoRng;
use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

/// What the engine needs of a runtime.
pub(crate) trait Runtime: Clock + CryptoRng + Spawner + Storage + Metrics {}

impl<T: Clock + CryptoRng + Spawner + Storage + Metrics> Runtime for T {}

/// Capacity of each actor's mailbox.
const MAILBOX: NonZeroUsize = NZUsize!(1_024);

/// Buffer of each file that is written or replayed.
const BUFFER: NonZeroUsize = NZUsize!(1 << 16);

/// Operations of the tree in one answer to a node that fetches it.
const SYNC_BATCH: NonZeroU64 = NZU64!(64);

/// Committees last for ever until the validator set can change.
const COMMITTEE_BLOCKS: NonZeroU64 = NZU64!(u64::MAX);

/// Rounds behind the last final one that are still remembered.
const VIEWS_KEPT: ViewDelta = ViewDelta::new(64);

/// Final blocks that consensus keeps for peers that lag; the journal keeps more, for readers.
const BLOCKS_KEPT: usize = 256;

/// How long a leader may take beyond the idle pace before its round is skipped. A node that is
/// killed between its vote and the certificate waits this long after the next start.
const PATIENCE: Duration = Duration::from_secs(2);

/// Prefix of all partitions on disk.
const PARTITION: &str = "selvedge";

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
    let cache = CacheRef::new(NZU16!(4_096), NZUsize!(1_024));
    let plan = SyncPlan::init(runtime.child("plan"), PARTITION).await;

    let resolver = marshal_resolver::init(
        runtime.child("marshal_resolver"),
        marshal_resolver::Config {
            public_key: me.clone(),
            peer_provider: peers.clone(),
            blocker: peers.clone(),
            mailbox_size: MAILBOX,
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
        channels.backfill,
    );
    let (broadcast, buffer) = buffered::Engine::new(
        runtime.child("broadcast"),
        buffered::Config {
            public_key: me.clone(),
            mailbox_size: MAILBOX,
            deque_size: 16,
            priority: false,
            codec_config: (),
            peer_provider: peers.clone(),
            strategy: Sequential,
        },
    );
    broadcast.start(channels.blocks);

    let start = plan.marshal_start(Digested::precomputed(genesis.clone(), genesis.digest()));
    let finalizations = prunable::Archive::init(
        runtime.child("finalizations"),
        archive_config("finalizations", &cache, ()),
    );
    let blocks =
        prunable::Archive::init(runtime.child("blocks"), archive_config("blocks", &cache, ()));
    let (marshal_actor, marshal, floor) = MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
        runtime.child("marshal"),
        finalizations.await.expect("the certificates can be opened"),
        blocks.await.expect("the blocks can be opened"),
        marshal::Config {
            provider: ConstantProvider::new(scheme.clone()),
            epocher: FixedEpocher::new(COMMITTEE_BLOCKS),
            start,
            partition_prefix: PARTITION.into(),
            mailbox_size: MAILBOX,
            view_retention: VIEWS_KEPT,
            prunable_items_per_section: NZU64!(256),
            page_cache: cache.clone(),
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: (),
            max_repair: NZUsize!(16),
            max_pending_acks: NZUsize!(16),
            strategy: Sequential,
        },
    )
    .await;

    let (sync_actor, sync_resolver) =
        tree_sync::Actor::<_, PeerKey, _, _, mmr::Family, Tree<E>>::new(
            runtime.child("tree_sync"),
            tree_sync::Config {
                peer_provider: peers.clone(),
                blocker: peers.clone(),
                database: None,
                mailbox_size: MAILBOX,
                me: Some(me),
                fetch_timeout: NZDuration!(Duration::from_secs(2)),
                fetch_retry_delay: Duration::from_millis(100),
                max_serve_ops: SYNC_BATCH,
                priority_requests: false,
                priority_responses: false,
            },
        );
    sync_actor.start(channels.tree);

    let seeds = Seeds::new(scheme.clone());
    let demand = Demand::new(Arc::clone(&machine), machine.mempool().clone());
    let digest = genesis.digest();
    let node = Node { machine, seeds: seeds.clone(), genesis, marshal: marshal.clone() };
    let (stateful_actor, stateful) = Stateful::new(
        runtime.child("stateful"),
        StatefulConfig {
            application: node.clone(),
            db_config: tree::config(PARTITION, cache.clone(), BUFFER),
            provider: (),
            marshal: (marshal.clone(), floor),
            mailbox_size: MAILBOX,
            plan,
            resolvers: sync_resolver,
            sync_config: SyncEngineConfig {
                fetch_batch_size: SYNC_BATCH,
                apply_batch_size: NZU64!(1_024),
                max_outstanding_requests: NZUsize!(8),
            },
            prune_config: Some(PruneConfig {
                maintenance_interval: NZUsize!(64),
                retained_marshal_blocks: BLOCKS_KEPT,
                retained_qmdb_blocks: 0,
            }),
            strategy: Sequential,
        },
    );
    let paced = Paced::new(stateful.clone(), pace, demand);
    let epocher = FixedEpocher::new(COMMITTEE_BLOCKS);
    let deferred = Deferred::new(runtime.child("deferred"), paced, marshal.clone(), epocher);
    marshal_actor.start(stateful.clone(), buffer, resolver);
    // Before the tree hears of any block: the journal is never behind it.
    node.catch_up().await;
    stateful_actor.start();

    let patience = pace.idle + PATIENCE;
    let engine = simplex::Engine::new(
        runtime,
        simplex::Config {
            scheme,
            elector: Random::<Sha256>::new(RandomVersion::V1),
            blocker: peers,
            automaton: deferred.clone(),
            relay: deferred.clone(),
            reporter: Reporters::from((seeds, deferred)),
            strategy: Sequential,
            partition: format!("{PARTITION}-votes"),
            mailbox_size: MAILBOX,
            epoch: Epoch::zero(),
            floor: Floor::Genesis(digest),
            replay_buffer: BUFFER,
            write_buffer: BUFFER,
            page_cache: cache,
            leader_timeout: patience,
            certification_timeout: patience * 2,
            timeout_retry: Duration::from_millis(500),
            view_retention: VIEWS_KEPT,
            skip: SkipPolicy::Enabled {
                timeout: patience * 8,
                budget: simplex::SkipBudget::Participants,
            },
            fetch_timeout: NZDuration!(Duration::from_secs(1)),
            fetch_retry_delay: Duration::from_millis(200),
            forward: ForwardPolicy::SilentVoters,
            track_historical_votes: false,
        },
    );
    let handle = engine.start(channels.votes, channels.certificates, channels.resolver);
    Engine { handle, stateful }
}

fn archive_config<C>(name: &str, cache: &CacheRef, codec: C) -> prunable::Config<TwoCap, C> {
    prunable::Config {
        translator: TwoCap,
        metadata_partition: format!("{PARTITION}-{name}-meta"),
        key_partition: format!("{PARTITION}-{name}-key"),
        key_page_cache: cache.clone(),
        value_partition: format!("{PARTITION}-{name}-value"),
        compression: None,
        codec_config: codec,
        items_per_section: NZU64!(256),
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        replay_buffer: BUFFER,
    }
}
