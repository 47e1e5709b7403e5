//! `selvedge receipt`: fetches the evidence behind an answer, checks it, or challenges it.
//!
//! Rules: a check needs no network; it says which level was reached and what stands behind each
//! statement, and ends with exit code 3 if anything is false. Never here: the checks themselves.

use crate::{
    api::Api,
    challenge,
    home::{GatewayFlags, Home, read, write},
    output::{Failure, Output},
};
use anyhow::{Context as _, anyhow};
use client::bundle::{self, Bundle, Check, Level, Report, Standing, VerifyError};
use crypto::ChainId;
use engine::{
    Engine, Job, Options,
    store::{Loaded, Store},
};
use ledger::payments::schema::Finish;
use model::commit;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Pause between looks whether a receipt has come further.
const LOOK: Duration = Duration::from_secs(1);

/// Of `selvedge receipt`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Fetch the bundles of a task.
    Get(Get),
    /// Check a bundle, offline, against your own prompt and answer.
    Verify(Verify),
    /// Run a bundle's receipt again and, if it is wrong, prove that to the ledger.
    Challenge(challenge::Arguments),
}

/// Of `selvedge receipt get`.
#[derive(clap::Args)]
pub(crate) struct Get {
    /// The receipt id that the gateway named.
    id: String,
    /// Wait until it has come this far.
    #[arg(long, value_enum)]
    wait: Option<Wait>,
    /// Longest wait, in seconds.
    #[arg(long, default_value_t = 180)]
    timeout: u64,
    /// Where to write it; several inputs give several files, numbered [default: bundle.json].
    #[arg(short, long, value_name = "FILE", default_value = "bundle.json")]
    output: PathBuf,
    #[command(flatten)]
    gateway: GatewayFlags,
}

/// How far to wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Wait {
    /// Until the operator has claimed it on the chain.
    Claimed,
    /// Until most of it is paid: no audit has failed.
    Settled,
    /// Until all of it is paid: nobody can challenge it any more.
    Final,
}

/// Of `selvedge receipt verify`.
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// The bundle.
    #[arg(required_unless_present = "from")]
    bundle: Option<PathBuf>,
    /// The body of your own HTTP call.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The answer you got: the reply's body, or its bare text.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A folder that `chat` or `embed` saved: stands for all three, and fetches the bundle.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["bundle", "input", "output"])]
    from: Option<PathBuf>,
    /// With --from: wait until the receipt has come this far.
    #[arg(long, value_enum, requires = "from")]
    wait: Option<Wait>,
    /// The chain's id, from a source that you trust.
    #[arg(long, value_name = "ID")]
    chain: Option<ChainId>,
    /// Run the model again and compare output and trace.
    #[arg(long)]
    replay: bool,
    #[command(flatten)]
    gateway: GatewayFlags,
}

/// Fetches or checks.
pub(crate) async fn run(command: Command, home: &Home, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Get(arguments) => get(arguments, home, output).await,
        Command::Verify(arguments) => verify(arguments, home, output).await,
        Command::Challenge(arguments) => challenge::run(arguments, home, output).await,
    }
}

async fn get(arguments: Get, home: &Home, output: &Output) -> Result<(), Failure> {
    let api = Api::new(home, &arguments.gateway)?;
    let limit = Duration::from_secs(arguments.timeout);
    let bundles = fetch(&api, &arguments.id, arguments.wait, limit, output).await?;
    let files = save(&bundles, &arguments.output)?;
    let text: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    output.result(&text.join("\n"), &json!({ "id": arguments.id, "files": text }))
}

/// The bundles of a task, once they have come as far as was asked.
async fn fetch(
    api: &Api,
    id: &str,
    wait: Option<Wait>,
    limit: Duration,
    output: &Output,
) -> Result<Vec<Value>, Failure> {
    let start = Instant::now();
    let mut told = false;
    loop {
        let mut body = api.get(&format!("/receipts/{id}")).await?.body;
        let bundles = body["bundles"].take();
        let bundles = bundles.as_array().cloned().unwrap_or_default();
        if bundles.is_empty() {
            return Err(anyhow!("the gateway has no bundle for {id}").into());
        }
        if bundles.iter().all(|bundle| wait.is_none_or(|wait| stage(bundle) >= Some(wait))) {
            return Ok(bundles);
        }
        if bundles.iter().any(|bundle| bundle["settlement"]["claim"]["stage"] == "void") {
            let hint = format!("`selvedge explain task {id}` shows why");
            return Err(anyhow!("the claim of {id} is void: it gets no further; {hint}").into());
        }
        if start.elapsed() > limit {
            let seconds = limit.as_secs();
            return Err(anyhow!("{id} has not come so far within {seconds} s").into());
        }
        if !told {
            output.note("waiting for the claim; on a devnet that takes about a minute …");
            told = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn stage(bundle: &Value) -> Option<Wait> {
    match bundle["settlement"]["claim"]["stage"].as_str() {
        None => None,
        Some("base_paid") => Some(Wait::Settled),
        Some("settled") => Some(Wait::Final),
        Some(_) => Some(Wait::Claimed),
    }
}

fn save(bundles: &[Value], first: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for (number, bundle) in bundles.iter().enumerate() {
        let file = match number {
            0 => first.to_owned(),
            _ => first.with_extension(format!("{number}.json")),
        };
        write(&file, serde_json::to_string_pretty(bundle)?.as_bytes())?;
        files.push(file);
    }
    Ok(files)
}

/// What is to be checked, read from files.
struct Files {
    bundle: PathBuf,
    input: Option<Vec<u8>>,
    output: Option<Vec<u8>>,
}

async fn verify(arguments: Verify, home: &Home, output: &Output) -> Result<(), Failure> {
    let files = match &arguments.from {
        Some(folder) => saved(folder, &arguments, home, output).await?,
        None => Files {
            bundle: arguments.bundle.clone().context("say which bundle")?,
            input: arguments.input.as_deref().map(read).transpose()?,
            output: arguments.output.as_deref().map(read).transpose()?,
        },
    };
    let bundle = Bundle::parse(&read(&files.bundle)?)?;
    let id = bundle.request.message.body.model;
    let loaded = Store::open(home.models())?.load(&id.to_string())?;
    let check = Check {
        model: &loaded.model,
        preprocess: &loaded.preprocess,
        trusted: arguments.chain,
        input: files.input.as_deref(),
        output: files.output.as_deref(),
    };
    let mut report = match bundle::verify(&bundle, &check) {
        Ok(report) => report,
        Err(error) => return refuted(&error, output),
    };
    if arguments.replay {
        if let Some(difference) = replay(&bundle, &loaded)? {
            return refuted_by_replay(difference, output);
        }
        report.replayed();
    }
    output.result(&shown(&report, &loaded), &report)
}

/// The files that `chat` or `embed` saved, and the bundle from the gateway.
async fn saved(
    folder: &Path,
    arguments: &Verify,
    home: &Home,
    output: &Output,
) -> Result<Files, Failure> {
    let id = String::from_utf8_lossy(&read(&folder.join("receipt.txt"))?).trim().to_owned();
    let api = Api::new(home, &arguments.gateway)?;
    let limit = Duration::from_secs(180);
    let bundles = fetch(&api, &id, arguments.wait, limit, output).await?;
    let bundle = folder.join("bundle.json");
    save(&bundles, &bundle)?;
    let text = folder.join("answer.txt");
    let answer = if text.exists() { text } else { folder.join("answer.json") };
    let input = read(&folder.join("request.json"))?;
    Ok(Files { bundle, input: Some(input), output: Some(read(&answer)?) })
}

fn refuted(error: &VerifyError, output: &Output) -> Result<(), Failure> {
    let name = format!("{error:?}");
    let name = name.split([' ', '(', '{']).next().unwrap_or_default();
    let object = json!({ "verified": false, "reason": name, "message": error.to_string() });
    output.result(&format!("NOT VERIFIED: {error}"), &object)?;
    Err(Failure::Refuted)
}

fn refuted_by_replay(difference: &'static str, output: &Output) -> Result<(), Failure> {
    let message = format!("run again here, the model gives another {difference}");
    let object = json!({ "verified": false, "reason": "Replay", "message": message });
    output.result(&format!("NOT VERIFIED: {message}"), &object)?;
    Err(Failure::Refuted)
}

/// Runs the model again; what differs, if anything does.
fn replay(bundle: &Bundle, loaded: &Loaded) -> Result<Option<&'static str>, Failure> {
    let (body, receipt) = (&bundle.request.message.body, &bundle.receipt.message);
    let engine = Engine::load(loaded.model.clone(), Options::default())?;
    let sampling = engine::Sampling {
        temperature_milli: body.sampling.temperature_milli,
        top_p_milli: body.sampling.top_p_milli,
        top_k: body.sampling.top_k,
    };
    let job = Job {
        ids: &bundle.input,
        sampling,
        seed: body.seed,
        max_tokens: body.max_tokens,
        stop: &body.stop,
    };
    // Only a payer's cancellation may end an answer before the model does.
    let mut left = match receipt.finish {
        Finish::Cancelled => receipt.n_out,
        Finish::Stop | Finish::Length => u32::MAX,
    };
    let run = engine.generate(&job, &mut |_| {
        left = left.saturating_sub(1);
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if commit::output_commit(&bundle.salt, &run.output) != receipt.output_commit {
        return Ok(Some("output"));
    }
    let trace = commit::trace_commit(&run.trace_root, &bundle.salt);
    Ok((trace != receipt.trace_commit).then_some("trace"))
}

fn shown(report: &Report, loaded: &Loaded) -> String {
    let mut text =
        format!("VERIFIED, level: {}\nassurance: {}\n", report.level.describe(), report.assurance);
    if loaded.entry.test {
        text.push_str("note: a test model; its answers mean nothing\n");
    }
    for finding in &report.findings {
        let standing = match finding.standing {
            Standing::Proven => "proven",
            Standing::Replayable => "replayable",
            Standing::Claimed => "claimed",
            Standing::Unknown => "unknown",
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {standing:10} {:12} {}", finding.subject, finding.statement);
    }
    if report.level < Level::Final {
        text.push_str("once it is final, `receipt get --wait final` brings the rest\n");
    }
    text
}
