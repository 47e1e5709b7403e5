//! Requests that are asked of a second box, and what becomes of answers that contradict.

use crate::world::{OWNERS, PATIENCE, World, account, chat};
use crypto::OperatorId;
use ledger::{
    payments::CLAIMED,
    verification::{Evidence, FAULTS},
};
use operator::faults::FlippedOutput;
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};
use units::BasisPoints;

/// A network without boxes whose gateway asks everything twice.
async fn duplicating() -> World {
    let mut world = World::empty().await;
    world.stop_gateway().await;
    world.duplicates = BasisPoints::WHOLE;
    world.start_gateway().await;
    world
}

fn operator(owner: &str) -> OperatorId {
    OperatorId::derive(&account(owner), 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicated_request_is_answered_by_both_boxes_and_billed_once() {
    let mut world = duplicating().await;
    for owner in OWNERS {
        world.start_box(owner).await;
    }
    let reply = world.caller().chat(&chat("hello")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(world.bundles(&reply.receipt()).await.len(), 1);
    // Both were paid a receipt: each files a claim.
    let claiming = async {
        for owner in OWNERS {
            while world.rpc.record(&CLAIMED, &operator(owner)).await.unwrap().is_none() {
                sleep(Duration::from_millis(200)).await;
            }
        }
    };
    timeout(PATIENCE, claiming).await.expect("both boxes claim");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_says_something_else_is_convicted_by_the_certificate_and_the_other_is_not() {
    let mut world = duplicating().await;
    let [honest, liar] = OWNERS;
    world.start_box(honest).await;
    world.start_box_with(liar, Some(Arc::new(FlippedOutput))).await;
    let reply = world.caller().chat(&chat("hello")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let convicting = async {
        loop {
            let fault = world.rpc.record(&FAULTS, &(operator(liar), 0)).await.unwrap();
            match fault {
                Some(fault) => return fault,
                None => sleep(Duration::from_millis(200)).await,
            }
        }
    };
    let fault = timeout(PATIENCE, convicting).await.expect("the liar is convicted");
    assert!(matches!(fault.evidence, Evidence::Conflict { .. }), "{fault:?}");
    assert!(!fault.spread.taken.is_zero());
    let other = world.rpc.record(&FAULTS, &(operator(honest), 0)).await.unwrap();
    assert_eq!(other, None, "the honest box loses nothing");
}
