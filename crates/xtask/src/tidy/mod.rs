//! Rules of the tree that no compiler checks, each with a hint how to mend it.
//!
//! Rules: a check collects all its findings before it fails; limits only fall. Never here: taste.

mod dependencies;
mod edges;
mod files;
mod ledger;

use anyhow::{Context as _, Result, bail};
use std::{fs, path::PathBuf, process::Command};

/// A file under version control, with its text.
pub(crate) struct File {
    /// Path from the repository's root.
    pub(crate) path: String,
    /// Its text; binary files are left out.
    pub(crate) text: String,
}

/// Collects what is wrong.
#[derive(Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    /// Notes one more.
    pub(crate) fn push(&mut self, place: &str, what: impl AsRef<str>) {
        self.0.push(format!("{place}: {}", what.as_ref()));
    }
}

/// All text files that git tracks or would track.
fn tracked() -> Result<Vec<File>> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .output()
        .context("git ls-files")?;
    let names = String::from_utf8(listing.stdout).context("file names are UTF-8")?;
    let mut files = Vec::new();
    for path in names.split_terminator('\0') {
        if let Ok(text) = fs::read_to_string(PathBuf::from(path)) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

/// Runs every check; with `write`, renews the generated tables first.
pub(crate) fn check(write: bool) -> Result<()> {
    let metadata = cargo_metadata::MetadataCommand::new().exec().context("cargo metadata")?;
    if write {
        edges::write_table()?;
    }
    let files = tracked()?;
    let mut findings = Findings::default();
    files::check(&files, &mut findings);
    ledger::check(&files, &mut findings);
    edges::check(&metadata, &files, &mut findings);
    dependencies::check(&metadata, &mut findings)?;
    if findings.0.is_empty() {
        return Ok(());
    }
    findings.0.sort();
    bail!("the tree is not tidy:\n{}", findings.0.join("\n"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        std::env::set_current_dir(crate::root()).unwrap();
        super::check(false).unwrap();
    }
}
