//! The body of `POST /v1/embeddings`.
//!
//! Never here: who answers, money.

use super::{
    BodyError,
    fields::{Fields, text, wrong},
};
use serde_json::Value;

/// Items of one call; each is a request with a receipt of its own.
pub const MAX_ITEMS: usize = 256;
/// Tokens of one item given as ids; the model's own bound is checked later and is lower.
const MAX_IDS: usize = 65_536;

/// One thing to embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A text, to be turned into ids by the model's tokenizer.
    Text(String),
    /// Taken as the model's own ids.
    Ids(Vec<u32>),
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON numbers.
    Float,
    /// Little-endian f32 in base64.
    Base64,
}

/// An embeddings request as the caller means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingsRequest {
    /// Name of the model.
    pub model: String,
    /// What to embed; at most [`MAX_ITEMS`].
    pub items: Vec<Item>,
    /// How rows are written.
    pub encoding: Encoding,
    /// Width the caller expects; only the model's own is given.
    pub dimensions: Option<u64>,
}

impl EmbeddingsRequest {
    /// Reads a body that was parsed.
    ///
    /// # Errors
    /// [`BodyError`] names the field.
    pub fn read(body: Value) -> Result<Self, BodyError> {
        let mut fields = Fields::of(body, "")?;
        let model = fields.text("model")?;
        let items = items(fields.required("input")?)?;
        let encoding = match fields.optional("encoding_format") {
            None => Encoding::Float,
            Some(Value::String(format)) if format == "float" => Encoding::Float,
            Some(Value::String(format)) if format == "base64" => Encoding::Base64,
            Some(other) => return Err(fields.wrong("encoding_format", "float or base64", &other)),
        };
        let dimensions = fields.count("dimensions", 1, u64::from(u32::MAX))?;
        // The end user's name is for the caller's own books; it never leaves the gateway.
        fields.optional_text("user")?;
        fields.finish()?;
        Ok(Self { model, items, encoding, dimensions })
    }
}

/// A text, texts, ids, or arrays of ids.
fn items(value: Value) -> Result<Vec<Item>, BodyError> {
    let elements = match value {
        Value::String(text) => return Ok(vec![Item::Text(text)]),
        Value::Array(elements) if !elements.is_empty() => elements,
        other => {
            let expected = "a text, an array of texts, or token ids";
            return Err(wrong("input", expected, &other).of_field("input"));
        }
    };
    if elements.first().is_some_and(Value::is_number) {
        return Ok(vec![Item::Ids(ids(elements, "input")?)]);
    }
    if elements.len() > MAX_ITEMS {
        let expected = format!("an array of at most {MAX_ITEMS} items");
        return Err(wrong("input", &expected, &Value::Array(elements)).of_field("input"));
    }
    let item = |(index, element)| {
        let path = format!("input[{index}]");
        match element {
            Value::Array(elements) => ids(elements, &path).map(Item::Ids),
            other => text(other, &path).map(Item::Text),
        }
    };
    elements.into_iter().enumerate().map(item).collect()
}

fn ids(elements: Vec<Value>, path: &str) -> Result<Vec<u32>, BodyError> {
    if elements.is_empty() || elements.len() > MAX_IDS {
        let expected = format!("1 to {MAX_IDS} token ids");
        return Err(wrong(path, &expected, &Value::Array(elements)).of_field(path));
    }
    let id = |(index, element): (usize, Value)| {
        let id = element.as_u64().and_then(|id| u32::try_from(id).ok());
        let path = format!("{path}[{index}]");
        id.ok_or_else(|| wrong(&path, "a token id", &element).of_field(path))
    };
    elements.into_iter().enumerate().map(id).collect()
}
