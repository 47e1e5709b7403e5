//! `selvedge query`: asks a node what the ledger holds.
//!
//! Rules: what is shown is a record of the ledger, field by field. Never here: trust; a receipt's
//! bundle carries proofs, these answers do not.

use crate::{
    home::Home,
    output::{Failure, Output},
};
use anyhow::anyhow;
use client::rpc::Rpc;
use crypto::{AccountId, Digest, OperatorId};
use ledger::tables;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write as _;
use units::Height;

/// Of `selvedge query`.
#[derive(clap::Args)]
pub(crate) struct Command {
    /// The node's address [default: the last devnet].
    #[arg(long, global = true, value_name = "URL")]
    rpc_url: Option<String>,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Where the node stands.
    Status,
    /// An account: its coin, credits and deposit.
    Account {
        /// The owner's public key.
        account: AccountId,
    },
    /// All operators.
    Operators,
    /// An operator's claims.
    Claims {
        /// Its id.
        operator: OperatorId,
    },
    /// All lanes: what each was claimed for.
    Lanes,
    /// All models.
    Models,
    /// How much coin and credit there is.
    Supply,
    /// A block.
    Block {
        /// Its number.
        height: u64,
    },
    /// A transaction.
    Transaction {
        /// Its id.
        id: Digest,
    },
}

/// Asks and shows.
pub(crate) async fn run(command: Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let rpc = Rpc::new(&home.node(command.rpc_url.as_ref())?)?;
    let found = match command.what {
        What::Status => value(rpc.status().await?)?,
        What::Account { account } => json!({
            "account": rpc.record(&tables::ACCOUNTS, &account).await?,
            "credits": rpc.record(&tables::HOLDINGS, &account).await?,
            "deposit": rpc.record(&tables::DEPOSITS, &account).await?,
        }),
        What::Operators => list(rpc.records(&tables::OPERATORS, &()).await?)?,
        What::Claims { operator } => list(rpc.records(&tables::CLAIMS, &operator).await?)?,
        What::Lanes => list(rpc.records(&tables::LANES, &()).await?)?,
        What::Models => list(rpc.records(&tables::MODELS, &()).await?)?,
        What::Supply => json!({
            "coin": rpc.record(&tables::SUPPLY, &()).await?,
            "credits": rpc.record(&tables::TOTALS, &()).await?,
            "pots": list(rpc.records(&tables::POTS, &()).await?)?,
            "price": rpc.record(&tables::PRICE, &()).await?,
        }),
        What::Block { height } => value(
            rpc.block(Height::new(height))
                .await?
                .ok_or_else(|| anyhow!("the node has no block {height}; see `query status`"))?,
        )?,
        What::Transaction { id } => value(rpc.transaction(&id).await?.ok_or_else(|| {
            anyhow!("no final block holds a transaction {id}; it may still wait, or never came")
        })?)?,
    };
    output.result(&outline(&found), &found)
}

fn value(record: impl Serialize) -> Result<Value, Failure> {
    Ok(serde_json::to_value(record)?)
}

fn list<K: Serialize, V: Serialize>(records: Vec<(K, V)>) -> Result<Value, Failure> {
    let entries = records.into_iter().map(|(key, record)| json!({ "key": key, "record": record }));
    Ok(Value::Array(entries.collect()))
}

/// JSON as indented lines, for people.
pub(crate) fn outline(value: &Value) -> String {
    let mut text = String::new();
    describe(value, 0, &mut text);
    text
}

fn describe(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    // Writing into a String cannot fail.
    let line = |name: &str, value: &Value, text: &mut String| match value {
        Value::Object(_) | Value::Array(_) => {
            let _ = writeln!(text, "{indent}{name}");
            describe(value, depth + 1, text);
        }
        Value::String(plain) => {
            let _ = writeln!(text, "{indent}{name} {plain}");
        }
        Value::Null => {
            let _ = writeln!(text, "{indent}{name} none");
        }
        plain => {
            let _ = writeln!(text, "{indent}{name} {plain}");
        }
    };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| line(&format!("{name}:"), value, text));
        }
        Value::Array(items) if items.is_empty() => line("", &Value::from("none"), text),
        Value::Array(items) => items.iter().for_each(|item| line("-", item, text)),
        plain => line("", plain, text),
    }
}
