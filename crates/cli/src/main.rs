//! `selvedge`: the network's one binary, one file per subcommand.
//!
//! Rules: what people read goes to standard output, progress and warnings to standard error;
//! `--json` prints one object and nothing else; an error says what, why and what to do, and the
//! exit code tells its kind. Never here: logic; each subcommand calls a library.

#![allow(clippy::print_stdout, reason = "a command-line program speaks on standard output")]

mod api;
mod auditor;
mod challenge;
mod chat;
mod devnet;
mod embed;
mod explain;
mod home;
mod hunt;
#[cfg(feature = "calibrate")]
mod import;
#[cfg(not(feature = "calibrate"))]
#[path = "no_import.rs"]
mod import;
mod keys;
mod model;
mod output;
mod query;
mod receipt;
mod run;

use clap::{Parser, Subcommand};
use home::Home;
use output::{Failure, Output};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 a receipt or a model does not verify.
First steps: `selvedge devnet` starts the whole network on this machine and prints what to try.";

/// An open network for AI inference whose every answer can be checked.
#[derive(Parser)]
#[command(name = "selvedge", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Folder of keys, models and the devnet [default: ~/.selvedge].
    #[arg(long, global = true, env = "SELVEDGE_HOME", value_name = "FOLDER")]
    home: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole network on this machine: a validator, three operators, a gateway.
    Devnet(devnet::Arguments),
    /// Ask a chat model.
    Chat(chat::Arguments),
    /// Turn text into an embedding.
    Embed(embed::Arguments),
    /// Fetch the evidence behind an answer, check it, or challenge it.
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Run a model on this machine, without any network.
    Run(run::Arguments),
    /// List models, fetch, import, or look into one.
    #[command(subcommand)]
    Model(model::Command),
    /// Ask the chain: its status, an account, an operator, a block.
    Query(query::Command),
    /// Why the ledger did what it did: a task's audit, an operator's slash.
    Explain(explain::Command),
    /// Audit what others serve.
    #[command(subcommand)]
    Auditor(auditor::Command),
    /// Create and list keys.
    #[command(subcommand)]
    Keys(keys::Command),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("SELVEDGE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off")),
        )
        .with_writer(std::io::stderr)
        .init();
    let output = Output::new(arguments.json);
    match run(arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failure(&failure),
    }
}

fn run(arguments: Arguments, output: &Output) -> Result<(), Failure> {
    let home = Home::open(arguments.home)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow::anyhow!("cannot start the runtime: {error}"))?;
    runtime.block_on(async {
        match arguments.command {
            Command::Devnet(arguments) => devnet::run(arguments, &home, output).await,
            Command::Chat(arguments) => chat::run(arguments, &home, output).await,
            Command::Embed(arguments) => embed::run(arguments, &home, output).await,
            Command::Receipt(command) => receipt::run(command, &home, output).await,
            Command::Run(arguments) => run::run(&arguments, &home, output),
            Command::Model(command) => model::run(command, &home, output),
            Command::Query(command) => query::run(command, &home, output).await,
            Command::Explain(command) => explain::run(command, &home, output).await,
            Command::Auditor(command) => auditor::run(command, &home, output).await,
            Command::Keys(command) => keys::run(command, &home, output),
        }
    })
}
