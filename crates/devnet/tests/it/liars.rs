//! Each fault is caught, proven on the ledger, slashed, and its consumer refunded.

use crate::world::World;
use devnet::Liar;
use ledger::{
    Event,
    disputes::{self, Party},
    payments,
    verification::{self, Cause, FAULTS, Fault},
};

/// Lets a consumer ask until the liar is slashed and its claim void, and gives the fault.
async fn caught(kind: Liar) -> Fault {
    let world = World::new(Some(kind)).await;
    let liar = world.liar();
    let (mut slashed, mut refunded, mut void) = (None, false, false);
    world
        .watch(|event| {
            match event {
                Event::Verification(verification::Event::Slashed { operator, fault, .. }) => {
                    assert_eq!(*operator, liar, "an honest operator is slashed");
                    slashed.get_or_insert(*fault);
                }
                Event::Payments(payments::Event::Refunded { operator, amount, .. }) => {
                    assert_eq!(*operator, liar);
                    refunded |= !amount.is_zero();
                }
                Event::Payments(payments::Event::ClaimVoid { operator, .. }) => {
                    assert_eq!(*operator, liar);
                    void = true;
                }
                Event::Disputes(disputes::Event::Decided(verdict)) => {
                    let lost = (verdict.operator == liar) == (verdict.loser == Party::Defender);
                    assert!(lost, "{verdict:?}");
                }
                _ => {}
            }
            // Who does not open its receipts does not say whose they are.
            slashed.is_some() && void && (refunded || kind == Liar::Silent)
        })
        .await;
    let fault = world.rpc.record(&FAULTS, &(liar, slashed.unwrap())).await.unwrap().unwrap();
    assert!(!fault.spread.taken.is_zero());
    assert!(!fault.spread.burned.is_zero());
    world.network.shutdown().await;
    fault
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_weights_are_caught_by_an_audit_and_proven_by_one_step() {
    let fault = caught(Liar::Weights).await;
    let Cause::Disputed(disputes::Cause::WrongStep { weights, .. }) = fault.cause else {
        panic!("{fault:?}");
    };
    assert!(weights);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_output_is_caught_by_an_audit_and_proven_by_the_trace() {
    let fault = caught(Liar::Output).await;
    assert_eq!(fault.cause, Cause::Disputed(disputes::Cause::WrongOutput));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_answer_is_caught_by_an_audit_and_cannot_be_defended() {
    let fault = caught(Liar::Lazy).await;
    let silent = Cause::Disputed(disputes::Cause::NoAnswer { flood: false });
    assert_eq!(fault.cause, silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_at_an_audit_is_a_fault() {
    let fault = caught(Liar::Silent).await;
    assert_eq!(fault.cause, Cause::NotOpened);
}
