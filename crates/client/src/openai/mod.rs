//! OpenAI's request bodies, read strictly: by the gateway to serve them, by a verifier to know
//! what its user asked. One reading for both, so that they cannot differ.
//!
//! Never here: answers, HTTP.

mod chat;
mod embeddings;
mod fields;
mod json;

pub use chat::ChatRequest;
pub use embeddings::{EmbeddingsRequest, Encoding, Item, MAX_ITEMS};

use serde_json::Value;

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// It is not JSON as we read it.
    InvalidJson,
    /// A field has a value outside its type or range.
    InvalidValue,
    /// A field that must stand is absent.
    MissingField,
    /// A field would have to be ignored.
    UnsupportedField,
}

/// A body that is refused: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BodyError {
    /// The class.
    pub problem: Problem,
    /// What is wrong, with the numbers.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// What to do about it.
    pub hint: String,
}

impl BodyError {
    fn new(problem: Problem, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem, message: message.into(), param: None, hint: hint.into() }
    }

    fn of_field(mut self, field: impl Into<String>) -> Self {
        self.param = Some(field.into());
        self
    }
}

/// Parses a body: nesting is bounded and no key stands twice.
///
/// # Errors
/// [`BodyError`] names the place.
pub fn parse(body: &[u8]) -> Result<Value, BodyError> {
    json::parse(body).map_err(|error| {
        let place = if error.path.is_empty() { "the body" } else { &error.path };
        let message = format!("{place} is not valid: {}", error.reason);
        let refused = BodyError::new(Problem::InvalidJson, message, "send one JSON object");
        if error.path.is_empty() { refused } else { refused.of_field(error.path) }
    })
}

#[cfg(test)]
mod tests;
