//! From float weights to integers: the only place with floating-point numbers.
//!
//! An import is a pure function of the source's bytes and a small recipe. It uses IEEE `+ − × ÷`,
//! square roots and rounding of 64-bit floats, in one fixed order, on one thread; exponentials and
//! error functions come from a pure-Rust library. So every machine arrives at the same model id,
//! and the catalogue pins it.
//!
//! Scales follow from the weights alone: behind a norm the largest value that any input can reach
//! is known, and each unit is chosen so that it just fits. What has no bound is refused.

mod bert;
mod quantise;
mod recipe;
mod source;

use model::certificate::{Certificate, certify};
use model::{Model, ModelError};

pub use recipe::{Architecture, Recipe, RecipeVector, Scales, SourceFiles};
pub use source::Source;

/// A source that does not become a model.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A recipe that cannot be read.
    #[error("the recipe is unreadable: {reason}")]
    Recipe {
        /// What the parser found.
        reason: String,
    },
    /// A weight file that cannot be read.
    #[error("the weight file is unreadable: {reason}")]
    Source {
        /// What the parser found.
        reason: String,
    },
    /// A tensor that the architecture needs.
    #[error("the weight file has no tensor {name}")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor of another type or shape.
    #[error("tensor {name} is {found}, the architecture needs {expected}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is there.
        found: String,
        /// What is needed.
        expected: String,
    },
    /// A number that is none.
    #[error("tensor {name} holds a value that is not finite")]
    NotFinite {
        /// The tensor's name.
        name: String,
    },
    /// Integers outside their type.
    #[error("{what} would be {value}, outside its range; the weights are too large to bound")]
    Unbounded {
        /// Which number.
        what: &'static str,
        /// What it would be.
        value: f64,
    },
    /// Rounded weights that can reach further than their unit was chosen for.
    #[error("op {op} can leave 32 bits; raise headroom_milli in the recipe")]
    Uncertified {
        /// Index of the op.
        op: usize,
    },
    /// The parts do not make a model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The recipe's preprocess part is too large.
    #[error("the preprocess configuration does not fit: {0}")]
    Preprocess(#[from] units::TooLong),
}

/// Makes the model that `recipe` describes from a safetensors file and a tokenizer file, and tells
/// `progress` how many of how many steps are done.
///
/// # Errors
/// A source that lacks what the architecture needs, or cannot be bounded.
pub fn import_safetensors(
    weights: &[u8],
    tokenizer: &[u8],
    recipe: &Recipe,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Model, ImportError> {
    let source = Source::read(weights)?;
    let model = match recipe.architecture {
        Architecture::Bert => bert::import(&source, tokenizer, recipe, progress)?,
    };
    let loose = |certificate: &Certificate| match *certificate {
        Certificate::Nothing => false,
        Certificate::Linear { narrow, .. } | Certificate::Gate { narrow } => !narrow,
        Certificate::Attention { scores, averages } => !(scores && averages),
    };
    match certify(&model).iter().position(loose) {
        Some(op) => Err(ImportError::Uncertified { op }),
        None => Ok(model),
    }
}
