//! Re-execution: what an audit or a dispute needs of a run that somebody else has made.
//!
//! Rules: the claimed output is a guess of what to feed, so that a right one costs a prompt and not
//! a token at a time; nothing of it is believed: each token is drawn anew, and from the first one
//! that differs the run goes on by itself. A fine tree takes the rows of one block; those are made
//! again when a dispute has come to that block, so nobody keeps the rows of whole runs.

use std::sync::Arc;

use crypto::Digest;
use model::inspect::{Facts, Kind, Task};
use model::step::{CoarseLeaf, Executed, Plan, RunShape, StepError, TraceShape};
use model::{Job, Output, Run, Sampling, ValueId};

use crate::capture::Capture;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::mailbox::{Canceller, Ended, Event, Mailbox};
use crate::request::Request;

/// A run done again, with every leaf of its trace.
#[derive(Clone, Debug)]
pub struct Rerun {
    run: Run,
    leaves: Arc<[Digest]>,
    ids: Arc<[u32]>,
    sampling: Sampling,
    seed: u64,
}

impl Rerun {
    /// What it gave.
    pub const fn run(&self) -> &Run {
        &self.run
    }

    /// The leaves of its coarse trace; their Merkle root is the run's trace root.
    pub fn leaves(&self) -> &[Digest] {
        &self.leaves
    }

    /// Its input.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// What decides the shape of its trace.
    pub const fn shape(&self) -> RunShape {
        let Run { n_in, n_out, .. } = self.run;
        RunShape { n_in, n_out, sampling: self.sampling, seed: self.seed }
    }

    fn tokens(&self) -> &[u32] {
        match &self.run.output {
            Output::Tokens(tokens) => tokens,
            Output::Row(_) => &[],
        }
    }
}

/// A re-execution under way. Dropped before its end, it is cancelled.
#[derive(Debug)]
pub struct Rerunning {
    mailbox: Arc<Mailbox>,
    ids: Arc<[u32]>,
    sampling: Sampling,
    seed: u64,
}

impl Rerunning {
    /// Ends it from anywhere.
    pub fn canceller(&self) -> Canceller {
        Canceller::new(&self.mailbox, 0)
    }

    /// The run, once it has ended. Waits.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`], or an engine that has failed.
    pub fn finish(self) -> Result<Rerun, EngineError> {
        let Ended { run, leaves, .. } = ended(&self.mailbox)?;
        if self.mailbox.reply(0).is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let (leaves, ids) = (leaves.into(), Arc::clone(&self.ids));
        Ok(Rerun { run, leaves, ids, sampling: self.sampling, seed: self.seed })
    }
}

impl Drop for Rerunning {
    fn drop(&mut self) {
        self.canceller().cancel();
    }
}

/// The rows from which the fine tree of one coarse leaf is built.
#[derive(Debug)]
pub struct LeafRows {
    ids: Arc<[u32]>,
    tokens: Arc<[u32]>,
    capture: Capture,
}

impl Executed for LeafRows {
    fn input(&self, position: u32) -> Option<u32> {
        self.ids.get(position as usize).copied()
    }

    fn token(&self, output: u32) -> Option<u32> {
        self.tokens.get(output as usize).copied()
    }

    fn row(&self, value: ValueId, position: u32) -> Option<Vec<u8>> {
        self.capture.row(value, position).map(<[u8]>::to_vec)
    }
}

impl Engine {
    /// Does the run of `job` again. `guess` is the output that somebody claims: any tokens, of
    /// any number; a model that embeds needs none. The result is that of [`Engine::generate`],
    /// whatever the guess; a job with `max_tokens` 0 is one that was broken off before its first
    /// token: its prompt alone is run.
    ///
    /// # Errors
    /// A job that the model cannot run, or an engine that has failed.
    pub fn rerun(&self, job: &Job<'_>, guess: &[u32]) -> Result<Rerun, EngineError> {
        self.start_rerun(job, guess)?.finish()
    }

    /// As [`Engine::rerun`], without waiting.
    ///
    /// # Errors
    /// A job that the model cannot run; nothing has been computed then.
    pub fn start_rerun(&self, job: &Job<'_>, guess: &[u32]) -> Result<Rerunning, EngineError> {
        let facts = self.model().facts();
        Job { max_tokens: job.max_tokens.max(1), ..*job }.check(facts)?;
        let stop = &self.model().manifest().stop_ids;
        let fed = fed(facts, job, stop, guess);
        let mailbox = self.submit_one(|mailbox| Request::new(job, 0, mailbox).guessed(fed))?;
        Ok(Rerunning { mailbox, ids: job.ids.into(), sampling: job.sampling, seed: job.seed })
    }

    /// The rows from which the fine tree of coarse leaf `leaf` of a run of this model is built.
    /// Runs its positions through the ops up to the block of that leaf, and waits for it.
    ///
    /// # Errors
    /// A leaf that the run does not have, or an engine that has failed.
    pub fn rows(&self, rerun: &Rerun, leaf: u64) -> Result<LeafRows, EngineError> {
        let plan = Plan::of(self.model()).map_err(|_| StepError::Graph)?;
        let fine = TraceShape::new(&plan, rerun.shape())?.fine(leaf)?;
        let (n_in, embeds) = (rerun.run.n_in, self.model().facts().task == Task::Embed);
        let (position, output) = match fine.leaf() {
            CoarseLeaf::Boundary { position, .. } => (position, false),
            CoarseLeaf::Token { output } => (n_in - 1 + output, true),
            CoarseLeaf::Row => (n_in - 1, false),
        };
        // What the tree holds of any other position it holds of every one that it reaches.
        let other = if position == 0 { 1 } else { 0 };
        // Sums up to a position and outputs are left to steps.
        let is_row = |value: &ValueId| {
            let shape = plan.shapes().get(*value as usize);
            shape.is_some_and(|shape| matches!(shape.kind, Kind::A16 | Kind::Res))
        };
        let values = |position| fine.values(position).into_iter().filter(is_row);
        let capture = Capture::new(position, output, values(other), values(position));
        let known = rerun.ids.iter().chain(rerun.tokens()).copied();
        let reach = if embeds { rerun.ids.len() } else { position as usize + 1 };
        let line: Vec<u32> = known.take(reach).collect();
        if line.iter().any(|id| *id >= plan.graph().vocabulary) {
            // The run of another model.
            return Err(StepError::Graph.into());
        }
        let job = Job { ids: &line, max_tokens: 0, ..Job::embed(&[]) };
        let mailbox =
            self.submit_one(|mailbox| Request::new(&job, 0, mailbox).captured(capture))?;
        let capture = ended(&mailbox)?.capture.ok_or(StepError::Graph)?;
        Ok(LeafRows { ids: Arc::clone(&rerun.ids), tokens: rerun.tokens().into(), capture })
    }
}

/// The end of the one run of a mailbox that gets nothing else. Waits.
fn ended(mailbox: &Mailbox) -> Result<Ended, EngineError> {
    loop {
        if let (_, Event::Done(ended)) = mailbox.take()? {
            return Ok(*ended);
        }
    }
}

/// The tokens of a claimed output that an honest run may come to feed back: those before the one
/// that must be the last, or that is no token.
fn fed<'a>(
    facts: &Facts,
    job: &'a Job<'_>,
    stop: &'a [u32],
    guess: &'a [u32],
) -> impl Iterator<Item = u32> + use<'a> {
    let vocabulary = facts.vocabulary;
    let positions = (facts.max_positions as usize).saturating_sub(job.ids.len());
    let most = positions.min((job.max_tokens as usize).saturating_sub(1));
    let goes_on = move |id: &u32| *id < vocabulary && !stop.contains(id) && !job.stop.contains(id);
    let most = if facts.task == Task::Embed { 0 } else { most };
    guess.iter().copied().take(most).take_while(goes_on)
}
