//! Processor time, and measurements taken in turns.

use std::time::{Duration, Instant};

/// What a piece of work took, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

/// Processor time of this process so far, in seconds: on a busy machine the wall clock says little.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// How long a peer's threads may go on spinning after its run.
const SETTLE: Duration = Duration::from_millis(30);

/// Waits until those whose turn is over have let go of their cores.
pub(crate) fn settle() {
    std::thread::sleep(SETTLE);
}

/// Times `body`.
pub(crate) fn took(body: impl FnOnce()) -> Took {
    let (wall, before) = (Instant::now(), cpu());
    body();
    Took { cpu: cpu() - before, wall: wall.elapsed().as_secs_f64() }
}

/// The median processor time, in seconds.
pub(crate) fn median_cpu(times: &[Took]) -> f64 {
    median(times.iter().map(|took| took.cpu).collect())
}

/// The median wall time, in seconds.
pub(crate) fn median_wall(times: &[Took]) -> f64 {
    median(times.iter().map(|took| took.wall).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs the contestants in turn, `rounds` times; gives the median processor time of each.
pub(crate) fn in_turn<const N: usize>(
    rounds: usize,
    mut contestants: [&mut dyn FnMut(); N],
) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            times.push(took(&mut **contestant).cpu);
        }
    }
    times.map(median)
}
