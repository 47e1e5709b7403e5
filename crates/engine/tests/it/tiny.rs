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
        0d96ea5e3d681be9f930897ef1ff96461d0fb42bed791d9c751d5be618f62771
        67f8fddae68da1ad89d81d26957b046d116ae720262b34f1f8d318650c5a0f24"#]]
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
