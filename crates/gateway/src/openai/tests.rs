//! Bodies that clients read.

use super::{Usage, chat::ChatHead, embeddings::embedding};
use base64::{Engine, engine::general_purpose::STANDARD};
use client::openai::Encoding;
use serde_json::{Value, json};
use units::Credit;

#[test]
fn rows_are_exact_in_both_encodings() {
    let row = vec![0, 1, -1, 1 << 24, -(1 << 24), 1_234_567, -16_777_215];
    let Value::String(text) = embedding(&row, Encoding::Base64) else { panic!("not a text") };
    let bytes = STANDARD.decode(text).unwrap();
    let read: Vec<f32> =
        bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let numbers = embedding(&row, Encoding::Float).to_string();
    let decimals: Vec<f64> = serde_json::from_str(&numbers).unwrap();
    for (index, q) in row.iter().enumerate() {
        assert_eq!(f64::from(read[index]) * 16_777_216.0, f64::from(*q));
        assert_eq!(decimals[index] as f32, read[index], "{numbers}");
    }
}

#[test]
fn the_last_chunk_has_no_choices_and_all_numbers() {
    let head = ChatHead { id: "task_1".into(), created: 1, model: "m".into() };
    let usage = Usage { tokens_in: 2, tokens_out: 3, cost: Credit::new(12_000) };
    let chunk = head.closing(&usage);
    assert_eq!(chunk["choices"], json!([]));
    assert_eq!(chunk["usage"]["total_tokens"], json!(5));
    assert_eq!(chunk["usage"]["cost"], json!(0.000_012));
    assert_eq!(chunk["receipt"]["id"], json!("task_1"));
}
