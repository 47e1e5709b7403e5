//! Requests that are asked of a second box, and what becomes of answers that contradict.

use crate::world::{OWNERS, PATIENCE, World, account, chat};
use crypto::OperatorId;
use ledger::payments::CLAIMED;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use units::BasisPoints;

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicated_request_is_answered_by_both_boxes_and_billed_once() {
    let mut world = World::empty().await;
    world.stop_gateway().await;
    world.duplicates = BasisPoints::WHOLE;
    world.start_gateway().await;
    for owner in OWNERS {
        world.start_box(owner).await;
    }
    let reply = world.caller().chat(&chat("hello")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(world.bundles(&reply.receipt()).await.len(), 1);
    // Both were paid a receipt: each files a claim.
    let claiming = async {
        for owner in OWNERS {
            let operator = OperatorId::derive(&account(owner), 0);
            while world.rpc.record(&CLAIMED, &operator).await.unwrap().is_none() {
                sleep(Duration::from_millis(200)).await;
            }
        }
    };
    timeout(PATIENCE, claiming).await.expect("both boxes claim");
}
