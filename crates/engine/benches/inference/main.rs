//! How fast inference is, beside peers in the same run. Prints a table and writes the figures to
//! `target/bench/inference.json`. Names behind `--` choose parts: `gemm`, `minilm`, `smollm2`,
//! `start`, `rerun`.
//!
//! Ratios come from runs in turn on one machine; times are processor time, so that a busy machine
//! changes figures, not verdicts. Models and peers are fetched when they are not there.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod clock;
mod gemm;
mod minilm;
mod peers;
#[path = "../report/mod.rs"]
mod report;
mod rerun;
mod smollm;

use report::Report;

fn main() {
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let mut report = Report::new("inference");
    if wanted("gemm") {
        gemm::run(&mut report);
    }
    if wanted("minilm") {
        minilm::run(&mut report);
    }
    if wanted("smollm2") {
        smollm::run(&mut report);
    }
    // After the peak of memory was read: it holds models of its own.
    if wanted("start") {
        smollm::first_token(&mut report);
    }
    if wanted("rerun") {
        rerun::run(&mut report);
    }
    report.finish();
}
