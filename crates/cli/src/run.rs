//! `selvedge run`: runs a model on this machine, without a network, a chain or a receipt.
//!
//! What it prints beside the answer are the commitments that a receipt for the same run carries, so
//! that two people can compare what they got. Never here: a model that is not on this machine.

use crate::{
    home::Home,
    model::{Local, local},
    output::{Failure, Output},
};
use anyhow::anyhow;
use crypto::Salt;
use engine::{BackendKind, Engine, Finish, Job, Options, Run, Sampling};
use model::{Output as Given, Task, commit};
use preprocess::{Message, Role, StopMatcher, StreamDecoder};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _, stdin, stdout},
    ops::ControlFlow,
    time::{Duration, Instant},
};

/// Numbers shown of an embedding, for people.
const SHOWN: usize = 6;
/// Most bytes read from standard input: far more than any context holds.
const INPUT_MAX: u64 = 1 << 20;

/// Of `selvedge run`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which model: a name or id of the catalogue, or a model file.
    model: String,
    /// What to ask or to embed; `-` reads standard input.
    input: String,
    /// What a chat model is told first.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens to generate.
    #[arg(long, default_value_t = 256)]
    max_tokens: u32,
    /// 0 takes the likeliest token each time; at most 2.
    #[arg(long, default_value_t = 0.0, value_parser = thousandths::<2_000>)]
    temperature: f64,
    /// Share of the probability that is kept, 0 to 1.
    #[arg(long, default_value_t = 1.0, value_parser = thousandths::<1_000>)]
    top_p: f64,
    /// How many of the likeliest tokens are kept; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    top_k: u16,
    /// Seed of the sampling draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Text that ends the answer; may be given up to four times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Which kernels to use [default: the fastest that this machine has].
    #[arg(long, value_parser = backend)]
    backend: Option<BackendKind>,
    /// Threads [default: all cores].
    #[arg(long)]
    threads: Option<usize>,
}

/// A number from 0 to `MOST` thousandths, in steps of a thousandth.
fn thousandths<const MOST: u16>(text: &str) -> Result<f64, String> {
    let most = f64::from(MOST) / 1_000.0;
    match text.parse::<f64>() {
        Ok(value) if (0.0..=most).contains(&value) => Ok(value),
        _ => Err(format!("give a number from 0 to {most}")),
    }
}

fn milli(value: f64) -> u16 {
    // In range: the parser checked it.
    (value * 1_000.0).round() as u16
}

fn backend(text: &str) -> Result<BackendKind, String> {
    let kinds = BackendKind::available();
    kinds.iter().copied().find(|kind| kind.name() == text).ok_or_else(|| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        format!("this machine has {}", names.join(", "))
    })
}

/// Loads, runs, shows.
pub(crate) fn run(arguments: &Arguments, home: &Home, output: &Output) -> Result<(), Failure> {
    let started = Instant::now();
    let local = local(home, &arguments.model)?;
    let mut options = Options { backend: arguments.backend, ..Options::default() };
    if let Some(threads) = arguments.threads {
        options.threads = threads;
    }
    let engine = Engine::load(local.model.clone(), options)?;
    let load = started.elapsed();
    if local.test {
        output.note("a test model: its answers mean nothing");
    }
    let text = input(&arguments.input)?;
    let outcome = match local.model.facts().task {
        Task::Generate => chat(arguments, &local, &engine, text, output)?,
        Task::Embed => embed(&local, &engine, &text)?,
    };
    let object = json!({
        "model": local.name,
        "id": local.model.id(),
        "semantics": local.model.manifest().semantics,
        "test": local.test,
        "text": outcome.text,
        "embedding": outcome.embedding,
        "finish_reason": outcome.finish,
        "usage": { "prompt_tokens": outcome.run.n_in, "completion_tokens": outcome.run.n_out },
        "timing": timing(load, &outcome),
        "backend": engine.backend().name(),
        "commitments": commitments(&outcome),
    });
    output.note(&remark(&object));
    output.result(&outcome.shown, &object)
}

/// What came of a run.
struct Outcome {
    ids: Vec<u32>,
    run: Run,
    /// Not printed yet.
    shown: String,
    text: Option<String>,
    embedding: Option<Vec<f32>>,
    finish: &'static str,
    first: Duration,
    whole: Duration,
}

fn input(argument: &str) -> Result<String, Failure> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut bytes = Vec::new();
    stdin().take(INPUT_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > INPUT_MAX {
        return Err(anyhow!("the input is over {INPUT_MAX} bytes; give less").into());
    }
    String::from_utf8(bytes).map_err(|_| anyhow!("the input is not UTF-8 text").into())
}

fn chat(
    arguments: &Arguments,
    local: &Local,
    engine: &Engine,
    text: String,
    output: &Output,
) -> Result<Outcome, Failure> {
    let system = arguments.system.clone();
    let system = system.map(|content| Message { role: Role::System, content });
    let asked = Message { role: Role::User, content: text };
    let messages: Vec<Message> = system.into_iter().chain([asked]).collect();
    let ids = local.preprocess.chat(&messages)?;
    let sampling = Sampling {
        temperature_milli: milli(arguments.temperature),
        top_p_milli: milli(arguments.top_p),
        top_k: arguments.top_k,
    };
    let (seed, max_tokens) = (arguments.seed, arguments.max_tokens);
    let job = Job { ids: &ids, sampling, seed, max_tokens, stop: &[] };
    let mut decoder = StreamDecoder::new(local.preprocess.clone());
    let mut matcher = StopMatcher::new(arguments.stop.clone())?;
    let mut answer = String::new();
    let mut show = |piece: &str| {
        answer.push_str(piece);
        if !output.is_json() {
            print!("{piece}");
            // A reader that is gone shows in the last line.
            stdout().flush().ok();
        }
    };
    let started = Instant::now();
    let (mut first, mut stopped) = (None, false);
    let run = engine.generate(&job, &mut |token| {
        first.get_or_insert_with(|| started.elapsed());
        let matched = matcher.push(&decoder.push(token));
        show(&matched.text);
        stopped = matched.stop.is_some();
        if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let whole = started.elapsed();
    if !stopped {
        let matched = matcher.push(&decoder.finish());
        show(&matched.text);
        show(&matcher.finish().text);
    }
    let finish = match run.finish {
        Finish::Length => "length",
        Finish::Stop | Finish::Cancelled => "stop",
    };
    Ok(Outcome {
        ids,
        run,
        shown: String::new(),
        text: Some(answer),
        embedding: None,
        finish,
        first: first.unwrap_or(whole),
        whole,
    })
}

fn embed(local: &Local, engine: &Engine, text: &str) -> Result<Outcome, Failure> {
    let ids = local.preprocess.encode(text)?;
    let started = Instant::now();
    let run = engine.generate(&Job::embed(&ids), &mut |_| ControlFlow::Continue(()))?;
    let whole = started.elapsed();
    let Given::Row(row) = &run.output else {
        return Err(anyhow!("the model gave tokens where a row was due").into());
    };
    // |q| ≤ 2^24, so each quotient is exact.
    let embedding: Vec<f32> = row.iter().map(|q| *q as f32 / 16_777_216.0).collect();
    let numbers: Vec<String> = embedding.iter().take(SHOWN).map(ToString::to_string).collect();
    let shown = format!("{} numbers, [{}, …]", embedding.len(), numbers.join(", "));
    let (text, embedding) = (None, Some(embedding));
    Ok(Outcome { ids, run, shown, text, embedding, finish: "stop", first: whole, whole })
}

fn timing(load: Duration, outcome: &Outcome) -> Value {
    let millis = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let later = f64::from(outcome.run.n_out.saturating_sub(1));
    let decoding = (outcome.whole - outcome.first).as_secs_f64();
    let rate = |count: f64, seconds: f64| (seconds > 0.0).then(|| (count / seconds).round());
    json!({
        "load_ms": millis(load),
        "first_token_ms": millis(outcome.first),
        "total_ms": millis(outcome.whole),
        "prompt_tokens_per_second": rate(f64::from(outcome.run.n_in), outcome.first.as_secs_f64()),
        "tokens_per_second": if later > 0.0 { rate(later, decoding) } else { None },
    })
}

/// As a receipt carries them, under a salt of zeros: no one else's salt is known here.
fn commitments(outcome: &Outcome) -> Value {
    let salt = Salt::new([0; 32]);
    json!({
        "salt": salt,
        "input_commit": commit::input_commit(&salt, &outcome.ids),
        "output_commit": commit::output_commit(&salt, &outcome.run.output),
        "trace_root": outcome.run.trace_root,
        "trace_commit": commit::trace_commit(&outcome.run.trace_root, &salt),
    })
}

fn remark(object: &Value) -> String {
    let timing = &object["timing"];
    let rate = match &timing["tokens_per_second"] {
        Value::Null => String::new(),
        rate => format!(", {rate} tokens/s"),
    };
    format!(
        "\n{} + {} tokens, loaded in {} ms, first token after {} ms{rate}\ntrace {}",
        object["usage"]["prompt_tokens"],
        object["usage"]["completion_tokens"],
        timing["load_ms"],
        timing["first_token_ms"],
        object["commitments"]["trace_root"].as_str().unwrap_or_default(),
    )
}
