//! Rules for what we take from outside: a reason for each, known licences, no git sources, and
//! some crates only where they belong.
//!
//! The rules stand in `deny.toml`, which cargo-deny reads too. Never here: a list of its own.

use super::Findings;
use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, Package};
use std::{collections::BTreeSet, fs};

/// Crates that touch sockets or serialise for people, and who alone may name them.
const EDGES: [(&str, &[&str]); 3] = [
    ("tokio", &["chain", "client", "link", "operator", "gateway", "devnet", "cli"]),
    ("axum", &["chain", "gateway"]),
    ("clap", &["cli"]),
];

/// A feature that stays out of every build but that of the crate that offers it to its own users.
const OPT_IN: (&str, &str, &str) = ("engine", "calibrate", "cli");

/// Holds the manifests against `deny.toml`.
pub(super) fn check(metadata: &Metadata, findings: &mut Findings) -> Result<()> {
    let rules = fs::read_to_string("deny.toml").context("deny.toml")?;
    let members: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    for package in metadata.workspace_packages() {
        opt_in(package, findings);
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            if !members.contains(used) && !rules.contains(&format!("\n#: {used} — ")) {
                let reason = "write `#: NAME — why` in deny.toml";
                findings.push(package.name.as_str(), format!("{used} has no reason; {reason}"));
            }
            for (edge, owners) in EDGES {
                let development = dependency.kind == DependencyKind::Development;
                if edge == used && !development && !owners.contains(&package.name.as_str()) {
                    findings.push(package.name.as_str(), format!("may not use {edge}"));
                }
            }
        }
    }
    for package in metadata.packages.iter().filter(|p| !members.contains(p.name.as_str())) {
        let source = package.source.as_ref().map_or("path", |source| source.repr.as_str());
        if !source.starts_with("registry+") {
            findings.push(package.name.as_str(), "does not come from the registry");
        }
        licence(package, &rules, findings);
    }
    Ok(())
}

/// Whoever follows recipes does not carry what makes them.
fn opt_in(package: &Package, findings: &mut Findings) {
    let (owner, feature, offers) = OPT_IN;
    let named = package.dependencies.iter().any(|dependency| {
        let development = dependency.kind == DependencyKind::Development;
        let names = dependency.features.iter().any(|name| name == feature);
        dependency.name == owner && !development && names
    });
    let path = format!("{owner}/{feature}");
    let passed = package.features.values().flatten().any(|name| *name == path);
    let name = package.name.as_str();
    if named || (passed && name != offers) {
        findings.push(name, format!("may not turn on {path}; {offers} alone offers it"));
    }
    let default = package.features.get("default").into_iter().flatten();
    if name == owner && default.into_iter().any(|name| name == feature) {
        findings.push(name, format!("{feature} is not among the defaults"));
    }
}

/// One of the alternatives of a licence expression must be on the list.
fn licence(package: &cargo_metadata::Package, rules: &str, findings: &mut Findings) {
    let expression = package.license.as_deref().unwrap_or("none").replace('/', " OR ");
    let expression = expression.replace(['(', ')'], " ");
    let alternative_holds = |alternative: &str| {
        alternative.split(" AND ").all(|name| rules.contains(&format!("\"{}\"", name.trim())))
    };
    if !expression.split(" OR ").any(alternative_holds) {
        let what = format!("its licence {expression:?} is not in deny.toml");
        findings.push(package.name.as_str(), what);
    }
}
