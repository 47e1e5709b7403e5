//! Models on this machine: a folder of canonical files, each checked whenever it is read.

use std::fs::{self, File};
use std::io::Write;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crypto::{Digest, id::ModelId, merkle};
use memmap2::Mmap;
use model::layout::Tensors;
use model::{Model, Weights};
use preprocess::Preprocess;

use crate::catalog::{Catalog, Entry};
use crate::pull::{self, Progress};
use crate::tiny;

/// A model that cannot be found, fetched or imported.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A name or id that the catalogue lacks.
    #[error("no model {name:?} in the catalogue; known are: {known}")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A model that is not on this machine yet.
    #[error("{name} is not on this machine yet; fetch it with: selvedge model pull {name}")]
    NotPulled {
        /// The model.
        name: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The package client is not there.
    #[error("python3 with pip is needed to fetch {package}: {reason}")]
    NoPackageClient {
        /// The package.
        package: String,
        /// What the system says.
        reason: String,
    },
    /// The package could not be downloaded.
    #[error(
        "{package} could not be downloaded; is this machine offline? \
         Models that need no download still work. The package client says: {reason}"
    )]
    Download {
        /// The package.
        package: String,
        /// The last lines that the client printed.
        reason: String,
    },
    /// A package with other bytes than the catalogue pins.
    #[error("{package} has SHA-256 {found}, the catalogue pins {pinned}; it was not used")]
    WrongPackage {
        /// The package.
        package: String,
        /// What was downloaded.
        found: String,
        /// What is pinned.
        pinned: String,
    },
    /// A package without the file that the recipe names.
    #[error("the package lacks {file}: {reason}")]
    MissingFile {
        /// The file.
        file: String,
        /// What the archive says.
        reason: String,
    },
    /// A source that cannot be turned into a model.
    #[error(transparent)]
    Import(#[from] crate::import::ImportError),
    /// A model file that is none.
    #[error(transparent)]
    Model(#[from] model::ModelError),
    /// A preprocess configuration that does not load.
    #[error(transparent)]
    Preprocess(#[from] preprocess::PreprocessError),
    /// A tokenizer with ids that the model does not have.
    #[error("the tokenizer has ids up to {tokenizer}, the model takes ids below {model}")]
    Vocabulary {
        /// One above the tokenizer's largest id.
        tokenizer: u32,
        /// The model's vocabulary.
        model: u32,
    },
    /// A model with another id than the catalogue pins.
    #[error("{name} came out as model {found}, the catalogue pins {pinned}; it was not used")]
    WrongId {
        /// The model.
        name: String,
        /// What came out.
        found: String,
        /// What is pinned.
        pinned: String,
    },
    /// A catalogue that is broken.
    #[error("the catalogue is unreadable: {reason}")]
    Catalog {
        /// What the parser found.
        reason: String,
    },
}

/// A model ready for an engine, and what turns texts into its ids.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its entry in the catalogue.
    pub entry: Entry,
    /// The model.
    pub model: Arc<Model>,
    /// Its preprocess configuration.
    pub preprocess: Arc<Preprocess>,
}

/// A folder of models.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    catalog: Catalog,
}

impl Store {
    /// A store in `dir`, which need not exist yet.
    ///
    /// # Errors
    /// Never in a program whose tests pass: the catalogue is built in.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Ok(Self { dir: dir.into(), catalog: Catalog::builtin()? })
    }

    /// The user's cache folder for models, or one under the temporary folder if there is none.
    #[must_use]
    pub fn default_dir() -> PathBuf {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let cache = absolute("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let home = || absolute("HOME").map(|home| home.join(".cache"));
        cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("selvedge").join("models")
    }

    /// All models that this program knows.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Whether a model can be loaded without a download.
    #[must_use]
    pub fn has(&self, entry: &Entry) -> bool {
        entry.package.is_none() || self.path(entry).is_file()
    }

    /// Where the file of an imported model lies.
    #[must_use]
    pub fn path(&self, entry: &Entry) -> PathBuf {
        self.dir.join(format!("{}.cir", entry.id))
    }

    /// Loads a model by name or id. Never downloads.
    ///
    /// # Errors
    /// A model that is unknown, not here yet, or damaged.
    pub fn load(&self, name: &str) -> Result<Loaded, StoreError> {
        let entry = self.catalog.find(name)?.clone();
        let (model, preprocess) = match (&entry.package, entry.name.as_str()) {
            (None, "tiny-test-chat") => with_preprocess(tiny::chat()?)?,
            (None, "tiny-test-embed") => with_preprocess(tiny::embed()?)?,
            _ => self.read(&entry)?,
        };
        check_id(&entry, model.id())?;
        let (tokenizer, vocabulary) = (preprocess.vocabulary(), model.facts().vocabulary);
        if tokenizer > vocabulary {
            return Err(StoreError::Vocabulary { tokenizer, model: vocabulary });
        }
        Ok(Loaded { entry, model: Arc::new(model), preprocess: Arc::new(preprocess) })
    }

    /// Fetches and imports a model unless it is here, and loads it.
    ///
    /// # Errors
    /// Whatever keeps it from being fetched, imported, checked or stored; nothing is stored then.
    pub fn pull(
        &self,
        name: &str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Loaded, StoreError> {
        let entry = self.catalog.find(name)?.clone();
        if let (Some(package), false) = (&entry.package, self.has(&entry)) {
            fs::create_dir_all(&self.dir).map_err(|error| file_error(&self.dir, &error))?;
            let model = pull::fetch(&entry, package, &self.dir, progress)?;
            check_id(&entry, model.id())?;
            self.write(&entry, &model)?;
            progress(Progress::Ready);
        }
        self.load(name)
    }

    /// Reads a model while its tokenizer is made beside it, in less time.
    fn read(&self, entry: &Entry) -> Result<(Model, Preprocess), StoreError> {
        let path = self.path(entry);
        if !path.is_file() {
            return Err(StoreError::NotPulled { name: entry.name.clone() });
        }
        let file = File::open(&path).map_err(|error| file_error(&path, &error))?;
        // SAFETY: files of the store are written under another name and never changed after they
        // have theirs; whoever changes one by hand gets another hash, or the signal that ends a
        // program whose mapped file was cut.
        let bytes = unsafe { Mmap::map(&file) }.map_err(|error| file_error(&path, &error))?;
        let (header, tensors) = model::Header::read(&bytes)?;
        let configuration = header.preprocess.clone();
        std::thread::scope(|scope| {
            let preprocess = scope.spawn(|| Preprocess::from_bytes(&configuration));
            let model = header.model(tensors, &root)?;
            // A thread that panics passes its panic on.
            let preprocess = preprocess.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            Ok((model, preprocess))
        })
    }

    /// Writes the file under another name first, so that a half-written model never counts.
    fn write(&self, entry: &Entry, model: &Model) -> Result<(), StoreError> {
        let path = self.path(entry);
        let failed = |error: std::io::Error| file_error(&path, &error);
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).map_err(failed)?;
        file.write_all(&model.to_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// The weight root, its ops hashed by all cores.
fn root(weights: &Weights, tensors: &[Tensors]) -> Digest {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tensors.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let op = next.fetch_add(1, Ordering::Relaxed);
            if op >= tensors.len() {
                return done;
            }
            done.push((op, weights.op_leaves(tensors, op)));
        }
    };
    let mut ops: Vec<(usize, Vec<Digest>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = workers.into_iter().flat_map(|worker| {
            // A thread that panics passes its panic on.
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        own.into_iter().chain(others).collect()
    });
    ops.sort_unstable_by_key(|(op, _)| *op);
    let leaves: Vec<Digest> = ops.into_iter().flat_map(|(_, leaves)| leaves).collect();
    merkle::root(&leaves)
}

fn with_preprocess(model: Model) -> Result<(Model, Preprocess), StoreError> {
    let preprocess = Preprocess::from_bytes(model.preprocess())?;
    Ok((model, preprocess))
}

fn check_id(entry: &Entry, found: ModelId) -> Result<(), StoreError> {
    if found == entry.id {
        return Ok(());
    }
    Err(StoreError::WrongId {
        name: entry.name.clone(),
        found: found.to_string(),
        pinned: entry.id.to_string(),
    })
}

pub(crate) fn file_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), reason: error.to_string() }
}
