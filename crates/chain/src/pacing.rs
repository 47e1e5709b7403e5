//! The pace of blocks: one wrapper around the state machine that makes proposals wait.
//!
//! Rules:
//! - A block comes at least `busy` after its parent. While no transaction waits and no deadline
//!   of the ledger is near, it comes only after `idle`; a transaction that arrives ends that
//!   wait.
//! - The wait happens here, before the state machine hears of the proposal: it finalizes blocks
//!   on the same thread as it builds them, and a build that slept would delay its parent.
//! - A vote waits until the own clock has reached the block's time less [`TOLERANCE`]. A block
//!   from the future is late, never invalid: clocks are not part of validity.
//!
//! Never here: what a block contains.

use crate::{Pace, block::Block, demand::Demand};
use commonware_consensus::{Application, Handoff, marshal::ancestry::Ancestry};
use commonware_cryptography::Digested;
use commonware_runtime::Clock;
use futures::future::{Either, select};
use std::{
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use units::Millis;

/// How far ahead of the own clock a block's time may be when it gets a vote.
const TOLERANCE: Duration = Duration::from_millis(500);

/// A state machine whose proposals keep a pace.
#[derive(Clone)]
pub(crate) struct Paced<A> {
    inner: A,
    pace: Pace,
    demand: Demand,
}

impl<A> Paced<A> {
    /// Wraps `inner`.
    pub(crate) const fn new(inner: A, pace: Pace, demand: Demand) -> Self {
        Self { inner, pace, demand }
    }

    /// Waits until a child of a block of time `parent` is due.
    async fn due(&self, clock: &impl Clock, parent: SystemTime) {
        clock.sleep_until(parent + self.pace.busy).await;
        let idle_ends = pin!(clock.sleep_until(parent + self.pace.idle));
        match select(idle_ends, pin!(self.demand.arises())).await {
            Either::Left(((), _)) | Either::Right(((), _)) => {}
        }
    }
}

impl<E, A> Application<E> for Paced<A>
where
    E: Clock + Send + 'static,
    A: Application<E, Block = Block> + Sync,
    A::Context: Send,
{
    type SigningScheme = A::SigningScheme;
    type Context = A::Context;
    type Block = Block;
    type Input = A::Input;

    async fn prepare(
        &mut self,
        context: (E, Self::Context),
        ancestry: impl Ancestry<Block>,
        input: Self::Input,
    ) -> Handoff<Digested<Block>> {
        self.inner.prepare(context, ancestry, input).await
    }

    async fn propose(
        &mut self,
        (clock, context): (E, Self::Context),
        ancestry: impl Ancestry<Block>,
        input: Self::Input,
    ) -> Option<Digested<Block>> {
        if let Some(parent) = ancestry.peek().map(|block| block.inner().header()) {
            // Genesis has no time, so its child is due at once.
            self.due(&clock, time(parent.time)).await;
        }
        self.inner.propose((clock, context), ancestry, input).await
    }

    async fn verify(
        &mut self,
        (clock, context): (E, Self::Context),
        ancestry: impl Ancestry<Block>,
    ) -> bool {
        if let Some(block) = ancestry.peek().map(|block| block.inner().header()) {
            let earliest = time(block.time).checked_sub(TOLERANCE).unwrap_or(UNIX_EPOCH);
            clock.sleep_until(earliest).await;
        }
        self.inner.verify((clock, context), ancestry).await
    }
}

/// A block's time as a clock shows it. Times that no clock can show wait for the last one that
/// it can.
fn time(millis: Millis) -> SystemTime {
    const FAR: Duration = Duration::from_secs(1 << 40);
    UNIX_EPOCH + Duration::from_millis(millis.get()).min(FAR)
}
