//! How embeddings are written.
//!
//! A row is integers q with |q| ≤ 2^24; what is sent is q · 2^-24, exact as f32. Base64 carries
//! those f32, JSON their shortest decimals, so that who multiplies by 2^24 has q again.
//! Never here: who answered, money beyond the figure that is shown.

use super::Usage;
use base64::{Engine, engine::general_purpose::STANDARD};
use client::openai::Encoding;
use serde_json::{Value, json};

/// Writes the whole answer.
pub(crate) fn embeddings(
    id: &str,
    model: &str,
    rows: &[Vec<i32>],
    encoding: Encoding,
    usage: &Usage,
) -> Value {
    let data: Vec<Value> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            json!({"object": "embedding", "index": index, "embedding": embedding(row, encoding)})
        })
        .collect();
    json!({
        "object": "list",
        "model": model,
        "data": data,
        "usage": usage.embeddings(),
        "receipt": {"id": id},
    })
}

/// One row as it is sent.
pub(crate) fn embedding(row: &[i32], encoding: Encoding) -> Value {
    // Both factors are exact in f32 and so is the product: |q| ≤ 2^24.
    let exact = row.iter().map(|q| *q as f32 / 16_777_216.0);
    match encoding {
        Encoding::Base64 => {
            let bytes: Vec<u8> = exact.flat_map(f32::to_le_bytes).collect();
            STANDARD.encode(bytes).into()
        }
        Encoding::Float => exact.map(shortest).collect(),
    }
}

/// The f32 in its shortest decimal digits, not those of the f64 it would widen to.
fn shortest(number: f32) -> Value {
    let text = format!("{number:?}");
    text.parse::<serde_json::Number>().map_or(Value::Null, Value::Number)
}
