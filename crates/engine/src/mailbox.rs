//! How tokens come back to a caller: a bounded mailbox per call.
//!
//! A run may be one token ahead of its caller and no more, so a run that is broken off has cost at
//! most one token that nobody sees.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crypto::Digest;
use model::Run;

use crate::capture::Capture;
use crate::error::EngineError;
use crate::scheduler::Inbox;

/// What happened to a run.
#[derive(Debug)]
pub(crate) enum Event {
    Token(u32),
    /// The logits of the next position.
    Logits(Vec<i64>),
    Done(Box<Ended>),
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) run: Run,
    /// The leaves of its coarse trace.
    pub(crate) leaves: Vec<Digest>,
    /// The rows that were wanted of it.
    pub(crate) capture: Option<Capture>,
}

/// What a caller says about one of its runs.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    cancelled: AtomicBool,
    /// Tokens, or positions, taken out of the mailbox.
    taken: AtomicUsize,
    /// Those that are part of the answer, whatever comes.
    accepted: AtomicUsize,
}

impl Reply {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Acquire)
    }
}

/// Events for one call, with the index of the run.
#[derive(Debug)]
pub(crate) struct Mailbox {
    letters: Mutex<Letters>,
    filled: Condvar,
    replies: Vec<Arc<Reply>>,
    inbox: Arc<Inbox>,
}

#[derive(Debug, Default)]
struct Letters {
    events: VecDeque<(usize, Event)>,
    failed: bool,
}

impl Mailbox {
    pub(crate) fn new(runs: usize, inbox: Arc<Inbox>) -> Self {
        let replies = (0..runs).map(|_| Arc::default()).collect();
        Self { letters: Mutex::default(), filled: Condvar::new(), replies, inbox }
    }

    pub(crate) fn reply(&self, index: usize) -> &Arc<Reply> {
        &self.replies[index]
    }

    pub(crate) fn post(&self, index: usize, event: Event) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.events.push_back((index, event));
        self.filled.notify_one();
    }

    /// Nothing more will come.
    pub(crate) fn fail(&self) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.failed = true;
        self.filled.notify_one();
    }

    /// The next event. Waits.
    pub(crate) fn take(&self) -> Result<(usize, Event), EngineError> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some((index, event)) = letters.events.pop_front() {
                if !matches!(event, Event::Done(_)) {
                    if self.replies[index].is_cancelled() {
                        continue;
                    }
                    self.replies[index].taken.fetch_add(1, Ordering::AcqRel);
                }
                return Ok((index, event));
            }
            if letters.failed {
                return Err(EngineError::Stopped);
            }
            letters = self.filled.wait(letters).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All tokens taken so far belong to the answer.
    pub(crate) fn accept_taken(&self, index: usize) {
        let reply = &self.replies[index];
        let taken = reply.taken.load(Ordering::Acquire);
        if reply.accepted.load(Ordering::Acquire) < taken && !reply.is_cancelled() {
            reply.accepted.store(taken, Ordering::Release);
            self.inbox.nudge();
        }
    }

    /// Asks a run to end: tokens taken so far are its answer, later ones are dropped.
    fn cancel(&self, index: usize) {
        let reply = &self.replies[index];
        {
            let _letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
            if reply.cancelled.load(Ordering::Acquire) {
                return;
            }
            reply.accepted.store(reply.taken.load(Ordering::Acquire), Ordering::Release);
            reply.cancelled.store(true, Ordering::Release);
        }
        self.inbox.nudge();
    }
}

/// Ends a run from anywhere.
#[derive(Clone, Debug)]
pub struct Canceller {
    mailbox: Arc<Mailbox>,
    index: usize,
}

impl Canceller {
    pub(crate) fn new(mailbox: &Arc<Mailbox>, index: usize) -> Self {
        Self { mailbox: Arc::clone(mailbox), index }
    }

    /// Asks the run to end: after the token under way, or during the prompt. Tokens already taken
    /// are its answer.
    pub fn cancel(&self) {
        self.mailbox.cancel(self.index);
    }
}
