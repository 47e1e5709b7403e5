//! Why a configuration or a text is refused.

/// A configuration that does not load, or a text that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreprocessError {
    /// Bytes that are no configuration.
    #[error("the preprocess configuration is not in canonical encoding: {reason}")]
    Encoding {
        /// What the decoder found.
        reason: String,
    },
    /// A tokenizer that cannot be built or used.
    #[error("the tokenizer is unusable: {reason}")]
    Tokenizer {
        /// What the library says.
        reason: String,
    },
    /// More ids than a model may have.
    #[error("the tokenizer has {entries} entries, the limit is {limit}")]
    Vocabulary {
        /// What was found.
        entries: u64,
        /// The most that is legal.
        limit: u32,
    },
    /// A text that this program encodes differently than the model's publisher did.
    #[error(
        "conformance vector {index} comes out as {found:?}, not as {expected:?}: \
         this program's tokenizer differs from the publisher's"
    )]
    Vector {
        /// Which vector.
        index: usize,
        /// What came out.
        found: Vec<u32>,
        /// What the configuration says.
        expected: Vec<u32>,
    },
    /// A chat with a model that has no template.
    #[error("this model takes texts, not messages")]
    NoChat,
    /// Nothing to answer.
    #[error("the chat has no messages; at least one is needed")]
    NoMessages,
    /// More messages than are taken.
    #[error("the chat has {messages} messages, the limit is {limit}")]
    TooManyMessages {
        /// Messages given.
        messages: usize,
        /// The bound.
        limit: usize,
    },
    /// A role that the model was not made for.
    #[error("the model's template has no role {role:?}")]
    UnknownRole {
        /// The role.
        role: crate::Role,
    },
    /// A longer text than is taken.
    #[error("the text has {bytes} bytes, the limit is {limit}")]
    TextTooLong {
        /// Bytes given.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// More, longer or emptier stop strings than are taken.
    #[error(
        "stop strings: at most {} of 1 to {} bytes are taken",
        crate::STOP_STRINGS_MAX,
        crate::STOP_STRING_BYTES_MAX
    )]
    StopStrings,
}
