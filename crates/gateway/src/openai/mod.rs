//! OpenAI's wire format: what is sent back. Bodies are read by `client::openai`, so that a
//! verifier reads them as we do.
//!
//! Never here: operators, receipts' content.

pub(crate) mod chat;
pub(crate) mod embeddings;

use serde_json::{Value, json};
use units::Credit;

/// What a task took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
    /// What the caller is billed.
    pub(crate) cost: Credit,
}

impl Usage {
    /// As a chat answer shows it.
    pub(crate) fn chat(&self) -> Value {
        json!({
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in.saturating_add(self.tokens_out),
            "cost": credits(self.cost),
        })
    }

    /// As an embeddings answer shows it.
    pub(crate) fn embeddings(&self) -> Value {
        json!({
            "prompt_tokens": self.tokens_in,
            "total_tokens": self.tokens_in,
            "cost": credits(self.cost),
        })
    }
}

/// Credits as the plain JSON number that OpenAI clients expect; the bundle has it exactly.
pub(crate) fn credits(amount: Credit) -> Value {
    json!(amount.get() as f64 / 1e9)
}

#[cfg(test)]
mod tests;
