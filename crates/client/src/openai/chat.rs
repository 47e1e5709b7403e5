//! The body of `POST /v1/chat/completions`.
//!
//! Never here: who answers, money.

use super::{
    BodyError,
    fields::{Fields, text, wrong},
};
use ledger::payments::schema::Sampling;
use preprocess::{Message, Role};
use serde_json::{Value, json};

/// Messages of one conversation.
const MAX_MESSAGES: usize = 1_024;
/// Stop strings, as OpenAI bounds them.
const MAX_STOPS: usize = 4;
/// Bytes of one stop string: the gateway holds back this much of a stream at most.
const MAX_STOP_BYTES: usize = 256;
/// Highest temperature, in thousandths.
const MAX_TEMPERATURE_MILLI: u16 = 2_000;

/// A chat request as the caller means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRequest {
    /// Name of the model.
    pub model: String,
    /// What was said so far.
    pub messages: Vec<Message>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Drawn by the gateway when missing.
    pub seed: Option<u64>,
    /// The gateway's default when missing.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Whether the answer comes piece by piece.
    pub stream: bool,
    /// Whether a stream ends with a chunk about usage.
    pub include_usage: bool,
}

impl ChatRequest {
    /// Reads a body that was parsed.
    ///
    /// # Errors
    /// [`BodyError`] names the field.
    pub fn read(body: Value) -> Result<Self, BodyError> {
        let mut fields = Fields::of(body, "")?;
        let model = fields.text("model")?;
        let messages = messages(fields.required("messages")?)?;
        let temperature_milli = fields.thousandths("temperature", MAX_TEMPERATURE_MILLI)?;
        let top_p_milli = fields.thousandths("top_p", 1_000)?;
        let top_k = fields.count("top_k", 0, u64::from(u16::MAX))?.unwrap_or(0);
        let seed = fields.count("seed", 0, u64::MAX)?;
        let newer = fields.count("max_completion_tokens", 1, u64::from(u32::MAX))?;
        let older = fields.count("max_tokens", 1, u64::from(u32::MAX))?;
        let stop = stops(&mut fields)?;
        let stream = fields.flag("stream")?;
        let include_usage = stream_options(&mut fields)?;
        without_effect(&mut fields)?;
        fields.finish()?;
        Ok(Self {
            model,
            messages,
            sampling: Sampling {
                temperature_milli: temperature_milli.unwrap_or(1_000),
                top_p_milli: top_p_milli.unwrap_or(1_000),
                top_k: u16::try_from(top_k).unwrap_or(u16::MAX),
            },
            seed,
            max_tokens: newer.or(older).and_then(|count| u32::try_from(count).ok()),
            stop,
            stream,
            include_usage,
        })
    }
}

/// Fields that common clients send although their value changes nothing.
fn without_effect(fields: &mut Fields) -> Result<(), BodyError> {
    fields.without_effect("n", &[json!(1)])?;
    fields.without_effect("presence_penalty", &[json!(0)])?;
    fields.without_effect("frequency_penalty", &[json!(0)])?;
    fields.without_effect("logprobs", &[json!(false)])?;
    fields.without_effect("top_logprobs", &[json!(0)])?;
    fields.without_effect("logit_bias", &[json!({})])?;
    fields.without_effect("response_format", &[json!({"type": "text"})])?;
    fields.without_effect("store", &[json!(false)])?;
    fields.without_effect("service_tier", &[json!("auto"), json!("default")])?;
    fields.without_effect("tools", &[json!([])])?;
    fields.without_effect("tool_choice", &[json!("none"), json!("auto")])?;
    // The end user's name is for the caller's own books; it never leaves the gateway.
    fields.optional_text("user").map(drop)
}

fn messages(value: Value) -> Result<Vec<Message>, BodyError> {
    let Value::Array(elements) = value else {
        return Err(wrong("messages", "an array of messages", &value).of_field("messages"));
    };
    if elements.is_empty() || elements.len() > MAX_MESSAGES {
        let expected = format!("an array of 1 to {MAX_MESSAGES} messages");
        return Err(wrong("messages", &expected, &Value::Array(elements)).of_field("messages"));
    }
    elements.into_iter().enumerate().map(|(index, element)| message(index, element)).collect()
}

fn message(index: usize, value: Value) -> Result<Message, BodyError> {
    let mut fields = Fields::of(value, format!("messages[{index}]"))?;
    let role = match fields.required("role")? {
        Value::String(role) if role == "system" || role == "developer" => Role::System,
        Value::String(role) if role == "user" => Role::User,
        Value::String(role) if role == "assistant" => Role::Assistant,
        other => return Err(fields.wrong("role", "system, user or assistant", &other)),
    };
    let path = fields.path("content");
    let content = match fields.required("content")? {
        Value::String(text) => text,
        Value::Array(parts) => text_parts(parts, &path)?,
        other => return Err(fields.wrong("content", "a text", &other)),
    };
    fields.finish()?;
    Ok(Message { role, content })
}

/// The texts of a content in parts, one after the other.
fn text_parts(parts: Vec<Value>, path: &str) -> Result<String, BodyError> {
    let mut content = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        let mut fields = Fields::of(part, format!("{path}[{index}]"))?;
        match fields.required("type")? {
            Value::String(kind) if kind == "text" => content.push_str(&fields.text("text")?),
            other => return Err(fields.wrong("type", "text", &other)),
        }
        fields.finish()?;
    }
    Ok(content)
}

fn stops(fields: &mut Fields) -> Result<Vec<String>, BodyError> {
    let value = fields.optional("stop");
    let stops = match value {
        None => return Ok(Vec::new()),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(elements)) if elements.len() <= MAX_STOPS => elements
            .into_iter()
            .enumerate()
            .map(|(index, element)| text(element, &format!("stop[{index}]")))
            .collect::<Result<_, _>>()?,
        Some(other) => {
            let expected = format!("a text or an array of at most {MAX_STOPS} texts");
            return Err(fields.wrong("stop", &expected, &other));
        }
    };
    match stops.iter().find(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
        None => Ok(stops),
        Some(stop) => {
            let expected = format!("of 1 to {MAX_STOP_BYTES} bytes each");
            Err(fields.wrong("stop", &expected, &json!(stop)))
        }
    }
}

/// Whether the stream should end with a chunk about usage.
fn stream_options(fields: &mut Fields) -> Result<bool, BodyError> {
    let Some(options) = fields.optional("stream_options") else { return Ok(false) };
    let mut options = Fields::of(options, "stream_options")?;
    let include_usage = options.flag("include_usage")?;
    options.without_effect("include_obfuscation", &[json!(false)])?;
    options.finish()?;
    Ok(include_usage)
}
