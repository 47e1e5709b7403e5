//! Which crate may depend on which: the table that keeps the architecture.
//!
//! Rules: the table here is the one in ARCHITECTURE.md, and `cargo metadata` must agree with it;
//! tests may reach further. Never here: dependencies from outside.

use super::{File, Findings};
use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata};
use std::{collections::BTreeSet, fmt::Write as _, fs};

/// Open to every crate but `xtask`.
const GROUND: [&str; 2] = ["units", "crypto"];

/// A crate, what it may use beside the ground, and what it never contains.
const CRATES: [(&str, &[&str], &str); 14] = [
    ("units", &[], "operators on quantities, floats"),
    ("crypto", &[], "our own primitives"),
    ("ledger", &[], "I/O, clocks, floats, threads, consensus types"),
    ("model", &[], "threads, SIMD, floats, I/O"),
    ("engine", &["model", "preprocess"], "a bit that differs from `model`"),
    ("preprocess", &["model"], "models"),
    ("light", &["ledger"], "I/O, a runtime"),
    ("chain", &["ledger", "light", "model"], "economic rules"),
    ("link", &[], "what the messages mean"),
    ("client", &["ledger", "light", "model", "preprocess"], "a role's decisions"),
    (
        "operator",
        &["client", "engine", "light", "link", "ledger", "model", "preprocess"],
        "trust in a gateway",
    ),
    ("gateway", &["client", "light", "link", "preprocess", "model", "ledger"], "the engine"),
    (
        "devnet",
        &[
            "chain",
            "client",
            "engine",
            "gateway",
            "ledger",
            "light",
            "link",
            "model",
            "operator",
            "preprocess",
        ],
        "rules of its own",
    ),
    (
        "cli",
        &[
            "chain",
            "client",
            "devnet",
            "engine",
            "gateway",
            "ledger",
            "light",
            "link",
            "model",
            "operator",
            "preprocess",
        ],
        "logic",
    ),
];

const OPEN: &str = "<!-- crate table: written by `cargo xtask tidy --write` -->";
const CLOSE: &str = "<!-- end of crate table -->";
const PAGE: &str = "ARCHITECTURE.md";

/// Holds the table against the manifests and against ARCHITECTURE.md.
pub(super) fn check(metadata: &Metadata, files: &[File], findings: &mut Findings) {
    let members: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(allowed) = allowed(name) else {
            findings.push(name, "is not in the table of crates; add it there with a reason");
            continue;
        };
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            let counts = dependency.kind != DependencyKind::Development && members.contains(used);
            if counts && !allowed.contains(&used) {
                findings.push(name, format!("may not depend on {used}"));
            }
        }
    }
    let page = files.iter().find(|file| file.path == PAGE);
    if !page.is_some_and(|page| page.text.contains(&table())) {
        findings.push(PAGE, "its crate table is old; run `cargo xtask tidy --write`");
    }
}

fn allowed(name: &str) -> Option<Vec<&'static str>> {
    if name == "xtask" {
        return Some(Vec::new());
    }
    let (_, above, _) = CRATES.iter().find(|(known, _, _)| *known == name)?;
    Some(above.iter().copied().chain(GROUND).collect())
}

/// The table as it stands in ARCHITECTURE.md.
fn table() -> String {
    let mut text = String::from("| crate | may use, beside `units` and `crypto` | never there |\n");
    text.push_str("|---|---|---|\n");
    for (name, above, never) in CRATES {
        let above: Vec<String> = above.iter().map(|name| format!("`{name}`")).collect();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| `{name}` | {} | {never} |", above.join(" "));
    }
    text
}

/// Puts the table into ARCHITECTURE.md.
pub(super) fn write_table() -> Result<()> {
    let page = fs::read_to_string(PAGE).context(PAGE)?;
    let (before, rest) = page.split_once(OPEN).context("the mark that opens the crate table")?;
    let (_, after) = rest.split_once(CLOSE).context("the mark that closes the crate table")?;
    fs::write(PAGE, format!("{before}{OPEN}\n{}{CLOSE}{after}", table())).context(PAGE)
}
