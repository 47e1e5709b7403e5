//! What a source is: its architecture and numbers, read from GGUF metadata or a `config.json`.
//!
//! Whatever would change the arithmetic and is not supported is refused by name, never ignored.

use serde_json::Value as Json;

use super::Files;
use crate::import::gguf::{Gguf, Value, missing};
use crate::import::onnx::Shape;
use crate::import::source::Source;
use crate::import::{Architecture, Around, Chat, ImportError, Recipe, Scales, SourceFiles};

/// Room above the largest possible value, for the rounding of weights.
const HEADROOM_MILLI: u32 = 4;
/// Part of `max_positions` that is left for answers.
const ANSWER_SHARE: u32 = 8;

/// The recipe for a source before it is calibrated: `licence` is taken where the source names none.
///
/// # Errors
/// An architecture that is not known, or a field that is missing or not supported.
pub(super) fn draft(
    files: &Files,
    source: &Source<'_>,
    licence: Option<&str>,
) -> Result<Recipe, ImportError> {
    let mut recipe = match (source.gguf(), source.onnx()) {
        (Some(file), _) => from_gguf(file)?,
        (_, Some(file)) => from_onnx(files, source, &file.shape)?,
        _ => from_config(&json("config.json", files.config.as_deref())?)?,
    };
    if let Some(licence) = licence {
        licence.clone_into(&mut recipe.licence);
    }
    if recipe.chat.is_none() && recipe.architecture == Architecture::Llama {
        let config = files.tokenizer_config.as_deref();
        let config = config.map(|bytes| json("tokenizer_config.json", Some(bytes))).transpose()?;
        let template = config.as_ref().and_then(|config| config["chat_template"].as_str());
        // Exporters write the template into a file of its own of late.
        recipe.chat = template.or(files.chat_template.as_deref()).and_then(chat_markup);
    }
    recipe.source.weights.clone_from(&files.name);
    recipe.source.tokenizer = files.tokenizer.as_ref().map(|_| "tokenizer.json".to_owned());
    if recipe.licence.is_empty() {
        return Err(ImportError::NoLicence);
    }
    Ok(recipe)
}

fn json(name: &str, bytes: Option<&[u8]>) -> Result<Json, ImportError> {
    let refused = |reason: String| ImportError::Config { name: name.to_owned(), reason };
    let bytes = bytes.ok_or_else(|| refused("it does not lie beside the weights".to_owned()))?;
    serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))
}

fn blank(architecture: Architecture) -> Recipe {
    Recipe {
        architecture,
        licence: String::new(),
        heads: 0,
        key_heads: None,
        norm_epsilon: 0.0,
        rope_base: None,
        max_input: 0,
        max_positions: None,
        stop_ids: Vec::new(),
        source: SourceFiles { weights: String::new(), tokenizer: None, licence: None },
        scales: Scales { residual_bits: vec![16], headroom_milli: HEADROOM_MILLI },
        chat: None,
        vectors: Vec::new(),
    }
}

/// Input and positions of a decoder whose context is `context`.
fn lengths(recipe: &mut Recipe, context: u32) {
    let positions = context.min(model::constants::POSITIONS_MAX);
    recipe.max_positions = Some(positions);
    recipe.max_input = (positions - positions / ANSWER_SHARE).max(1);
}

/// Context and stops of a decoder, from a configuration of this name.
fn ending(
    recipe: &mut Recipe,
    name: &str,
    config: &Json,
    context: &str,
) -> Result<(), ImportError> {
    let length = config[context].as_u64().and_then(|value| u32::try_from(value).ok());
    let refused = || ImportError::Config {
        name: name.to_owned(),
        reason: format!("{context} should be a whole number"),
    };
    lengths(recipe, length.ok_or_else(refused)?);
    let ids = match &config["eos_token_id"] {
        Json::Array(ids) => ids.iter().filter_map(Json::as_u64).collect(),
        id => id.as_u64().into_iter().collect::<Vec<u64>>(),
    };
    recipe.stop_ids = ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
    recipe.stop_ids.sort_unstable();
    Ok(())
}

fn from_gguf(file: &Gguf<'_>) -> Result<Recipe, ImportError> {
    let name = file.text("general.architecture")?;
    if name != "llama" {
        return Err(ImportError::Architecture { name: name.to_owned(), known: "llama" });
    }
    let has = |key: &str| file.get(key).is_some();
    let scaled = match file.get("llama.rope.scaling.type") {
        Some(Value::Text(kind)) => *kind != "none",
        other => other.is_some(),
    };
    let unsupported = |feature: &str| ImportError::Unsupported { feature: feature.to_owned() };
    if scaled || file.tensor("rope_freqs.weight")?.is_some() {
        return Err(unsupported("scaled rotation frequencies"));
    }
    if has("llama.expert_count") {
        return Err(unsupported("mixtures of experts"));
    }
    let mut recipe = blank(Architecture::Llama);
    recipe.heads = file.integer("llama.attention.head_count")?;
    if has("llama.attention.head_count_kv") {
        recipe.key_heads = Some(file.integer("llama.attention.head_count_kv")?);
    }
    recipe.norm_epsilon = float(file, "llama.attention.layer_norm_rms_epsilon")?;
    recipe.rope_base = Some(if has("llama.rope.freq_base") {
        float(file, "llama.rope.freq_base")?
    } else {
        10_000.0
    });
    lengths(&mut recipe, file.integer("llama.context_length")?);
    recipe.stop_ids = vec![file.integer("tokenizer.ggml.eos_token_id")?];
    if let Some(Value::Text(licence)) = file.get("general.license") {
        recipe.licence = spdx(licence);
    }
    if let Some(Value::Text(template)) = file.get("tokenizer.chat_template") {
        recipe.chat = chat_markup(template);
    }
    Ok(recipe)
}

/// What the graph tells, and for a decoder context and stops from what lies beside it.
fn from_onnx(files: &Files, source: &Source<'_>, graph: &Shape) -> Result<Recipe, ImportError> {
    let mut recipe = blank(graph.architecture);
    (recipe.heads, recipe.key_heads) = (graph.heads, graph.key_heads);
    (recipe.norm_epsilon, recipe.rope_base) = (graph.norm_epsilon, graph.rope_base);
    match graph.architecture {
        Architecture::Bert => {
            recipe.max_input = source.rows("embeddings.position_embeddings.weight")?;
        }
        Architecture::Llama => match (&files.config, &files.runtime_config) {
            (None, Some(bytes)) => {
                let name = "genai_config.json";
                let config = json(name, Some(bytes))?;
                ending(&mut recipe, name, &config["model"], "context_length")?;
            }
            (bytes, _) => {
                let name = "config.json";
                let config = json(name, bytes.as_deref())?;
                check_plain(&config)?;
                ending(&mut recipe, name, &config, "max_position_embeddings")?;
                check_graph(graph, &config)?;
            }
        },
    }
    Ok(recipe)
}

/// What a decoder's configuration may say that its weights do not show: windows, and frequencies
/// of a longer context.
fn check_plain(config: &Json) -> Result<(), ImportError> {
    let refused = |key: &str, reason: &str| {
        let reason = format!("{key} is {} there; {reason}", config[key]);
        Err(ImportError::Config { name: "config.json".to_owned(), reason })
    };
    let window = "sliding_window";
    if !config[window].is_null() && config["use_sliding_window"] != Json::Bool(false) {
        return refused(window, "a position that sees only the last few is not supported");
    }
    for key in ["rope_scaling", "rope_parameters"] {
        let kind = |name: &str| config[key].get(name).and_then(Json::as_str);
        let default = kind("rope_type").or_else(|| kind("type")) == Some("default");
        if !config[key].is_null() && !default {
            return refused(key, "scaled rotation frequencies are not supported");
        }
    }
    Ok(())
}

/// A configuration that says something else than the graph belongs to another one.
fn check_graph(graph: &Shape, config: &Json) -> Result<(), ImportError> {
    let key_heads = graph.key_heads.unwrap_or(graph.heads);
    let same = [
        ("num_attention_heads", f64::from(graph.heads)),
        ("num_key_value_heads", f64::from(key_heads)),
        ("rms_norm_eps", graph.norm_epsilon),
        ("rope_theta", graph.rope_base.unwrap_or(0.0)),
    ];
    for (key, expected) in same {
        // Converters leave what 32 bits made of a decimal.
        let other = |found: &f64| (found - expected).abs() > expected * 1e-6;
        if let Some(found) = config[key].as_f64().filter(other) {
            let reason = format!("{key} is {found} there and {expected} in the graph");
            return Err(ImportError::Config { name: "config.json".to_owned(), reason });
        }
    }
    Ok(())
}

/// A number that must be there.
fn float(file: &Gguf<'_>, key: &str) -> Result<f64, ImportError> {
    match file.get(key) {
        Some(Value::Float(value)) => Ok(*value),
        other => Err(missing(key, "a number", other)),
    }
}

/// The usual writing of a licence that files name in small letters.
fn spdx(name: &str) -> String {
    match name {
        "apache-2.0" => "Apache-2.0".to_owned(),
        "mit" => "MIT".to_owned(),
        other => other.to_owned(),
    }
}

fn from_config(config: &Json) -> Result<Recipe, ImportError> {
    let refused = |reason: String| ImportError::Config { name: "config.json".to_owned(), reason };
    let integer = |key: &str| {
        let value = config[key].as_u64().and_then(|value| u32::try_from(value).ok());
        value.ok_or_else(|| refused(format!("{key} should be a whole number")))
    };
    let float = |key: &str| {
        config[key].as_f64().ok_or_else(|| refused(format!("{key} should be a number")))
    };
    let must = |key: &str, expected: &str| match config[key].as_str() {
        Some(found) if found != expected => {
            Err(ImportError::Unsupported { feature: format!("{key} = {found:?}") })
        }
        _ => Ok(()),
    };
    let kind = config["model_type"].as_str().unwrap_or("");
    let mut recipe = match kind {
        "bert" => {
            must("hidden_act", "gelu")?;
            must("position_embedding_type", "absolute")?;
            let mut recipe = blank(Architecture::Bert);
            recipe.norm_epsilon = float("layer_norm_eps")?;
            recipe.max_input = integer("max_position_embeddings")?;
            recipe
        }
        "llama" => {
            must("hidden_act", "silu")?;
            check_plain(config)?;
            let mut recipe = blank(Architecture::Llama);
            recipe.norm_epsilon = float("rms_norm_eps")?;
            // Converters of late write the base beside the kind of rotation.
            let base = [&config["rope_theta"], &config["rope_parameters"]["rope_theta"]];
            recipe.rope_base = Some(base.into_iter().find_map(Json::as_f64).unwrap_or(10_000.0));
            if !config["num_key_value_heads"].is_null() {
                recipe.key_heads = Some(integer("num_key_value_heads")?);
            }
            ending(&mut recipe, "config.json", config, "max_position_embeddings")?;
            recipe
        }
        other => {
            let known = "bert, llama";
            return Err(ImportError::Architecture { name: other.to_owned(), known });
        }
    };
    recipe.heads = integer("num_attention_heads")?;
    Ok(recipe)
}

/// The markup of a chat template in the form `<|im_start|>role … <|im_end|>`; others are not known,
/// and a template language is not run.
fn chat_markup(template: &str) -> Option<Chat> {
    const START: &str = "<|im_start|>";
    const END: &str = "<|im_end|>";
    if !template.contains(START) || !template.contains(END) {
        return None;
    }
    let system = format!("{START}system");
    let default = template.split(system.as_str()).skip(1).find_map(|rest| {
        let rest = rest.strip_prefix('\n').or(rest.strip_prefix("\\n"))?;
        let (text, _) = rest.split_once(END)?;
        (!text.is_empty() && !text.contains(['{', '\''])).then(|| text.to_owned())
    });
    let around =
        |role: &str| Around { prefix: format!("{START}{role}\n"), suffix: format!("{END}\n") };
    Some(Chat {
        start: String::new(),
        default_system: default.unwrap_or_default(),
        system: around("system"),
        user: around("user"),
        assistant: around("assistant"),
        answer: format!("{START}assistant\n"),
    })
}
