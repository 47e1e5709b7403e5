//! How a chat answer is written, whole or in chunks.
//!
//! Never here: who answered, money beyond the figure that is shown.

use super::Usage;
use serde_json::{Value, json};

/// What every object of one answer repeats.
#[derive(Debug, Clone)]
pub(crate) struct ChatHead {
    /// The task's id, which is also the receipt's.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
}

impl ChatHead {
    /// The whole answer.
    pub(crate) fn completion(&self, text: &str, finish: &str, usage: &Usage) -> Value {
        json!({
            "id": self.completion_id(),
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": finish,
            }],
            "usage": usage.chat(),
            "receipt": {"id": self.id},
        })
    }

    /// The first chunk: who speaks.
    pub(crate) fn opening(&self) -> Value {
        self.chunk(json!([choice(&json!({"role": "assistant", "content": ""}), None)]))
    }

    /// A chunk of text.
    pub(crate) fn delta(&self, text: &str) -> Value {
        self.chunk(json!([choice(&json!({"content": text}), None)]))
    }

    /// The chunk that says why the text ends, and names the receipt.
    pub(crate) fn ending(&self, finish: &str) -> Value {
        self.named(self.chunk(json!([choice(&json!({}), Some(finish))])))
    }

    /// A chunk without content: the best sign of life, because every client takes it.
    pub(crate) fn keep_alive(&self) -> Value {
        self.chunk(json!([]))
    }

    /// The last chunk, about usage. `choices` must be empty, or proxies lose the numbers.
    pub(crate) fn closing(&self, usage: &Usage) -> Value {
        let mut chunk = self.chunk(json!([]));
        if let Some(object) = chunk.as_object_mut() {
            object.insert("usage".into(), usage.chat());
        }
        self.named(chunk)
    }

    fn named(&self, mut chunk: Value) -> Value {
        if let Some(object) = chunk.as_object_mut() {
            object.insert("receipt".into(), json!({"id": self.id}));
        }
        chunk
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.completion_id(),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    fn completion_id(&self) -> String {
        format!("chatcmpl-{}", self.id)
    }
}

fn choice(delta: &Value, finish: Option<&str>) -> Value {
    json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish})
}
