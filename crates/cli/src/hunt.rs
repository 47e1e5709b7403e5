//! What `selvedge devnet --liar` shows: a consumer asks, and the network finds the liar out.
//!
//! Rules: the consumer is an ordinary one, through the gateway's HTTP interface; what is shown are
//! the chain's own events. Never here: knowledge of who lies, but for the name that is printed.

use crate::{
    api::Api,
    home::{Connection, GatewayFlags, Home},
    output::{Failure, Output},
};
use client::rpc::Rpc;
use devnet::Devnet;
use ledger::{disputes, verification};
use serde_json::json;
use std::{convert::Infallible, time::Duration};
use units::Height;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after the node or the gateway failed.
const RETRY: Duration = Duration::from_secs(2);

/// Asks and shows until something fails for good, which nothing does.
pub(crate) async fn run(
    network: &Devnet,
    connection: &Connection,
    home: &Home,
    output: &Output,
) -> Result<Infallible, Failure> {
    if let Some(liar) = network.liar() {
        output.note(&format!("\noperator {liar} lies; a consumer asks once a second …"));
    }
    let flags = GatewayFlags {
        base_url: Some(connection.base_url.clone()),
        api_key: Some(connection.api_key.clone()),
    };
    let api = Api::new(home, &flags)?;
    let model = connection.models.iter().find(|name| name.contains("embed")).cloned();
    let model = model.or_else(|| connection.models.first().cloned()).unwrap_or_default();
    tokio::select! {
        never = ask(&api, &model) => match never {},
        never = watch(network, output) => never,
    }
}

async fn ask(api: &Api, model: &str) -> Infallible {
    let mut number = 0_u64;
    loop {
        number += 1;
        let body = json!({ "model": model, "input": format!("question {number}") });
        // The liar may be gone from the router for a moment; the next question finds another box.
        api.post("/embeddings", &body).await.ok();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn watch(network: &Devnet, output: &Output) -> Result<Infallible, Failure> {
    let rpc = Rpc::new(network.rpc_url())?;
    let mut next = rpc.status().await?.height;
    loop {
        let Ok(mut events) = rpc.events(next).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        while let Ok(block) = events.next().await {
            next = Height::new(block.height.get().saturating_add(1));
            for line in block.events.iter().filter_map(told) {
                output.note(&format!("block {}: {line}", block.height));
            }
        }
    }
}

/// What people are told of an event, if it has to do with the hunt.
fn told(event: &ledger::Event) -> Option<String> {
    use disputes::Event as Dispute;
    use verification::Event as Audit;
    Some(match event {
        ledger::Event::Verification(Audit::PointDrawn { operator, epoch, point, .. }) => {
            format!("receipt {point} of operator {operator}'s claim {epoch} is drawn")
        }
        ledger::Event::Verification(Audit::Mismatch { operator, receipt, auditor, .. }) => {
            format!("auditor {auditor} finds receipt {receipt} of operator {operator} wrong")
        }
        ledger::Event::Disputes(Dispute::Moved { receipt, party, .. }) => {
            format!("dispute of receipt {receipt}: a move of the {party:?}").to_lowercase()
        }
        ledger::Event::Disputes(Dispute::Decided(verdict)) => {
            format!("dispute of receipt {}: the {:?} loses", verdict.receipt, verdict.loser)
        }
        ledger::Event::Verification(Audit::Slashed { operator, fault, cause, spread, .. }) => {
            format!(
                "operator {operator} is slashed by {} for {cause:?}; `selvedge explain slash \
                 {operator} {fault}` shows the evidence",
                spread.taken
            )
        }
        ledger::Event::Payments(ledger::payments::Event::ClaimVoid { operator, epoch, .. }) => {
            format!("claim {epoch} of operator {operator} is void; its payers are refunded")
        }
        _ => return None,
    })
}
