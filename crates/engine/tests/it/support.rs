//! Every executor that there is, and a way to hold them against the reference.

use std::ops::ControlFlow;
use std::sync::Arc;

use engine::{BackendKind, Engine, Job, Options, Output, Run};
use model::certificate::{Certificate, certify};
use model::{Model, reference};

pub(crate) fn go_on(_: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Each backend of this machine with one and two threads.
pub(crate) fn engines(model: &Arc<Model>) -> Vec<Engine> {
    let kinds = BackendKind::available().into_iter();
    kinds
        .flat_map(|backend| [1, 2].map(|threads| Options { backend: Some(backend), threads }))
        .map(|options| Engine::load(Arc::clone(model), options).unwrap())
        .collect()
}

/// Runs each job on the reference and on every engine, alone and all together: equal outputs,
/// finishes and trace roots.
pub(crate) fn check(model: &Arc<Model>, jobs: &[Job<'_>]) -> Vec<Run> {
    let expected: Vec<Run> =
        jobs.iter().map(|job| reference::run(model, job, &mut go_on).unwrap()).collect();
    for engine in engines(model) {
        for (job, expected) in jobs.iter().zip(&expected) {
            assert_eq!(engine.generate(job, &mut go_on).unwrap(), *expected, "{engine:?}");
            check_again(&engine, job, expected);
        }
        let together = engine.generate_batch(jobs, &mut |_, _| ControlFlow::Continue(())).unwrap();
        assert_eq!(together, expected, "{engine:?}, batched");
    }
    expected
}

/// The run done again is the same, from the right claim and from one that goes wrong half-way.
fn check_again(engine: &Engine, job: &Job<'_>, expected: &Run) {
    let mut claim = match &expected.output {
        Output::Tokens(tokens) => tokens.clone(),
        Output::Row(_) => Vec::new(),
    };
    assert_eq!(engine.rerun(job, &claim).unwrap().run(), expected, "{engine:?}, again");
    if let Some(token) = claim.get_mut(expected.n_out as usize / 2) {
        *token ^= 1;
        assert_eq!(engine.rerun(job, &claim).unwrap().run(), expected, "{engine:?}, again");
    }
}

/// Runs the jobs again and again in batches of 3 and 8, with prompts cut after 1, 7 and 64
/// positions, and holds every run against the expected one.
pub(crate) fn check_batches(model: &Arc<Model>, jobs: &[Job<'_>], expected: &[Run]) {
    for backend in BackendKind::available() {
        for (threads, rows) in [(1, 1), (2, 7), (1, 64), (2, 64)] {
            let options = Options { backend: Some(backend), threads };
            let engine = Engine::load_with_pass_rows(Arc::clone(model), options, rows).unwrap();
            for batch in [3, 8] {
                let many: Vec<Job<'_>> = jobs.iter().copied().cycle().take(batch).collect();
                let mut go_on = |_: usize, _: u32| ControlFlow::Continue(());
                let runs = engine.generate_batch(&many, &mut go_on).unwrap();
                assert_eq!(runs.len(), batch);
                for (run, expected) in runs.iter().zip(expected.iter().cycle()) {
                    assert_eq!(run, expected, "{engine:?}, batches of {batch}, cut after {rows}");
                }
            }
        }
    }
}

/// Every linear op and attention of the model may run in 32 bits.
pub(crate) fn assert_certified(model: &Model) {
    for (op, certificate) in model.graph().ops.iter().zip(certify(model)) {
        match certificate {
            Certificate::Nothing => {}
            Certificate::Linear { narrow, .. } | Certificate::Gate { narrow } => {
                assert!(narrow, "{op:?}: {certificate:?}");
            }
            Certificate::Attention { scores, averages } => {
                assert!(scores && averages, "{op:?}: {certificate:?}");
            }
        }
    }
}
