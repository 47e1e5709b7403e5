//! From files on disk to a model, a recipe that makes it again, and a report: what a publisher runs
//! once.
//!
//! Rules: compiled with the feature `calibrate` alone, for whoever follows a recipe needs none of
//! it; what is found out here reaches a model through its recipe only.

pub mod accuracy;
mod files;
pub mod float;
mod inspect;
pub mod report;

use std::path::Path;
use std::sync::Arc;

use model::Model;
use preprocess::Preprocess;

use self::accuracy::Accuracy;
use self::float::{Bert, Llama, Part};
use self::inspect::draft;
use self::report::ranges;
use super::builder::config;
use super::source::Source;
use super::{Architecture, ImportError, Recipe, RecipeVector, build};
use crate::Options;

pub use self::files::Files;
pub use self::report::Report;

/// Texts that a source is calibrated on: plain sentences of many sorts, one a line.
pub const TEXTS: &str = include_str!("texts.txt");
/// Tokens of one calibration text of a decoder.
const WINDOW: usize = 512;
/// Texts of an encoder that are compared.
const SENTENCES: usize = 64;
/// The stream's largest value seen should take about this many bits: 5 below the clamp.
const STREAM_BITS: f64 = 21.0;
/// Finest unit of the stream, as an exponent.
const FINEST: f64 = 22.0;
/// Most room that is left for the rounding of weights, in thousandths.
const HEADROOM_MOST: u32 = 64;
/// Texts whose ids a recipe pins.
const VECTORS: [&str; 5] = [
    "The quick brown fox jumps over the lazy dog.",
    "Électricité, naïve café — 42 €!",
    "東京 is 日本の首都。",
    "In 1984 we paid 12,345.67 euros.",
    "  def f(x):\n\treturn x**2\n\n",
];

/// What an import needs to be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// Licence of the weights as a short SPDX expression; by default the one that the source names.
    pub licence: Option<&'a str>,
    /// Whether the integers are compared with the float original, which takes minutes for a
    /// language model.
    pub accuracy: bool,
    /// Threads for that comparison; 0 for all.
    pub threads: usize,
}

/// A step of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The float original runs over the calibration texts.
    Calibrating,
    /// Floats become integers.
    Quantising,
    /// Both are compared.
    Comparing,
}

/// An import of files on disk.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Makes the same model again from the same weight file.
    pub recipe: Recipe,
    /// The model.
    pub model: Arc<Model>,
    /// What was found out.
    pub report: Report,
}

/// What a weight file or a folder with one is, as the recipe for it before calibration.
///
/// # Errors
/// As [`import_path`], as far as it can be told without a look at the weights.
pub fn inspect_path(path: &Path) -> Result<Recipe, ImportError> {
    let files = Files::open(path)?;
    draft(&files, &Source::read(&files.weights)?, Some("unknown"))
}

/// The float original of a source.
enum Original {
    Bert(Bert),
    Llama(Llama),
}

/// What calibration saw: largest magnitudes, op by op in order.
type Seen = Vec<(usize, Part, f64)>;

/// Imports a weight file or a folder with one: finds the architecture, calibrates, quantises, and
/// reports. `progress` gets the stage, and how much of how much of it is done.
///
/// # Errors
/// Files that cannot be read, are of an architecture that is not known, or cannot be bounded.
pub fn import_path(
    path: &Path,
    wishes: &Wishes<'_>,
    progress: &mut dyn FnMut(Stage, usize, usize),
) -> Result<Imported, ImportError> {
    let files = Files::open(path)?;
    let source = Source::read(&files.weights)?;
    let mut recipe = draft(&files, &source, wishes.licence)?;
    let tokenizer = match &files.tokenizer {
        Some(bytes) => bytes.clone(),
        None => source.tokenizer()?,
    };
    let preprocess = Preprocess::from_bytes(&config(&recipe, &tokenizer)?.to_bytes())?;
    for text in VECTORS {
        recipe.vectors.push(RecipeVector { text: text.to_owned(), ids: preprocess.encode(text)? });
    }
    let (original, texts) = match recipe.architecture {
        Architecture::Bert => {
            let mut texts: Vec<Vec<u32>> = Vec::new();
            for line in TEXTS.lines() {
                let ids = preprocess.encode(line)?;
                // A model of few positions takes the shorter sentences alone.
                if (1..=recipe.max_input as usize).contains(&ids.len()) {
                    texts.push(ids);
                }
            }
            (Original::Bert(Bert::read(&source, &recipe)?), texts)
        }
        Architecture::Llama => {
            let ids = preprocess.encode(TEXTS)?;
            let window = WINDOW.min(recipe.max_input as usize);
            let texts = ids.chunks(window.max(2)).map(<[u32]>::to_vec).collect();
            (Original::Llama(Llama::read(&source, &recipe)?), texts)
        }
    };
    let seen = original.calibrate(&texts, progress);
    if recipe.architecture == Architecture::Llama {
        recipe.scales.residual_bits = residual_bits(&seen);
    }
    let built = loop {
        let mut quantising = |done, total| progress(Stage::Quantising, done, total);
        match build(&source, &tokenizer, &recipe, &mut quantising) {
            // Few weights round by more: the room for it grows until every bound holds.
            Err(ImportError::Uncertified { .. })
                if recipe.scales.headroom_milli < HEADROOM_MOST =>
            {
                recipe.scales.headroom_milli *= 2;
            }
            other => break other?,
        }
    };
    let model = Arc::new(built.model);
    let accuracy = if wishes.accuracy {
        progress(Stage::Comparing, 0, 1);
        Some(original.compare(&model, &texts, wishes.threads)?)
    } else {
        None
    };
    let ranges = ranges(&model, &built.units, &seen);
    let tokens = texts.iter().map(Vec::len).sum();
    let report = Report { tokens, ranges, accuracy, unused: source.unused() };
    Ok(Imported { recipe, model, report })
}

impl Original {
    fn calibrate(&self, texts: &[Vec<u32>], progress: &mut dyn FnMut(Stage, usize, usize)) -> Seen {
        let mut all = Seen::new();
        for (index, ids) in texts.iter().enumerate() {
            progress(Stage::Calibrating, index, texts.len());
            let mut at = 0;
            let mut note = |block, part, most: f64| {
                match all.get_mut(at) {
                    Some((_, _, seen)) => *seen = most.max(*seen),
                    None => all.push((block, part, most)),
                }
                at += 1;
            };
            match self {
                Self::Bert(original) => drop(original.embed(ids, &mut note)),
                Self::Llama(original) => drop(original.hidden(ids, &mut note)),
            }
        }
        all
    }

    fn compare(
        &self,
        model: &Arc<Model>,
        texts: &[Vec<u32>],
        threads: usize,
    ) -> Result<Accuracy, ImportError> {
        let mut options = Options::default();
        if threads > 0 {
            options.threads = threads;
        }
        Ok(match self {
            Self::Bert(original) => {
                let texts = &texts[..texts.len().min(SENTENCES)];
                Accuracy::Encoder(accuracy::encoder(model, original, texts, options)?)
            }
            Self::Llama(original) => {
                Accuracy::Decoder(accuracy::decoder(model, original, texts, options)?)
            }
        })
    }
}

/// The exponents of the stream's units, which only ever grow coarser.
fn residual_bits(seen: &Seen) -> Vec<u32> {
    let mut finest = FINEST;
    let stream = seen.iter().filter(|(_, part, _)| *part == Part::Stream);
    let mut bits: Vec<u32> = stream
        .map(|(_, _, most)| {
            finest = finest.min((STREAM_BITS - most.max(1e-9).log2()).floor()).max(0.0);
            finest as u32
        })
        .collect();
    // The last entry holds for all that follow.
    while bits.len() > 1 && bits[bits.len() - 1] == bits[bits.len() - 2] {
        bits.pop();
    }
    bits
}
