//! Bundles: all that a stranger needs to check an answer, years later, without a network.
//!
//! ```text
//!   your prompt ─preprocess─▶ ids ─salt─▶ input_commit ─┐
//!                                                       ├─▶ request ◀─signed─ payer
//!   your answer ◀─decode── output ─salt─▶ output_commit ┴─▶ receipt ◀─signed─ box key
//!                                            receipt ─path─▶ claim ─state proof─▶ header
//!                                                                  header ◀─certificate─ chain
//! ```
//! Rules: nothing in a bundle is believed because it stands there; a check recomputes commitments
//! from the user's **own** prompt and answer, so that a gateway cannot pass off another's receipt
//! (the attack on schemes that sign exact bytes which somebody re-serialised). What cannot be
//! proven is named as such; there is no single green tick.
//! Never here: a network, an engine. Running the model again is `cli`'s, over `engine`.

mod level;
mod own;
mod verify;

pub use level::Level;
pub use own::OwnError;
pub use verify::{Check, Finding, Report, Standing, VerifyError, verify};

use crypto::{PublicKey, Salt, Signed, merkle_sum::SumPath};
use ledger::payments::{
    ClaimRecord,
    schema::{Receipt, Request},
};
use light::{ChainAnchor, rpc::StateEvidence};
use serde::{Deserialize, Serialize};
use units::{Credit, List};

/// Version of the JSON below. Another one is refused, not guessed at.
pub const BUNDLE_VERSION: u16 = 1;
/// Largest bundle that is read, in bytes: 65,536 ids on both sides and all proofs fit.
pub const MAX_BUNDLE_BYTES: usize = 8 << 20;
/// Most token ids or row elements on one side.
pub const MAX_ELEMENTS: usize = 65_536;
/// Most messages of a chat.
pub const MAX_MESSAGES: usize = 1_024;
/// Most stop strings.
pub const MAX_STOPS: usize = 4;

/// The evidence behind one task's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`BUNDLE_VERSION`].
    pub version: u16,
    /// What identifies the chain; its hash is the chain id that everything signed names.
    pub anchor: ChainAnchor,
    /// What the payer signed.
    pub request: Signed<Request>,
    /// What the operator signed.
    pub receipt: Signed<Receipt>,
    /// The box key that signed. Proven to be the operator's once there is a settlement.
    pub box_key: PublicKey,
    /// Opens the commitments.
    pub salt: Salt,
    /// What was turned into token ids.
    pub source: Source,
    /// Which input of the call this is; an embeddings call may have many.
    pub item: u32,
    /// The token ids the model was given.
    pub input: List<u32, MAX_ELEMENTS>,
    /// What the model gave.
    pub output: Output,
    /// Texts at which the gateway cut the answer.
    #[serde(default)]
    pub stop: List<String, MAX_STOPS>,
    /// What the gateway takes on top of the operator's fee.
    pub margin: Credit,
    /// Proof that the receipt was claimed, once it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement: Option<Settlement>,
}

/// What the gateway gave to the tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Messages, for the model's chat template.
    Chat(List<SourceMessage, MAX_MESSAGES>),
    /// One text.
    Text(String),
    /// Nothing: the caller sent the model's own ids.
    Ids,
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceMessage {
    /// Who speaks.
    pub role: SourceRole,
    /// What is said.
    pub content: String,
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceRole {
    /// Instructions.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
}

/// What the model gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Output {
    /// Token ids, a stop token included.
    Tokens(List<u32, MAX_ELEMENTS>),
    /// The row of an embedding, in units of 2^-24.
    Row(List<i32, MAX_ELEMENTS>),
}

/// Proof that a receipt stands in a claim which the chain holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// From the receipt's leaf to the claim's root.
    pub path: SumPath,
    /// The claim, with owner, box key and bond as of filing.
    pub claim: ClaimRecord,
    /// From the claim to a header that the validators made final.
    pub evidence: StateEvidence,
}

/// A text that is not a bundle.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Larger than any bundle.
    #[error("{bytes} bytes are no bundle: at most {MAX_BUNDLE_BYTES}")]
    TooLarge {
        /// What was given.
        bytes: usize,
    },
    /// Not the JSON of a bundle.
    #[error("not a receipt bundle: {0}; fetch it with `selvedge receipt get ID`")]
    Json(#[from] serde_json::Error),
    /// Of another version.
    #[error("bundle version {found} is not {BUNDLE_VERSION}, the one this program reads")]
    Version {
        /// What the bundle says.
        found: u16,
    },
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(json: &[u8]) -> Result<Self, ParseError> {
        /// The one field that every version has.
        #[derive(Deserialize)]
        struct Versioned {
            version: u16,
        }
        if json.len() > MAX_BUNDLE_BYTES {
            return Err(ParseError::TooLarge { bytes: json.len() });
        }
        let Versioned { version } = serde_json::from_slice(json)?;
        if version != BUNDLE_VERSION {
            return Err(ParseError::Version { found: version });
        }
        Ok(serde_json::from_slice(json)?)
    }
}

impl From<preprocess::Role> for SourceRole {
    fn from(role: preprocess::Role) -> Self {
        match role {
            preprocess::Role::System => Self::System,
            preprocess::Role::User => Self::User,
            preprocess::Role::Assistant => Self::Assistant,
        }
    }
}

impl From<SourceRole> for preprocess::Role {
    fn from(role: SourceRole) -> Self {
        match role {
            SourceRole::System => Self::System,
            SourceRole::User => Self::User,
            SourceRole::Assistant => Self::Assistant,
        }
    }
}

impl From<&preprocess::Message> for SourceMessage {
    fn from(message: &preprocess::Message) -> Self {
        Self { role: message.role.into(), content: message.content.clone() }
    }
}

impl From<&SourceMessage> for preprocess::Message {
    fn from(message: &SourceMessage) -> Self {
        Self { role: message.role.into(), content: message.content.clone() }
    }
}

#[cfg(test)]
mod tests;
