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
use model::layout::size;

use crate::engine::BATCH_MAX;
use crate::error::EngineError;
use crate::execute::{Emission, Executor, Segment};
use crate::request::{Active, Request, Stretch};

/// Positions of prompts in a pass while somebody is generating.
const PASS_ROWS_BESIDE: usize = 32;

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
                self.active.push(Active::new(request, sequence, reserved));
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
        let most = size(self.executor.model.facts().max_positions);
        request.positions().min(most) * self.executor.plan.position_bytes()
    }

    /// Lets go of runs that are over.
    fn settle(&mut self) {
        let over: Vec<Active> = self.active.extract_if(.., |run| run.is_over()).collect();
        over.iter().for_each(|run| self.executor.backend.close(run.sequence.cache));
        self.count_caches();
        over.into_iter().for_each(Active::end);
    }

    /// One pass of a model that generates tokens.
    fn generate(&mut self) {
        let generating = |run: &Active| run.is_ready() && run.is_generating();
        let beside = self.active.iter().any(generating);
        let mut room = if beside { self.pass_rows.min(PASS_ROWS_BESIDE) } else { self.pass_rows };
        let vocabulary = size(self.executor.model.graph().vocabulary);
        let (mut chosen, mut segments, mut next) = (Vec::new(), Vec::new(), Vec::new());
        for (index, run) in self.active.iter_mut().enumerate() {
            let is_generating = run.is_generating();
            let Some(stretch) = run.advance(room, vocabulary) else { continue };
            if !is_generating {
                room -= stretch.length;
            }
            let Stretch { start, length, emits } = stretch;
            let Active { request, sequence, capture, .. } = run;
            let (request, capture) = (&*request, capture.as_mut());
            segments.push(Segment { sequence, start, ids: request.ids(&stretch), emits, capture });
            chosen.push((index, request));
            next.push(start + length - emits);
        }
        let wanted = || chosen.iter().any(|(_, request)| !request.is_cancelled());
        let multiplier = self.executor.plan.temperature;
        let mut made = Vec::new();
        self.executor.pass(&mut segments, &wanted, &mut |segment, emission| {
            if let Emission::Logits(logits) = emission {
                let ((index, request), position) = (chosen[segment], next[segment]);
                next[segment] += 1;
                let token = request.choose(position, logits, multiplier);
                made.extend(token.map(|token| (index, position, token)));
            }
        });
        for (index, position, token) in made {
            let run = &mut self.active[index];
            if run.give(position, token, &self.executor.model) {
                let holds = run.fed();
                self.executor.truncate(&mut run.sequence, holds);
            }
        }
    }

    /// One pass of a model that embeds: whole inputs, as many as fit.
    fn embed(&mut self) {
        let mut rows = 0;
        let fits = |run: &&Active| {
            rows += run.request.positions();
            rows <= EMBED_ROWS || rows == run.request.positions()
        };
        let inputs = self.active.iter().take_while(fits).count();
        let segments = self.active[..inputs].iter_mut();
        let mut segments: Vec<Segment<'_>> = segments
            .map(|run| {
                let Active { request, sequence, capture, .. } = run;
                let (ids, capture) = (request.line(), capture.as_mut());
                Segment { sequence, start: 0, ids, emits: 0, capture }
            })
            .collect();
        let mut rows = Vec::new();
        self.executor.pass(&mut segments, &|| true, &mut |_, emission| {
            if let Emission::Row(row) = emission {
                rows.push(row.to_vec());
            }
        });
        for (run, row) in self.active.drain(..inputs).zip(rows) {
            self.executor.backend.close(run.sequence.cache);
            run.end_with(row);
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
