//! Every executor that there is, and a way to hold them against the reference.

use std::ops::ControlFlow;
use std::sync::Arc;

use engine::{BackendKind, Engine, Job, Options, Run};
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
        }
        let together = engine.generate_batch(jobs, &mut |_, _| ControlFlow::Continue(())).unwrap();
        assert_eq!(together, expected, "{engine:?}, batched");
    }
    expected
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
