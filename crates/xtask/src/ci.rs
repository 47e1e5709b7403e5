//! What a change must pass, cheapest check first.
//!
//! Rules: one build serves lints and tests: the linter wraps the compiler for our own crates, so
//! the dependencies are compiled once, by the plain compiler. Never here: statistics and long
//! loops; those are `cargo xtask soak`.

use crate::{cargo, run, tidy};
use anyhow::Result;
use std::{process::Command, time::Instant};

/// Separates the linter's arguments inside its environment variable.
const LINT_SEPARATOR: &str = "__CLIPPY_HACKERY__";

/// Cargo with the linter around the compiler, warnings as errors.
pub(crate) fn linted() -> Command {
    let mut command = cargo();
    command
        .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
        .env("CLIPPY_ARGS", ["-D", "warnings", ""].join(LINT_SEPARATOR));
    command
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("── {name}");
    let start = Instant::now();
    work()?;
    println!("── {name}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// All tests of the workspace, with lints.
pub(crate) fn test() -> Result<()> {
    // Benches are compiled and linted, but they measure and do not test.
    run(linted().args(["build", "--workspace", "--all-targets"]))?;
    run(linted().args(["nextest", "run", "--workspace", "--no-fail-fast"]))
}

/// Everything.
pub(crate) fn ci() -> Result<()> {
    step("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    step("tidy", || tidy::check(false))?;
    step("tests and lints", test)?;
    step("OpenAI SDK", sdk)
}

/// The OpenAI Python SDK, unmodified, against a devnet: an ignored test, for it downloads the SDK
/// through the machine's package client.
fn sdk() -> Result<()> {
    // The whole workspace, as in `test`: one crate alone has other features and builds anew.
    let filter = ["--run-ignored", "only", "-E", "package(cli) & test(sdk)"];
    run(linted().args(["nextest", "run", "--workspace"]).args(filter))
}
