//! Which positions of which runs go through the next pass: continuous batching.
//!
//! One thread owns the executor. Between two passes it takes in new runs, lets go of ended ones and
//! chooses: one position of each run that is generating, and stretches of prompts with what room is
//! left, oldest first. While somebody is generating, prompts go in small stretches, so that a long
//! one holds up nobody's next token.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use model::inspect::Task;
use model::{Finish, Job, Output, Run, Sampling, finish};

use crate::engine::BATCH_MAX;
use crate::error::EngineError;
use crate::execute::{Emission, Emits, Executor, Segment, Sequence};
use crate::mailbox::{Event, Mailbox};
use crate::sample::sample;

/// Positions of prompts in a pass while somebody is generating.
const PASS_ROWS_BESIDE: usize = 32;

/// Tokens that a run may be ahead of its caller.
const AHEAD: usize = 1;

/// Positions that a scored run may be ahead of its caller, and that it takes at once.
const SCORED_AHEAD: usize = 16;

/// Rows of one embedding pass, if it has more than one input.
const EMBED_ROWS: usize = 2_048;

/// Bytes that keys and values of all runs may come to take. A run that could take the last of them
/// waits until others have ended; one that is alone is let in whatever its length.
const CACHE_BYTES: usize = 1 << 30;

/// Runs that wait for the scheduler, and the ways to wake it.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<Waiting>,
    wake: Condvar,
    cache_bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// Whether a caller has said something since the scheduler last looked.
    nudged: bool,
    closed: bool,
}

impl Inbox {
    /// Hands runs over.
    pub(crate) fn submit(&self, requests: Vec<Request>) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(EngineError::Stopped);
        }
        state.requests.extend(requests);
        state.nudged = true;
        self.wake.notify_one();
        Ok(())
    }

    /// Tells the scheduler that a caller has replied.
    pub(crate) fn nudge(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.nudged = true;
        self.wake.notify_one();
    }

    /// Lets nothing more in and ends the scheduler.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        state.requests.clear();
        self.wake.notify_one();
    }

    pub(crate) fn cache_bytes(&self) -> usize {
        self.cache_bytes.load(Ordering::Relaxed)
    }
}

/// A run that is wanted.
#[derive(Debug)]
pub(crate) struct Request {
    ids: Vec<u32>,
    sampling: Sampling,
    seed: u64,
    max_tokens: u32,
    stop: Vec<u32>,
    /// Whether the logits of every position are wanted instead of tokens.
    scored: bool,
    index: usize,
    caller: Caller,
}

impl Request {
    pub(crate) fn new(job: &Job<'_>, index: usize, mailbox: &Arc<Mailbox>) -> Self {
        Self {
            ids: job.ids.to_vec(),
            sampling: job.sampling,
            seed: job.seed,
            max_tokens: job.max_tokens,
            stop: job.stop.to_vec(),
            scored: false,
            index,
            caller: Caller { mailbox: Arc::clone(mailbox), told: false },
        }
    }

    /// The same run, for its logits.
    pub(crate) fn scored(self) -> Self {
        Self { scored: true, ..self }
    }

    fn job(&self) -> Job<'_> {
        Job {
            ids: &self.ids,
            sampling: self.sampling,
            seed: self.seed,
            max_tokens: self.max_tokens,
            stop: &self.stop,
        }
    }

    fn is_cancelled(&self) -> bool {
        self.caller.mailbox.reply(self.index).is_cancelled()
    }

    fn accepted(&self) -> usize {
        self.caller.mailbox.reply(self.index).accepted()
    }

    fn post(&self, event: Event) {
        self.caller.mailbox.post(self.index, event);
    }

    fn done(&mut self, run: Run) {
        self.caller.told = true;
        self.post(Event::Done(Box::new(run)));
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
struct Active {
    request: Request,
    sequence: Sequence,
    /// Positions that have been through a pass.
    fed: usize,
    tokens: Vec<u32>,
    finish: Option<Finish>,
    /// Bytes that its keys and values may come to take.
    reserved: usize,
}

impl Active {
    /// Positions of the prompt that have not been through a pass.
    fn prompt_left(&self) -> usize {
        self.request.ids.len().saturating_sub(self.fed)
    }

    /// Whether it may go on: not ended, and its caller keeps up.
    fn is_ready(&self) -> bool {
        let accepted = self.request.accepted();
        if self.request.scored {
            return self.prompt_left() > 0 && self.fed <= accepted + SCORED_AHEAD;
        }
        self.finish.is_none() && self.tokens.len() <= accepted + AHEAD
    }

    /// Whether nothing more will happen to it.
    fn is_over(&self) -> bool {
        let accepted = self.request.accepted();
        self.request.is_cancelled()
            || (self.request.scored && accepted == self.request.ids.len())
            || (self.finish.is_some() && accepted == self.tokens.len())
    }

    /// What the caller gets: the tokens that it has accepted.
    fn run(&mut self) -> Run {
        let accepted = self.request.accepted();
        let finish = if accepted < self.tokens.len() { None } else { self.finish };
        self.tokens.truncate(accepted);
        Run {
            trace_root: self.sequence.trace.causal_root(self.request.ids.len(), &self.tokens),
            finish: finish.unwrap_or(Finish::Cancelled),
            n_in: count(self.request.ids.len()),
            n_out: count(self.tokens.len()),
            output: Output::Tokens(std::mem::take(&mut self.tokens)),
        }
    }
}

/// Runs what is wanted until the engine is dropped.
pub(crate) struct Scheduler {
    executor: Executor,
    inbox: Arc<Inbox>,
    pass_rows: usize,
    active: Vec<Active>,
}

impl Scheduler {
    pub(crate) const fn new(executor: Executor, inbox: Arc<Inbox>, pass_rows: usize) -> Self {
        Self { executor, inbox, pass_rows, active: Vec::new() }
    }

    /// The thread's life.
    pub(crate) fn work(mut self) {
        let _closed = Closing(Arc::clone(&self.inbox));
        while self.admit() {
            self.settle();
            match self.executor.model.facts().task {
                Task::Embed => self.embed(),
                Task::Generate => self.generate(),
            }
            self.count_caches();
        }
    }

    fn count_caches(&self) {
        let bytes = self.executor.backend.cache_bytes();
        self.inbox.cache_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Takes in runs while there is room. Waits while there is nothing to do; false at the end.
    fn admit(&mut self) -> bool {
        let inbox = Arc::clone(&self.inbox);
        let mut state = inbox.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.closed {
                return false;
            }
            while let Some(request) = state.requests.front() {
                let reserved = self.reserve(request);
                let taken: usize = self.active.iter().map(|run| run.reserved).sum();
                let room = self.active.len() < BATCH_MAX && taken + reserved <= CACHE_BYTES;
                if !room && !self.active.is_empty() {
                    break;
                }
                let Some(request) = state.requests.pop_front() else { break };
                let sequence = self.executor.open();
                let (fed, tokens, finish) = (0, Vec::new(), None);
                self.active.push(Active { request, sequence, fed, tokens, finish, reserved });
            }
            if self.active.iter().any(|run| run.is_ready() || run.is_over()) {
                state.nudged = false;
                return true;
            }
            if !std::mem::take(&mut state.nudged) {
                state = inbox.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn reserve(&self, request: &Request) -> usize {
        let facts = self.executor.model.facts();
        let asked = request.ids.len().saturating_add(request.max_tokens as usize);
        asked.min(facts.max_positions as usize) * self.executor.plan.position_bytes()
    }

    /// Lets go of runs that are over.
    fn settle(&mut self) {
        let over: Vec<Active> = self.active.extract_if(.., |run| run.is_over()).collect();
        over.iter().for_each(|run| self.executor.backend.close(run.sequence.cache));
        self.count_caches();
        for mut run in over {
            let ended = run.run();
            run.request.done(ended);
        }
    }

    /// One pass of a model that generates tokens.
    fn generate(&mut self) {
        let generating = |run: &Active| run.is_ready() && run.prompt_left() == 0;
        let beside = self.active.iter().any(generating);
        let mut room = if beside { self.pass_rows.min(PASS_ROWS_BESIDE) } else { self.pass_rows };
        let mut chosen = Vec::new();
        let mut segments = Vec::new();
        for (index, run) in self.active.iter_mut().enumerate() {
            let left = run.prompt_left();
            let length = match () {
                () if left == 0 => 1,
                () if run.request.scored => left.min(room).min(SCORED_AHEAD),
                () => left.min(room),
            };
            if !run.is_ready() || length == 0 {
                continue;
            }
            room -= left.min(room);
            let start = run.fed;
            run.fed += length;
            let (request, tokens) = (&run.request, &run.tokens);
            let prompt = &request.ids;
            let ids = match prompt.get(start..run.fed) {
                Some(ids) => ids,
                None => &tokens[start - prompt.len()..],
            };
            let emits = match () {
                () if request.scored => Emits::All,
                () if run.fed >= prompt.len() => Emits::Last,
                () => Emits::Nothing,
            };
            segments.push(Segment { sequence: &mut run.sequence, start, ids, emits });
            chosen.push((index, request, count(tokens.len())));
        }
        let wanted = || chosen.iter().any(|(_, request, _)| !request.is_cancelled());
        let temperature = self.executor.plan.temperature;
        let mut made = Vec::new();
        self.executor.pass(&mut segments, &wanted, &mut |segment, emission| {
            if let Emission::Logits(logits) = emission {
                let (index, request, n) = chosen[segment];
                if request.scored {
                    return request.post(Event::Logits(logits.to_vec()));
                }
                let token = sample(logits, temperature, &request.sampling, request.seed, n);
                made.push((index, token));
            }
        });
        let (model, stop) = (&self.executor.model, &self.executor.model.manifest().stop_ids);
        for (index, token) in made {
            let run = &mut self.active[index];
            run.tokens.push(token);
            let n_out = count(run.tokens.len());
            run.finish = finish(model.facts(), &run.request.job(), stop, n_out, token);
            run.request.post(Event::Token(token));
        }
    }

    /// One pass of a model that embeds: whole inputs, as many as fit.
    fn embed(&mut self) {
        let mut rows = 0;
        let fits = |run: &&Active| {
            rows += run.request.ids.len();
            rows <= EMBED_ROWS || rows == run.request.ids.len()
        };
        let inputs = self.active.iter().take_while(fits).count();
        let segments = self.active[..inputs].iter_mut();
        let mut segments: Vec<Segment<'_>> = segments
            .map(|run| {
                let (sequence, ids) = (&mut run.sequence, run.request.ids.as_slice());
                Segment { sequence, start: 0, ids, emits: Emits::Last }
            })
            .collect();
        let mut rows = Vec::new();
        self.executor.pass(&mut segments, &|| true, &mut |_, emission| {
            if let Emission::Row(row) = emission {
                rows.push(row.to_vec());
            }
        });
        for (mut run, row) in self.active.drain(..inputs).zip(rows) {
            self.executor.backend.close(run.sequence.cache);
            let ended = Run {
                trace_root: run.sequence.trace.full_root(&row),
                output: Output::Row(row),
                finish: Finish::Stop,
                n_in: count(run.request.ids.len()),
                n_out: 1,
            };
            run.request.done(ended);
        }
    }
}

/// Closes the inbox when the scheduler ends, be it by a defect: nobody waits for nothing.
struct Closing(Arc<Inbox>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
