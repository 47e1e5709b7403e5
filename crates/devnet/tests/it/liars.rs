//! Each fault is caught, proven on the ledger, and costs whoever has it; a wronged consumer is
//! refunded, and nobody honest loses anything.

use crate::world::World;
use crypto::OperatorId;
use devnet::Liar;
use ledger::{
    Event,
    disputes::{self, Party},
    payments, staking,
    tables::PARAMS,
    verification::{self, AUDITORS, Cause, Evidence, FAULTS, Fault, Outcome, POINTS},
};
use operator::faults::GriefingChallenger;
use std::collections::{BTreeMap, BTreeSet};
use units::Coin;

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
            slashed.is_some() && void && refunded
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

#[tokio::test(flavor = "multi_thread")]
async fn whoever_copies_a_leaked_root_loses_what_stands_behind_it_and_the_operator_nothing() {
    let world = World::new(Some(Liar::LeakedRoot)).await;
    let (operator, copier) = (world.liar(), world.outsider());
    let bond = world.rpc.record(&AUDITORS, &copier).await.unwrap().unwrap().bond;
    let (mut posted, mut paid) = (Coin::ZERO, Coin::ZERO);
    let (mut doubted, mut lost) = (BTreeSet::new(), 0);
    world
        .watch(|event| {
            match event {
                Event::Verification(verification::Event::Slashed { operator, .. }) => {
                    panic!("{operator} is slashed, and nobody lied");
                }
                Event::Verification(verification::Event::AuditPaid { auditor, amount }) => {
                    paid = if *auditor == copier { *amount } else { paid };
                }
                Event::Disputes(disputes::Event::Challenged { operator: of, backer, .. }) => {
                    assert_eq!((*of, backer.account), (operator, copier));
                    posted = posted.checked_add(backer.bond).unwrap();
                    let audits = paid.mul_div(20, 1, units::Rounding::Down).unwrap();
                    assert!(backer.bond >= audits, "{} for {paid}", backer.bond);
                }
                Event::Disputes(disputes::Event::Decided(verdict)) => {
                    assert_eq!((verdict.loser, verdict.challenger), (Party::Challenger, copier));
                    lost += 1;
                }
                Event::Verification(verification::Event::Mismatch { epoch, point, .. }) => {
                    doubted.insert((*epoch, *point));
                }
                Event::Verification(verification::Event::PointEnded {
                    operator: of,
                    epoch,
                    point,
                    outcome,
                }) if *of == operator && doubted.contains(&(*epoch, *point)) => {
                    assert_eq!((*outcome, lost > 0), (Outcome::Passed, true));
                    return true;
                }
                _ => {}
            }
            false
        })
        .await;
    let left = world.rpc.record(&AUDITORS, &copier).await.unwrap().unwrap().bond;
    assert!(!posted.is_zero() && left <= bond.checked_sub(posted).unwrap(), "{bond} {left}");
    world.network.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_in_league_does_not_save_a_liar() {
    let world = World::new(Some(Liar::ColludingAuditor)).await;
    let (liar, ally) = (world.liar(), world.outsider());
    let (mut vouched, mut doubted) = (BTreeSet::new(), BTreeSet::new());
    let mut convicted = None;
    world
        .watch(|event| {
            match event {
                Event::Verification(verification::Event::AuditorDrawn {
                    operator,
                    epoch,
                    point,
                    auditor,
                    ..
                }) if *operator == liar && *auditor == ally => {
                    vouched.insert((*epoch, *point));
                }
                Event::Verification(verification::Event::Mismatch {
                    epoch,
                    point,
                    auditor,
                    ..
                }) => {
                    assert_ne!(*auditor, ally);
                    doubted.extend(vouched.get(&(*epoch, *point)).copied());
                }
                // A conflict of two answers convicts it too; that is not looked for here.
                Event::Verification(verification::Event::Slashed {
                    operator, evidence, ..
                }) => {
                    assert_eq!(*operator, liar, "an honest operator is slashed");
                    if let Evidence::Point { epoch, point } = *evidence {
                        convicted = Some((epoch, point)).filter(|point| doubted.contains(point));
                    }
                }
                _ => {}
            }
            convicted.is_some()
        })
        .await;
    let (epoch, number) = convicted.unwrap();
    let point = world.rpc.record(&POINTS, &(liar, epoch, number)).await.unwrap().unwrap();
    assert_eq!(point.outcome, Some(Outcome::Failed));
    let found = |by_ally: bool| {
        let seats = point.seats.iter().filter(|seat| (seat.auditor == ally) == by_ally);
        seats.filter_map(|seat| seat.finding).next().unwrap()
    };
    let (wrong, right) = (found(true), found(false));
    assert_eq!(wrong.trace_root, right.trace_root, "it is the output that was flipped");
    assert_ne!(wrong.output_commit, right.output_commit);
    world.network.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn griefing_honest_operators_costs_every_bond_and_harms_nobody() {
    let world = World::new(Some(Liar::GriefingChallenger)).await;
    let griefer = world.outsider();
    let params = world.rpc.record(&PARAMS, &()).await.unwrap().unwrap();
    let (mut open, mut lost, mut before) = (0_u32, 0, None);
    let mut operators: BTreeMap<OperatorId, u32> = BTreeMap::new();
    world
        .watch(|event| {
            match event {
                Event::Disputes(disputes::Event::Challenged { operator, backer, .. }) => {
                    assert_eq!(backer.account, griefer);
                    let bond = disputes::math::bond(backer.cost, open, &params.disputes);
                    assert_eq!(Ok(backer.bond), bond, "it doubles with each that is open");
                    before.get_or_insert(world.answered());
                    *operators.entry(*operator).or_default() += 1;
                    open += 1;
                }
                Event::Disputes(disputes::Event::Decided(verdict)) => {
                    assert_eq!(verdict.loser, Party::Challenger, "{verdict:?}");
                    open -= 1;
                    lost += 1;
                }
                Event::Verification(verification::Event::Slashed { operator, .. })
                | Event::Staking(staking::Event::Jailed { operator, .. }) => {
                    panic!("{operator} has done nothing wrong");
                }
                Event::Payments(payments::Event::ClaimVoid { operator, .. }) => {
                    panic!("a claim of {operator} is void");
                }
                _ => {}
            }
            lost == GriefingChallenger::CHALLENGES
        })
        .await;
    assert!(operators.len() > 1, "{operators:?}");
    assert!(world.answered() >= before.unwrap() + 20, "consumers are served all the while");
    world.network.shutdown().await;
}
