//! Recipes: what a publisher fixed once, besides the source, so that everybody's import agrees.

use preprocess::{Role, RoleMarkup, Template};
use serde::{Deserialize, Serialize};
use units::{List, Text, TooLong};

use super::ImportError;

/// A recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Which tensors mean what.
    pub architecture: Architecture,
    /// Licence of the weights, as a short SPDX expression.
    pub licence: String,
    /// Attention heads.
    pub heads: u32,
    /// Heads of keys and values; as many as `heads` if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_heads: Option<u32>,
    /// What the norms add to a variance.
    pub norm_epsilon: f64,
    /// Base of the rotation's frequencies; decoders alone have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_base: Option<f64>,
    /// Most tokens of an input.
    pub max_input: u32,
    /// Most positions of a run, input and output together; as `max_input` if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_positions: Option<u32>,
    /// Ids that end a generation, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_ids: Vec<u32>,
    /// Files in the package.
    pub source: SourceFiles,
    /// Choices that the weights leave open.
    pub scales: Scales,
    /// How messages become a prompt; none for models that take texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<Chat>,
    /// Texts and the ids that the tokenizer must give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vectors: Vec<RecipeVector>,
}

/// Which tensors mean what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// An encoder with the norm after each sum, GELU, learned positions, mean pooling.
    Bert,
    /// A decoder with RMSNorm, rotated positions, grouped keys and gated SiLU.
    Llama,
}

/// Files in the package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFiles {
    /// The weight file: safetensors, GGUF or ONNX.
    pub weights: String,
    /// The tokenizer file; none where the weight file holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// The licence text; a package has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// Choices that the weights leave open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scales {
    /// The stream's unit is 2^-bits after each op that writes it, or coarser where the weights
    /// demand it. The last entry holds for all that follow.
    pub residual_bits: Vec<u32>,
    /// Room between the largest possible value and the end of its type, in thousandths.
    pub headroom_milli: u32,
}

impl Scales {
    /// The finest exponent for the stream after its `write`th op.
    pub(super) fn residual(&self, write: usize) -> u32 {
        self.residual_bits.get(write).or(self.residual_bits.last()).copied().unwrap_or(0)
    }
}

/// How messages become a prompt: a declared form of [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// Before everything.
    #[serde(default)]
    pub start: String,
    /// System text of a chat that does not open with one; empty for none.
    #[serde(default)]
    pub default_system: String,
    /// Around a system message.
    pub system: Around,
    /// Around what the user says.
    pub user: Around,
    /// Around what the model said.
    pub assistant: Around,
    /// Where the answer starts.
    pub answer: String,
}

/// Text around a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Around {
    /// Before it.
    pub prefix: String,
    /// After it.
    pub suffix: String,
}

/// A conformance vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeVector {
    /// The text.
    pub text: String,
    /// Its ids.
    pub ids: Vec<u32>,
}

impl Recipe {
    /// Reads a recipe from TOML.
    ///
    /// # Errors
    /// A text that is no recipe.
    pub fn read(text: &str) -> Result<Self, ImportError> {
        toml::from_str(text).map_err(|error| ImportError::Recipe { reason: error.to_string() })
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// Never for a recipe that an import gave.
    pub fn write(&self) -> Result<String, ImportError> {
        toml::to_string(self).map_err(|error| ImportError::Recipe { reason: error.to_string() })
    }

    pub(super) fn key_heads(&self) -> u32 {
        self.key_heads.unwrap_or(self.heads)
    }

    pub(super) fn max_positions(&self) -> u32 {
        self.max_positions.unwrap_or(self.max_input)
    }
}

impl Chat {
    pub(super) fn template(&self) -> Result<Template, TooLong> {
        let roles = [
            (Role::System, &self.system),
            (Role::User, &self.user),
            (Role::Assistant, &self.assistant),
        ];
        let markup = |(role, around): (Role, &Around)| {
            let prefix = Text::new(around.prefix.as_str())?;
            Ok(RoleMarkup { role, prefix, suffix: Text::new(around.suffix.as_str())? })
        };
        Ok(Template {
            start: Text::new(self.start.as_str())?,
            default_system: Text::new(self.default_system.as_str())?,
            roles: List::new(roles.into_iter().map(markup).collect::<Result<_, TooLong>>()?)?,
            answer: Text::new(self.answer.as_str())?,
        })
    }
}
