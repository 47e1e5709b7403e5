//! Chores of the repository, in the language of the repository: `cargo xtask`.
//!
//! Rules: the cheapest check comes first; what fails says how to mend it; nothing installed by
//! hand is needed. Never here: a dependency on a crate of the workspace (benches and long runs
//! are targets of their own crates, which are started from here).

#![allow(clippy::print_stdout, reason = "a command-line program speaks on standard output")]

mod bench;
mod ci;
mod tidy;

use anyhow::{Context as _, Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const HELP: &str = "\
cargo xtask test            all tests, with lints, in one build
cargo xtask ci              what a change must pass: format, tidy, tests, the OpenAI SDK
cargo xtask tidy [--write]  rules of the tree; --write renews the generated tables
cargo xtask bench [NAME …]  measure against the bars; table and target/bench/NAME.json
cargo xtask soak            the long runs behind the short ones of the tests";

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    env::set_current_dir(root()).context("the repository's root")?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => ci::test(),
        ["ci"] => ci::ci(),
        ["tidy"] => tidy::check(false),
        ["tidy", "--write"] => tidy::check(true),
        ["bench"] => bench::list(),
        ["bench", name, parts @ ..] => bench::run_bench(name, parts),
        ["soak"] => bench::soak(),
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => bail!("unknown arguments {words:?}; the commands are:\n{HELP}"),
    }
}

/// The repository's root: two levels above this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Cargo, as the one that started us.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end and fails if it fails.
fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if status.success() { Ok(()) } else { bail!("failed ({status}): {shown}") }
}
