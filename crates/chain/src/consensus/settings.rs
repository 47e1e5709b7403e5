//! What each actor of the consensus is told: sizes, windows and patience, each by name.
//!
//! Rules: the values are the same on every node of a chain unless they only concern its own
//! memory and disk. Never here: how the actors meet (see `consensus`).

use super::Runtime;
use crate::{
    Pace,
    application::{Marshal, Node},
    block::Block,
    keys::{PeerKey, Scheme},
    tree::{self, Tree},
};
use commonware_broadcast::buffered;
use commonware_consensus::{
    CertifiableAutomaton, Relay, Reporter,
    marshal::{self, Start, resolver::p2p as backfill, standard::Standard},
    simplex::{
        self,
        config::{Floor, ForwardPolicy, SkipPolicy},
        elector::{Random, RandomVersion},
        types::{Activity, Context},
    },
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{
    Digested, Sha256,
    certificate::ConstantProvider,
    sha256::{self, Digest},
};
use commonware_glue::stateful::{
    self, PruneConfig, SyncPlan,
    db::{SyncEngineConfig, p2p as tree_sync},
};
use commonware_p2p::{Blocker, Provider};
use commonware_parallel::Sequential;
use commonware_runtime::{Spawner, buffer::paged::CacheRef};
use commonware_storage::{Context as StorageContext, archive::prunable, translator::TwoCap};
use commonware_utils::{NZDuration, NZU16, NZU64, NZUsize};
use std::{
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

/// Capacity of each actor's mailbox.
pub(super) const MAILBOX: NonZeroUsize = NZUsize!(1_024);

/// Buffer of each file that is written or replayed.
pub(super) const BUFFER: NonZeroUsize = NZUsize!(1 << 16);

/// Operations of the tree in one answer to a node that fetches it.
pub(super) const SYNC_BATCH: NonZeroU64 = NZU64!(64);

/// Committees last for ever until the validator set can change.
pub(super) const COMMITTEE_BLOCKS: NonZeroU64 = NZU64!(u64::MAX);

/// Rounds behind the last final one that are still remembered.
pub(super) const VIEWS_KEPT: ViewDelta = ViewDelta::new(64);

/// Final blocks that consensus keeps for peers that lag; the journal keeps more, for readers.
pub(super) const BLOCKS_KEPT: usize = 256;

/// How long a leader may take beyond the idle pace before its round is skipped. A node that is
/// killed between its vote and the certificate waits this long after the next start.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Prefix of all partitions on disk.
pub(super) const PARTITION: &str = "selvedge";

/// Memory in which pages of files are cached: 4 MiB.
pub(super) fn page_cache() -> CacheRef {
    CacheRef::new(NZU16!(4_096), NZUsize!(1_024))
}

/// The committees by height.
pub(super) const fn committees() -> FixedEpocher {
    FixedEpocher::new(COMMITTEE_BLOCKS)
}

/// Of the actor that fetches missing blocks.
pub(super) fn backfill<P>(me: PeerKey, peers: &P) -> backfill::Config<PeerKey, P, P>
where
    P: Provider<PublicKey = PeerKey> + Blocker<PublicKey = PeerKey>,
{
    backfill::Config {
        public_key: me,
        peer_provider: peers.clone(),
        blocker: peers.clone(),
        mailbox_size: MAILBOX,
        fetch_timeout: NZDuration!(Duration::from_secs(2)),
        fetch_retry_delay: Duration::from_millis(100),
        priority_requests: false,
        priority_responses: false,
    }
}

/// Of the actor that passes on new blocks.
pub(super) fn broadcast<P>(me: PeerKey, peers: &P) -> buffered::Config<PeerKey, (), P, Sequential>
where
    P: Provider<PublicKey = PeerKey>,
{
    buffered::Config {
        public_key: me,
        mailbox_size: MAILBOX,
        deque_size: 16,
        priority: false,
        codec_config: (),
        peer_provider: peers.clone(),
        strategy: Sequential,
    }
}

/// Of the actor that keeps final blocks in order.
pub(super) fn marshal(
    scheme: Scheme,
    start: Start<Scheme, Digest, Digested<Block>>,
    cache: CacheRef,
) -> marshal::Config<
    ConstantProvider<Scheme, Epoch>,
    FixedEpocher,
    Sequential,
    Block,
    Digested<Block>,
> {
    marshal::Config {
        provider: ConstantProvider::new(scheme),
        epocher: committees(),
        start,
        partition_prefix: PARTITION.into(),
        mailbox_size: MAILBOX,
        view_retention: VIEWS_KEPT,
        prunable_items_per_section: NZU64!(256),
        page_cache: cache,
        replay_buffer: BUFFER,
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        block_codec_config: (),
        max_repair: NZUsize!(16),
        max_pending_acks: NZUsize!(16),
        strategy: Sequential,
    }
}

/// Of the actor that serves the tree to nodes that fetch it.
pub(super) fn tree_sync<E, P>(me: PeerKey, peers: &P) -> tree_sync::Config<PeerKey, P, P, Tree<E>>
where
    E: Spawner + StorageContext,
    P: Provider<PublicKey = PeerKey> + Blocker<PublicKey = PeerKey>,
{
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
    }
}

/// Of the actor that runs the state machine.
pub(super) fn stateful<E, R>(
    application: Node,
    marshal: (Marshal, marshal::core::Floor),
    plan: SyncPlan<E, Scheme, Standard<Block>>,
    resolvers: R,
    cache: &CacheRef,
) -> stateful::Config<E, Node, Standard<Block>, R, Sequential>
where
    E: Runtime,
{
    stateful::Config {
        application,
        db_config: tree::config(PARTITION, cache.clone(), BUFFER),
        provider: (),
        marshal,
        mailbox_size: MAILBOX,
        plan,
        resolvers,
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
    }
}

/// Of an archive by height.
pub(super) fn archive(name: &str, cache: CacheRef) -> prunable::Config<TwoCap, ()> {
    prunable::Config {
        translator: TwoCap,
        metadata_partition: format!("{PARTITION}-{name}-meta"),
        key_partition: format!("{PARTITION}-{name}-key"),
        key_page_cache: cache,
        value_partition: format!("{PARTITION}-{name}-value"),
        compression: None,
        codec_config: (),
        items_per_section: NZU64!(256),
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        replay_buffer: BUFFER,
    }
}

/// Of the voting itself. `automaton` proposes, checks and passes on blocks.
pub(super) fn voting<P, A, F>(
    (scheme, blocker): (Scheme, P),
    (automaton, reporter): (A, F),
    (genesis, pace, cache): (sha256::Digest, Pace, CacheRef),
) -> simplex::Config<Scheme, Random<Sha256>, P, Digest, A, A, F, Sequential>
where
    P: Blocker<PublicKey = PeerKey>,
    A: CertifiableAutomaton<Context = Context<Digest, PeerKey>> + Relay,
    F: Reporter<Activity = Activity<Scheme, Digest>>,
{
    let patience = pace.idle + PATIENCE;
    simplex::Config {
        scheme,
        elector: Random::<Sha256>::new(RandomVersion::V1),
        blocker,
        relay: automaton.clone(),
        automaton,
        reporter,
        strategy: Sequential,
        partition: format!("{PARTITION}-votes"),
        mailbox_size: MAILBOX,
        epoch: Epoch::zero(),
        floor: Floor::Genesis(genesis),
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
    }
}
