//! `selvedge keys`: creates and lists keys.
//!
//! Rules: a secret is never printed and never overwritten. Never here: keys of a running role.

use crate::{
    home::Home,
    output::{Failure, Output},
};
use client::keystore::Keystore;
use serde_json::json;

/// Of `selvedge keys`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create a key; an existing one of that name is left alone.
    New {
        /// What to call it.
        name: String,
    },
    /// Names and public keys.
    List,
}

/// Creates or lists.
pub(crate) fn run(command: Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let keystore = Keystore::open(home.keys())?;
    match command {
        Command::New { name } => {
            let public = keystore.create(&name)?.public();
            let place = home.keys();
            output.note(&format!("the secret is in {}; keep a copy", place.display()));
            output.result(&format!("{name} {public}"), &json!({ "name": name, "public": public }))
        }
        Command::List => {
            let keys = keystore.list()?;
            let lines: Vec<String> =
                keys.iter().map(|(name, public)| format!("{name} {public}")).collect();
            let objects: Vec<_> = keys
                .iter()
                .map(|(name, public)| json!({ "name": name, "public": public }))
                .collect();
            output.result(&lines.join("\n"), &objects)
        }
    }
}
