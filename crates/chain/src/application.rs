//! The state machine under consensus: how blocks are built, checked and taken over.
//!
//! Rules of validity, each fixed by the block and its parent, so that every validator agrees:
//! - V1 The header's parent, height, committee, rounds and proposer are those of its context.
//! - V2 It brings the seeds of exactly the rounds that are due, each signed by the group key.
//! - V3 It carries no payload and no outgoing messages.
//! - V4 Every transaction is signed; the ledger accepts the block (which holds time and size).
//! - V5 Both state roots and the range are what its execution gives.
//!
//! Never here: waiting for clocks (that is the pace), what a transaction means.

use crate::{
    block::{Block, BlockContext, plain_digest},
    keys::{Scheme, public_key},
    machine::Machine,
    seeds::{Seeds, due_rounds},
    tree::{self, Batch, Sealed, SharedTree},
};
use commonware_consensus::{
    marshal::{ancestry::Ancestry, core::Mailbox, standard::Standard},
    types::Height as ConsensusHeight,
};
use commonware_glue::stateful::{Application, Finality, Input, Proposed, db::DatabaseSet};
use commonware_runtime::{Clock, Spawner, Supervisor};
use commonware_storage::Context as StorageContext;
use crypto::Digest;
use futures::StreamExt as _;
use ledger::{Env, Writes};
use light::{Certificate, Header};
use std::{sync::Arc, time::UNIX_EPOCH};
use units::{Height, List, Millis, Round};

/// Certificates and blocks by height.
pub(crate) type Marshal = Mailbox<Scheme, Standard<Block>>;

/// The machine with what it needs of its surroundings.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) machine: Arc<Machine>,
    pub(crate) seeds: Seeds,
    pub(crate) genesis: Block,
    pub(crate) marshal: Marshal,
}

impl Node {
    /// A block on `parent`, without its commitments to body and state.
    fn draft(&self, context: &BlockContext, parent: &Block, now: Millis) -> Option<Header> {
        let (header, round) = (parent.header(), Round::new(context.round.view().get()));
        let committee = context.round.epoch().get();
        let signatures = self.seeds.due(committee, header.seeded, round)?;
        let count = u64::try_from(signatures.len()).ok()?;
        Some(Header {
            parent: parent.id(),
            height: header.height.checked_add(Height::new(1)).ok()?,
            time: now.max(header.time.checked_add(Millis::new(1)).ok()?),
            committee,
            round,
            parent_round: Round::new(context.parent.0.get()),
            proposer: public_key(&context.leader),
            transactions: Digest::ZERO,
            state: header.state,
            messages: Digest::ZERO,
            payload: None,
            seeded: Round::new(header.seeded.get().checked_add(count)?),
            seeds: List::new(signatures).ok()?,
        })
    }

    async fn build<E: Spawner + StorageContext>(
        &self,
        context: BlockContext,
        parent: &Block,
        now: Millis,
        batch: Batch<E>,
    ) -> Option<Proposed<Self, E>> {
        let mut header = self.draft(&context, parent, now)?;
        let entries = self.machine.select(parent.id()).map_err(declined).ok()?;
        let authorized: Vec<_> = entries.iter().map(|entry| entry.authorized.clone()).collect();
        let effects =
            self.machine.execute(parent.id(), &env(&header), &authorized).map_err(declined).ok()?;
        let merkleized = seal::<E>(batch, &effects.writes).await;
        header.state = tree::commitment_of::<E>(&merkleized);
        let transactions = entries.iter().map(|entry| entry.signed.clone()).collect();
        let block = Block::new(header, transactions)?;
        self.machine.keep(block.id(), effects);
        Some(Proposed { block, merkleized })
    }

    /// V1 to V3: what the header and its parent's alone decide.
    fn is_well_formed(&self, context: &BlockContext, block: &Block, parent: &Block) -> bool {
        let (header, before) = (block.header(), parent.header());
        let placed = header.parent == parent.id()
            && Some(header.parent) == Some(plain_digest(&context.parent.1))
            && header.height.get() == before.height.get().saturating_add(1)
            && header.committee == context.round.epoch().get()
            && header.round.get() == context.round.view().get()
            && header.parent_round.get() == context.parent.0.get()
            && header.proposer == public_key(&context.leader);
        let due = due_rounds(before.seeded, header.round);
        let brought = header.round_seeds().map(|(round, _)| round);
        placed
            && brought.eq(due)
            && header.seeded.get() == before.seeded.get() + header.seeds.len() as u64
            && header.messages == Digest::ZERO
            && !block.has_payload()
            && header.verify_seeds(self.machine.anchor()).is_ok()
    }

    /// V4 and V5.
    async fn check<E: Spawner + StorageContext>(
        &self,
        block: &Block,
        batch: Batch<E>,
    ) -> Option<Sealed<E>> {
        let header = block.header();
        let authorized = self.machine.authorize(block.transactions()).map_err(declined).ok()?;
        let effects = self
            .machine
            .execute(header.parent, &env(header), &authorized)
            .map_err(declined)
            .ok()?;
        let sealed = seal::<E>(batch, &effects.writes).await;
        if tree::commitment_of::<E>(&sealed) != header.state {
            return None;
        }
        self.machine.keep(block.id(), effects);
        Some(sealed)
    }

    /// Executes what consensus holds as final but the journal has lost, as when its last records
    /// were damaged and cut off.
    ///
    /// # Panics
    /// If consensus does not keep those blocks any more: the node cannot go on.
    pub(crate) async fn catch_up(&self) {
        let known = self.marshal.get_processed().await.map_or(0, |known| known.height().get());
        let next = self.machine.head().header.height.get() + 1;
        for height in (next..=known).map(Height::new) {
            tracing::warn!(%height, "the journal lacks a final block: executing it again");
            let stored = self.marshal.get_block(ConsensusHeight::new(height.get())).await;
            let block = stored.expect("consensus keeps the blocks that the journal lacks");
            let block = block.inner();
            let transactions = self.machine.authorize(block.transactions());
            let effects = transactions.and_then(|transactions| {
                self.machine.execute(block.header().parent, &env(block.header()), &transactions)
            });
            self.machine.keep(block.id(), effects.expect("a final block is valid"));
            self.machine.commit(block, self.certificate(height).await);
            self.machine.publish(block);
        }
    }

    async fn certificate(&self, height: Height) -> Option<Certificate> {
        use commonware_codec::Encode as _;
        let height = ConsensusHeight::new(height.get());
        let finalization = self.marshal.get_finalization(height).await?;
        Certificate::new(finalization.encode().to_vec()).ok()
    }
}

/// Adds writes to the tree; a disk that fails stops the node.
pub(crate) async fn seal<E: Spawner + StorageContext>(
    batch: Batch<E>,
    writes: &Writes,
) -> Sealed<E> {
    tree::seal::<E>(batch, writes).await.expect("the authenticated tree can be read")
}

/// The world as the block shows it to the ledger.
pub(crate) fn env(header: &Header) -> Env {
    Env {
        height: header.height,
        time: header.time,
        proposer: header.proposer,
        round: header.round,
        seeds: header.round_seeds().map(|(round, seed)| (round, seed.seed())).collect(),
    }
}

fn declined(reason: impl std::fmt::Display) {
    tracing::warn!(%reason, "no block");
}

impl<E> Application<E> for Node
where
    E: Spawner + StorageContext + Clock + Supervisor,
{
    type SigningScheme = Scheme;
    type Context = BlockContext;
    type Block = Block;
    type Databases = SharedTree<E>;
    type Captured = ();
    type Provider = ();
    type Input = ();

    fn sync_targets(block: &Block) -> <Self::Databases as DatabaseSet<E>>::SyncTargets {
        tree::sync_target(&block.header().state)
    }

    async fn genesis(&mut self) -> Block {
        self.genesis.clone()
    }

    async fn propose(
        &mut self,
        (runtime, context): (E, BlockContext),
        mut ancestry: impl Ancestry<Block>,
        batches: Batch<E>,
        _: Input<(), ()>,
    ) -> Option<Proposed<Self, E>> {
        let parent = ancestry.next().await?.inner().clone();
        let now = runtime.current().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = Millis::new(u64::try_from(now).unwrap_or(u64::MAX));
        self.build(context, &parent, now, batches).await
    }

    async fn process(
        &mut self,
        (_, context): (E, BlockContext),
        mut ancestry: impl Ancestry<Block>,
        batches: Batch<E>,
        finality: Finality,
    ) -> Option<Sealed<E>> {
        let block = ancestry.next().await?.inner().clone();
        let known = self.machine.final_writes(&block).expect("the journal can be read");
        if let Some(writes) = known {
            // Final before a restart, and only the tree is behind.
            return Some(seal::<E>(batches, &writes).await);
        }
        if finality == Finality::Candidate {
            let parent = ancestry.next().await?.inner().clone();
            if !self.is_well_formed(&context, &block, &parent) {
                return None;
            }
        }
        self.check::<E>(&block, batches).await
    }

    async fn capture(
        &mut self,
        (runtime, _): (E, BlockContext),
        block: &Block,
        _: &Sealed<E>,
        _: <Self::Databases as DatabaseSet<E>>::Readers,
    ) {
        let (machine, block) = (Arc::clone(&self.machine), block.clone());
        let certificate = self.certificate(block.header().height).await;
        let seeds = self.seeds.clone();
        let commit = runtime.child("commit").shared(true).spawn(move |_| async move {
            if machine.commit(&block, certificate) {
                seeds.forget_through(block.header().seeded);
            }
        });
        commit.await.expect("a commit that fails stops the node");
    }

    async fn finalized(
        &mut self,
        _: (E, BlockContext),
        block: &Block,
        (): (),
        _: <Self::Databases as DatabaseSet<E>>::Readers,
    ) {
        self.machine.publish(block);
    }
}
