//! Receipts on their way to the ledger.

use crate::world::{PATIENCE, World, chat};
use client::bundle::{Check, Level, verify};
use preprocess::Preprocess;
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_claimed_and_settled_and_then_needs_nobody() {
    let world = World::new().await;
    let body = chat("hello");
    let reply = world.caller().chat(&body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let id = reply.receipt();
    let model = &world.models.chat;
    let preprocess = Preprocess::from_bytes(model.preprocess()).unwrap();
    let chain = world.rpc.status().await.unwrap().chain_id;
    let input = body.to_string();
    let check = Check {
        model,
        preprocess: &preprocess,
        trusted: Some(chain),
        input: Some(input.as_bytes()),
        output: Some(reply.text.as_bytes()),
    };
    let settling = async {
        loop {
            let bundle = world.bundles(&id).await.remove(0);
            let report = verify(&bundle, &check).unwrap();
            if report.level >= Level::Settled {
                return report;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    let report = timeout(PATIENCE, settling).await.expect("the claim settles");
    assert_eq!(report.assurance, "single validator");
    assert!(report.bond.is_some_and(|bond| !bond.is_zero()));
}
