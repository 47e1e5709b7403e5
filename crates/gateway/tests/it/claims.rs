//! Claims that do not hold what they pay for.

use crate::world::{OWNERS, PATIENCE, World, account, chat};
use crypto::OperatorId;
use ledger::{
    payments::{CLAIMS, Stage},
    verification::{Cause, FAULTS, Fault},
};
use operator::faults::Omitting;
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};
use units::Credit;

fn operator() -> OperatorId {
    OperatorId::derive(&account(OWNERS[0]), 0)
}

/// The operator's first fault, once it is found.
async fn fault(world: &World) -> Fault {
    let finding = async {
        loop {
            match world.rpc.record(&FAULTS, &(operator(), 0)).await.unwrap() {
                Some(fault) => return fault,
                None => sleep(Duration::from_millis(100)).await,
            }
        }
    };
    timeout(PATIENCE, finding).await.expect("the fault is found")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_leaves_out_a_receipt_is_reported_and_reclaimed_by_the_gateway_alone() {
    let mut world = World::empty().await;
    world.start_box_with(OWNERS[0], Some(Arc::new(Omitting))).await;
    for text in ["one", "two", "three"] {
        let reply = world.caller().chat(&chat(text)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    let fault = fault(&world).await;
    assert_eq!(fault.cause, Cause::Omission);
    assert_eq!((fault.payer, fault.reporter), (Some(account("payer")), Some(account("payer"))));
    assert!(!fault.refunded.is_zero() && !fault.spread.reporter.is_zero());
    let reclaiming = async {
        loop {
            let claims = world.rpc.records(&CLAIMS, &operator()).await.unwrap();
            let (_, claim) = claims.first().expect("a void claim is kept");
            assert_eq!(claim.stage, Stage::Void);
            if claim.owed() == Ok(Credit::ZERO) {
                return *claim;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let claim = timeout(PATIENCE, reclaiming).await.expect("the gateway takes its lanes back");
    assert_eq!((claim.paid, claim.returned), (Credit::ZERO, claim.totals.fee));
}
