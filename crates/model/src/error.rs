//! Why a manifest, graph, file or run is refused. Each variant names what, the bound it broke, and
//! what to do.

use crypto::Digest;

/// What helps against a graph that no importer makes.
const AGAIN: &str = "the file is damaged or no model: fetch or import it again";

/// A model that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Bytes that are not the canonical encoding.
    #[error(
        "{what} is not in canonical encoding: {reason}; the file is damaged or no model: fetch it \
         again, or make one with `model import`"
    )]
    Encoding {
        /// Which part.
        what: &'static str,
        /// What the decoder found.
        reason: String,
    },
    /// More of something than the format admits.
    #[error("{what} is {value}, the limit is {limit}; choose a model that stays within it")]
    TooLarge {
        /// Which quantity.
        what: &'static str,
        /// What was found.
        value: u64,
        /// The most that is legal.
        limit: u64,
    },
    /// Less of something than makes sense.
    #[error("{what} is {value}, at least {least} is needed; {AGAIN}")]
    TooSmall {
        /// Which quantity.
        what: &'static str,
        /// What was found.
        value: u64,
        /// The least that is legal.
        least: u64,
    },
    /// Made for other arithmetic.
    #[error(
        "semantics version {found} is not supported; this program computes version {supported}: \
         import the model again, or run a program of its version"
    )]
    Semantics {
        /// The manifest's.
        found: u16,
        /// This crate's.
        supported: u16,
    },
    /// A hash in the manifest that its content does not have.
    #[error(
        "{what} does not match the manifest: it hashes to {found}, the manifest says {declared}; \
         the file is damaged: fetch or import it again"
    )]
    Root {
        /// Which root.
        what: &'static str,
        /// What the content hashes to.
        found: Digest,
        /// What the manifest says.
        declared: Digest,
    },
    /// An op that reads a value of the wrong sort, or one that is not there.
    #[error("op {op} reads value {value}: {reason}; {AGAIN}")]
    Operand {
        /// Index of the op.
        op: usize,
        /// The value it names.
        value: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An op where it may not stand, or with attributes that do not fit each other.
    #[error("op {op}: {reason}; {AGAIN}")]
    Op {
        /// Index of the op.
        op: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A weight type whose number is reserved.
    #[error(
        "op {op} uses 4-bit grouped weights, which are reserved and not supported yet; import the \
         model with 8-bit weights"
    )]
    ReservedWeights {
        /// Index of the op.
        op: usize,
    },
    /// Boundaries that do not cut the graph into blocks.
    #[error("boundary {boundary}: {reason}; {AGAIN}")]
    Boundary {
        /// Index in the list of boundaries.
        boundary: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A stop id outside the vocabulary, out of order, or where nothing is generated.
    #[error("stop id {id}: {reason}; correct the list of stop ids and import the model again")]
    StopId {
        /// The id.
        id: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// A licence that is empty or not printable ASCII.
    #[error(
        "the licence must be printable ASCII and not empty; give an SPDX expression: Apache-2.0"
    )]
    Licence,
    /// A file longer or shorter than its header says.
    #[error(
        "the tensors take {expected} bytes, the file has {found}: it was cut short or is damaged; \
         fetch or import it again"
    )]
    Length {
        /// What the graph implies.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A number in a tensor outside its type.
    #[error("op {op}: {what} is {value}, outside its range; {AGAIN}")]
    Range {
        /// Index of the op.
        op: usize,
        /// Which tensor.
        what: &'static str,
        /// The number.
        value: i64,
    },
    /// Parts handed over in a shape that the graph does not have.
    #[error("{what} does not have the shape that the graph implies; {AGAIN}")]
    Shape {
        /// Which part.
        what: &'static str,
    },
}

/// A run that cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// No input at all.
    #[error("the input is empty; at least one token is needed")]
    EmptyInput,
    /// More input than the model takes.
    #[error("the input has {tokens} tokens, the model takes at most {limit}; shorten it")]
    InputTooLong {
        /// Tokens given.
        tokens: usize,
        /// The manifest's `max_input`.
        limit: u32,
    },
    /// A token id outside the vocabulary.
    #[error(
        "token id {id} at position {position} is outside the vocabulary of {vocabulary}; encode \
         the text with this model's tokenizer"
    )]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Where it stands.
        position: usize,
        /// Ids are below this.
        vocabulary: u32,
    },
    /// A generation of nothing.
    #[error("max_tokens is 0; at least 1 is needed")]
    NoTokens,
    /// More stop ids than a request may carry.
    #[error("{given} stop ids were given, at most {limit} are allowed; leave some out")]
    TooManyStopIds {
        /// Ids given.
        given: usize,
        /// The bound.
        limit: usize,
    },
    /// A sampling field outside its range.
    #[error("{field} is {value}, at most {limit} is allowed")]
    Sampling {
        /// Which field.
        field: &'static str,
        /// What was given.
        value: u16,
        /// The most that is legal.
        limit: u16,
    },
}
