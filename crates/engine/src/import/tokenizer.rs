//! The tokenizer that a GGUF file carries, as a `tokenizer.json`.
//!
//! Byte-level BPE with the cut of texts that the file names. A cut that is not known here is
//! refused: guessed, it would give other ids.

use serde_json::{Map, Value as Json, json};

use super::ImportError;
use super::gguf::{Gguf, Value};

/// Types of vocabulary entries that are control tokens.
const CONTROL: [i64; 2] = [3, 4];

fn refused(reason: impl Into<String>) -> ImportError {
    ImportError::Tokenizer { reason: reason.into() }
}

/// The bytes of the `tokenizer.json`.
pub(super) fn tokenizer(file: &Gguf<'_>) -> Result<Vec<u8>, ImportError> {
    let model = file.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        let reason = format!("it is of kind {model:?}; byte-level BPE (\"gpt2\") is read");
        return Err(refused(reason));
    }
    if file.get("tokenizer.ggml.add_bos_token") == Some(&Value::Integer(1)) {
        return Err(refused("it puts a token before every text, which is not supported"));
    }
    let texts = |key: &'static str| match file.get(key) {
        Some(Value::Texts(texts)) => Ok(texts),
        _ => Err(refused(format!("{key} is not a list of texts"))),
    };
    let tokens = texts("tokenizer.ggml.tokens")?;
    let types = match file.get("tokenizer.ggml.token_type") {
        Some(Value::Integers(types)) if types.len() == tokens.len() => types,
        _ => return Err(refused("token_type does not name a type for each token")),
    };
    let mut vocab = Map::new();
    let mut control = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(types).enumerate() {
        if vocab.insert((*token).to_owned(), id.into()).is_some() {
            return Err(refused(format!("the entry {token:?} stands there twice")));
        }
        if CONTROL.contains(kind) {
            control.push(json!({
                "id": id, "content": token, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            }));
        }
    }
    let merges = texts("tokenizer.ggml.merges")?.iter().map(|merge| match merge.split_once(' ') {
        Some((left, right)) => Ok(json!([left, right])),
        None => Err(refused(format!("the merge {merge:?} does not name two parts"))),
    });
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": control,
        "normalizer": null, "pre_tokenizer": cut(file.text("tokenizer.ggml.pre")?)?,
        "post_processor": null, "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges.collect::<Result<Vec<_>, _>>()?,
        },
    });
    Ok(json.to_string().into_bytes())
}

/// How a text is cut before it is merged.
fn cut(name: &str) -> Result<Json, ImportError> {
    match name {
        "gpt-2" => Ok(byte_level(true)),
        "smollm" => Ok(json!({
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Digits", "individual_digits": true },
                byte_level(true),
            ],
        })),
        _ => Err(refused(format!("its cut {name:?} is not known; known are gpt-2 and smollm"))),
    }
}

fn byte_level(use_regex: bool) -> Json {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": use_regex,
    })
}
