//! Runs that callers want, and how far each of them has come.
//!
//! A run is a line of tokens: the input, and behind it what has been given or is guessed to be
//! given. Positions go through passes in whatever stretches; each gives the token that follows it,
//! and the first one that differs from the line takes the place of all that stood behind.

use std::sync::Arc;

use crypto::{Digest, merkle};
use model::{Finish, Job, Model, Output, Run, Sampling, finish};

use crate::capture::Capture;
use crate::execute::Sequence;
use crate::mailbox::{Ended, Event, Mailbox};
use crate::sample::sample;

/// Tokens that a run may be ahead of its caller.
const AHEAD: usize = 1;

/// Positions that a scored run may be ahead of its caller, and that it takes at once.
const SCORED_AHEAD: usize = 16;

/// Bytes of logits in a pass: bounds how many positions of a guessed answer go at once.
const LOGITS_BYTES: usize = 1 << 24;

/// What a caller wants of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// Each token as it comes, or the row.
    Output,
    /// The logits of every position.
    Logits,
    /// The end alone, with all leaves of the trace.
    Leaves,
}

/// A run that is wanted.
#[derive(Debug)]
pub(crate) struct Request {
    /// The input, and what is guessed to follow.
    line: Vec<u32>,
    /// Tokens of the input.
    n_in: usize,
    sampling: Sampling,
    seed: u64,
    max_tokens: u32,
    stop: Vec<u32>,
    wants: Wants,
    /// Takes rows on the way.
    capture: Option<Capture>,
    index: usize,
    caller: Caller,
}

impl Request {
    pub(crate) fn new(job: &Job<'_>, index: usize, mailbox: &Arc<Mailbox>) -> Self {
        Self {
            line: job.ids.to_vec(),
            n_in: job.ids.len(),
            sampling: job.sampling,
            seed: job.seed,
            max_tokens: job.max_tokens,
            stop: job.stop.to_vec(),
            wants: Wants::Output,
            capture: None,
            index,
            caller: Caller { mailbox: Arc::clone(mailbox), told: false },
        }
    }

    /// The same run, for its logits.
    pub(crate) fn scored(self) -> Self {
        Self { wants: Wants::Logits, ..self }
    }

    /// The same run, for its end, with what is guessed to be given and fed back.
    pub(crate) fn guessed(mut self, guess: impl Iterator<Item = u32>) -> Self {
        self.line.extend(guess);
        Self { wants: Wants::Leaves, ..self }
    }

    /// The same run, for rows on the way.
    pub(crate) fn captured(self, capture: Capture) -> Self {
        Self { capture: Some(capture), wants: Wants::Leaves, ..self }
    }

    /// Most positions that it may come to take.
    pub(crate) fn positions(&self) -> usize {
        self.line.len().max(self.n_in.saturating_add(self.max_tokens as usize))
    }

    fn job(&self) -> Job<'_> {
        Job {
            ids: &self.line[..self.n_in],
            sampling: self.sampling,
            seed: self.seed,
            max_tokens: self.max_tokens,
            stop: &self.stop,
        }
    }

    /// Its input, and what stands behind it.
    pub(crate) fn line(&self) -> &[u32] {
        &self.line
    }

    /// Tokens of its line.
    pub(crate) fn ids(&self, stretch: &Stretch) -> &[u32] {
        &self.line[stretch.start..stretch.start + stretch.length]
    }

    /// Hands over the logits of a position, or draws the token that follows it.
    pub(crate) fn choose(&self, position: usize, logits: &[i64], multiplier: u32) -> Option<u32> {
        if self.wants == Wants::Logits {
            self.post(Event::Logits(logits.to_vec()));
            return None;
        }
        let output = count(position + 1 - self.n_in);
        Some(sample(logits, multiplier, &self.sampling, self.seed, output))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.caller.mailbox.reply(self.index).is_cancelled()
    }

    fn accepted(&self) -> usize {
        self.caller.mailbox.reply(self.index).accepted()
    }

    fn post(&self, event: Event) {
        self.caller.mailbox.post(self.index, event);
    }
}

/// Who waits for a run. Learns of its end even if that is a defect.
#[derive(Debug)]
struct Caller {
    mailbox: Arc<Mailbox>,
    told: bool,
}

impl Drop for Caller {
    fn drop(&mut self) {
        if !self.told {
            self.mailbox.fail();
        }
    }
}

/// A run under way.
pub(crate) struct Active {
    pub(crate) request: Request,
    pub(crate) sequence: Sequence,
    pub(crate) capture: Option<Capture>,
    /// Positions that have been through a pass.
    fed: usize,
    /// Tokens behind the input that are no guess.
    given: usize,
    finish: Option<Finish>,
    /// Bytes that its keys and values may come to take.
    pub(crate) reserved: usize,
}

/// The next positions of a run.
pub(crate) struct Stretch {
    /// First position.
    pub(crate) start: usize,
    pub(crate) length: usize,
    /// How many of the last positions give an output.
    pub(crate) emits: usize,
}

impl Active {
    pub(crate) const fn new(mut request: Request, sequence: Sequence, reserved: usize) -> Self {
        let capture = request.capture.take();
        Self { request, sequence, capture, fed: 0, given: 0, finish: None, reserved }
    }

    /// Positions of the line that have not been through a pass.
    const fn left(&self) -> usize {
        self.request.line.len() - self.fed
    }

    /// Whether its next position is that of the token given last.
    pub(crate) fn is_generating(&self) -> bool {
        self.given > 0 && self.left() == 1
    }

    fn finish(&self) -> Option<Finish> {
        let nothing_more = self.request.max_tokens == 0 && self.left() == 0;
        if nothing_more { Some(Finish::Length) } else { self.finish }
    }

    /// Whether it may go on: not ended, and its caller keeps up.
    pub(crate) fn is_ready(&self) -> bool {
        let accepted = self.request.accepted();
        match self.request.wants {
            Wants::Output => self.finish.is_none() && self.given <= accepted + AHEAD,
            Wants::Logits => self.left() > 0 && self.fed <= accepted + SCORED_AHEAD,
            Wants::Leaves => self.finish().is_none(),
        }
    }

    /// Whether nothing more will happen to it.
    pub(crate) fn is_over(&self) -> bool {
        let accepted = self.request.accepted();
        let ended = match self.request.wants {
            Wants::Output => self.finish.is_some() && accepted == self.given,
            Wants::Logits => accepted == self.request.line.len(),
            Wants::Leaves => self.finish().is_some(),
        };
        ended || self.request.is_cancelled()
    }

    /// Takes at most `room` positions into a pass of a causal graph.
    pub(crate) fn advance(&mut self, room: usize, vocabulary: usize) -> Option<Stretch> {
        if !self.is_ready() {
            return None;
        }
        let request = &self.request;
        let silent = (request.n_in - 1).saturating_sub(self.fed);
        let emitted = (LOGITS_BYTES / (vocabulary * size_of::<i64>())).max(1);
        let length = match request.wants {
            _ if self.is_generating() => 1,
            Wants::Logits => self.left().min(room).min(SCORED_AHEAD),
            _ if request.max_tokens == 0 => self.left().min(room),
            _ => self.left().min(room).min(silent + emitted),
        };
        if length == 0 {
            return None;
        }
        let (start, end) = (self.fed, self.fed + length);
        let emits = match request.wants {
            Wants::Logits => length,
            _ if request.max_tokens == 0 => {
                // Whoever captures the choice of a token wants it of the last position.
                let chosen = self.capture.as_ref().is_some_and(Capture::has_output);
                usize::from(chosen && self.left() == length)
            }
            _ => end.saturating_sub(start.max(request.n_in - 1)),
        };
        self.fed = end;
        Some(Stretch { start, length, emits })
    }

    /// Takes in the token that follows `position`; false if that position was fed in vain, or
    /// nothing is to follow. What stands behind a token that was not guessed is forgotten.
    pub(crate) fn give(&mut self, position: usize, token: u32, model: &Model) -> bool {
        if position >= self.fed || self.finish().is_some() {
            return false;
        }
        let request = &mut self.request;
        let at = request.n_in + self.given;
        if request.line.get(at) != Some(&token) {
            request.line.truncate(at);
            request.line.push(token);
            self.fed = self.fed.min(at);
        }
        self.given += 1;
        let stop = &model.manifest().stop_ids;
        self.finish = finish(model.facts(), &request.job(), stop, count(self.given), token);
        if request.wants == Wants::Output {
            request.post(Event::Token(token));
        }
        true
    }

    /// Positions whose keys, values and leaves hold.
    pub(crate) const fn fed(&self) -> usize {
        self.fed
    }

    /// What the caller gets of a run that gives tokens: those that it has accepted.
    pub(crate) fn end(self) {
        let n_in = self.request.n_in;
        let accepted = match self.request.wants {
            Wants::Leaves => self.given,
            _ => self.request.accepted().min(self.given),
        };
        let finish = if accepted < self.given { None } else { self.finish() };
        let tokens = self.request.line[n_in..n_in + accepted].to_vec();
        let leaves = self.sequence.trace.causal_leaves(n_in, &tokens);
        self.done(leaves, Output::Tokens(tokens), finish.unwrap_or(Finish::Cancelled));
    }

    /// What the caller gets of a run that gives a row.
    pub(crate) fn end_with(self, row: Vec<i32>) {
        let leaves = self.sequence.trace.full_leaves(&row);
        self.done(leaves, Output::Row(row), Finish::Stop);
    }

    fn done(mut self, leaves: Vec<Digest>, output: Output, finish: Finish) {
        let n_out = match &output {
            Output::Tokens(tokens) => count(tokens.len()),
            Output::Row(_) => 1,
        };
        let (n_in, trace_root) = (count(self.request.n_in), merkle::root(&leaves));
        let run = Run { output, finish, n_in, n_out, trace_root };
        self.request.caller.told = true;
        self.request.post(Event::Done(Box::new(Ended { run, leaves, capture: self.capture })));
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
