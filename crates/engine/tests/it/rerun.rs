//! Runs done again: whatever is claimed of them, they give what the honest run gives, and their
//! rows are those of the reference.

use std::ops::ControlFlow;
use std::sync::Arc;

use engine::store::Store;
use engine::{Engine, EngineError, Finish, Job, Options, Output, Rerun, Run, RunError, Sampling};
use model::reference::{Evaluated, evaluate};
use model::step::{Executed, FineTree, Plan, StepError, TraceShape};
use model::{Model, commit};

use crate::support::{engines, go_on};

const WARM: Sampling = Sampling { temperature_milli: 900, top_p_milli: 950, top_k: 40 };

fn ids(length: u32) -> Vec<u32> {
    (0..length).map(|at| at * 11 % 300).collect()
}

fn job(ids: &[u32], sampling: Sampling, max_tokens: u32) -> Job<'_> {
    Job { ids, sampling, seed: 7, max_tokens, stop: &[] }
}

fn tokens(run: &Run) -> &[u32] {
    match &run.output {
        Output::Tokens(tokens) => tokens,
        Output::Row(_) => &[],
    }
}

fn evaluated(model: &Model, rerun: &Rerun) -> Evaluated {
    evaluate(model, rerun.ids(), tokens(rerun.run()))
}

/// Everything that is committed to agrees with the run.
fn assert_same(rerun: &Rerun, run: &Run) {
    assert_eq!(rerun.run(), run);
    assert_eq!(crypto::merkle::root(rerun.leaves()), run.trace_root);
    let salt = crypto::Salt::new([3; 32]);
    let leaves = commit::output_leaves(&salt, &rerun.run().output);
    assert_eq!(crypto::merkle::root(&leaves), commit::output_commit(&salt, &run.output));
}

/// Claims that are wrong in every way, beside the right one.
fn claims(right: &[u32]) -> Vec<Vec<u32>> {
    let wrong_at = |k: usize| {
        let mut wrong = right.to_vec();
        wrong[k] = (wrong[k] + 1) % 290;
        wrong
    };
    let mut longer = right.to_vec();
    longer.extend([1; 5_000]);
    let middle = right.len() / 2;
    let mut out_of_range = right.to_vec();
    out_of_range[middle] = u32::MAX;
    vec![
        right.to_vec(),
        Vec::new(),
        right[..middle].to_vec(),
        right[..right.len() - 1].to_vec(),
        wrong_at(0),
        wrong_at(middle),
        wrong_at(right.len() - 1),
        longer,
        out_of_range,
        vec![u32::MAX; 3],
        vec![0; 40],
        vec![299; 100],
    ]
}

fn assert_any_claim_gives_the_honest_run(engine: &Engine, job: &Job<'_>) {
    let honest = engine.generate(job, &mut go_on).unwrap();
    for claim in claims(tokens(&honest)) {
        assert_same(&engine.rerun(job, &claim).unwrap(), &honest);
    }
    assert_eq!(engine.cache_bytes(), 0);
}

#[test]
fn a_run_done_again_is_the_honest_one_whatever_is_claimed() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    for engine in engines(&model) {
        for sampling in [Sampling::GREEDY, WARM, Sampling { temperature_milli: 9_000, ..WARM }] {
            for (length, max_tokens) in [(1, 1), (1, 30), (40, 30), (300, 9)] {
                let ids = ids(length);
                assert_any_claim_gives_the_honest_run(&engine, &job(&ids, sampling, max_tokens));
            }
        }
    }
}

#[test]
fn a_run_that_a_stop_id_ends_is_done_again_to_the_same_end() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let engine = Engine::load(Arc::clone(&model), Options::default()).unwrap();
    let hot = Sampling { temperature_milli: 9_000, top_p_milli: 1_000, top_k: 0 };
    let ids = ids(20);
    let free = engine.generate(&job(&ids, hot, 30), &mut go_on).unwrap();
    // The run's own token ends it where it first comes.
    let last = tokens(&free)[11];
    let stop = [last];
    let stopped = Job { stop: &stop, ..job(&ids, hot, 30) };
    let honest = engine.generate(&stopped, &mut go_on).unwrap();
    assert_eq!(honest.finish, Finish::Stop);
    assert_any_claim_gives_the_honest_run(&engine, &stopped);
    // The claim goes on behind the stop id.
    assert_same(&engine.rerun(&stopped, tokens(&free)).unwrap(), &honest);
}

#[test]
fn a_claim_up_to_the_models_last_position_is_followed() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let most = model.manifest().max_positions;
    let ids = ids(model.manifest().max_input.min(most) - 20);
    let room = most - ids.len() as u32;
    let engine = Engine::load(model, Options::default()).unwrap();
    let job = job(&ids, WARM, room + 100);
    let honest = engine.generate(&job, &mut go_on).unwrap();
    assert_eq!(honest.n_out, room + 1);
    for claim in claims(tokens(&honest)) {
        assert_same(&engine.rerun(&job, &claim).unwrap(), &honest);
    }
}

#[test]
fn an_embedding_done_again_is_the_same_whatever_is_claimed() {
    let model = Arc::new(engine::tiny::embed().unwrap());
    for engine in engines(&model) {
        for length in [1, 33] {
            let ids = ids(length);
            let job = Job::embed(&ids);
            let honest = engine.generate(&job, &mut go_on).unwrap();
            assert_same(&engine.rerun(&job, &[]).unwrap(), &honest);
            assert_same(&engine.rerun(&job, &[u32::MAX; 10]).unwrap(), &honest);
        }
    }
}

#[test]
fn what_was_broken_off_is_done_again_as_far_as_it_went() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let engine = Engine::load(Arc::clone(&model), Options::default()).unwrap();
    let ids = ids(17);
    let mut given = 0;
    let mut five = |_| {
        given += 1;
        if given == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let broken = engine.generate(&job(&ids, WARM, 50), &mut five).unwrap();
    let again = engine.rerun(&job(&ids, WARM, broken.n_out), tokens(&broken)).unwrap();
    assert_same(&again, &Run { finish: Finish::Length, ..broken });
    // Before its first token: the prompt alone.
    let again = engine.rerun(&job(&ids, WARM, 0), &[4, 5]).unwrap();
    assert_eq!((again.run().n_out, tokens(again.run())), (0, &[][..]));
    assert_eq!(again.leaves(), evaluate(&model, &ids, &[]).trace());
}

#[test]
fn a_run_that_cannot_be_is_refused_and_one_under_way_is_cancelled() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let engine = Engine::load(model, Options::default()).unwrap();
    let empty = engine.rerun(&job(&[], WARM, 5), &[1]);
    assert!(matches!(empty, Err(EngineError::Run(RunError::EmptyInput))));
    let unknown = engine.rerun(&job(&[u32::MAX], WARM, 5), &[1]);
    assert!(matches!(unknown, Err(EngineError::Run(RunError::TokenOutOfRange { .. }))));
    let ids = ids(1_500);
    let rerunning = engine.start_rerun(&job(&ids, WARM, 500), &[1; 300]).unwrap();
    rerunning.canceller().cancel();
    assert!(matches!(rerunning.finish(), Err(EngineError::Cancelled)));
    drop(engine.start_rerun(&job(&ids, WARM, 500), &[1; 300]).unwrap());
    let rerun = engine.rerun(&job(&ids[..3], WARM, 2), &[]).unwrap();
    let leaves = rerun.leaves().len() as u64;
    let beyond = engine.rows(&rerun, leaves);
    assert!(matches!(beyond, Err(EngineError::Step(StepError::NoCoarseLeaf { .. }))));
}

#[test]
fn runs_done_again_beside_others_hold_up_nobody_and_change_nothing() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let ids = ids(150);
    let jobs: Vec<Job<'_>> = [1, 150, 40, 90].map(|n| job(&ids[..n], WARM, 40)).to_vec();
    for rows in [1, 7, 64] {
        let options = Options { backend: None, threads: 2 };
        let engine = Engine::load_with_pass_rows(Arc::clone(&model), options, rows).unwrap();
        std::thread::scope(|scope| {
            for job in &jobs {
                scope.spawn(|| {
                    let honest = engine.generate(job, &mut go_on).unwrap();
                    for claim in claims(tokens(&honest)).iter().take(6) {
                        assert_same(&engine.rerun(job, claim).unwrap(), &honest);
                    }
                });
            }
        });
        assert_eq!(engine.cache_bytes(), 0);
    }
}

/// Every row that a fine tree holds or reads is the reference's, and so is the whole tree: of each
/// `step`th coarse leaf, from the last one on.
fn assert_trees_are_those_of_the_reference(engine: &Engine, job: &Job<'_>, step: usize) {
    let model = engine.model();
    let honest = engine.generate(job, &mut go_on).unwrap();
    let rerun = engine.rerun(job, tokens(&honest)).unwrap();
    let reference = evaluated(model, &rerun);
    assert_eq!(rerun.leaves(), reference.trace());
    let plan = Plan::of(model).unwrap();
    let shape = TraceShape::new(&plan, rerun.shape()).unwrap();
    for leaf in (0..shape.leaves()).rev().step_by(step) {
        let fine = shape.fine(leaf).unwrap();
        let rows = engine.rows(&rerun, leaf).unwrap();
        for position in 0..shape.positions() as u32 {
            for value in fine.values(position) {
                let expected = reference.row(value, position);
                if expected.is_some() {
                    assert_eq!(rows.row(value, position), expected, "{leaf} {value} {position}");
                }
            }
        }
        let tree = FineTree::new(&fine, model, &rows).unwrap();
        assert!(tree == FineTree::new(&fine, model, &reference).unwrap(), "{:?}", fine.leaf());
        let output = fine.output().start as usize..fine.output().end as usize;
        let digest = crypto::merkle::root(&tree.digests()[output]);
        assert_eq!(digest, rerun.leaves()[leaf as usize], "{:?}", fine.leaf());
    }
}

#[test]
fn the_rows_of_every_coarse_leaf_are_those_of_the_reference() {
    let chat = Arc::new(engine::tiny::chat().unwrap());
    let embed = Arc::new(engine::tiny::embed().unwrap());
    for (length, max_tokens, sampling) in [(1, 1, WARM), (5, 4, WARM), (9, 3, Sampling::GREEDY)] {
        let ids = ids(length);
        for engine in engines(&chat) {
            let job = job(&ids, sampling, max_tokens);
            assert_trees_are_those_of_the_reference(&engine, &job, 1);
        }
        for engine in engines(&embed) {
            assert_trees_are_those_of_the_reference(&engine, &Job::embed(&ids), 1);
        }
    }
}

#[test]
fn rows_of_runs_longer_than_a_pass_are_those_of_the_reference() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let ids = ids(290);
    let options = Options { backend: None, threads: 2 };
    let engine = Engine::load_with_pass_rows(Arc::clone(&model), options, 64).unwrap();
    assert_trees_are_those_of_the_reference(&engine, &job(&ids, WARM, 3), 97);
}

#[test]
#[ignore = "fetches models; `cargo xtask soak` runs it"]
fn soak_runs_of_the_catalogues_models_are_done_again_to_the_last_leaf() {
    let load = |name: &str| {
        let store = Store::open(Store::default_dir()).unwrap();
        let model = store.pull(name, &mut |_| ()).unwrap().model;
        Engine::load(model, Options::default()).unwrap()
    };
    let ids: Vec<u32> = (0..96).map(|at| 1_000 + at * 37 % 20_000).collect();
    let embedder = load("all-minilm-l6-v2");
    let embedding = Job::embed(&ids);
    let honest = embedder.generate(&embedding, &mut go_on).unwrap();
    assert_same(&embedder.rerun(&embedding, &[9; 3]).unwrap(), &honest);
    assert_trees_are_those_of_the_reference(&embedder, &Job::embed(&ids[..20]), 29);
    drop(embedder);
    let speaker = load("smollm2-135m-instruct");
    for sampling in [Sampling::GREEDY, Sampling { temperature_milli: 800, ..WARM }] {
        assert_any_claim_gives_the_honest_run(&speaker, &job(&ids, sampling, 100));
        assert_trees_are_those_of_the_reference(&speaker, &job(&ids[..6], sampling, 3), 37);
    }
}
