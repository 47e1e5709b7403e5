//! Text to token ids and back: deterministic, and hashed into a model's manifest.
//!
//! A configuration holds the tokenizer, the chat template, the rule by which ids become text, and
//! conformance vectors that are recomputed on loading, so that a different release of the tokenizer
//! library cannot silently change what a model is asked.
//!
//! Rules: encoding is a pure function of the text, a chat prompt a pure function of its messages
//! (no date, no state); what a user writes never turns into a control token; texts are bounded.
//!
//! Never here: models, networks, truncation. Too long an input is refused by whoever knows the
//! model's limit.

mod chat;
mod config;
mod decode;
mod error;
mod stop;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crypto::Digest;
use tokenizers::Tokenizer;

pub use chat::{MARKUP_MAX, Message, ROLES_MAX, Role, RoleMarkup, SYSTEM_MAX, Template};
pub use config::{
    Config, DecodeRule, Form, TOKENIZER_MAX, VECTOR_TEXT_MAX, VECTORS_MAX, VERSION, Vector,
};
pub use decode::StreamDecoder;
pub use error::PreprocessError;
pub use stop::{Matched, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, StopMatcher};

/// Most bytes of one text.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Most messages of one chat.
pub const MESSAGES_MAX: usize = 1_024;

/// A loaded configuration.
pub struct Preprocess {
    hash: Digest,
    form: Form,
    /// Reads control tokens as such: for the template's own text.
    markup: Tokenizer,
    /// Reads control tokens as plain text: for what users write.
    plain: Tokenizer,
    vocabulary: u32,
    /// Bytes that an id stands for; none for control tokens and where nothing is decoded.
    pieces: BTreeMap<u32, Vec<u8>>,
}

impl Preprocess {
    /// Loads a configuration from its canonical bytes.
    ///
    /// # Errors
    /// Bytes in another encoding, a tokenizer that cannot be built, or a conformance vector that
    /// comes out differently.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PreprocessError> {
        let config: Config = borsh::from_slice(bytes)
            .map_err(|error| PreprocessError::Encoding { reason: error.to_string() })?;
        // The tokenizer library panics on some malformed tokenizers.
        let loaded = catch_unwind(AssertUnwindSafe(|| Self::load(&config, bytes)));
        loaded.unwrap_or_else(|_| {
            let reason = "the tokenizer library gave up on it".to_owned();
            Err(PreprocessError::Tokenizer { reason })
        })
    }

    fn load(config: &Config, bytes: &[u8]) -> Result<Self, PreprocessError> {
        let broken =
            |error: tokenizers::Error| PreprocessError::Tokenizer { reason: error.to_string() };
        let mut markup = Tokenizer::from_bytes(&config.tokenizer[..]).map_err(broken)?;
        // Input is never cut or padded, whatever the file says.
        markup.with_truncation(None).map_err(broken)?;
        markup.with_padding(None);
        markup.set_encode_special_tokens(false);
        let mut plain = markup.clone();
        plain.set_encode_special_tokens(true);
        let loaded = Self {
            hash: model::preprocess_hash(bytes),
            form: config.form.clone(),
            vocabulary: decode::vocabulary(&markup)?,
            pieces: decode::pieces(&markup, config.decode),
            markup,
            plain,
        };
        for (index, vector) in config.vectors.iter().enumerate() {
            let found = loaded.encode(&vector.text)?;
            if found != vector.ids[..] {
                return Err(PreprocessError::Vector {
                    index,
                    found,
                    expected: vector.ids.to_vec(),
                });
            }
        }
        Ok(loaded)
    }

    /// Hash of the configuration, as the manifest carries it.
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// Every id is below this.
    pub const fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    /// Whether prompts are made of messages.
    pub const fn is_chat(&self) -> bool {
        matches!(self.form, Form::Chat(_))
    }

    /// The ids of one text, with whatever the tokenizer puts around it.
    ///
    /// # Errors
    /// A text above [`TEXT_BYTES_MAX`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, PreprocessError> {
        Self::ids(&self.plain, text, true)
    }

    /// The ids of a chat, up to where the answer starts.
    ///
    /// # Errors
    /// A model without a template, no or too many messages, a role that the template lacks, or
    /// texts above [`TEXT_BYTES_MAX`] in all.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>, PreprocessError> {
        let Form::Chat(template) = &self.form else {
            return Err(PreprocessError::NoChat);
        };
        let mut ids = Vec::new();
        for part in template.parts(messages)? {
            ids.extend(match part {
                chat::Part::Markup(text) => Self::ids(&self.markup, text, false)?,
                chat::Part::Content(text) => Self::ids(&self.plain, text, false)?,
            });
        }
        Ok(ids)
    }

    /// The text of some ids. Control tokens and ids outside the vocabulary are nothing; bytes that
    /// are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.piece(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn piece(&self, id: u32) -> &[u8] {
        self.pieces.get(&id).map_or(&[], Vec::as_slice)
    }

    fn ids(tokenizer: &Tokenizer, text: &str, around: bool) -> Result<Vec<u32>, PreprocessError> {
        check_length(text.len())?;
        let encoding = tokenizer
            .encode_fast(text, around)
            .map_err(|error| PreprocessError::Tokenizer { reason: error.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn check_length(bytes: usize) -> Result<(), PreprocessError> {
    let limit = TEXT_BYTES_MAX;
    if bytes > limit { Err(PreprocessError::TextTooLong { bytes, limit }) } else { Ok(()) }
}

impl std::fmt::Debug for Preprocess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preprocess")
            .field("hash", &self.hash)
            .field("vocabulary", &self.vocabulary)
            .finish_non_exhaustive()
    }
}
