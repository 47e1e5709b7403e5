//! From float weights to integers: the only place with floating-point numbers.
//!
//! An import is a pure function of the source's bytes and a small recipe. It uses IEEE `+ − × ÷`,
//! square roots and rounding of 64-bit floats, in one fixed order, on one thread; exponentials and
//! error functions come from a pure-Rust library. So every machine arrives at the same model id,
//! and the catalogue pins it.
//!
//! Units behind a norm follow from the weights alone: the largest value that any input can reach is
//! known, and the unit is chosen so that it just fits. The residual stream of a decoder has no
//! useful bound; its units stand in the recipe, where a calibration put them once. That is the
//! module `calibrate`, which a build has on demand: following a recipe takes no float forward pass.

mod bert;
mod builder;
#[cfg(feature = "calibrate")]
pub mod calibrate;
mod element;
mod gguf;
mod llama;
mod names;
mod onnx;
mod quantise;
mod recipe;
mod source;
mod tokenizer;

use std::borrow::Cow;
use std::path::PathBuf;

use model::certificate::{Certificate, certify};
use model::{Model, ModelError};

use crate::EngineError;

pub use recipe::{Architecture, Around, Chat, Recipe, RecipeVector, Scales, SourceFiles};
pub use source::Source;

/// A source that does not become a model.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A recipe that cannot be read.
    #[error("the recipe is unreadable: {reason}; import again without it and a new one is written")]
    Recipe {
        /// What the parser found.
        reason: String,
    },
    /// A file or folder that cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A configuration beside the weights that cannot be used.
    #[error("{name} cannot be used: {reason}; fetch the model's folder again, all of its files")]
    Config {
        /// Its file name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An architecture that is not known.
    #[error("the architecture {name:?} cannot be imported; known are: {known}")]
    Architecture {
        /// What the source says.
        name: String,
        /// What can be imported.
        known: &'static str,
    },
    /// A feature that would change the arithmetic.
    #[error("the model uses {feature}, which cannot be imported; choose a model without it")]
    Unsupported {
        /// Which feature.
        feature: String,
    },
    /// Weights under no known licence.
    #[error("the source names no licence for its weights; give it as an SPDX expression")]
    NoLicence,
    /// A weight file that cannot be read.
    #[error("the weight file is unreadable: {reason}; fetch it again")]
    Source {
        /// What the parser found.
        reason: String,
    },
    /// A tensor that the architecture needs.
    #[error("the weight file has no tensor {name}; fetch it and its configuration again together")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor of another type or shape.
    #[error(
        "tensor {name} is {found}, the architecture needs {expected}; fetch the weight file and \
         its configuration again together"
    )]
    Tensor {
        /// Its name.
        name: String,
        /// What is there.
        found: String,
        /// What is needed.
        expected: String,
    },
    /// A tokenizer that is of another kind, or broken.
    #[error(
        "the file's tokenizer cannot be used: {reason}; give the tokenizer.json that belongs to it"
    )]
    Tokenizer {
        /// What is wrong.
        reason: String,
    },
    /// A source without a tokenizer.
    #[error("the weight file holds no tokenizer; give the tokenizer.json that belongs to it")]
    NoTokenizer,
    /// Data that lies in another file, which is never opened.
    #[error("constant {name} lies in another file, which is not read; export into one file")]
    ExternalData {
        /// The constant.
        name: String,
    },
    /// An op that no pattern covers.
    #[error(
        "{op} ({node}) stands where {expected} should, so this graph cannot be imported; import \
         the model's safetensors instead"
    )]
    Op {
        /// The op.
        op: String,
        /// The node's name.
        node: String,
        /// What the architecture has there.
        expected: &'static str,
    },
    /// A recipe that says something else than the source.
    #[error(
        "the recipe has {what} {recipe}, the weight file {source_value}; import without a recipe"
    )]
    Differs {
        /// Of what.
        what: &'static str,
        /// In the recipe.
        recipe: f64,
        /// In the source.
        source_value: f64,
    },
    /// A number that is none.
    #[error("tensor {name} holds a value that is not finite; fetch the weight file again")]
    NotFinite {
        /// The tensor's name.
        name: String,
    },
    /// Integers outside their type.
    #[error(
        "{what} would be {value}, outside its range: the weights are too large to bound; choose \
         another model"
    )]
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
    /// A tokenizer that cannot be used.
    #[error(transparent)]
    Tokenize(#[from] preprocess::PreprocessError),
    /// The finished model cannot be run for its comparison.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The recipe's preprocess part is too large.
    #[error("the preprocess configuration does not fit: {0}")]
    Preprocess(#[from] units::TooLong),
}

/// Makes the model that `recipe` describes from a weight file (safetensors, GGUF or ONNX) and tells
/// `progress` how many of how many steps are done. Without a tokenizer file the weight file's own
/// is taken.
///
/// # Errors
/// A source that lacks what the architecture needs, or cannot be bounded.
pub fn import(
    weights: &[u8],
    tokenizer: Option<&[u8]>,
    recipe: &Recipe,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Model, ImportError> {
    let source = Source::read(weights)?;
    let tokenizer = match tokenizer {
        Some(bytes) => Cow::Borrowed(bytes),
        None => Cow::Owned(source.tokenizer()?),
    };
    Ok(build(&source, &tokenizer, recipe, progress)?.model)
}

/// A model and the real value of one step of each op's output, where it has one.
struct Built {
    model: Model,
    #[cfg_attr(not(feature = "calibrate"), expect(dead_code, reason = "reports alone read it"))]
    units: Vec<Option<f64>>,
}

/// A recipe must say what the graph does.
fn check_same(recipe: &Recipe, graph: &onnx::Shape) -> Result<(), ImportError> {
    if recipe.architecture != graph.architecture {
        let reason = "it is for another architecture than the graph's".to_owned();
        return Err(ImportError::Recipe { reason });
    }
    let key_heads = graph.key_heads.unwrap_or(graph.heads);
    let same = [
        ("a number of heads of", f64::from(recipe.heads), f64::from(graph.heads)),
        ("a number of key heads of", f64::from(recipe.key_heads()), f64::from(key_heads)),
        ("an epsilon of", recipe.norm_epsilon, graph.norm_epsilon),
        ("a base of", recipe.rope_base.unwrap_or(0.0), graph.rope_base.unwrap_or(0.0)),
    ];
    for (what, recipe, source_value) in same {
        if recipe != source_value {
            return Err(ImportError::Differs { what, recipe, source_value });
        }
    }
    Ok(())
}

fn build(
    source: &Source<'_>,
    tokenizer: &[u8],
    recipe: &Recipe,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Built, ImportError> {
    if let Some(file) = source.onnx() {
        check_same(recipe, &file.shape)?;
    }
    let built = match recipe.architecture {
        Architecture::Bert => bert::import(source, tokenizer, recipe, progress)?,
        Architecture::Llama => llama::import(source, tokenizer, recipe, progress)?,
    };
    let loose = |certificate: &Certificate| match *certificate {
        Certificate::Nothing => false,
        Certificate::Linear { narrow, .. } | Certificate::Gate { narrow } => !narrow,
        Certificate::Attention { scores, averages } => !(scores && averages),
    };
    match certify(&built.model).iter().position(loose) {
        Some(op) => Err(ImportError::Uncertified { op }),
        None => Ok(built),
    }
}
