//! Holding a folder against itself: all its blocks executed again from genesis.
//!
//! Rules: the same code as in consensus, in a fresh folder; each block must give the writes and
//! the state roots that its header and the journal have. A difference means that the ledger's
//! code, or the folder, is not what it was when the block was made.
//! Never here: repair.

use crate::{
    application,
    block::Block,
    error::{Crashed, ReplayError, StartError},
    journal::Journal,
    machine::Machine,
    node,
    tree::{self, SharedTree},
};
use commonware_glue::stateful::db::DatabaseSet as _;
use commonware_runtime::{Runner as _, Supervisor as _, buffer::paged::CacheRef, tokio as engine};
use commonware_utils::{NZU16, NZUsize};
use crypto::Digest;
use ledger::Genesis;
use std::path::Path;
use units::Height;

/// What a replay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The last block.
    pub height: Height,
    /// Its digest, which commits to everything before it.
    pub digest: Digest,
}

/// Executes all blocks of the stopped node in `dir` again, in the empty folder `scratch`.
/// Blocks.
///
/// # Errors
/// [`ReplayError`]: the first block that comes out differently, or what keeps the folder from
/// being read; among the latter that its first blocks are no longer kept.
pub fn replay(dir: &Path, genesis: &Genesis, scratch: &Path) -> Result<Replayed, ReplayError> {
    let _lock = node::lock(dir)?;
    let anchor = node::description(dir)?;
    if anchor.genesis != genesis.digest() {
        return Err(ReplayError::OtherGenesis { dir: dir.into() });
    }
    let (journal, _) = Journal::open(&dir.join("ledger")).map_err(StartError::from)?;
    let first = journal.read(Height::new(1)).map_err(StartError::from)?;
    let proposer = match first.as_ref().map(|record| Block::decode_content(&record.block)) {
        Some(Some(block)) => block.header().proposer,
        Some(None) | None => return Err(ReplayError::NoFirstBlock { dir: dir.into() }),
    };
    let start = node::first_block(genesis, &proposer);
    let machine = node::load(&scratch.join("ledger"), genesis, &anchor, &start)?;
    let store = scratch.join("tree");
    let thread = std::thread::Builder::new().stack_size(node::STACK_BYTES).spawn(move || {
        engine::Runner::new(engine::Config::new().with_storage_directory(store))
            .start(|runtime| execute_all(runtime, journal, machine))
    });
    let source = |source| StartError::Io { path: scratch.into(), source };
    thread.map_err(source)?.join().map_err(|panic| {
        let Crashed { reason } = node::crashed(&panic);
        ReplayError::Start(StartError::Crashed(Crashed { reason }))
    })?
}

async fn execute_all(
    runtime: engine::Context,
    journal: Journal,
    machine: Machine,
) -> Result<Replayed, ReplayError> {
    let cache = CacheRef::new(NZU16!(4_096), NZUsize!(1_024));
    let config = tree::config("replay", cache, NZUsize!(1 << 16));
    let tree = SharedTree::<engine::Context>::init(runtime.child("tree"), config, None).await;
    for height in journal.range().map(Height::new) {
        let differs = |what| ReplayError::Differs { height, what };
        let record = journal.read(height).map_err(StartError::from)?;
        let record = record.ok_or(differs("it is missing"))?;
        let block = Block::decode_content(&record.block).ok_or(differs("it does not decode"))?;
        let header = block.header();
        let transactions =
            machine.authorize(block.transactions()).map_err(|_| differs("a signature is bad"))?;
        let effects = machine
            .execute(header.parent, &application::env(header), &transactions)
            .map_err(|_| differs("the ledger refuses it"))?;
        if effects.writes != record.writes {
            return Err(differs("it writes something else"));
        }
        let batch = tree.new_batches().await;
        let sealed = application::seal::<engine::Context>(batch, &effects.writes).await;
        if tree::commitment_of::<engine::Context>(&sealed) != header.state {
            return Err(differs("its state roots are others"));
        }
        machine.keep(block.id(), effects);
        machine.commit(&block, record.certificate);
        tree.apply(sealed).await;
    }
    let head = machine.head();
    Ok(Replayed { height: head.header.height, digest: head.id })
}
