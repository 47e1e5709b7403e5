//! The configuration whose bytes are hashed into a manifest.

use borsh::{BorshDeserialize, BorshSerialize};
use units::{List, Text};

use crate::chat::Template;

/// Version of the rules in this crate; a manifest names it.
pub const VERSION: u16 = 0;

/// Most bytes of a tokenizer file.
pub const TOKENIZER_MAX: usize = 16 << 20;
/// Most conformance vectors.
pub const VECTORS_MAX: usize = 64;
/// Most bytes of a vector's text.
pub const VECTOR_TEXT_MAX: usize = 4_096;

/// A preprocess configuration.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Config {
    /// A `tokenizer.json`: normaliser, pre-tokenizer, vocabulary, control tokens. What it says of
    /// truncation and padding is ignored.
    pub tokenizer: List<u8, TOKENIZER_MAX>,
    /// What the model is asked with.
    pub form: Form,
    /// How ids become text.
    pub decode: DecodeRule,
    /// Texts and the ids that they must give.
    pub vectors: List<Vector, VECTORS_MAX>,
}

impl Config {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Every part is bounded far below the limit of the encoding.
        borsh::to_vec(self).unwrap_or_default()
    }
}

/// What a model is asked with.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Form {
    /// One text.
    Text = 1,
    /// Messages, put together by a template.
    Chat(Template) = 2,
}

/// How ids become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum DecodeRule {
    /// The model gives no tokens.
    None = 1,
    /// Each vocabulary entry spells bytes in the byte-level alphabet; control tokens are nothing.
    ByteLevel = 2,
}

/// A conformance vector.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vector {
    /// The text.
    pub text: Text<VECTOR_TEXT_MAX>,
    /// What `encode` gives.
    pub ids: List<u32, VECTOR_TEXT_MAX>,
}
