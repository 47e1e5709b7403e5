//! SmolLM2-135M: prompts, decoding at two depths, eight at once.

use std::ops::ControlFlow;
use std::sync::Arc;

use engine::store::Store;
use engine::{Engine, Job, Options, Sampling};

use crate::clock::{Took, median, took};
use crate::report::{Figure, Report};

const ROUNDS: usize = 5;
const DECODED: u32 = 32;

pub(crate) fn run(report: &mut Report) {
    let store = Store::open(Store::default_dir()).expect("the catalogue is built in");
    let loaded = store.pull("smollm2-135m-instruct", &mut |_| {}).expect("SmolLM2 can be fetched");
    let mut model = None;
    let parsed = took(|| {
        let bytes = std::fs::read(store.path(&loaded.entry)).expect("the model file is there");
        model = Some(model::Model::from_bytes(&bytes).expect("a canonical file"));
    });
    report.add(Figure::new("smollm2.parse", parsed.wall * 1e3, "ms"));
    let model = Arc::new(model.expect("just read"));
    for threads in [1, 2] {
        let options = Options { backend: None, threads };
        let mut engine = None;
        let packed = took(|| engine = Engine::load(Arc::clone(&model), options).ok());
        let engine = engine.expect("the backend is there");
        report.add(Figure::new(&format!("smollm2.{threads}.prepare"), packed.wall * 1e3, "ms"));
        for _ in 0..1 {
            let (prefill, deep) = one(&engine, 256);
            let (_, shallow) = one(&engine, 1);
            let eight = eight(&engine);
            let figure = |name: &str, value: f64| {
                Figure::new(&format!("smollm2.{threads}.{name}"), value, "/s")
            };
            report.add(figure("prefill_256.wall", prefill.0));
            report.add(figure("prefill_256.cpu", prefill.1));
            report.add(figure("decode_0.wall", shallow.0));
            report.add(figure("decode_0.cpu", shallow.1));
            report.add(figure("decode_256.wall", deep.0));
            report.add(figure("decode_256.cpu", deep.1));
            report.add(figure("eight.wall", eight.0));
            report.add(figure("eight.cpu", eight.1));
        }
    }
}

fn rates(count: u32, took: &[Took]) -> (f64, f64) {
    let wall = median(took.iter().map(|took| took.wall).collect());
    let cpu = median(took.iter().map(|took| took.cpu).collect());
    (f64::from(count) / wall, f64::from(count) / cpu)
}

/// Tokens per second of a prompt and behind it, by wall and by processor time.
fn one(engine: &Engine, depth: u32) -> ((f64, f64), (f64, f64)) {
    let ids: Vec<u32> = (0..depth).map(|at| 1_000 + at * 37 % 20_000).collect();
    let (mut prompts, mut decodes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let job = Job {
            ids: &ids,
            sampling: Sampling::GREEDY,
            seed: 0,
            max_tokens: DECODED + 1,
            stop: &[],
        };
        let mut generation = engine.start(&job).expect("a short prompt");
        prompts.push(took(|| assert!(generation.next_token().expect("runs").is_some())));
        let mut given = 0;
        let decode = took(|| {
            while generation.next_token().expect("runs").is_some() {
                given += 1;
            }
        });
        if given == DECODED {
            decodes.push(decode);
        }
    }
    (rates(depth, &prompts), rates(DECODED, &decodes))
}

/// Tokens per second of eight runs together, prompts of one token.
fn eight(engine: &Engine) -> (f64, f64) {
    let prompts: Vec<[u32; 1]> = (0..8).map(|at| [2_000 + at * 11]).collect();
    let jobs: Vec<Job<'_>> = prompts
        .iter()
        .map(|ids| Job { ids, sampling: Sampling::GREEDY, seed: 0, max_tokens: DECODED, stop: &[] })
        .collect();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut given = 0_u32;
        let mut count = |_: usize, _: u32| {
            given += 1;
            ControlFlow::Continue(())
        };
        let time = took(|| {
            engine.generate_batch(&jobs, &mut count).expect("runs");
        });
        let scale = f64::from(8 * DECODED) / f64::from(given);
        times.push(Took { wall: time.wall * scale, cpu: time.cpu * scale });
    }
    rates(8 * DECODED, &times)
}
