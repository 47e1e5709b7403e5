//! `selvedge model import`: turns a weight file into integers and says what that cost.
//!
//! Rules: the model and the recipe that makes it again are written side by side, and only once all
//! is done. Never here: a scale.

use crate::{
    home::write,
    output::{Failure, Output},
};
use engine::import::calibrate::{
    Imported, Report, Stage, Wishes, accuracy::Accuracy, float::Part, import_path, report::Range,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::{fmt::Write as _, path::PathBuf};

/// Of `selvedge model import`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A weight file, or the folder with weights, configuration and tokenizer.
    source: PathBuf,
    /// Where the model goes; its recipe lies beside it, named `.toml` [default: the source's name].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Licence of the weights, if the source does not name one: a short SPDX expression.
    #[arg(long)]
    licence: Option<String>,
    /// Compare the integers with the float original; takes minutes for a language model.
    #[arg(long)]
    accuracy: bool,
}

/// Imports, writes both files, reports.
pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let wishes =
        Wishes { licence: arguments.licence.as_deref(), accuracy: arguments.accuracy, threads: 0 };
    let bar = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.set_style(ProgressStyle::with_template("{msg:14} {wide_bar} {pos}/{len}")?);
    let imported = import_path(&arguments.source, &wishes, &mut |stage, done, total| {
        bar.set_message(match stage {
            Stage::Calibrating => "calibrating",
            Stage::Quantising => "into integers",
            Stage::Comparing => "comparing",
        });
        bar.set_length(total.try_into().unwrap_or(u64::MAX));
        bar.set_position(done.try_into().unwrap_or(u64::MAX));
    })?;
    bar.finish_and_clear();
    let default = || arguments.source.with_extension("cir");
    let file = arguments.output.clone().unwrap_or_else(default);
    let recipe = file.with_extension("toml");
    write(&file, &imported.model.to_bytes())?;
    write(&recipe, imported.recipe.write()?.as_bytes())?;
    let text = format!(
        "{}{}\nmodel  {file}\nrecipe {}\nnext: selvedge run {file} TEXT",
        shown(&imported.report),
        imported.model.id(),
        recipe.display(),
        file = file.display(),
    );
    output.result(
        &text,
        &json!({
            "id": imported.model.id(),
            "model": file,
            "recipe": recipe,
            "report": object(&imported),
        }),
    )
}

const fn part(part: Part) -> &'static str {
    match part {
        Part::Stream => "stream",
        Part::Query => "query",
        Part::Key => "key",
        Part::Value => "value",
        Part::Gate => "gate",
        Part::Up => "up",
    }
}

fn shown(report: &Report) -> String {
    let mut text = String::from("block  part    certified     seen   unused bits\n");
    for range in &report.ranges {
        let mark = if range.warns() { "  <- check this" } else { "" };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{:5}  {:6} {:10.0} {:8.0}   {:5.1}{mark}",
            range.block,
            part(range.part),
            range.certified,
            range.seen,
            range.unused_bits(),
        );
    }
    let _ = writeln!(
        text,
        "{} of {} ranges warn, seen over {} tokens",
        report.warnings().count(),
        report.ranges.len(),
        report.tokens
    );
    if !report.unused.is_empty() {
        let _ = writeln!(text, "tensors that no op uses: {}", report.unused.join(", "));
    }
    match &report.accuracy {
        None => {}
        Some(Accuracy::Decoder(found)) => {
            let _ = writeln!(
                text,
                "beside the float original, {} tokens: divergence {:.4} nats, same best token \
                 {:.1} %, perplexity {:.2} ({:+.2} %)",
                found.tokens,
                found.divergence,
                found.same_best * 100.0,
                found.perplexity,
                found.perplexity_change * 100.0
            );
        }
        Some(Accuracy::Encoder(found)) => {
            let _ = writeln!(
                text,
                "beside the float original, {} texts: cosine {:.5} mean, {:.5} least, same \
                 nearest text {:.1} %",
                found.texts,
                found.cosine_mean,
                found.cosine_least,
                found.same_neighbour * 100.0
            );
        }
    }
    text
}

fn object(imported: &Imported) -> Value {
    let report = &imported.report;
    let range = |range: &Range| {
        json!({
            "block": range.block, "part": part(range.part), "certified": range.certified,
            "seen": range.seen, "unused_bits": range.unused_bits(), "warns": range.warns(),
        })
    };
    let accuracy = report.accuracy.as_ref().map(|accuracy| match accuracy {
        Accuracy::Decoder(found) => json!({
            "tokens": found.tokens, "divergence": found.divergence,
            "same_best": found.same_best, "perplexity": found.perplexity,
            "perplexity_change": found.perplexity_change,
        }),
        Accuracy::Encoder(found) => json!({
            "texts": found.texts, "cosine_mean": found.cosine_mean,
            "cosine_least": found.cosine_least, "same_neighbour": found.same_neighbour,
        }),
    });
    json!({
        "tokens": report.tokens,
        "ranges": report.ranges.iter().map(range).collect::<Vec<_>>(),
        "unused_tensors": report.unused,
        "accuracy": accuracy,
    })
}
