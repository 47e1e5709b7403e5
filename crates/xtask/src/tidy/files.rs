//! Rules for single files: how they open, how long they may be, what they may not say.
//!
//! Never here: what the compiler or the formatter already checks.

use super::{File, Findings};

/// Longest line.
const MAX_COLUMNS: usize = 100;
/// Longest function, from its signature to its closing brace.
const MAX_FUNCTION_LINES: usize = 70;
/// Longest file of code, tests apart.
const MAX_FILE_LINES: usize = 500;

/// Names that say nothing about what a file holds.
const EMPTY_NAMES: [&str; 8] =
    ["util.rs", "utils.rs", "common.rs", "misc.rs", "helpers.rs", "new.rs", "old.rs", "v2.rs"];

/// Fragments that no file may contain, in two halves so that this file does not.
const FORBIDDEN: [(&str, &str, &str); 11] = [
    ("crates", ".io", "name no registry host"),
    ("pypi", ".org", "name no registry host"),
    ("pythonhosted", ".org", "name no registry host"),
    ("npmjs", ".org", "name no registry host"),
    ("deb.debian", ".org", "name no registry host"),
    ("hugging", "face.co", "name no registry host"),
    ("TO", "DO", "finish it, or leave it out"),
    ("FIX", "ME", "finish it, or leave it out"),
    ("/wo", "rk/", "no paths of one machine"),
    ("/ro", "ot/", "no paths of one machine"),
    ("/ho", "me/", "no paths of one machine"),
];

/// Checks every file.
pub(super) fn check(files: &[File], findings: &mut Findings) {
    for file in files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if EMPTY_NAMES.contains(&name) {
            findings.push(&file.path, "name the file by the noun it holds");
        }
        if name != "Cargo.lock" {
            forbidden(file, findings);
        }
        if name.ends_with(".rs") {
            rust(file, findings);
        }
    }
}

fn forbidden(file: &File, findings: &mut Findings) {
    for (number, line) in file.text.lines().enumerate() {
        for (first, second, why) in FORBIDDEN {
            let whole = [first, second].concat();
            if line.contains(&whole) {
                let place = format!("{}:{}", file.path, number + 1);
                findings.push(&place, format!("{whole}: {why}"));
            }
        }
    }
}

fn is_test(path: &str) -> bool {
    path.contains("/tests") || path.contains("/benches/") || path.ends_with("tests.rs")
}

fn rust(file: &File, findings: &mut Findings) {
    if !file.text.starts_with("//! ") {
        findings.push(&file.path, "open with `//!`: what it is, its rules, what it never does");
    }
    let lines: Vec<&str> = file.text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        if line.chars().count() > MAX_COLUMNS {
            let place = format!("{}:{}", file.path, number + 1);
            findings.push(&place, format!("longer than {MAX_COLUMNS} columns"));
        }
    }
    if is_test(&file.path) {
        return;
    }
    if lines.len() > MAX_FILE_LINES {
        let what = format!("{} lines; split it at {MAX_FILE_LINES}", lines.len());
        findings.push(&file.path, what);
    }
    functions(file, &lines, findings);
}

/// Measures functions by indentation: the formatter puts the closing brace of a function under
/// the first letter of its signature.
fn functions(file: &File, lines: &[&str], findings: &mut Findings) {
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words = line.trim_start();
        let signature = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn "];
        let opens = signature.iter().any(|prefix| words.starts_with(prefix))
            || words.starts_with("pub async fn ")
            || words.starts_with("pub(crate) async fn ")
            || words.starts_with("pub const fn ")
            || words.starts_with("unsafe fn ");
        let first = lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if !opens || first.is_some_and(|line| line.ends_with(';')) {
            continue; // A declaration has no body.
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|line| *line == closing).unwrap_or(0) + 1;
        if length > MAX_FUNCTION_LINES {
            let place = format!("{}:{}", file.path, start + 1);
            let what = format!("a function of {length} lines; {MAX_FUNCTION_LINES} fit");
            findings.push(&place, what);
        }
    }
}
