//! Tasks and who waits for them: exactly one per intention, though SDKs ask again.
//!
//! OpenAI's SDKs repeat a request up to twice after a timeout or a 5xx and send no idempotency
//! key; what they do send is `x-stainless-retry-count`. So:
//! - a repeat (count above 0) gets the task of the same key and body that is still running, or
//!   ended well within the last minute; one that failed is run anew;
//! - an explicit `Idempotency-Key` holds for a day, and another body under it is refused;
//! - a task nobody waits for any more is stopped, after a moment in which a repeat may come.
//!
//! Never here: how a task is run, what it costs.

use crate::{
    error::{ApiError, Code},
    store::{Answer, TaskRecord},
};
use crypto::Digest;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use units::Credit;

/// How long after its end a task is given to a repeat, in milliseconds.
pub(crate) const RETRY_WINDOW_MS: u64 = 60_000;
/// How long an explicit idempotency key holds, in milliseconds.
pub(crate) const IDEMPOTENCY_WINDOW_MS: u64 = 86_400_000;
/// Tasks remembered for repeats.
pub(crate) const MAX_RECENT: usize = 16_384;
/// Idempotency keys remembered.
pub(crate) const MAX_IDEMPOTENT: usize = 65_536;
/// How long a task goes on when nobody waits for it.
const GRACE: Duration = Duration::from_secs(5);

/// How a task ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Done { answer: Arc<Answer>, cost: Credit },
    Failed(ApiError),
}

#[derive(Debug, Default)]
struct Log {
    pieces: Vec<String>,
    end: Option<End>,
    ended_ms: u64,
}

/// One task.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its id, which is the receipt's.
    pub(crate) id: String,
    /// Milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// Which request it answers.
    pub(crate) ask: Ask,
    /// Turns true when nobody waits any more.
    pub(crate) cancel: watch::Sender<bool>,
    log: Mutex<Log>,
    changed: watch::Sender<()>,
    watchers: AtomicUsize,
}

/// What identifies an intention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Hash of the API key.
    pub(crate) key: Digest,
    /// Hash of path and body.
    pub(crate) body: Digest,
    /// Hash of the caller's own idempotency key.
    pub(crate) idempotency: Option<Digest>,
}

/// What is seen of a task.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The next piece of text.
    Piece(String),
    /// The end. Nothing comes after it.
    End(End),
}

impl Task {
    fn new(id: String, created_ms: u64, ask: Ask) -> Arc<Self> {
        Arc::new(Self {
            id,
            created_ms,
            ask,
            cancel: watch::Sender::new(false),
            log: Mutex::default(),
            changed: watch::Sender::new(()),
            watchers: AtomicUsize::new(0),
        })
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a piece of text.
    pub(crate) fn push(&self, piece: String) {
        self.log().pieces.push(piece);
        self.changed.send_replace(());
    }

    /// Ends the task.
    pub(crate) fn end(&self, end: End, now_ms: u64) {
        let mut log = self.log();
        log.end = Some(end);
        log.ended_ms = now_ms;
        drop(log);
        self.changed.send_replace(());
    }

    /// Whether a repeat may have this task's result.
    fn serves_repeats(&self, now_ms: u64) -> bool {
        let log = self.log();
        match log.end {
            None => !*self.cancel.borrow(),
            Some(End::Done { .. }) => now_ms.saturating_sub(log.ended_ms) < RETRY_WINDOW_MS,
            Some(End::Failed(_)) => false,
        }
    }

    fn is_over(&self, now_ms: u64) -> bool {
        let log = self.log();
        log.end.is_some() && now_ms.saturating_sub(log.ended_ms) >= RETRY_WINDOW_MS
    }

    fn has_failed(&self) -> bool {
        matches!(self.log().end, Some(End::Failed(_)))
    }

    /// Starts to watch, from the first piece. `streams` says whether pieces go out at once: then
    /// no SDK will repeat the request, and the task stops as soon as its caller has gone.
    pub(crate) fn watch(self: &Arc<Self>, streams: bool) -> Watcher {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        let grace = if streams { Duration::ZERO } else { GRACE };
        Watcher { task: Arc::clone(self), next: 0, changed: self.changed.subscribe(), grace }
    }
}

/// One caller's view of a task.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) task: Arc<Task>,
    next: usize,
    changed: watch::Receiver<()>,
    grace: Duration,
}

impl Watcher {
    /// The next piece, or the end.
    pub(crate) async fn next(&mut self) -> Seen {
        loop {
            self.changed.borrow_and_update();
            if let Some(seen) = self.look() {
                return seen;
            }
            // The sender lives in the task, which we hold.
            self.changed.changed().await.ok();
        }
    }

    /// Whether the task ended before this process began, so that its pieces are not known.
    pub(crate) fn is_replay(&self) -> bool {
        self.task.log().pieces.is_empty()
    }

    fn look(&mut self) -> Option<Seen> {
        let log = self.task.log();
        if let Some(piece) = log.pieces.get(self.next) {
            self.next = self.next.saturating_add(1);
            return Some(Seen::Piece(piece.clone()));
        }
        log.end.clone().map(Seen::End)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let left = self.task.watchers.fetch_sub(1, Ordering::Relaxed);
        if left != 1 || self.task.log().end.is_some() {
            return;
        }
        let (task, grace) = (Arc::clone(&self.task), self.grace);
        let stop = async move {
            tokio::time::sleep(grace).await;
            if task.watchers.load(Ordering::Relaxed) == 0 {
                task.cancel.send_replace(true);
            }
        };
        // Without a runtime the process is ending, and the task with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(stop);
        }
    }
}

/// The tasks that repeats may mean.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// In the order of their beginning.
    recent: VecDeque<Arc<Task>>,
    /// By API key and idempotency key.
    idempotent: BTreeMap<(Digest, Digest), Arc<Task>>,
    /// The same in the order of their beginning.
    order: VecDeque<(Digest, Digest)>,
}

/// Whether a task must be run.
#[derive(Debug)]
pub(crate) enum Begun {
    New(Arc<Task>),
    Known(Arc<Task>),
}

impl Tasks {
    /// Takes up finished tasks of an earlier run, oldest first.
    pub(crate) fn restore(&self, records: Vec<TaskRecord>) {
        let mut known = self.known();
        for record in records {
            let TaskRecord { id, key, body, idempotency, created, cost, answer, .. } = record;
            let task = Task::new(id, created, Ask { key, body, idempotency });
            task.end(End::Done { answer: Arc::new(answer), cost }, created);
            known.add(task);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task of an intention: a known one if this is a repeat, else a new one.
    ///
    /// # Errors
    /// The idempotency key was used with another body.
    pub(crate) fn begin(
        &self,
        ask: Ask,
        is_repeat: bool,
        id: impl FnOnce() -> String,
        now_ms: u64,
    ) -> Result<Begun, ApiError> {
        let mut known = self.known();
        known.forget(now_ms);
        if let Some(idempotency) = ask.idempotency {
            let held = known.idempotent.get(&(ask.key, idempotency));
            if let Some(task) = held.filter(|task| !task.has_failed()) {
                return if task.ask.body == ask.body {
                    Ok(Begun::Known(Arc::clone(task)))
                } else {
                    let message = "this Idempotency-Key was used with another body";
                    let hint = "use a new key for a new request";
                    Err(ApiError::new(Code::IdempotencyKeyReused, message, hint))
                };
            }
        } else if is_repeat {
            let same = |task: &&Arc<Task>| {
                task.ask.key == ask.key && task.ask.body == ask.body && task.serves_repeats(now_ms)
            };
            if let Some(task) = known.recent.iter().rev().find(same) {
                return Ok(Begun::Known(Arc::clone(task)));
            }
        }
        let task = Task::new(id(), now_ms, ask);
        known.add(Arc::clone(&task));
        Ok(Begun::New(task))
    }

    /// Forgets a task that never began to run.
    pub(crate) fn retract(&self, task: &Arc<Task>) {
        let mut known = self.known();
        known.recent.retain(|held| !Arc::ptr_eq(held, task));
        if let Some(idempotency) = task.ask.idempotency {
            known.idempotent.remove(&(task.ask.key, idempotency));
        }
    }
}

impl Known {
    fn add(&mut self, task: Arc<Task>) {
        if let Some(idempotency) = task.ask.idempotency {
            let name = (task.ask.key, idempotency);
            self.idempotent.insert(name, Arc::clone(&task));
            self.order.push_back(name);
        }
        self.recent.push_back(task);
    }

    /// Drops what no repeat can mean any more.
    fn forget(&mut self, now_ms: u64) {
        while self.recent.len() > MAX_RECENT
            || self.recent.front().is_some_and(|task| task.is_over(now_ms))
        {
            self.recent.pop_front();
        }
        while let Some(name) = self.order.front() {
            let old = self
                .idempotent
                .get(name)
                .is_none_or(|task| now_ms.saturating_sub(task.created_ms) >= IDEMPOTENCY_WINDOW_MS);
            if !old && self.order.len() <= MAX_IDEMPOTENT {
                break;
            }
            self.idempotent.remove(name);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = RETRY_WINDOW_MS;

    fn digest(byte: u8) -> Digest {
        Digest::new([byte; 32])
    }

    fn ask(key: u8, body: u8) -> Ask {
        Ask { key: digest(key), body: digest(body), idempotency: None }
    }

    fn done() -> End {
        let answer = Answer::Rows { rows: Vec::new(), tokens_in: 0 };
        End::Done { answer: Arc::new(answer), cost: Credit::ZERO }
    }

    struct World {
        tasks: Tasks,
        count: usize,
    }

    impl World {
        fn new() -> Self {
            Self { tasks: Tasks::default(), count: 0 }
        }

        /// The task of an ask, and whether it is new.
        fn begin(&mut self, ask: Ask, is_repeat: bool, now: u64) -> (Arc<Task>, bool) {
            self.count += 1;
            let id = format!("task_{}", self.count);
            match self.tasks.begin(ask, is_repeat, || id, now).unwrap() {
                Begun::New(task) => (task, true),
                Begun::Known(task) => (task, false),
            }
        }
    }

    #[test]
    fn a_repeat_gets_the_running_task() {
        let mut world = World::new();
        let (first, _) = world.begin(ask(1, 1), false, 0);
        let (second, new) = world.begin(ask(1, 1), true, 10 * WINDOW);
        assert!(!new && Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_repeat_gets_a_task_that_ended_within_a_minute() {
        let mut world = World::new();
        let (first, _) = world.begin(ask(1, 1), false, 0);
        first.end(done(), 1_000);
        assert!(!world.begin(ask(1, 1), true, 1_000 + WINDOW - 1).1);
        assert!(world.begin(ask(1, 1), true, 1_000 + WINDOW).1);
    }

    #[test]
    fn the_same_request_without_a_repeats_mark_is_a_new_task() {
        let mut world = World::new();
        world.begin(ask(1, 1), false, 0);
        assert!(world.begin(ask(1, 1), false, 0).1);
    }

    #[test]
    fn another_key_or_body_is_another_task() {
        let mut world = World::new();
        world.begin(ask(1, 1), false, 0);
        assert!(world.begin(ask(2, 1), true, 0).1);
        assert!(world.begin(ask(1, 2), true, 0).1);
    }

    #[test]
    fn a_failed_task_is_run_anew() {
        let mut world = World::new();
        let (first, _) = world.begin(ask(1, 1), false, 0);
        first.end(End::Failed(ApiError::new(Code::Overloaded, "", "")), 1);
        assert!(world.begin(ask(1, 1), true, 2).1);
    }

    #[test]
    fn an_idempotency_key_holds_for_a_day_and_for_one_body() {
        let mut world = World::new();
        let with_key = |body| Ask { idempotency: Some(digest(9)), ..ask(1, body) };
        let (first, _) = world.begin(with_key(1), false, 0);
        first.end(done(), 1);
        assert!(!world.begin(with_key(1), false, IDEMPOTENCY_WINDOW_MS - 1).1);
        let refused = world.tasks.begin(with_key(2), false, String::new, 1).unwrap_err();
        assert_eq!(refused.code, Code::IdempotencyKeyReused);
        assert!(world.begin(with_key(2), false, IDEMPOTENCY_WINDOW_MS).1);
    }

    #[tokio::test]
    async fn every_watcher_sees_all_pieces_and_the_end() {
        let mut world = World::new();
        let (task, _) = world.begin(ask(1, 1), false, 0);
        let mut early = task.watch(true);
        task.push("a".into());
        task.push("b".into());
        task.end(done(), 1);
        let mut late = task.watch(true);
        for watcher in [&mut early, &mut late] {
            let mut text = String::new();
            while let Seen::Piece(piece) = watcher.next().await {
                text.push_str(&piece);
            }
            assert_eq!(text, "ab");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_nobody_waits_for_is_stopped_after_a_moment() {
        let mut world = World::new();
        let (task, _) = world.begin(ask(1, 1), false, 0);
        drop(task.watch(false));
        let back = task.watch(false);
        tokio::time::sleep(GRACE * 2).await;
        assert!(!*task.cancel.borrow(), "a repeat has come in time");
        drop(back);
        tokio::time::sleep(GRACE * 2).await;
        assert!(*task.cancel.borrow());
        assert!(world.begin(ask(1, 1), true, 0).1, "a stopped task serves no repeat");
    }
}
