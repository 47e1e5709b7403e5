//! Milliseconds of one MiniLM embedding at 128 tokens, per backend and number of threads.
//!
//! Needs the model; fetches it when it is not there. Prints a table and writes the figures to
//! `target/bench/inference.json`.

#[path = "../report/mod.rs"]
mod report;

use std::sync::Arc;
use std::time::Instant;

use engine::store::Store;
use engine::{BackendKind, Engine, Job, Options};
use report::{Figure, Report};

const TOKENS: usize = 128;
const RUNS: usize = 15;

fn main() {
    let store = Store::open(Store::default_dir()).expect("the catalogue is built in");
    let loaded = store.pull("all-minilm-l6-v2", &mut |_| {}).expect("MiniLM can be fetched");
    let bytes = std::fs::read(store.path(&loaded.entry)).expect("the model file is there");
    let mut report = Report::new("inference");
    let started = Instant::now();
    let model = Arc::new(model::Model::from_bytes(&bytes).expect("a canonical file"));
    report.add(Figure::new("minilm.load", millis(started), "ms"));
    let text = "The clerk wrote the figures down and the carrier took them over the hill. ";
    let mut ids = loaded.preprocess.encode(&text.repeat(20)).expect("a short text");
    ids.truncate(TOKENS);
    for backend in BackendKind::available() {
        for threads in [1, 2] {
            let options = Options { backend: Some(backend), threads };
            let started = Instant::now();
            let engine = Engine::load(Arc::clone(&model), options).expect("the backend is there");
            let name = format!("minilm.{}.{threads}", backend.name());
            report.add(Figure::new(&format!("{name}.prepare"), millis(started), "ms"));
            let runs = if backend == BackendKind::Scalar { 3 } else { RUNS };
            let (mut best, mut best_cpu) = (f64::MAX, f64::MAX);
            for _ in 0..runs {
                let started = Instant::now();
                let cpu = cpu_millis();
                let job = Job::embed(&ids);
                engine
                    .generate(&job, &mut |_| unreachable!("an embedding gives no tokens"))
                    .expect("a short input");
                best = best.min(millis(started));
                best_cpu = best_cpu.min(cpu_millis() - cpu);
            }
            report.add(Figure::new(&format!("{name}.128_tokens"), best, "ms"));
            if threads == 1 {
                let figure = Figure::new(&format!("{name}.128_tokens.cpu"), best_cpu, "ms");
                let fast = backend == BackendKind::Avx2;
                report.add(if fast { figure.at_most(100.0) } else { figure });
            }
        }
    }
    report.finish();
}

/// Processor time of this process so far, in milliseconds: on a busy machine the wall clock says
/// little.
fn cpu_millis() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
