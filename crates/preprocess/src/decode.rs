//! Ids to bytes, and bytes to text as they come.
//!
//! One token may be half a character. The stream decoder holds bytes back until they are a whole
//! one, so every piece it gives is valid UTF-8 and all pieces together are what `decode` gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::constants::VOCABULARY_MAX;
use tokenizers::Tokenizer;

use crate::Preprocess;
use crate::config::DecodeRule;
use crate::error::PreprocessError;

/// One above the largest id.
pub(crate) fn vocabulary(tokenizer: &Tokenizer) -> Result<u32, PreprocessError> {
    let largest = tokenizer.get_vocab(true).into_values().max();
    let entries = largest.map_or(0, |id| u64::from(id) + 1);
    let limit = VOCABULARY_MAX;
    u32::try_from(entries)
        .ok()
        .filter(|entries| *entries <= limit)
        .ok_or(PreprocessError::Vocabulary { entries, limit })
}

/// The bytes of each id that has any.
pub(crate) fn pieces(tokenizer: &Tokenizer, rule: DecodeRule) -> BTreeMap<u32, Vec<u8>> {
    if rule == DecodeRule::None {
        return BTreeMap::new();
    }
    let alphabet = byte_alphabet();
    let mut pieces: BTreeMap<u32, Vec<u8>> = tokenizer
        .get_vocab(false)
        .into_iter()
        .map(|(token, id)| (id, spelled(&token, &alphabet)))
        .collect();
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        let bytes = if token.special { Vec::new() } else { token.content.into_bytes() };
        pieces.insert(id, bytes);
    }
    pieces
}

/// The bytes that a token of the byte-level alphabet spells; other characters stand for themselves.
fn spelled(token: &str, alphabet: &BTreeMap<char, u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for character in token.chars() {
        match alphabet.get(&character) {
            Some(byte) => bytes.push(*byte),
            None => bytes.extend(character.to_string().into_bytes()),
        }
    }
    bytes
}

/// The byte-level alphabet: printable bytes of Latin-1 stand for themselves, the others for the
/// characters from U+0100 on, in order.
fn byte_alphabet() -> BTreeMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100_u32;
    let mut alphabet = BTreeMap::new();
    for byte in 0..=u8::MAX {
        if printable(byte) {
            alphabet.insert(char::from(byte), byte);
        } else {
            alphabet.extend(char::from_u32(next).map(|character| (character, byte)));
            next += 1;
        }
    }
    alphabet
}

/// Turns ids into text one by one.
#[derive(Debug)]
pub struct StreamDecoder {
    preprocess: Arc<Preprocess>,
    /// Bytes of a character that is not complete yet: at most 3.
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// At the start of an answer.
    pub const fn new(preprocess: Arc<Preprocess>) -> Self {
        Self { preprocess, pending: Vec::new() }
    }

    /// The text that `id` completes; often empty.
    pub fn push(&mut self, id: u32) -> String {
        self.pending.extend_from_slice(self.preprocess.piece(id));
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, rest) = self.pending.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(bad) = error.error_len() else {
                        self.pending = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending = rest[bad..].to_vec();
                }
            }
        }
    }

    /// What is left when no more ids come: U+FFFD for half a character.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
