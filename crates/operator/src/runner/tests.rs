//! Work that is run, and work that is not.

use super::*;
use std::time::Duration;

fn runner(at_once: usize) -> Runner {
    let options = engine::Options { backend: None, threads: 1 };
    let engine = Engine::load(Arc::new(engine::tiny::chat().unwrap()), options).unwrap();
    Runner::start(&Arc::new(engine), at_once, 8).unwrap()
}

fn work(deadline: Instant) -> (Work, oneshot::Receiver<Result<Run, NoRun>>) {
    let (done, finished) = oneshot::channel();
    let work = Work {
        ids: [20, 21, 22].into(),
        sampling: Sampling::GREEDY,
        seed: 1,
        max_tokens: 5,
        stop: vec![],
        deadline,
        progress: Arc::default(),
        done,
    };
    (work, finished)
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

#[test]
fn work_that_nobody_wants_any_more_is_not_begun() {
    let runner = runner(1);
    let (cancelled, finished) = work(far());
    cancelled.progress.cancel();
    runner.submit(cancelled).unwrap();
    assert_eq!(finished.blocking_recv().unwrap(), Err(NoRun::Cancelled));

    let (late, finished) = work(Instant::now());
    runner.submit(late).unwrap();
    assert_eq!(finished.blocking_recv().unwrap(), Err(NoRun::Late));

    let (wanted, finished) = work(far());
    runner.submit(wanted).unwrap();
    assert!(finished.blocking_recv().unwrap().is_ok());
}

#[test]
fn runs_at_the_same_time_give_what_they_give_alone() {
    let (one, many) = (runner(1), runner(3));
    let (alone, finished) = work(far());
    one.submit(alone).unwrap();
    let expected = finished.blocking_recv().unwrap().unwrap();
    let (works, finished): (Vec<_>, Vec<_>) = (0..8).map(|_| work(far())).unzip();
    for work in works {
        many.submit(work).unwrap();
    }
    for finished in finished {
        assert_eq!(finished.blocking_recv().unwrap().unwrap(), expected);
    }
}

#[test]
fn what_waits_when_the_queue_is_closed_is_still_run_and_nothing_enters_any_more() {
    let runner = runner(1);
    let (waiting, finished) = work(far());
    runner.submit(waiting).unwrap();
    runner.join();
    assert!(finished.blocking_recv().unwrap().is_ok());
    let (late, _finished) = work(far());
    assert_eq!(runner.submit(late), Err(NotQueued::Closed));
}

#[test]
fn work_that_the_model_cannot_run_fails_alone() {
    let runner = runner(1);
    let (mut bad, finished) = work(far());
    bad.ids = [u32::MAX].into();
    runner.submit(bad).unwrap();
    assert!(matches!(finished.blocking_recv().unwrap(), Err(NoRun::Broken(_))));
    let (good, finished) = work(far());
    runner.submit(good).unwrap();
    assert!(finished.blocking_recv().unwrap().is_ok());
}

#[test]
fn a_run_cancelled_during_its_prompt_gives_nothing_and_frees_its_thread() {
    let runner = runner(1);
    let (mut long, finished) = work(far());
    long.ids = vec![20; 1_500].into();
    long.max_tokens = 500;
    let progress = Arc::clone(&long.progress);
    runner.submit(long).unwrap();
    progress.cancel();
    match finished.blocking_recv().unwrap() {
        Err(error) => assert_eq!(error, NoRun::Cancelled),
        // It may have come as far as a token or two before the cancel reached it.
        Ok(run) => assert!(run.n_out < 500, "{}", run.n_out),
    }
    let (next, finished) = work(far());
    runner.submit(next).unwrap();
    assert!(finished.blocking_recv().unwrap().is_ok());
}
