//! `selvedge explain`: why the ledger did what it did, with the evidence and how to re-run it.
//!
//! Rules: what is shown are records and reasons of the ledger's own; every explanation ends with a
//! command by which the reader can find out for himself. Never here: a judgement.

use crate::{
    api::Api,
    home::{GatewayFlags, Home},
    output::{Failure, Output},
    query::outline,
};
use anyhow::anyhow;
use client::{bundle::Bundle, rpc::Rpc};
use crypto::OperatorId;
use ledger::{disputes, staking, tables, verification};
use serde_json::{Value, json};

/// Of `selvedge explain`.
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
    /// What became of a task: its receipts, their claim, audit and disputes.
    Task {
        /// The receipt id that the gateway named.
        id: String,
        #[command(flatten)]
        gateway: GatewayFlags,
    },
    /// Why an operator was slashed.
    Slash {
        /// Its id.
        operator: OperatorId,
        /// Which of its faults, from 0 [default: all].
        fault: Option<u64>,
    },
}

/// Explains.
pub(crate) async fn run(command: Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let rpc = Rpc::new(&home.node(command.rpc_url.as_ref())?)?;
    match command.what {
        What::Task { id, gateway } => {
            let api = Api::new(home, &gateway)?;
            let found = task(&rpc, &api, &id).await?;
            output.result(&format!("{}{}", outline(&found), rerun_task(&id)), &found)
        }
        What::Slash { operator, fault } => {
            let found = slash(&rpc, operator, fault).await?;
            output.result(&outline(&found), &found)
        }
    }
}

fn rerun_task(id: &str) -> String {
    format!(
        "\nrun it again yourself:\n  selvedge receipt get {id} -o bundle.json\n  \
         selvedge receipt verify bundle.json --replay\n"
    )
}

async fn task(rpc: &Rpc, api: &Api, id: &str) -> Result<Value, Failure> {
    let body = api.get(&format!("/receipts/{id}")).await?.body;
    let bundles = body["bundles"].as_array().cloned().unwrap_or_default();
    let mut receipts = Vec::new();
    for bundle in bundles {
        let bundle: Bundle = serde_json::from_value(bundle)?;
        let (request, receipt) = (&bundle.request.message, &bundle.receipt.message);
        let hash = receipt.hash();
        let (mut claim, mut points) = (Value::Null, Vec::new());
        if let Some(epoch) = bundle.settlement.as_ref().map(|settled| settled.claim.epoch) {
            claim = json!(rpc.record(&tables::CLAIMS, &(request.operator, epoch)).await?);
            let of_claim = (request.operator, epoch);
            for ((_, _, number), point) in rpc.records(&verification::POINTS, &of_claim).await? {
                let subject = point.subject.as_ref();
                let this = subject.is_some_and(|subject| subject.receipt.message.hash() == hash);
                points.push(json!({ "point": number, "this_receipt": this, "record": point }));
            }
        }
        receipts.push(json!({
            "receipt": hash,
            "operator": request.operator,
            "fee": receipt.fee,
            "claim": claim,
            "drawn": points,
            "dispute": rpc.record(&disputes::DISPUTES, &hash).await?,
        }));
    }
    Ok(json!({ "task": id, "receipts": receipts }))
}

async fn slash(rpc: &Rpc, operator: OperatorId, number: Option<u64>) -> Result<Value, Failure> {
    let mut faults = rpc.records(&verification::FAULTS, &operator).await?;
    faults.retain(|((_, fault), _)| number.is_none_or(|number| number == *fault));
    if faults.is_empty() {
        return Err(anyhow!("operator {operator} has no such fault; see `query operators`").into());
    }
    let faults = faults.into_iter().map(|((_, number), fault)| {
        let rerun = fault.receipt.map_or_else(
            || "the claim and the clock show it: `selvedge query claims`".to_owned(),
            |receipt| {
                format!(
                    "whoever holds the bundle of receipt {receipt}: `selvedge receipt \
                 verify BUNDLE --replay`"
                )
            },
        );
        json!({ "number": number, "fault": fault, "run_it_again": rerun })
    });
    Ok(json!({
        "operator": operator,
        "standing": rpc.record(&verification::STANDINGS, &operator).await?,
        "discipline": rpc.record(&staking::DISCIPLINE, &operator).await?,
        "faults": faults.collect::<Vec<_>>(),
    }))
}
