//! The authenticated tree: digests of keys to digests of values, kept by QMDB.
//!
//! Rules: fixed 32-byte records, so that another node can fetch the store piece by piece; keys
//! in order, so that absence can be proved. The tree says that a value is right, the ledger's
//! own state says what it is. This file alone names the store, whose format may change between
//! its releases: a state snapshot then carries the ledger over.
//! Never here: values.

use crate::block::{plain_digest, tree_digest};
use commonware_cryptography::{Sha256, sha256};
use commonware_glue::stateful::db::{DatabaseSet, Merkleized as _, Shared, Unmerkleized as _};
use commonware_parallel::Sequential;
use commonware_runtime::{Spawner, buffer::paged::CacheRef};
use commonware_storage::{
    Context,
    journal::contiguous::fixed::Config as LogConfig,
    mmr::{self, Location, full::Config as MerkleConfig},
    qmdb::{
        Error,
        current::{FixedConfig, ordered::fixed},
        sync::Target,
    },
    translator::EightCap,
};
use commonware_utils::{NZU64, NZUsize, non_empty_range, range::NonEmptyRange};
use ledger::Writes;
use light::{CHUNK_BYTES, StateCommitment, StateProof, key_digest, value_digest};
use std::num::NonZeroUsize;

/// The store.
pub(crate) type Tree<E> = fixed::Db<
    mmr::Family,
    E,
    sha256::Digest,
    sha256::Digest,
    Sha256,
    EightCap,
    CHUNK_BYTES,
    Sequential,
>;

/// The store as the state machine shares it.
pub(crate) type SharedTree<E> = Shared<Tree<E>>;

/// The writes of a block under way.
pub(crate) type Batch<E> = <SharedTree<E> as DatabaseSet<E>>::Unmerkleized;

/// The writes of a block with their roots.
pub(crate) type Sealed<E> = <SharedTree<E> as DatabaseSet<E>>::Merkleized;

/// What another node's copy of the store must match.
pub(crate) type SyncTarget = Target<mmr::Family, sha256::Digest>;

/// Operations in one file.
const PER_FILE: std::num::NonZeroU64 = NZU64!(65_536);

/// Settings of the store in the partitions that start with `prefix`.
pub(crate) fn config(
    prefix: &str,
    cache: CacheRef,
    buffer: NonZeroUsize,
) -> FixedConfig<EightCap, Sequential> {
    FixedConfig {
        merkle_config: MerkleConfig {
            journal_partition: format!("{prefix}-merkle-journal"),
            metadata_partition: format!("{prefix}-merkle-meta"),
            items_per_blob: PER_FILE,
            write_buffer: buffer,
            replay_buffer: buffer,
            strategy: Sequential,
            page_cache: cache.clone(),
        },
        journal_config: LogConfig {
            partition: format!("{prefix}-operations"),
            items_per_blob: PER_FILE,
            page_cache: cache,
            write_buffer: buffer,
            replay_buffer: buffer,
        },
        grafted_metadata_partition: format!("{prefix}-grafted"),
        translator: EightCap,
        init_cache: Some(NZUsize!(65_536)),
        init_buffer: NZUsize!(1 << 21),
        init_concurrency: (),
    }
}

/// What the empty store commits to: the state of the first block.
pub(crate) fn empty<E: Spawner + Context>() -> StateCommitment {
    let target = <SharedTree<E> as DatabaseSet<E>>::initial_sync_targets();
    let operations = plain_digest(&target.root);
    commitment(operations, operations, &target.range)
}

/// Adds a block's writes and computes the roots.
///
/// # Errors
/// The store's, all of which mean that the disk failed.
pub(crate) async fn seal<E: Spawner + Context>(
    mut batch: Batch<E>,
    writes: &Writes,
) -> Result<Sealed<E>, Error<mmr::Family>> {
    for (key, value) in writes {
        let value = value.as_ref().map(|value| tree_digest(&value_digest(value)));
        batch = batch.write(tree_digest(&key_digest(key)), value);
    }
    batch.merkleize().await
}

/// What a block with these writes commits to.
pub(crate) fn commitment_of<E: Spawner + Context>(sealed: &Sealed<E>) -> StateCommitment {
    let range = non_empty_range!(sealed.sync_boundary(), sealed.bounds().tip.size);
    commitment(plain_digest(&sealed.root()), plain_digest(&sealed.ops_root()), &range)
}

/// The store's view of what a header commits to. An empty range, which no valid header has,
/// becomes one that no store matches.
pub(crate) fn sync_target(commitment: &StateCommitment) -> SyncTarget {
    let end = commitment.end.max(commitment.start.saturating_add(1));
    let range = non_empty_range!(Location::new(commitment.start), Location::new(end));
    Target::new(tree_digest(&commitment.operations), range)
}

/// Proves that a key has a value, or has none, in the store as it is.
///
/// # Errors
/// The store's, all of which mean that the disk failed.
pub(crate) async fn prove<E: Spawner + Context>(
    tree: &Tree<E>,
    key: &[u8],
) -> Result<StateProof, Error<mmr::Family>> {
    let key = tree_digest(&key_digest(key));
    match tree.key_value_proof(key).await {
        Ok(proof) => Ok(StateProof::present(&proof)),
        Err(Error::KeyNotFound) => Ok(StateProof::absent(&tree.exclusion_proof(&key).await?)),
        Err(error) => Err(error),
    }
}

fn commitment(
    root: crypto::Digest,
    operations: crypto::Digest,
    range: &NonEmptyRange<Location>,
) -> StateCommitment {
    StateCommitment { root, operations, start: *range.start(), end: *range.end() }
}
