//! MiniLM at 128 tokens.

use std::sync::Arc;

use engine::store::Store;
use engine::{BackendKind, Engine, Job, Options};

use crate::clock::{median, took};
use crate::report::{Figure, Report};

const TOKENS: usize = 128;
const ROUNDS: usize = 15;

pub(crate) fn run(report: &mut Report) {
    let store = Store::open(Store::default_dir()).expect("the catalogue is built in");
    let loaded = store.pull("all-minilm-l6-v2", &mut |_| {}).expect("MiniLM can be fetched");
    let bytes = std::fs::read(store.path(&loaded.entry)).expect("the model file is there");
    let model = Arc::new(model::Model::from_bytes(&bytes).expect("a canonical file"));
    let text = "The clerk wrote the figures down and the carrier took them over the hill. ";
    let mut ids = loaded.preprocess.encode(&text.repeat(20)).expect("a short text");
    ids.truncate(TOKENS);
    for backend in BackendKind::available() {
        for threads in [1, 2] {
            let options = Options { backend: Some(backend), threads };
            let engine = Engine::load(Arc::clone(&model), options).expect("the backend is there");
            for batch in [1, 8] {
                let rounds = if backend == BackendKind::Scalar { 1 } else { ROUNDS };
                let jobs = vec![Job::embed(&ids); batch];
                let times: Vec<_> = (0..rounds)
                    .map(|_| {
                        took(|| {
                            engine
                                .generate_batch(&jobs, &mut |_, _| {
                                    unreachable!("an embedding gives no tokens")
                                })
                                .expect("a short input");
                        })
                    })
                    .collect();
                let name = format!("minilm.{}.{threads}.batch_{batch}", backend.name());
                let of = |by: fn(&crate::clock::Took) -> f64| {
                    median(times.iter().map(by).collect()) * 1e3
                };
                report.add(Figure::new(&format!("{name}.wall"), of(|took| took.wall), "ms"));
                report.add(Figure::new(&format!("{name}.cpu"), of(|took| took.cpu), "ms"));
            }
        }
    }
}
