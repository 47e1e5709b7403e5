//! Recipes: what a publisher fixed once, besides the source, so that everybody's import agrees.

use serde::Deserialize;

use super::ImportError;

/// A recipe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Which tensors mean what.
    pub architecture: Architecture,
    /// Files in the package.
    pub source: SourceFiles,
    /// Licence of the weights, as a short SPDX expression.
    pub licence: String,
    /// Attention heads.
    pub heads: u32,
    /// What the norms add to a variance.
    pub norm_epsilon: f64,
    /// Most tokens of an input.
    pub max_input: u32,
    /// Choices that the weights leave open.
    pub scales: Scales,
    /// Texts and the ids that the tokenizer must give.
    pub vectors: Vec<RecipeVector>,
}

/// Which tensors mean what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// An encoder with the norm after each sum, GELU, learned positions, mean pooling.
    Bert,
}

/// Files in the package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFiles {
    /// The safetensors file.
    pub weights: String,
    /// The tokenizer file.
    pub tokenizer: String,
    /// The licence text.
    pub licence: String,
}

/// Choices that the weights leave open.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scales {
    /// The stream's unit is 2^-bits, or coarser where the weights demand it.
    pub residual_bits: u32,
    /// Room between the largest possible value and the end of its type, in thousandths.
    pub headroom_milli: u32,
}

/// A conformance vector.
#[derive(Clone, Debug, Deserialize)]
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
}
