//! The chain as a box or a gateway sees it: height, clock and rounds, looked up again and again.
//!
//! Rules: a node that cannot be reached changes nothing: payments off chain go on within their
//! limits. A round is fresh if it is at least the newest that was seen half a minute ago; so a
//! chain that stands still makes nothing stale.
//! Never here: trust beyond that in the node; decisions.

use crate::rpc::Rpc;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::AbortHandle};
use units::{Height, Millis, Round};

/// Pause between two looks: the chain's pace.
const PAUSE: Duration = Duration::from_millis(500);
/// How old the newest round a request may name.
pub const FRESHNESS: Duration = Duration::from_secs(30);
/// Rounds by which another's view may be ahead of ours.
const AHEAD: u64 = 64;
/// Looks remembered: those of the last minute.
const REMEMBERED: usize = 128;

/// The chain at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The last final block.
    pub height: Height,
    /// The ledger's clock after it.
    pub clock: Millis,
    /// The round it was proposed in.
    pub round: Round,
}

/// Follows the chain until dropped; clones share it.
#[derive(Debug, Clone)]
pub struct Follower {
    seen: watch::Receiver<Seen>,
    rounds: Arc<Mutex<VecDeque<(Instant, Round)>>>,
    _task: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follower {
    /// Starts to follow, from the chain's present state.
    ///
    /// # Errors
    /// [`crate::rpc::RpcError`] if the node does not answer at all.
    pub async fn start(rpc: Rpc) -> Result<Self, crate::rpc::RpcError> {
        let first = look(&rpc).await?;
        let (send, seen) = watch::channel(first);
        let rounds = Arc::new(Mutex::new(VecDeque::from([(Instant::now(), first.round)])));
        let shared = Arc::clone(&rounds);
        let task = tokio::spawn(async move {
            while !send.is_closed() {
                tokio::time::sleep(PAUSE).await;
                match look(&rpc).await {
                    Ok(now) => {
                        remember(&shared, now.round);
                        send.send_replace(now);
                    }
                    Err(error) => tracing::debug!(%error, "the chain was not seen"),
                }
            }
        });
        Ok(Self { seen, rounds, _task: Arc::new(AbortOnDrop(task.abort_handle())) })
    }

    /// The chain at the last look.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Waits for the next look.
    pub async fn next(&mut self) -> Seen {
        // The task outlives every clone, so the channel is open.
        self.seen.changed().await.ok();
        *self.seen.borrow_and_update()
    }

    /// Whether a request may name this round.
    #[must_use]
    pub fn is_fresh(&self, round: Round) -> bool {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        fresh(&rounds, Instant::now(), round)
    }
}

fn fresh(rounds: &VecDeque<(Instant, Round)>, now: Instant, round: Round) -> bool {
    let newest = rounds.back().map_or(Round::ZERO, |(_, round)| *round);
    let old = rounds.iter().rev().find(|(at, _)| now.duration_since(*at) >= FRESHNESS);
    // Who has looked for less than half a minute cannot tell what is old.
    let floor = old.map_or(Round::ZERO, |(_, round)| *round);
    round >= floor && round.get() <= newest.get().saturating_add(AHEAD)
}

fn remember(rounds: &Mutex<VecDeque<(Instant, Round)>>, round: Round) {
    let mut rounds = rounds.lock().unwrap_or_else(PoisonError::into_inner);
    if rounds.len() >= REMEMBERED {
        rounds.pop_front();
    }
    rounds.push_back((Instant::now(), round));
}

async fn look(rpc: &Rpc) -> Result<Seen, crate::rpc::RpcError> {
    let status = rpc.status().await?;
    Ok(Seen { height: status.height, clock: status.clock, round: status.round })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_fresh_between_half_a_minute_ago_and_a_little_ahead() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let seen = (0..=60).map(|second| (at(second), Round::new(second * 2)));
        let rounds: VecDeque<_> = seen.collect();
        let is_fresh = |round| fresh(&rounds, at(60), Round::new(round));
        assert!(!is_fresh(59));
        assert!(is_fresh(60));
        assert!(is_fresh(120 + AHEAD));
        assert!(!is_fresh(121 + AHEAD));
    }

    #[test]
    fn a_chain_that_stands_still_makes_nothing_stale() {
        let start = Instant::now();
        let rounds: VecDeque<_> =
            (0..100).map(|second| (start + Duration::from_secs(second), Round::new(7))).collect();
        assert!(fresh(&rounds, start + Duration::from_secs(600), Round::new(7)));
        assert!(!fresh(&rounds, start + Duration::from_secs(600), Round::new(6)));
    }
}
