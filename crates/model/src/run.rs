//! What a run is asked and what it gives.

use crypto::Digest;

use crate::constants::STOP_IDS_MAX;
use crate::error::RunError;
use crate::inspect::{Facts, Task};

/// How tokens are chosen. Fields as a request carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Thousandths of the temperature; 0 takes the best token.
    pub temperature_milli: u16,
    /// Thousandths of the probability that is kept, 1000 keeps all.
    pub top_p_milli: u16,
    /// How many of the best tokens are kept; 0 keeps all.
    pub top_k: u16,
}

impl Sampling {
    /// Always the best token.
    pub const GREEDY: Self = Self { temperature_milli: 0, top_p_milli: 1_000, top_k: 0 };
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The input.
    pub ids: &'a [u32],
    /// How tokens are chosen. An embedding ignores this and all below.
    pub sampling: Sampling,
    /// Decides the draws.
    pub seed: u64,
    /// Most tokens to give.
    pub max_tokens: u32,
    /// The request's own stop ids, besides the model's.
    pub stop: &'a [u32],
}

impl<'a> Job<'a> {
    /// An embedding of `ids`.
    pub const fn embed(ids: &'a [u32]) -> Self {
        Self { ids, sampling: Sampling::GREEDY, seed: 0, max_tokens: 1, stop: &[] }
    }

    /// Whether a model with these facts can run this.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self, facts: &Facts) -> Result<(), RunError> {
        if self.ids.is_empty() {
            return Err(RunError::EmptyInput);
        }
        let (tokens, limit) = (self.ids.len(), facts.max_input);
        if u64::try_from(tokens).is_ok_and(|tokens| tokens > u64::from(limit)) {
            return Err(RunError::InputTooLong { tokens, limit });
        }
        let vocabulary = facts.vocabulary;
        if let Some((position, id)) =
            self.ids.iter().copied().enumerate().find(|(_, id)| *id >= vocabulary)
        {
            return Err(RunError::TokenOutOfRange { id, position, vocabulary });
        }
        if facts.task == Task::Embed {
            return Ok(());
        }
        if self.max_tokens == 0 {
            return Err(RunError::NoTokens);
        }
        if self.stop.len() > STOP_IDS_MAX {
            return Err(RunError::TooManyStopIds { given: self.stop.len(), limit: STOP_IDS_MAX });
        }
        let value = self.sampling.top_p_milli;
        if value > 1_000 {
            return Err(RunError::Sampling { field: "top_p_milli", value, limit: 1_000 });
        }
        Ok(())
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The last token is a stop id; an embedding always ends so.
    Stop,
    /// `max_tokens` or the model's positions were used up.
    Length,
    /// Whoever receives the tokens wanted no more.
    Cancelled,
}

/// What a run gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tokens in order, a stop id included.
    Tokens(Vec<u32>),
    /// The unit row of an embedding.
    Row(Vec<i32>),
}

/// A finished run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it gives.
    pub output: Output,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the input.
    pub n_in: u32,
    /// Tokens given, or 1 for a row.
    pub n_out: u32,
    /// Root of the coarse trace: a function of model, input and parameters alone.
    pub trace_root: Digest,
}

/// Whether a run ends after the token it has just given, which is its `n_out`th.
pub fn finish(
    facts: &Facts,
    job: &Job<'_>,
    stop: &[u32],
    n_out: u32,
    token: u32,
) -> Option<Finish> {
    let n_in = u32::try_from(job.ids.len()).unwrap_or(u32::MAX);
    if stop.contains(&token) || job.stop.contains(&token) {
        return Some(Finish::Stop);
    }
    is_full(facts, n_in, job.max_tokens, n_out).then_some(Finish::Length)
}

/// Whether `n_out` tokens are all that a run may give.
pub fn is_full(facts: &Facts, n_in: u32, max_tokens: u32, n_out: u32) -> bool {
    // The token just given would stand at this position if it were fed back.
    let next = n_in.saturating_add(n_out).saturating_sub(1);
    n_out >= max_tokens || next >= facts.max_positions
}
