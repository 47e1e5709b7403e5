//! The test models through reference and engine: equal outputs, finishes and trace roots.

use std::ops::ControlFlow;
use std::sync::Arc;

use engine::{BackendKind, Engine, Job, Options, Output, Run, Sampling};
use expect_test::expect;
use model::{Model, reference};
use preprocess::{Message, Preprocess, Role};

fn engines(model: &Arc<Model>) -> Vec<Engine> {
    let mut engines = Vec::new();
    for backend in BackendKind::available() {
        for threads in [1, 2] {
            let options = Options { backend: Some(backend), threads };
            engines.push(Engine::load(Arc::clone(model), options).unwrap());
        }
    }
    engines
}

fn go_on(_: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn by_reference(model: &Model, job: &Job<'_>) -> Run {
    reference::run(model, job, &mut go_on).unwrap()
}

fn prompt(preprocess: &Preprocess, text: &str) -> Vec<u32> {
    let message = Message { role: Role::User, content: text.to_owned() };
    preprocess.chat(&[message]).unwrap()
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
    let job = Job {
        ids: &ids,
        sampling: Sampling { temperature_milli: 700, top_p_milli: 950, top_k: 40 },
        seed: 7,
        max_tokens: 24,
        stop: &[],
    };
    let run = by_reference(&model, &job);
    let Output::Tokens(tokens) = &run.output else { panic!("a decoder gives tokens") };
    expect![" stone stone stone stone warp warp warp warp warp warp warp warp warp warp warp warp warp with with with with hem hem hem"].assert_eq(&preprocess.decode(tokens));
    for engine in engines(&model) {
        assert_eq!(engine.generate(&job, &mut go_on).unwrap(), run, "{engine:?}");
    }
}
