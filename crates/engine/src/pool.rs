//! Worker threads of one engine: they spin for a moment and then sleep.
//!
//! A token passes through hundreds of small parallel regions; waking a thread for each would cost
//! more than the work. So a worker watches for the next region before it sleeps, and parts are
//! taken from a counter, so that a thread that the system has taken off the processor holds up
//! nobody. Results do not depend on who computes what.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::cores;
use crate::error::EngineError;

/// Most threads of one engine.
pub const THREADS_MAX: usize = 256;

/// How often a worker looks for the next region before it sleeps: some tens of microseconds.
const SPINS: u32 = 4_000;

/// Multiply-adds below which a region is not worth a second thread.
const SMALL: usize = 1 << 15;

/// Parts per thread, so that a slow thread takes fewer.
const PARTS: usize = 4;

/// What a region does with part `index`.
type Body<'a> = &'a (dyn Fn(usize) + Sync);

/// The threads of one engine: whoever calls, and the workers.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a region is under way.
    region: Mutex<()>,
}

struct Shared {
    /// Number of the region in the upper half, how many of its parts nobody has taken in the lower
    /// one. Both in one number: a thread that is late for a region must never read how many parts
    /// the next one has, or it would take one of those before the region is open.
    ticket: AtomicU64,
    /// How many parts of the region are done.
    done: AtomicUsize,
    /// The region's body. Written between regions only; read by who holds a part.
    body: Mutex<Option<Erased>>,
    failed: AtomicBool,
    /// The core of whoever has woken the workers.
    caller: AtomicUsize,
    sleepers: AtomicUsize,
    asleep: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
}

/// A body without its lifetime.
#[derive(Clone, Copy)]
struct Erased(Body<'static>);

/// The lower half of a ticket.
const LEFT: u64 = 0xffff_ffff;

impl Pool {
    /// A pool of `threads` threads, whoever calls counted.
    ///
    /// # Errors
    /// A number out of its range, or threads that the system does not give.
    pub(crate) fn new(threads: usize) -> Result<Self, EngineError> {
        if !(1..=THREADS_MAX).contains(&threads) {
            return Err(EngineError::Threads { threads, limit: THREADS_MAX });
        }
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            body: Mutex::new(None),
            failed: AtomicBool::new(false),
            caller: AtomicUsize::new(usize::MAX),
            sleepers: AtomicUsize::new(0),
            asleep: Mutex::new(()),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let mut pool = Self { shared, workers: Vec::new(), region: Mutex::new(()) };
        for _ in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name("engine".into())
                .spawn(move || shared.work())
                .map_err(|error| EngineError::Pool { reason: error.to_string() })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Calls `body` with each of `0..parts`, on all threads. One region at a time.
    pub(crate) fn run(&self, parts: usize, body: impl Fn(usize) + Sync) {
        if parts <= 1 || self.workers.is_empty() {
            return (0..parts).for_each(body);
        }
        let _region = self.region.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(parts as u64 <= LEFT, "a ticket holds the parts");
        let body: Body<'_> = &body;
        // SAFETY: `run` returns after all parts are done, and nobody calls the body later: a part
        // is only handed out while its region is the current one.
        let body = Erased(unsafe { std::mem::transmute::<Body<'_>, Body<'static>>(body) });
        let number = self.shared.open(parts, body);
        self.shared.take(number);
        let mut looks = 0_u32;
        while self.shared.done.load(Ordering::Acquire) < parts {
            looks += 1;
            if looks < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        assert!(!self.shared.failed.load(Ordering::Acquire), "a worker thread panicked");
    }

    /// Cuts `0..count` into ranges of nearly equal length; `work` is the number of multiply-adds
    /// behind one of them.
    pub(crate) fn ranges(&self, count: usize, work: usize, body: impl Fn(Range<usize>) + Sync) {
        let threads = self.workers.len() + 1;
        if threads == 1 || count.saturating_mul(work) < SMALL {
            return body(0..count);
        }
        let length = count.div_ceil(threads * PARTS);
        self.run(count.div_ceil(length), |part| {
            body(part * length..((part + 1) * length).min(count));
        });
    }

    /// `make` of each of `0..count`, in order; `work` as in `ranges`.
    pub(crate) fn map<T: Send>(
        &self,
        count: usize,
        work: usize,
        make: impl Fn(usize) -> T + Sync,
    ) -> Vec<T> {
        let parts = Mutex::new(Vec::new());
        self.ranges(count, work, |range| {
            let first = range.start;
            let made: Vec<T> = range.map(&make).collect();
            parts.lock().unwrap_or_else(PoisonError::into_inner).push((first, made));
        });
        let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
        parts.sort_unstable_by_key(|(first, _)| *first);
        parts.into_iter().flat_map(|(_, made)| made).collect()
    }
}

impl Shared {
    /// Publishes a region; gives its number.
    fn open(&self, parts: usize, body: Erased) -> u64 {
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        self.done.store(0, Ordering::Relaxed);
        let number = (self.ticket.load(Ordering::Relaxed) >> 32).wrapping_add(1) & LEFT;
        self.ticket.store(number << 32 | parts as u64, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.caller.store(cores::current(), Ordering::Relaxed);
            {
                let _asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
                self.wake.notify_all();
            }
            // Whoever was woken on this core gets to run now, and leaves it.
            std::thread::yield_now();
        }
        number
    }

    /// Takes parts of region `number` until none is left.
    fn take(&self, number: u64) {
        let mut ticket = self.ticket.load(Ordering::Acquire);
        loop {
            let (region, left) = (ticket >> 32, ticket & LEFT);
            if region != number || left == 0 {
                return;
            }
            let next = ticket - 1;
            match self.ticket.compare_exchange(ticket, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.call(left as usize - 1);
                    ticket = self.ticket.load(Ordering::Acquire);
                }
                Err(now) => ticket = now,
            }
        }
    }

    /// Calls the body for a part that this thread holds.
    fn call(&self, part: usize) {
        // As long as a part is held, its region is the current one.
        let body = *self.body.lock().unwrap_or_else(PoisonError::into_inner);
        let called = catch_unwind(AssertUnwindSafe(|| {
            if let Some(Erased(body)) = body {
                body(part);
            }
        }));
        if called.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        self.done.fetch_add(1, Ordering::AcqRel);
    }

    /// A worker's life.
    fn work(&self) {
        let mut seen = 0;
        while let Some(number) = self.next_region(seen) {
            seen = number;
            self.take(number);
        }
    }

    /// Waits for a region other than `seen`: spins, then sleeps. None when the pool is dropped.
    fn next_region(&self, seen: u64) -> Option<u64> {
        let current = || {
            let number = self.ticket.load(Ordering::SeqCst) >> 32;
            (number != seen).then_some(number)
        };
        for _ in 0..SPINS {
            if let Some(number) = current() {
                return Some(number);
            }
            std::hint::spin_loop();
        }
        let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let found = loop {
            if self.stop.load(Ordering::SeqCst) {
                break None;
            }
            if let Some(number) = current() {
                break Some(number);
            }
            asleep = self.wake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        drop(asleep);
        found.inspect(|_| cores::leave(self.caller.load(Ordering::Relaxed)))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _asleep = self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // What panicked there has been reported by `run`.
            worker.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regions of different lengths one after the other, so short that threads are late for them.
    #[test]
    fn every_part_is_done_once_before_its_region_ends() {
        const PARTS_MOST: usize = 9;
        let pool = Pool::new(4).unwrap();
        for region in 0..200_000_usize {
            let parts = 2 + region % (PARTS_MOST - 1);
            let calls = [const { AtomicUsize::new(0) }; PARTS_MOST];
            pool.run(parts, |part| {
                calls[part].fetch_add(1, Ordering::Relaxed);
            });
            let calls = calls.map(AtomicUsize::into_inner);
            assert!(calls[..parts].iter().all(|calls| *calls == 1), "{region}: {calls:?}");
            assert!(calls[parts..].iter().all(|calls| *calls == 0), "{region}: {calls:?}");
        }
    }
}
