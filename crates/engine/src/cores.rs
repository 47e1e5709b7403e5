//! Which core a thread runs on, on Linux; elsewhere nothing is known and nobody moves.
//!
//! A system may wake a thread on the core of whoever woke it although another is free: in a virtual
//! machine a core that sleeps looks taken. Until the load is balanced, some hundredths of a second
//! later, two threads that should work side by side then take turns, and whoever spins takes the
//! time of whoever works.

/// The core of this thread.
pub(crate) fn current() -> usize {
    #[cfg(target_os = "linux")]
    return rustix::thread::sched_getcpu();
    #[cfg(not(target_os = "linux"))]
    0
}

/// Moves this thread to another core if it runs on this one. It may come back later.
pub(crate) fn leave(core: usize) {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};
        if sched_getcpu() != core {
            return;
        }
        let Ok(allowed) = sched_getaffinity(None) else { return };
        let mut others = allowed;
        others.unset(core);
        if others.count() > 0 && sched_setaffinity(None, &others).is_ok() {
            // Whoever could be moved may go anywhere again.
            sched_setaffinity(None, &allowed).ok();
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}
