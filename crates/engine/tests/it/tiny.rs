//! The test models: pinned ids, and the same answers from every executor.

use std::ops::ControlFlow;
use std::sync::Arc;

use engine::{Engine, EngineError, Finish, Job, Options, Output, RunError, Sampling};
use expect_test::expect;
use preprocess::{Message, Preprocess, Role};

use crate::support::{check, engines, go_on};

const WARM: Sampling = Sampling { temperature_milli: 900, top_p_milli: 950, top_k: 40 };

fn prompt(preprocess: &Preprocess, text: &str) -> Vec<u32> {
    let message = Message { role: Role::User, content: text.to_owned() };
    preprocess.chat(&[message]).unwrap()
}

fn job(ids: &[u32], sampling: Sampling, max_tokens: u32) -> Job<'_> {
    Job { ids, sampling, seed: 7, max_tokens, stop: &[] }
}

#[test]
fn ids_of_the_test_models_are_pinned() {
    let ids = [engine::tiny::chat().unwrap().id(), engine::tiny::embed().unwrap().id()];
    expect![[r#"
        34fa376c53b366e5812e57231da4be9830ff2424e7b7844e6233eca81f54d8f3
        12578e2ba7ccbeb7e034ac60c39027008f2367e5b4f5755157f2f1edf96537bf"#]]
    .assert_eq(&format!("{}\n{}", ids[0], ids[1]));
}

#[test]
fn the_decoder_speaks_in_words() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let preprocess = Preprocess::from_bytes(model.preprocess()).unwrap();
    let ids = prompt(&preprocess, "What is woven here?");
    let runs = check(&model, &[job(&ids, WARM, 12)]);
    let Output::Tokens(tokens) = &runs[0].output else { panic!("a decoder gives tokens") };
    expect![" stone stone stone warp warp warp warp warp warp warp warp warp"]
        .assert_eq(&preprocess.decode(tokens));
}

#[test]
fn the_decoder_gives_equal_bits_alone_and_batched_on_every_backend() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let ids: Vec<u32> = (0..53).map(|at| at * 7 % 300).collect();
    let greedy = Sampling::GREEDY;
    check(
        &model,
        &[
            job(&ids[..1], greedy, 3),
            job(&ids, WARM, 9),
            job(&ids[..17], Sampling { top_k: 0, top_p_milli: 1_000, ..WARM }, 20),
            job(&ids[..6], Sampling { temperature_milli: 60_000, ..WARM }, 5),
        ],
    );
}

#[test]
fn the_encoder_gives_equal_bits_alone_and_batched_on_every_backend() {
    let model = Arc::new(engine::tiny::embed().unwrap());
    let ids: Vec<u32> = (0..70).map(|at| at * 5 % 300).collect();
    check(&model, &[1, 2, 7, 33, 70].map(|length| Job::embed(&ids[..length])));
}

/// A prompt fed as the run's own tokens leads to the same next tokens and the same leaves.
#[test]
fn prefill_and_token_by_token_agree() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let ids: Vec<u32> = (0..20).map(|at| at * 11 % 300).collect();
    for engine in engines(&model) {
        let whole = engine.generate(&job(&ids, Sampling::GREEDY, 8), &mut go_on).unwrap();
        let Output::Tokens(tokens) = &whole.output else { panic!("a decoder gives tokens") };
        let mut longer = ids.clone();
        longer.extend(&tokens[..5]);
        let rest = engine.generate(&job(&longer, Sampling::GREEDY, 3), &mut go_on).unwrap();
        assert_eq!(rest.output, Output::Tokens(tokens[5..].to_vec()));
    }
}

#[test]
fn a_prompt_longer_than_a_pass_gives_the_same_as_the_reference() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let ids: Vec<u32> = (0..300).map(|at| at * 13 % 300).collect();
    assert!(ids.len() > engine::PASS_ROWS);
    check(&model, &[job(&ids, WARM, 2)]);
}

#[test]
fn whoever_receives_tokens_may_break_off() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let engine = Engine::load(Arc::clone(&model), Options::default()).unwrap();
    let mut seen = Vec::new();
    let mut three = |token| {
        seen.push(token);
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let run = engine.generate(&job(&[4, 5, 6], WARM, 50), &mut three).unwrap();
    assert_eq!((run.finish, run.n_out), (Finish::Cancelled, 3));
    assert_eq!(run.output, Output::Tokens(seen));
}

#[test]
fn what_cannot_run_is_refused_before_anything_is_computed() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let refused = Engine::load(Arc::clone(&model), Options { backend: None, threads: 0 });
    assert!(matches!(refused, Err(EngineError::Threads { threads: 0, .. })));
    let engine = Engine::load(model, Options::default()).unwrap();
    let empty = engine.generate(&job(&[], WARM, 5), &mut go_on);
    assert!(matches!(empty, Err(EngineError::Run(RunError::EmptyInput))));
    let jobs = vec![job(&[1], WARM, 1); engine::BATCH_MAX + 1];
    let many = engine.generate_batch(&jobs, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(many, Err(EngineError::Batch { .. })));
}

#[test]
fn the_best_logits_of_a_scored_answer_are_the_answer() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let ids: Vec<u32> = (0..40).map(|at| at * 7 % 300).collect();
    for engine in engines(&model) {
        let run = engine.generate(&job(&ids, Sampling::GREEDY, 30), &mut go_on).unwrap();
        let Output::Tokens(tokens) = run.output else { panic!("a decoder gives tokens") };
        let text = [ids.as_slice(), &tokens].concat();
        let mut best = Vec::new();
        let mut argmax = |position: usize, logits: &[i64]| {
            assert_eq!(position, best.len());
            best.push(model::ops::logits::argmax(logits));
        };
        engine.score(&text[..text.len() - 1], &mut argmax).unwrap();
        assert_eq!(best[ids.len() - 1..], tokens);
    }
    let encoder = Arc::new(engine::tiny::embed().unwrap());
    let engine = Engine::load(encoder, Options::default()).unwrap();
    assert!(matches!(engine.score(&ids, &mut |_, _| {}), Err(EngineError::NoLogits)));
}

#[test]
fn concurrent_runs_of_any_length_give_what_they_give_alone() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let ids: Vec<u32> = (0..200).map(|at| at * 3 % 300).collect();
    let lengths = [1, 150, 7, 64, 33, 200, 2, 90];
    let jobs: Vec<Job<'_>> = lengths.iter().map(|length| job(&ids[..*length], WARM, 40)).collect();
    let options = Options { backend: None, threads: 2 };
    for rows in [1, 7, 64] {
        let engine = Engine::load_with_pass_rows(Arc::clone(&model), options, rows).unwrap();
        std::thread::scope(|scope| {
            for job in &jobs {
                let (engine, model) = (&engine, &model);
                scope.spawn(move || {
                    let expected = model::reference::run(model, job, &mut go_on).unwrap();
                    assert_eq!(engine.generate(job, &mut go_on).unwrap(), expected);
                });
            }
        });
        assert_eq!(engine.cache_bytes(), 0);
    }
}

#[test]
fn a_run_is_cancelled_from_another_thread_and_also_before_its_first_token() {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let engine = Engine::load(model, Options::default()).unwrap();
    let ids: Vec<u32> = (0..1_500).map(|at| at * 3 % 300).collect();
    let generation = engine.start(&job(&ids, WARM, 500)).unwrap();
    generation.canceller().cancel();
    let run = generation.finish().unwrap();
    assert_eq!((run.finish, run.n_out), (Finish::Cancelled, 0));

    let mut generation = engine.start(&job(&ids[..5], WARM, 500)).unwrap();
    let canceller = generation.canceller();
    let first = generation.next_token().unwrap().unwrap();
    std::thread::spawn(move || canceller.cancel()).join().unwrap();
    let run = generation.finish().unwrap();
    assert_eq!(run.output, Output::Tokens(vec![first]));
    drop(engine.start(&job(&ids, WARM, 500)).unwrap());
}
