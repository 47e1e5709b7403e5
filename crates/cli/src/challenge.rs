//! `selvedge receipt challenge`: takes a wrong receipt to the ledger.
//!
//! Rules: the model is run again first, and a receipt that is right is left alone; the account's
//! own key puts up the bond and makes every move. Never here: the moves; what a fault costs.

use crate::{
    home::{Home, read},
    hunt::{self, Story},
    output::{Failure, Output},
};
use client::{
    bundle::{self, Bundle},
    keystore::Keystore,
};
use engine::{Engine, Options, store::Store};
use ledger::{
    disputes::{Cause, schema::ClaimedIn, schema::Subject},
    payments::schema::Receipt,
};
use operator::{Challenge, Ended};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};

/// Of `selvedge receipt challenge`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The bundle.
    bundle: PathBuf,
    /// The key of the account that puts up the bond; a won bond comes back.
    #[arg(long, value_name = "NAME")]
    key: String,
    /// Folder of the key [default: `keys` in the home folder].
    #[arg(long, value_name = "FOLDER")]
    keys: Option<PathBuf>,
    /// The node's address [default: the last devnet].
    #[arg(long, value_name = "URL")]
    rpc_url: Option<String>,
}

/// Runs the receipt again and, if it is wrong, plays the dispute to its end.
pub(crate) async fn run(arguments: Arguments, home: &Home, output: &Output) -> Result<(), Failure> {
    let keystore = Keystore::open(arguments.keys.clone().unwrap_or_else(|| home.keys()))?;
    let key = keystore.load(&arguments.key)?;
    let rpc_url = home.node(arguments.rpc_url.as_ref())?;
    let bundle = Bundle::parse(&read(&arguments.bundle)?)?;
    let model = bundle.request.message.body.model;
    let loaded = Store::open(home.models())?.load(&model.to_string())?;
    let engine = Arc::new(Engine::load(loaded.model, Options::default())?);
    let receipt = bundle.receipt.message.clone();
    let story = Story::of(&receipt);
    output.note("running the model again; a dispute then takes about a minute on a devnet …");
    let challenge = operator::challenge(Challenge {
        rpc_url: rpc_url.clone(),
        key,
        engine,
        subject: subject(&bundle),
        salt: bundle.salt,
        ids: bundle.input.to_vec(),
        tokens: match bundle.output {
            bundle::Output::Tokens(tokens) => tokens.into_vec(),
            bundle::Output::Row(_) => Vec::new(),
        },
    });
    let ended = tokio::select! {
        ended = challenge => ended?,
        never = hunt::watch(&rpc_url, story, output) => match never? {},
    };
    let (text, object) = told(&receipt, ended);
    output.result(&text, &object)
}

/// The receipt, with its place in the claim if the bundle shows one.
fn subject(bundle: &Bundle) -> Subject {
    let claimed = bundle.settlement.as_ref().map(|settlement| ClaimedIn {
        epoch: settlement.claim.epoch,
        path: settlement.path.clone(),
    });
    Subject { request: bundle.request.clone(), receipt: bundle.receipt.clone(), claimed }
}

/// How it ended, for people and for programs.
fn told(receipt: &Receipt, ended: Ended) -> (String, Value) {
    let (id, operator) = (receipt.hash(), receipt.operator);
    let cost = format!("`selvedge explain slash {operator}` shows what it costs its operator");
    let (name, cause, text): (_, Option<Cause>, _) = match ended {
        Ended::Right => {
            ("right", None, "RIGHT: run again here it is the same; nothing was sent".into())
        }
        Ended::Won { cause: Some(cause) } => {
            ("won", Some(cause), format!("WRONG: the ledger has proven it ({cause:?}); {cost}"))
        }
        Ended::Won { cause: None } => {
            ("won", None, format!("UNDEFENDED: its operator was silent; {cost}"))
        }
        Ended::Lost => ("lost", None, "LOST: nothing was shown in time; the bond is gone".into()),
    };
    let object = json!({ "receipt": id, "operator": operator, "ended": name, "cause": cause });
    (format!("receipt {id} of operator {operator}\n{text}"), object)
}
