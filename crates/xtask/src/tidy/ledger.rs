//! Rules for the ledger's modules: the same files in each, numbered rules with tests, one order.
//!
//! Never here: what a rule says.

use super::{File, Findings};

/// Modules, lowest first; one may use those before it.
const MODULES: [&str; 7] =
    ["accounts", "credits", "staking", "models", "payments", "disputes", "verification"];
/// What each module consists of; `schema` and `apply` may be folders.
const PARTS: [&str; 7] = ["mod", "schema", "state", "apply", "math", "invariants", "tests"];

/// Checks every module folder of the ledger.
pub(super) fn check(files: &[File], findings: &mut Findings) {
    for (rank, module) in MODULES.iter().enumerate() {
        let folder = format!("crates/ledger/src/{module}/");
        let own: Vec<&File> = files.iter().filter(|f| f.path.starts_with(&folder)).collect();
        for part in PARTS {
            let file = format!("{folder}{part}.rs");
            let nested = format!("{folder}{part}/mod.rs");
            if !own.iter().any(|f| f.path == file || f.path == nested) {
                findings.push(&folder, format!("has no {part}.rs, as every module has"));
            }
        }
        rules(&folder, &own, findings);
        order(rank, &own, findings);
    }
}

/// Every rule that `mod.rs` numbers has a test that carries its number.
fn rules(folder: &str, own: &[&File], findings: &mut Findings) {
    let text_of = |name: &str| {
        own.iter().find(|file| file.path == format!("{folder}{name}")).map_or("", |f| &f.text)
    };
    let (head, tests) = (text_of("mod.rs"), text_of("tests.rs"));
    let mut number = 1;
    while head.contains(&format!("- R{number} ")) {
        if !tests.contains(&format!("fn r{number}_")) {
            findings.push(folder, format!("no test of rule R{number} begins r{number}_"));
        }
        number += 1;
    }
    if number == 1 {
        findings.push(folder, "mod.rs numbers no rules (- R1 …)");
    }
}

/// A module uses only lower ones.
fn order(rank: usize, own: &[&File], findings: &mut Findings) {
    for file in own.iter().filter(|file| !file.path.ends_with("/tests.rs")) {
        for higher in &MODULES[rank + 1..] {
            if file.text.contains(&format!("crate::{higher}::")) {
                findings.push(&file.path, format!("uses {higher}, which stands above it"));
            }
        }
    }
}
