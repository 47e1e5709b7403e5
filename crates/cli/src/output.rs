//! What a subcommand prints, for people or for programs.
//!
//! Rules: with `--json`, one object on standard output, errors included. Never here: prompts.

use serde::Serialize;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Where results go.
pub(crate) struct Output {
    json: bool,
}

/// Why a subcommand ends without a result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be done.
    Failed(anyhow::Error),
    /// It was done, and a receipt does not verify. The finding has been printed.
    Refuted,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Output {
    /// For people, or with `json` for programs.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result: the text for people or the object for programs.
    pub(crate) fn result(&self, text: &str, object: &impl Serialize) -> Result<(), Failure> {
        if self.json {
            println!("{}", serde_json::to_string(object)?);
        } else {
            println!("{}", text.trim_end());
        }
        Ok(())
    }

    /// A remark beside the result, for people only.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// Prints why nothing came of it, and gives the exit code.
    pub(crate) fn failure(&self, failure: &Failure) -> ExitCode {
        match failure {
            Failure::Refuted => ExitCode::from(3),
            Failure::Failed(error) => {
                if self.json {
                    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
                    let object: Value = json!({ "error": { "message": chain.join(": ") } });
                    println!("{object}");
                } else {
                    eprintln!("selvedge: {error:#}");
                }
                ExitCode::FAILURE
            }
        }
    }
}
