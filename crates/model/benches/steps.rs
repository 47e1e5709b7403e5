//! What a step costs at the largest legal sizes: time to hash what is opened, to follow its paths
//! and to recompute one element; bytes and ranges opened.
//!
//! Bars: 1 ms, 16 kB, 6 ranges. Rows and weights are drawn from a seed.
#![allow(clippy::disallowed_types, reason = "a bench measures time")]

#[allow(dead_code, unused_imports, reason = "the sizes are those of the test")]
#[path = "../tests/it/step_sizes.rs"]
mod step_sizes;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/support.rs"]
mod support;

use std::collections::VecDeque;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use crypto::{Domain, hash_bytes};
use model::step::{Address, Fine, Operand, Source, StepError};
use step_sizes::{Drawn, decoder, encoder, every_part, last_trees, longest};

/// Hashes that lead from a range of leaves to its root, at most.
const PATH: usize = 30;

/// Operands and their bytes, in the order in which a step reads them.
type Opened = VecDeque<(Operand, Vec<u8>)>;

/// Hands out what was opened before, after hashing it as a verifier must.
struct Replay(Opened);

impl Source for Replay {
    fn open(&mut self, operand: Operand) -> Result<Vec<u8>, StepError> {
        let (opened, bytes) = self.0.pop_front().ok_or(StepError::Missing { needed: operand })?;
        assert_eq!(opened, operand, "a step opens the same operands each time");
        black_box(hash_bytes(Domain::TraceLeaf, &bytes));
        for _ in 0..PATH {
            black_box(hash_bytes(Domain::MerkleNode, &[0; 64]));
        }
        Ok(bytes)
    }
}

/// Notes what a step opens.
struct Recorder<'a>(&'a Drawn<'a>, Opened);

impl Source for Recorder<'_> {
    fn open(&mut self, operand: Operand) -> Result<Vec<u8>, StepError> {
        let bytes = { self.0 }.open(operand)?;
        self.1.push_back((operand, bytes.clone()));
        Ok(bytes)
    }
}

/// Microseconds of a step, the median of several.
fn time(fine: &Fine<'_>, address: &Address, opened: &Opened) -> f64 {
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let mut replay = Replay(opened.clone());
            let start = Instant::now();
            black_box(fine.element(address, 0, &mut replay).expect("it was computed before"));
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[7]
}

#[allow(clippy::print_stdout, reason = "a bench prints its table")]
fn main() {
    let (mut slowest, mut largest, mut most) = (0.0_f64, 0, 0);
    println!("{:40} {:>8} {:>7} {:>10}", "op and part", "bytes", "ranges", "us");
    for plan in [decoder(), encoder()] {
        let shape = longest(&plan);
        for fine in last_trees(&shape) {
            let drawn = Drawn::new(&fine, &|_| false);
            for mut address in every_part(&fine) {
                let last = fine.shape().positions() as u32 - 1;
                if address.position != last {
                    continue;
                }
                // The last group of a histogram opens the one before it.
                address.group = fine.geometry(&address).map_or(0, |geometry| geometry.groups - 1);
                let mut recorder = Recorder(&drawn, VecDeque::new());
                fine.element(&address, 0, &mut recorder).expect("operands are drawn as needed");
                let opened = recorder.1;
                let bytes = opened.iter().fold(0, |sum, (_, bytes)| sum + bytes.len());
                let micros = time(&fine, &address, &opened);
                let op = format!("{:?}", plan.graph().ops[address.op as usize]);
                let label = format!("{} {:?}", op.split(' ').next().unwrap_or(""), address.part);
                println!("{label:40} {bytes:8} {:7} {micros:10.1}", opened.len());
                slowest = slowest.max(micros);
                largest = largest.max(bytes);
                most = most.max(opened.len());
            }
        }
    }
    report(&[
        ("slowest step", slowest, "us", 1_000.0),
        ("most bytes opened", largest as f64, "B", 16_384.0),
        ("most ranges opened", most as f64, "", 6.0),
    ]);
}

/// Writes `target/bench/steps.json`; fails when a bar does not hold.
#[allow(clippy::print_stdout, reason = "a bench prints its table")]
fn report(figures: &[(&str, f64, &str, f64)]) {
    let mut lines = Vec::new();
    for (name, value, unit, bar) in figures {
        let holds = value <= bar;
        let verdict = if holds { "holds" } else { "FAILS" };
        println!("{name:40} {value:12.1} {unit:4} <= {bar:8} {verdict}");
        lines.push(format!(
            "  {{\"name\": \"{name}\", \"value\": {value}, \"unit\": \"{unit}\", \
             \"bar\": \"<= {bar}\", \"holds\": {holds}, \"baseline\": null}}"
        ));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    let dir = target.join("bench");
    std::fs::create_dir_all(&dir).expect("the target folder is writable");
    let json = format!("[\n{}\n]\n", lines.join(",\n"));
    std::fs::write(dir.join("steps.json"), json).expect("as above");
    assert!(figures.iter().all(|(_, value, _, bar)| value <= bar), "a bar does not hold");
}
