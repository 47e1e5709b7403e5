//! The models that this program knows: names, packages, pinned hashes and ids.

use std::str::FromStr;

use crypto::id::ModelId;
use serde::Deserialize;

use crate::import::Recipe;
use crate::store::StoreError;

const CATALOG: &str = include_str!("../../../models/catalog.toml");
const RECIPES: [(&str, &str); 2] = [
    ("all-minilm-l6-v2", include_str!("../../../models/all-minilm-l6-v2.toml")),
    ("smollm2-135m-instruct", include_str!("../../../models/smollm2-135m-instruct.toml")),
];

/// What a model does for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Answers messages.
    Chat,
    /// Turns a text into a row.
    Embed,
}

/// A package of the machine's package client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the wheel, in hexadecimal.
    pub sha256: String,
    /// Size of the wheel.
    pub bytes: u64,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name that people type.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// One line for lists.
    pub summary: String,
    /// Licence of the weights.
    pub licence: String,
    /// The pinned model id.
    #[serde(deserialize_with = "model_id")]
    pub id: ModelId,
    /// Whether answers mean nothing: a model for tests.
    #[serde(default)]
    pub test: bool,
    /// Where it comes from; none for models that are made from a seed.
    #[serde(default)]
    pub package: Option<Package>,
}

fn model_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ModelId, D::Error> {
    let text = String::deserialize(deserializer)?;
    ModelId::from_str(&text).map_err(serde::de::Error::custom)
}

impl Entry {
    /// The recipe of an imported model.
    ///
    /// # Errors
    /// A model without a recipe, or one that cannot be read.
    pub fn recipe(&self) -> Result<Recipe, StoreError> {
        let found = RECIPES.iter().find(|(name, _)| *name == self.name);
        let (_, text) = found.ok_or_else(|| StoreError::Catalog {
            reason: format!("{} has no recipe", self.name),
        })?;
        Ok(Recipe::read(text)?)
    }
}

/// All models.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// In the order of lists.
    #[serde(rename = "model")]
    pub entries: Vec<Entry>,
}

impl Catalog {
    /// The catalogue that is built in.
    ///
    /// # Errors
    /// Never in a program whose tests pass.
    pub fn builtin() -> Result<Self, StoreError> {
        toml::from_str(CATALOG).map_err(|error| StoreError::Catalog { reason: error.to_string() })
    }

    /// The entry with this name or model id.
    ///
    /// # Errors
    /// A name that is not there, with all that are.
    pub fn find(&self, name: &str) -> Result<&Entry, StoreError> {
        let matches = |entry: &&Entry| entry.name == name || entry.id.to_string() == name;
        self.entries.iter().find(matches).ok_or_else(|| {
            let known: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
            StoreError::UnknownModel { name: name.to_owned(), known: known.join(", ") }
        })
    }
}
