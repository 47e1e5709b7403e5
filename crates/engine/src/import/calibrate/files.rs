//! The files of a source on disk: weights, and beside them tokenizer and configuration.

use std::fs;
use std::path::{Path, PathBuf};

use crate::import::ImportError;

/// Most bytes of a weight file.
const WEIGHTS_MAX: u64 = 1 << 36;
/// Most bytes of a tokenizer or configuration.
const TEXT_MAX: u64 = 1 << 26;

/// The bytes of a source.
#[derive(Clone, Debug)]
pub struct Files {
    /// safetensors, GGUF or ONNX.
    pub weights: Vec<u8>,
    /// Name of that file.
    pub name: String,
    /// A `tokenizer.json` beside it.
    pub tokenizer: Option<Vec<u8>>,
    /// A `config.json` beside it.
    pub config: Option<Vec<u8>>,
    /// A `tokenizer_config.json` beside it.
    pub tokenizer_config: Option<Vec<u8>>,
    /// A `chat_template.jinja` beside it.
    pub chat_template: Option<String>,
    /// A `genai_config.json` beside it, as ONNX Runtime's model builder writes it.
    pub runtime_config: Option<Vec<u8>>,
}

impl Files {
    /// Reads a weight file, or the one weight file of a folder, and what lies beside it.
    ///
    /// # Errors
    /// A path that cannot be read, or a folder without exactly one weight file.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let weights = if path.is_dir() { only_weights(path)? } else { path.to_owned() };
        let folder = weights.parent().unwrap_or(Path::new("")).to_owned();
        // Exporters of ONNX put the weights into a folder of their own.
        let beside = |name: &str| -> Result<Option<Vec<u8>>, ImportError> {
            let places = [Some(folder.as_path()), folder.parent()];
            let found = places.into_iter().flatten().map(|place| place.join(name));
            found.filter(|path| path.is_file()).map(|path| read(&path, TEXT_MAX)).next().transpose()
        };
        Ok(Self {
            name: weights.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            tokenizer: beside("tokenizer.json")?,
            config: beside("config.json")?,
            tokenizer_config: beside("tokenizer_config.json")?,
            chat_template: beside("chat_template.jinja")?
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            runtime_config: beside("genai_config.json")?,
            weights: read(&weights, WEIGHTS_MAX)?,
        })
    }
}

fn refused(path: &Path, reason: impl Into<String>) -> ImportError {
    ImportError::File { path: path.to_owned(), reason: reason.into() }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ImportError> {
    let failed = |error: std::io::Error| refused(path, error.to_string());
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > limit {
        return Err(refused(path, format!("it has {length} bytes, the limit is {limit}")));
    }
    fs::read(path).map_err(failed)
}

fn only_weights(folder: &Path) -> Result<PathBuf, ImportError> {
    let entries = fs::read_dir(folder).map_err(|error| refused(folder, error.to_string()))?;
    let is_weights = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("safetensors" | "gguf" | "onnx"))
    };
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_weights).collect();
    match (found.pop(), found.len()) {
        (Some(path), 0) => Ok(path),
        (Some(_), more) => Err(refused(
            folder,
            format!("{} weight files lie there; name the one to import", more + 1),
        )),
        (None, _) => Err(refused(folder, "no .safetensors, .gguf or .onnx file lies there")),
    }
}
