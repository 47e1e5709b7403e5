//! `selvedge chat`: asks a chat model and shows the answer as it comes.
//!
//! Never here: a conversation's memory.

use crate::{
    api::Api,
    home::{GatewayFlags, Home, save},
    output::{Failure, Output},
};
use serde_json::{Value, json};
use std::{
    io::{Write as _, stdout},
    path::PathBuf,
};

/// Of `selvedge chat`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to ask.
    prompt: String,
    /// Which model [default: the first that chats].
    #[arg(long)]
    model: Option<String>,
    /// What the model is told first.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens to generate.
    #[arg(long, default_value_t = 64)]
    max_tokens: u32,
    /// 0 takes the likeliest token each time.
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Seed of the sampling draws; drawn by the gateway if missing.
    #[arg(long)]
    seed: Option<u64>,
    /// Save request.json, answer.txt and the receipt's id here, for `receipt verify`.
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,
    #[command(flatten)]
    gateway: GatewayFlags,
}

/// Asks, shows, saves.
pub(crate) async fn run(arguments: Arguments, home: &Home, output: &Output) -> Result<(), Failure> {
    let api = Api::new(home, &arguments.gateway)?;
    let model = chosen_model(&api, arguments.model.as_ref(), "chat").await?;
    let body = request(&arguments, &model);
    let (mut text, mut usage, mut finish) = (String::new(), Value::Null, Value::Null);
    let receipt = api
        .stream("/chat/completions", &body, |chunk| {
            if let Some(piece) = chunk["choices"][0]["delta"]["content"].as_str() {
                text.push_str(piece);
                if !output.is_json() {
                    print!("{piece}");
                    stdout().flush()?;
                }
            }
            if !chunk["usage"].is_null() {
                usage = chunk["usage"].clone();
            }
            if !chunk["choices"][0]["finish_reason"].is_null() {
                finish = chunk["choices"][0]["finish_reason"].clone();
            }
            Ok(())
        })
        .await?;
    if let Some(folder) = &arguments.save {
        save(folder, &body, ("answer.txt", text.as_bytes()), receipt.as_deref())?;
    }
    let id = receipt.clone().unwrap_or_default();
    output.note(&format!("\nreceipt {id}  ({model}, {} credits)", shown_cost(&usage)));
    output.result(
        "",
        &json!({
            "model": model, "text": text, "finish_reason": finish, "usage": usage,
            "receipt": receipt,
        }),
    )
}

/// What an answer cost, in plain decimals down to a billionth.
pub(crate) fn shown_cost(usage: &Value) -> String {
    let cost = format!("{:.9}", usage["cost"].as_f64().unwrap_or_default());
    cost.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn request(arguments: &Arguments, model: &str) -> Value {
    let mut messages = Vec::new();
    if let Some(system) = &arguments.system {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.push(json!({ "role": "user", "content": arguments.prompt }));
    let mut body = json!({
        "model": model,
        "messages": messages,
        "max_tokens": arguments.max_tokens,
        "temperature": arguments.temperature,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if let Some(seed) = arguments.seed {
        body["seed"] = json!(seed);
    }
    body
}

/// The model that was named, or the first for a task that the gateway lists; a real one before a
/// test model.
pub(crate) async fn chosen_model(
    api: &Api,
    named: Option<&String>,
    task: &str,
) -> Result<String, Failure> {
    if let Some(model) = named {
        return Ok(model.clone());
    }
    let listing = api.get("/models").await?.body;
    let models = listing["data"].as_array().cloned().unwrap_or_default();
    let fitting = |test: bool| {
        models.iter().find(|model| model["task"] == task && model["test_model"] == test)
    };
    let found = fitting(false).or_else(|| fitting(true)).and_then(|model| model["id"].as_str());
    found.map(str::to_owned).ok_or_else(|| {
        anyhow::anyhow!("the gateway lists no model for {task}; say which with --model").into()
    })
}
