//! Time and chance as the ledger sees them: height, proposer's time, clock, rounds, seeds.
//!
//! Rules:
//! - T1 Heights follow each other, times and rounds grow strictly.
//! - T2 The clock grows by the time since the parent, but by at most five seconds: a chain that
//!   stood still for an hour does not let an hour's windows pass unseen. Every window, epoch and
//!   expiry counts in the clock.
//! - T3 A block carries at most 32 seeds, in order of their rounds, each of a round before its
//!   own and none twice; seeds of skipped rounds may come in later blocks.
//! - T4 A seed is kept, with the clock at which it came, for the challenge window and one day.
//!
//! Never here: a wall clock, a source of randomness.

use crate::{
    block::{BlockError, Env},
    context::Context,
    error::{Broken, Failure},
    params::{DAY, Windows},
    store::{Read, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::Seed;
use serde::{Deserialize, Serialize};
use units::{Epoch, Height, Millis, Round};

/// Most the clock grows in one block (T2).
pub const CLOCK_STEP_MAX: Millis = Millis::new(5_000);
/// Most seeds a block may carry (T3).
pub const SEEDS_PER_BLOCK_MAX: usize = 32;
/// Most seeds a block forgets (T4); twice what it may bring, so that no backlog grows.
const FORGOTTEN_PER_BLOCK: usize = 64;

/// Height, time and clock of the last block: one record.
pub const NOW: Table<(), Now> = Table::new([0, 2], "chain.now");
/// Seeds by round.
pub const SEEDS: Table<Round, SeedRecord> = Table::new([0, 3], "chain.seeds");

/// Where the chain stands.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Now {
    /// Number of the block.
    pub height: Height,
    /// The proposer's wall clock, in ms since 1970.
    pub time: Millis,
    /// The ledger's own clock, in ms since genesis (T2).
    pub clock: Millis,
    /// The consensus view the block was made in.
    pub round: Round,
}

impl Now {
    /// The ledger period the clock is in.
    #[must_use]
    pub fn epoch(&self, windows: &Windows) -> Epoch {
        let length = windows.epoch.get().max(1);
        Epoch::new(self.clock.get().checked_div(length).unwrap_or_default())
    }
}

/// A seed and when it came.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct SeedRecord {
    /// The beacon's value.
    pub seed: Seed,
    /// The clock of the block that brought it.
    pub clock: Millis,
}

/// Where the chain stands after its last block.
///
/// # Errors
/// [`Broken`] if there was no genesis.
pub fn now(state: &impl Read) -> Result<Now, Broken> {
    state.get(&NOW, &())?.ok_or(Broken::Rule("there is no genesis"))
}

/// The time of the block that `env` describes, on top of its parent (T1, T2).
pub(crate) fn advance(parent: &Now, env: &Env) -> Result<Now, BlockError> {
    let next = parent.height.checked_add(Height::new(1)).map_err(|_| Broken::Overflow)?;
    if env.height != next {
        return Err(BlockError::Height { given: env.height, expected: next });
    }
    if env.time <= parent.time {
        return Err(BlockError::Time { given: env.time, parent: parent.time });
    }
    if env.round <= parent.round {
        return Err(BlockError::Round { given: env.round, parent: parent.round });
    }
    let step = env.time.saturating_sub(parent.time).min(CLOCK_STEP_MAX);
    let clock = parent.clock.checked_add(step).map_err(|_| Broken::Overflow)?;
    Ok(Now { height: env.height, time: env.time, clock, round: env.round })
}

/// Stores the block's time and seeds (T3).
pub(crate) fn begin(ctx: &mut Context<'_>, env: &Env) -> Result<(), BlockError> {
    let now = *ctx.now();
    ctx.put(&NOW, &(), &now).map_err(BlockError::from)?;
    let count = env.seeds.len();
    if count > SEEDS_PER_BLOCK_MAX {
        return Err(BlockError::TooManySeeds { count });
    }
    let mut previous = None;
    for (round, seed) in &env.seeds {
        let in_order = previous.is_none_or(|earlier| earlier < *round);
        if !in_order || *round >= env.round || ctx.has(&SEEDS, round) {
            return Err(BlockError::Seed { round: *round });
        }
        let record = SeedRecord { seed: *seed, clock: now.clock };
        ctx.put(&SEEDS, round, &record).map_err(BlockError::from)?;
        ctx.note_seed(*round);
        previous = Some(*round);
    }
    Ok(())
}

/// Forgets seeds that nothing can need any more (T4).
pub(crate) fn end(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let keep = ctx.params().windows.challenge.checked_add(DAY)?;
    let horizon = ctx.clock().saturating_sub(keep);
    for (round, record) in ctx.scan(&SEEDS, &(), FORGOTTEN_PER_BLOCK)? {
        if record.clock >= horizon {
            break;
        }
        ctx.remove(&SEEDS, &round);
    }
    Ok(())
}
