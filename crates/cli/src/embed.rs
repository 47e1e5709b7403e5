//! `selvedge embed`: turns text into an embedding.
//!
//! Never here: a rounding; the numbers are printed as they were committed.

use crate::{
    api::Api,
    chat::{chosen_model, shown_cost},
    home::{GatewayFlags, Home, save},
    output::{Failure, Output},
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Numbers shown of each embedding, for people.
const SHOWN: usize = 6;

/// Of `selvedge embed`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The texts.
    #[arg(required = true)]
    texts: Vec<String>,
    /// Which model [default: the first that embeds].
    #[arg(long)]
    model: Option<String>,
    /// Save request.json, answer.json and the receipt's id here, for `receipt verify`.
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,
    #[command(flatten)]
    gateway: GatewayFlags,
}

/// Asks, shows, saves.
pub(crate) async fn run(arguments: Arguments, home: &Home, output: &Output) -> Result<(), Failure> {
    let api = Api::new(home, &arguments.gateway)?;
    let model = chosen_model(&api, arguments.model.as_ref(), "embeddings").await?;
    let body = json!({ "model": model, "input": arguments.texts, "encoding_format": "float" });
    let answer = api.post("/embeddings", &body).await?;
    if let Some(folder) = &arguments.save {
        let rows = serde_json::to_string_pretty(&answer.body)?;
        save(folder, &body, ("answer.json", rows.as_bytes()), answer.receipt.as_deref())?;
    }
    let lines: Vec<String> = shown(&arguments.texts, &answer.body);
    let cost = shown_cost(&answer.body["usage"]);
    let id = answer.receipt.clone().unwrap_or_default();
    output.note(&format!("receipt {id}  ({model}, {cost} credits)"));
    output.result(
        &lines.join("\n"),
        &json!({
            "model": model, "data": answer.body["data"], "usage": answer.body["usage"],
            "receipt": answer.receipt,
        }),
    )
}

fn shown(texts: &[String], body: &Value) -> Vec<String> {
    let rows = body["data"].as_array().cloned().unwrap_or_default();
    let line = |(text, row): (&String, &Value)| {
        let numbers = row["embedding"].as_array().cloned().unwrap_or_default();
        let first: Vec<String> = numbers.iter().take(SHOWN).map(ToString::to_string).collect();
        format!("{text:?}: {} numbers, [{}, …]", numbers.len(), first.join(", "))
    };
    texts.iter().zip(&rows).map(line).collect()
}
