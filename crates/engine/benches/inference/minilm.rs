//! MiniLM at 128 tokens, alone and eight at once, beside ONNX Runtime: f32 and dynamic int8.

use std::sync::Arc;

use engine::{BackendKind, Engine, Job, Options};

use crate::clock::{Took, median_cpu, median_wall, settle, took};
use crate::peers::{Peer, onnx_runtime, pull};
use crate::report::{Figure, Report};

const TOKENS: usize = 128;
const ROUNDS: usize = 11;
const PEER_KINDS: [&str; 2] = ["int8", "f32"];

pub(crate) fn run(report: &mut Report) {
    let loaded = pull("all-minilm-l6-v2");
    let text = "The clerk wrote the figures down and the carrier took them over the hill. ";
    let mut ids = loaded.preprocess.encode(&text.repeat(20)).expect("a short text");
    ids.truncate(TOKENS);
    let mut peers = PEER_KINDS.map(|kind| match onnx_runtime(&loaded.entry) {
        Ok(peer) => Some((kind, peer)),
        Err(reason) => {
            report.note(&format!("no ONNX Runtime ({kind}): {reason}"));
            None
        }
    });
    for backend in BackendKind::available() {
        let fastest = BackendKind::available().last() == Some(&backend);
        for threads in [1, 2] {
            let options = Options { backend: Some(backend), threads };
            let model = Arc::clone(&loaded.model);
            let engine = Engine::load(model, options).expect("the backend is there");
            for batch in [1, 8] {
                let jobs = vec![Job::embed(&ids); batch];
                let name = format!("minilm.{}.{threads}t.batch_{batch}", backend.name());
                if fastest {
                    beside(report, &name, threads, &engine, &jobs, &mut peers);
                } else if batch == 1 {
                    let took = embed(&engine, &jobs);
                    report.add(Figure::new(&format!("{name}.cpu"), took.cpu * 1e3, "ms"));
                }
            }
        }
    }
}

fn embed(engine: &Engine, jobs: &[Job<'_>]) -> Took {
    took(|| {
        let runs = engine
            .generate_batch(jobs, &mut |_, _| unreachable!("an embedding gives no tokens"))
            .expect("short inputs");
        assert_eq!(runs.len(), jobs.len());
    })
}

/// The fastest backend and the peers in turn.
fn beside(
    report: &mut Report,
    name: &str,
    threads: usize,
    engine: &Engine,
    jobs: &[Job<'_>],
    peers: &mut [Option<(&str, Peer)>],
) {
    for (kind, peer) in peers.iter_mut().flatten() {
        let request = format!("load {kind} {} {threads}", jobs.len());
        peer.tell(&request).expect("the peer loads its model");
    }
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); peers.len()];
    embed(engine, jobs);
    for _ in 0..ROUNDS {
        settle();
        ours.push(embed(engine, jobs));
        for (peer, times) in peers.iter_mut().zip(&mut theirs) {
            if let Some((_, peer)) = peer {
                settle();
                times.push(peer.time("run"));
            }
        }
    }
    report.add(Figure::new(&format!("{name}.wall"), median_wall(&ours) * 1e3, "ms"));
    report.add(Figure::new(&format!("{name}.cpu"), median_cpu(&ours) * 1e3, "ms"));
    for (peer, times) in peers.iter().zip(&theirs) {
        let Some((kind, _)) = peer else { continue };
        let cpu = median_cpu(times);
        report.add(Figure::new(
            &format!("{name}.onnx_{kind}.wall"),
            median_wall(times) * 1e3,
            "ms",
        ));
        report.add(Figure::new(&format!("{name}.onnx_{kind}.cpu"), cpu * 1e3, "ms"));
        let ratio = Figure::new(&format!("{name}.onnx_{kind}.ratio"), median_cpu(&ours) / cpu, "x");
        // With two threads both spin while they wait: processor time then says nothing.
        let ratio = if threads > 1 { ratio } else { ratio.at_most(bar(kind)) };
        report.add(ratio);
    }
}

fn bar(kind: &str) -> f64 {
    if kind == "f32" { 0.5 } else { 1.0 }
}
