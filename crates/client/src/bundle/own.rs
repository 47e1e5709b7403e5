//! The user's own prompt and answer, as the user kept them.
//!
//! Rules: the prompt is the body of the HTTP call, read exactly as a gateway reads it; the answer
//! is the body of the reply or its bare text; an embedding's numbers are exact, so they are
//! compared without tolerance. Never here: a value from the bundle.

use crate::openai::{BodyError, ChatRequest, EmbeddingsRequest, Item, parse};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use preprocess::{Preprocess, PreprocessError};
use serde_json::Value;

/// Elements of a unit row are multiples of 2^-24.
const UNIT: f64 = 16_777_216.0;

/// Why the user's own files cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnError {
    /// The prompt is not a body that a gateway would take.
    #[error("the input file is not the body of the HTTP call: {0}")]
    Body(#[from] BodyError),
    /// The call has no such input.
    #[error("the call has {items} inputs, the bundle is about number {item} (counted from 0)")]
    NoSuchItem {
        /// The bundle's.
        item: u32,
        /// In the body.
        items: usize,
    },
    /// The tokenizer refuses the text.
    #[error("the model's tokenizer refuses the input: {0}")]
    Tokenizer(String),
    /// The answer is not one.
    #[error("the output file is not an answer: {what}")]
    Answer {
        /// What is wrong.
        what: &'static str,
    },
}

impl From<PreprocessError> for OwnError {
    fn from(error: PreprocessError) -> Self {
        Self::Tokenizer(error.to_string())
    }
}

/// What the user asked.
#[derive(Debug)]
pub(super) struct Prompt {
    /// As token ids.
    pub(super) ids: Vec<u32>,
    /// The rest of a chat request; none for an embedding.
    pub(super) chat: Option<ChatRequest>,
}

impl Prompt {
    /// From the body of the HTTP call.
    pub(super) fn read(body: &[u8], item: u32, preprocess: &Preprocess) -> Result<Self, OwnError> {
        let value = parse(body)?;
        if preprocess.is_chat() {
            let chat = ChatRequest::read(value)?;
            let ids = preprocess.chat(&chat.messages)?;
            return Ok(Self { ids, chat: Some(chat) });
        }
        let request = EmbeddingsRequest::read(value)?;
        let items = request.items.len();
        let index = usize::try_from(item).unwrap_or(usize::MAX);
        let ids = match request.items.into_iter().nth(index) {
            None => return Err(OwnError::NoSuchItem { item, items }),
            Some(Item::Ids(ids)) => ids,
            Some(Item::Text(text)) => preprocess.encode(&text)?,
        };
        Ok(Self { ids, chat: None })
    }
}

/// What the user was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The text of a chat.
    Text(String),
    /// The row of an embedding, in units of 2^-24.
    Row(Vec<i32>),
}

impl Answer {
    /// From the body of the reply, or from the bare text.
    pub(super) fn read(file: &[u8], item: u32) -> Result<Self, OwnError> {
        let reply: Value = serde_json::from_slice(file).unwrap_or(Value::Null);
        if let Some(text) = reply["choices"][0]["message"]["content"].as_str() {
            return Ok(Self::Text(text.to_owned()));
        }
        let index = usize::try_from(item).unwrap_or(usize::MAX);
        if let Some(data) = reply["data"].as_array() {
            let entry = data.get(index).map(|entry| &entry["embedding"]);
            let entry = entry.ok_or(OwnError::Answer { what: "it has no such embedding" })?;
            return row(entry).map(Self::Row);
        }
        match String::from_utf8(file.to_vec()) {
            Ok(text) => Ok(Self::Text(text)),
            Err(_) => Err(OwnError::Answer { what: "it is neither JSON nor text" }),
        }
    }

    /// Whether it is the text `told`. An editor's line end after the text does not count.
    pub(super) fn is_text(&self, told: &str) -> bool {
        match self {
            Self::Text(text) => text == told || text.strip_suffix('\n') == Some(told),
            Self::Row(_) => false,
        }
    }
}

/// The exact integers behind an embedding's numbers, in either encoding.
fn row(embedding: &Value) -> Result<Vec<i32>, OwnError> {
    let numbers: Vec<f32> = match embedding {
        Value::Array(numbers) => numbers.iter().filter_map(single).collect(),
        Value::String(packed) => {
            let bytes = STANDARD
                .decode(packed)
                .map_err(|_| OwnError::Answer { what: "its embedding is not base64" })?;
            bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        _ => return Err(OwnError::Answer { what: "its embedding is no list of numbers" }),
    };
    let exact = numbers.iter().map(|number| unit(*number)).collect::<Option<Vec<i32>>>();
    exact.ok_or(OwnError::Answer { what: "a number is not a multiple of 2^-24: it was rounded" })
}

/// The single-precision number that a decimal in JSON stands for.
#[expect(clippy::cast_possible_truncation, reason = "a decimal names the nearest f32")]
fn single(number: &Value) -> Option<f32> {
    number.as_f64().map(|number| number as f32)
}

/// The integer behind a number that must be a multiple of 2^-24 and at most 1.
#[expect(clippy::cast_possible_truncation, reason = "an integer of at most 2^24 after the check")]
fn unit(number: f32) -> Option<i32> {
    let scaled = f64::from(number) * UNIT;
    (scaled.fract() == 0.0 && scaled.abs() <= UNIT).then_some(scaled as i32)
}
