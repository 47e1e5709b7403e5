//! Benches and long runs: which crate's target stands behind each name.
//!
//! Rules: benches run in the one profile of devnet and tests, so that nothing is compiled twice
//! and the figures are those a user of a fresh clone gets; each writes `target/bench/NAME.json`.
//! Never here: the measuring itself.

use crate::{cargo, run};
use anyhow::{Result, bail};

/// Name of a bench, the crate that holds it, and what it measures.
const BENCHES: &[(&str, &str, &str)] = &[
    ("accuracy", "engine", "MiniLM and SmolLM2 in integers beside plain float forwards"),
    ("inference", "engine", "products, MiniLM, SmolLM2 beside float GEMM, ONNX Runtime, llama.cpp"),
    ("steps", "model", "the dearest dispute steps at the largest legal sizes"),
    ("verification", "operator", "disputes over MiniLM and SmolLM2, to their last step"),
    ("ledger", "ledger", "transactions applied per second"),
    ("chain", "chain", "transfers per second through one embedded validator"),
];

/// Prints the benches.
pub(crate) fn list() -> Result<()> {
    for (name, _, what) in BENCHES {
        println!("{name:12} {what}");
    }
    Ok(())
}

/// Runs the bench of that name; `parts` chooses among its parts, where it has some.
pub(crate) fn run_bench(name: &str, parts: &[&str]) -> Result<()> {
    match BENCHES.iter().find(|(known, _, _)| *known == name) {
        Some((name, package, _)) => {
            let bench = ["bench", "--profile", "dev", "-p", package, "--bench", name, "--"];
            run(cargo().args(bench).args(parts))
        }
        None => {
            let known: Vec<_> = BENCHES.iter().map(|(name, _, _)| *name).collect();
            bail!("no bench is called {name:?}; there are {known:?}")
        }
    }
}

/// The long runs: every ignored test whose name contains `soak`.
pub(crate) fn soak() -> Result<()> {
    let filter = ["--run-ignored", "only", "-E", "test(soak)", "--no-fail-fast"];
    run(cargo().args(["nextest", "run", "--workspace", "--no-capture"]).args(filter))
}
