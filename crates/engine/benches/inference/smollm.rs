//! SmolLM2-135M beside llama.cpp with Q8_0 weights: prompts, decoding at two depths, eight at once,
//! the share of the trace, start to first token, memory.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use engine::store::Store;
use engine::{Engine, Job, Options, Sampling};
use model::trace::i32_leaves;

use crate::clock::{Took, median_cpu, median_wall, settle, took};
use crate::peers::{Peer, llama, peak_megabytes, pull};
use crate::report::{Figure, Report};

const NAME: &str = "smollm2-135m-instruct";
const ROUNDS: usize = 5;
const DECODED: u32 = 32;
/// Shape of the model, for the share of the trace: boundaries and width.
const TRACED: (usize, usize) = (31, 576);
/// Rows of a prompt that are hashed side by side.
const TOGETHER: usize = 16;

/// What is measured: name, peer's request, tokens, bar on the ratio of speeds.
const MEASURES: [(&str, &str, u32, f64); 4] = [
    ("prefill_256", "prefill 256", 256, 0.8),
    ("decode_0", "decode 1 32", DECODED, 1.0),
    ("decode_256", "decode 256 32", DECODED, 1.1),
    ("eight", "batch 8 32", 8 * DECODED, 1.3),
];

pub(crate) fn run(report: &mut Report) {
    let loaded = pull(NAME);
    let (entry, model) = (loaded.entry, loaded.model);
    drop(loaded.preprocess);
    let mut peer = match llama(&entry) {
        Ok(peer) => Some(peer),
        Err(reason) => {
            report.note(&format!("no llama.cpp: {reason}"));
            None
        }
    };
    for threads in [1, 2] {
        let model = Arc::clone(&model);
        let engine = Engine::load(model, Options { backend: None, threads }).expect("it loads");
        for measure in MEASURES {
            beside(report, threads, &engine, &mut peer, measure);
        }
    }
    // Two engines have run one after the other, each beside the model as it was loaded.
    if let Some(megabytes) = peak_megabytes("self") {
        report.add(Figure::new("smollm2.peak", megabytes, "MB").at_most(400.0));
    }
    if let Some(megabytes) = peer.and_then(|(peer, _)| peer.peak_megabytes()) {
        report.add(Figure::new("smollm2.llama.peak", megabytes, "MB"));
    }
}

/// From a converted file to the first token.
pub(crate) fn first_token(report: &mut Report) {
    drop(pull(NAME));
    let store = Store::open(Store::default_dir()).expect("the catalogue is built in");
    let start = || {
        let model = store.load(NAME).expect("it is here").model;
        let engine = Engine::load(model, Options::default()).expect("it loads");
        let ids = prompt(16);
        let mut generation = engine.start(&job(&ids, 1)).expect("a short prompt");
        assert!(generation.next_token().expect("it runs").is_some());
    };
    let starts: Vec<Took> = (0..ROUNDS).map(|_| took(start)).collect();
    // Both cores work at a start, and what people wait for is the wall.
    report.add(Figure::new("smollm2.first_token.wall", median_wall(&starts), "s").at_most(0.5));
    report.add(Figure::new("smollm2.first_token.cpu", median_cpu(&starts), "s"));
}

fn prompt(length: u32) -> Vec<u32> {
    (0..length).map(|at| 1_000 + at * 37 % 20_000).collect()
}

fn job(ids: &[u32], max_tokens: u32) -> Job<'_> {
    Job { ids, sampling: Sampling::GREEDY, seed: 0, max_tokens, stop: &[] }
}

/// One measure of both in turn, by processor time on one thread and by wall on more: with two
/// threads both spin while they wait.
fn beside(
    report: &mut Report,
    threads: usize,
    engine: &Engine,
    peer: &mut Option<(Peer, PathBuf)>,
    (name, request, tokens, bar): (&str, &str, u32, f64),
) {
    let mut ours = Vec::new();
    let mut theirs = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        settle();
        ours.push(one(engine, name));
        let Some((peer, file)) = peer else { continue };
        // Its two ways of attention: the better one counts.
        for (flash, times) in theirs.iter_mut().enumerate() {
            let load = format!("load {} {threads} {flash}", file.display());
            peer.tell(&load).expect("the peer loads its model");
            times.push(peer.time(request));
        }
    }
    let name = format!("smollm2.{threads}t.{name}");
    let rate = |seconds: f64| f64::from(tokens) / seconds;
    let seconds = |times: &[Took]| {
        if threads == 1 { median_cpu(times) } else { median_wall(times) }
    };
    report.add(Figure::new(&format!("{name}.wall"), rate(median_wall(&ours)), "/s"));
    report.add(Figure::new(&format!("{name}.cpu"), rate(median_cpu(&ours)), "/s"));
    if threads == 1 && name.ends_with("prefill_256") {
        let share = hashing(tokens) / median_cpu(&ours);
        report.add(Figure::new(&format!("{name}.trace_share"), share, "").at_most(0.05));
    }
    if peer.is_some() {
        let best = seconds(&theirs[0]).min(seconds(&theirs[1]));
        report.add(Figure::new(&format!("{name}.llama"), rate(best), "/s"));
        let ratio = Figure::new(&format!("{name}.ratio"), best / seconds(&ours), "x");
        report.add(ratio.at_least(bar));
    }
}

/// One measurement of ours.
fn one(engine: &Engine, name: &str) -> Took {
    match name {
        "prefill_256" => took(|| {
            let ids = prompt(256);
            let mut generation = engine.start(&job(&ids, 1)).expect("a short prompt");
            assert!(generation.next_token().expect("it runs").is_some());
        }),
        "decode_0" => decode(engine, 1),
        "decode_256" => decode(engine, 256),
        _ => eight(engine),
    }
}

/// Tokens behind a prompt.
fn decode(engine: &Engine, depth: u32) -> Took {
    let ids = prompt(depth);
    let mut generation = engine.start(&job(&ids, 2 * DECODED)).expect("a short prompt");
    let mut next = || assert!(generation.next_token().expect("it runs").is_some());
    next();
    took(|| (0..DECODED).for_each(|_| next()))
}

/// Eight runs together, prompts of one token; scaled to the same number of tokens if one stops.
fn eight(engine: &Engine) -> Took {
    let prompts: Vec<Vec<u32>> = (0..8).map(|at| vec![2_000 + at * 11]).collect();
    let jobs: Vec<Job<'_>> = prompts.iter().map(|ids| job(ids, DECODED)).collect();
    let mut given = 0_u32;
    let mut count = |_: usize, _: u32| {
        given += 1;
        ControlFlow::Continue(())
    };
    let time = took(|| {
        engine.generate_batch(&jobs, &mut count).expect("they run");
    });
    let scale = f64::from(8 * DECODED) / f64::from(given);
    Took { wall: time.wall * scale, cpu: time.cpu * scale }
}

/// Processor time of the trace leaves of that many positions.
fn hashing(positions: u32) -> f64 {
    let (boundaries, width) = TRACED;
    let rows = i32::try_from(width * TOGETHER).unwrap_or(0);
    let rows: Vec<i32> = (0..rows).map(|at| at * 7_919).collect();
    let groups = boundaries * positions as usize / TOGETHER;
    took(|| (0..groups).for_each(|_| assert_eq!(i32_leaves(&rows, width).len(), TOGETHER))).cpu
}
