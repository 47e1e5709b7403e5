//! Verification: scenarios as sentences over runs of the toy model, and properties of the formulas.

use super::{
    Cause, Certificate, Contradiction, Delivery, Error, Event, Evidence, Exhibit, Grade, Omission,
    Outcome, Params, Phase, PlacedLeaf, Standing, Tx, auditor, conflict, fault, math, point,
    schema::{AUDITORS, CONFLICT_OF, DELIVERED, POINTS, ROSTER, SEALED, Sealed},
    standing,
    state::Correlation,
    value_cap,
};
use crate::{
    Call, Event as AnyEvent, Rejection, Status,
    accounts::Pot,
    credits, disputes,
    disputes::moves::Finding,
    params,
    payments::{
        self, Audit, LaneRange, Stage,
        messages::{AuditMode, Finish, Receipt, Request},
    },
    staking,
    store::Read,
    testing::{
        account, coins, digest,
        network::{
            AUDITORS as AUDITOR_NAMES, Claimed, Network, audited, box_of, call, copies, salt_of,
        },
        operator_of, public,
        seals::{brought, demanded, reply_of},
        toy,
        toy::{FINE_LEAVES, ToyRun},
    },
    transaction,
};
use crypto::{OperatorId, SealKey, Seed, merkle::RangeProof};
use proptest::prelude::*;
use units::{BasisPoints, Coin, Credit, List, Millis, Rounding, UsdNano};

fn rejected(error: Error) -> Status {
    Status::Rejected(Rejection::Verification(error))
}

fn disputes_rejected(error: disputes::Error) -> Status {
    Status::Rejected(Rejection::Disputes(error))
}

fn network() -> Network {
    Network::new(audited())
}

/// The same with one auditor and one point for each claim.
fn small() -> Network {
    few(1)
}

/// The same with so many auditors.
fn few(auditors: u8) -> Network {
    let mut params = audited();
    (params.verification.leaves, params.verification.auditors) = (1, auditors);
    Network::new(params)
}

/// A run with a wrong row in it.
fn wrong(network: &Network) -> ToyRun {
    let mut run = network.right();
    run.faults.push((1, FINE_LEAVES - 2));
    run.faults.push((1, FINE_LEAVES - 1));
    run
}

/// A run whose second token is another.
fn other_token(network: &Network) -> ToyRun {
    let mut run = network.right();
    run.tokens[1] = 500;
    run
}

fn outcomes(network: &Network, claimed: &Claimed) -> Vec<Option<Outcome>> {
    network.points(claimed).into_iter().map(|(_, point)| point.outcome).collect()
}

fn events(network: &Network) -> Vec<Event> {
    let own = network.world.log.iter().filter_map(|event| match event {
        AnyEvent::Verification(event) => Some(event.clone()),
        _ => None,
    });
    own.collect()
}

fn at(claimed: &Claimed, point: u8) -> (OperatorId, units::Epoch, u8) {
    (claimed.operator, claimed.epoch, point)
}

fn commit(claimed: &Claimed, point: u8, name: &str, run: &ToyRun) -> Call {
    let commitment = math::commitment(&run.finding(), &account(name), &salt_of(name));
    let (operator, epoch, point) = at(claimed, point);
    call(Tx::Commit { operator, epoch, point, commitment })
}

/// The name of the first auditor of point 0.
fn seated(network: &Network, claimed: &Claimed) -> String {
    network.name(network.points(claimed)[0].1.seats.first().unwrap().auditor)
}

/// A claim of one receipt with one point, opened.
fn opened(network: &mut Network, run: &ToyRun) -> Claimed {
    let claimed = network.drawn("olga", run, 1);
    let openings = network.openings(&claimed);
    network.all_done(openings);
    claimed
}

#[test]
fn an_honest_claim_passes_is_paid_and_its_operator_and_auditors_lose_nothing() {
    let mut network = network();
    // The take of a first claim fills the pot for audits.
    let right = network.right();
    for _ in 0..2 {
        let claimed = network.drawn("olga", &right, 12);
        assert_eq!(network.record(&claimed).audit, Audit::Running);
        network.audit(&claimed, |_| Some(right.clone()));
        assert!(outcomes(&network, &claimed).contains(&Some(Outcome::Passed)));
        assert_eq!(network.record(&claimed).audit, Audit::Passed);
        network.world.wait(30_000);
        let record = network.record(&claimed);
        assert_eq!((record.stage, record.paid), (Stage::Settled, record.totals.fee));
    }
    assert_eq!(network.bond(operator_of("olga", 0)), coins(1_000));
    for name in AUDITOR_NAMES {
        let known = auditor(&network.world.state, &account(name)).unwrap().unwrap();
        assert_eq!((known.bond, known.seats), (coins(100), 0));
    }
    assert!(network.faults(operator_of("olga", 0)).is_empty());
    let known = standing(&network.world.state, &operator_of("olga", 0), Millis::ZERO).unwrap();
    assert!(known.passed >= 2);
}

#[test]
fn a_network_without_audits_settles_claims_as_if_there_were_none() {
    let mut params = audited();
    params.verification.leaves = 0;
    let mut network = Network::new(params);
    let claimed = network.drawn("olga", &wrong(&network), 1);
    let record = network.record(&claimed);
    assert_eq!((record.audit, record.holds), (Audit::Off, 0));
    assert!(network.points(&claimed).is_empty());
    network.world.wait(30_000);
    assert_eq!(network.record(&claimed).stage, Stage::Settled);
    let cap = value_cap(&network.world.state, &claimed.operator, Millis::ZERO).unwrap().unwrap();
    assert_eq!(cap.value, None);
}

#[test]
fn r1_a_claim_is_audited_with_its_probability_and_receipts_are_drawn_by_their_fees() {
    let mut params = audited();
    params.verification.audit_floor = BasisPoints::new(2_000).unwrap();
    let mut network = Network::new(params);
    let right = network.right();
    let (mut passed_over, mut running) = (0, 0);
    for _ in 0..24 {
        let claimed = network.drawn("olga", &right, 1);
        let record = network.record(&claimed);
        assert_eq!(record.probability.get(), 2_000, "little is at stake");
        match record.audit {
            Audit::PassedOver => passed_over += 1,
            Audit::Running => {
                running += 1;
                let points = network.points(&claimed);
                assert_eq!(points.len(), 2);
                assert!(points.iter().all(|(_, point)| point.at < record.totals.fee));
                network.audit(&claimed, |_| Some(right.clone()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(passed_over > running && running > 0, "{passed_over} to {running}");
}

#[test]
fn r2_a_claim_over_the_value_cap_is_refused() {
    let mut params = audited();
    params.verification.saving = BasisPoints::WHOLE;
    let mut network = Network::empty(params, &["olga"]);
    network.join("olga", coins(100));
    let cap = value_cap(&network.world.state, &operator_of("olga", 0), Millis::ZERO);
    let cap = cap.unwrap().unwrap();
    // 100 coins are $10; a slash burns $5; q = 0.96; halved four times.
    assert_eq!(cap.levels_left, 4);
    assert_eq!(cap.value, Some(Credit::new(5 * units::NANO * 96 / 100 / 2 / 16)));
    let right = network.right();
    let fee = network.receipt_fee().get();
    let most = usize::try_from(cap.value.unwrap().get() / fee).unwrap();
    let claimed = network.serve("olga", &copies(&right, most + 1));
    network.world.wait_for_next_period();
    let filing = network.filing(&claimed);
    let status = network.world.send("olga", filing);
    let value = Credit::new(fee * (most as u128 + 1));
    assert_eq!(status, rejected(Error::OverValueCap { value, cap: cap.value.unwrap() }));
}

#[test]
fn r3_an_auditor_bonds_twenty_audits_and_a_loss_keeps_it_from_being_drawn() {
    let mut network = small();
    let least = math::least_bond(UsdNano::new(units::NANO / 10), &audited().verification).unwrap();
    let too_small = Network::enlist_call("bob", least.checked_sub(Coin::new(1)).unwrap());
    let error = Error::BondTooSmall { bond: least.checked_sub(Coin::new(1)).unwrap(), least };
    assert_eq!(network.world.send("bob", too_small), rejected(error));
    let enlist = |models, key| {
        let (amount, endpoint) = (least, Default::default());
        call(Tx::Enlist { key, amount, models: List::new(models).unwrap(), endpoint })
    };
    let known = toy::facts().model;
    let unknown = crypto::ModelId::new(digest("unknown"));
    let key = crypto::PublicKey::new([0; 32]);
    let cases = [
        (enlist(vec![unknown], public("bob")), Error::UnknownModel { model: unknown }),
        (enlist(vec![known, known], public("bob")), Error::ModelsOutOfOrder),
        (enlist(vec![known], key), Error::BadKey { key }),
    ];
    for (call, error) in cases {
        assert_eq!(network.world.send("bob", call), rejected(error));
    }
    network.enlist("bob", least);
    assert_eq!(network.world.state.scan(&ROSTER, &known, 9).unwrap().len(), 5);
    // One that misses an audit falls below the least.
    let right = network.right();
    let mut missed = None;
    for _ in 0..20 {
        let claimed = opened(&mut network, &right);
        let name = seated(&network, &claimed);
        if name == "bob" {
            network.world.wait(30_000);
            missed = Some(name);
            break;
        }
        network.audit(&claimed, |_| Some(right.clone()));
    }
    let name = missed.expect("a fifth of the names are bob's");
    let record = auditor(&network.world.state, &account(&name)).unwrap().unwrap();
    assert!(record.bond < least && record.models.is_empty());
    network.enlist("bob", coins(5));
    assert_eq!(network.world.state.scan(&ROSTER, &known, 9).unwrap().len(), 5);
}

#[test]
fn r4_nobody_is_drawn_for_the_own_operator_or_after_the_claim_and_a_full_roster_takes_more_only() {
    let mut network = small();
    let right = network.right();
    network.enlist("olga", coins(100_000));
    for _ in 0..3 {
        let claimed = network.claim("olga", &right, 1);
        network.enlist("otto", coins(10_000)); // Too late for this claim, each time anew.
        while network.points(&claimed).is_empty() {
            network.world.block(&[]);
        }
        let openings = network.openings(&claimed);
        network.all_done(openings);
        let name = seated(&network, &claimed);
        assert!(AUDITOR_NAMES.contains(&name.as_str()), "{name}");
        network.audit(&claimed, |_| Some(right.clone()));
    }
    let names: Vec<String> = (0..257).map(|n| format!("auditor {n}")).collect();
    let people: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut network = Network::empty(audited(), &people);
    let calls = |range: core::ops::Range<usize>, bond: u128| {
        let call = |name: &String| (name.clone(), Network::enlist_call(name, coins(bond)));
        names[range].iter().map(call).collect::<Vec<_>>()
    };
    network.all_done(calls(0..256, 20));
    let full = rejected(Error::RosterFull { least: coins(20) });
    assert_eq!(network.batch(calls(256..257, 20)), [full]);
    network.all_done(calls(256..257, 21));
    let roster = network.world.state.scan(&ROSTER, &toy::facts().model, usize::MAX).unwrap();
    assert_eq!(roster.len(), 256);
    assert!(roster.iter().any(|((_, listed), _)| *listed == account("auditor 256")));
}

#[test]
fn r5_notice_runs_for_the_window_and_outlasts_every_seat() {
    let mut network = small();
    let right = network.right();
    let claimed = opened(&mut network, &right);
    let name = seated(&network, &claimed);
    let before = network.world.balance(&name);
    assert_eq!(
        network.world.send("bob", call(Tx::Retire)),
        rejected(Error::NotEnlisted { account: account("bob") })
    );
    network.world.done(&name, call(Tx::Retire));
    let until = auditor(&network.world.state, &account(&name)).unwrap().unwrap().leaving.unwrap();
    assert_eq!(network.world.send(&name, call(Tx::Retire)), rejected(Error::Leaving { until }));
    let again = Network::enlist_call(&name, coins(1));
    assert_eq!(network.world.send(&name, again), rejected(Error::Leaving { until }));
    network.audit(&claimed, |_| Some(right.clone()));
    network.world.wait(25_000);
    assert_eq!(auditor(&network.world.state, &account(&name)).unwrap(), None);
    let fees = before.checked_sub(network.world.balance(&name)).err();
    assert!(fees.is_some(), "the bond came back, and the pay of an audit");
    let hot = network.world.send_by("ada", "ada", call(Tx::Retire));
    assert_eq!(
        hot,
        if name == "ada" {
            rejected(Error::NotEnlisted { account: account("ada") })
        } else {
            Status::Applied
        }
    );
}

#[test]
fn r6_what_is_not_opened_in_time_fails_and_only_the_drawn_receipt_opens() {
    let mut network = small();
    let right = network.right();
    let claimed = network.drawn("olga", &right, 5);
    let drawn = claimed.at(network.points(&claimed)[0].1.at);
    let other = (drawn + 1) % 5;
    let not_drawn = call(Tx::Open(Box::new(claimed.opening(other))));
    assert_eq!(network.world.send("bob", not_drawn), rejected(Error::NotDrawn));
    let mut bad = claimed.opening(drawn);
    bad.path = claimed.path(other);
    let status = network.world.send("bob", call(Tx::Open(Box::new(bad))));
    assert_eq!(status, disputes_rejected(disputes::Error::NotClaimed));
    let mut bad = claimed.opening(drawn);
    bad.epoch = units::Epoch::new(77);
    let status = network.world.send("bob", call(Tx::Open(Box::new(bad))));
    let (operator, epoch) = (claimed.operator, units::Epoch::new(77));
    assert_eq!(status, rejected(Error::UnknownClaim { operator, epoch }));
    let mut bad = claimed.opening(drawn);
    bad.receipt.signature = bad.request.signature;
    let status = network.world.send("bob", call(Tx::Open(Box::new(bad))));
    assert_eq!(status, disputes_rejected(disputes::Error::BadSignature));

    network.world.wait(6_000);
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::Failed)]);
    let record = network.record(&claimed);
    assert_eq!((record.stage, record.audit), (Stage::Void, Audit::Failed));
    assert_eq!(record.returned, Credit::ZERO, "its payers reclaim it");
    let fault = &network.faults(claimed.operator)[0];
    assert_eq!((fault.cause, fault.grade), (Cause::NotOpened, Grade::First));
    assert_eq!(fault.evidence, Evidence::Point { epoch: claimed.epoch, point: 0 });
    let late = call(Tx::Open(Box::new(claimed.opening(drawn))));
    assert_eq!(network.world.send("bob", late), rejected(Error::NotDrawn));
}

#[test]
fn r6_points_on_one_receipt_are_one_and_a_model_of_few_owners_is_not_audited() {
    let mut network = network();
    let right = network.right();
    let claimed = opened(&mut network, &right);
    assert_eq!(outcomes(&network, &claimed), [None, Some(Outcome::Merged)]);
    network.audit(&claimed, |_| Some(right.clone()));
    assert_eq!(network.record(&claimed).audit, Audit::Passed);

    let mut params = audited();
    params.verification.audited_owners = 2;
    let mut network = Network::new(params);
    let claimed = opened(&mut network, &right);
    let ended = [Some(Outcome::ModelNotAudited), Some(Outcome::Merged)];
    assert_eq!(outcomes(&network, &claimed), ended);
    assert_eq!(network.record(&claimed).audit, Audit::Unaudited);
    network.world.wait(30_000);
    assert_eq!(network.record(&claimed).stage, Stage::Settled);
}

#[test]
fn r7_demanded_content_must_come_and_must_make_the_commitments() {
    let mut network = small();
    let right = network.right();
    let claimed = opened(&mut network, &right);
    let name = seated(&network, &claimed);
    let (operator, epoch, point) = at(&claimed, 0);
    let demand = call(Tx::Demand { operator, epoch, point, reply: None });
    let deliver = |content| {
        let delivery = Delivery::Open(content);
        call(Tx::Deliver { operator, epoch, point, delivery })
    };
    let early = network.world.send("olga", deliver(toy::content(&right)));
    assert_eq!(early, rejected(Error::NotDemanded));
    let stranger = Error::NotTheAuditor { account: account("bob") };
    assert_eq!(network.world.send("bob", demand.clone()), rejected(stranger));
    network.world.done(&name, demand.clone());
    let again = rejected(Error::WrongPhase { phase: Phase::Delivering });
    assert_eq!(network.world.send(&name, demand.clone()), again);
    let mut bad = toy::content(&right);
    bad.output = List::new(vec![1, 2, 3, 4]).unwrap();
    let status = network.world.send("olga", deliver(bad));
    assert_eq!(status, rejected(Error::WrongContent));
    network.world.done("olga", deliver(toy::content(&right)));
    let kept = network.world.state.get(&DELIVERED, &at(&claimed, 0)).unwrap();
    assert_eq!(kept, Some(toy::content(&right)));
    assert_eq!(network.world.send(&name, demand), rejected(Error::DemandedBefore));
    network.audit(&claimed, |_| Some(right.clone()));
    assert!(!network.world.state.has(&DELIVERED, &at(&claimed, 0)));

    let claimed = opened(&mut network, &right);
    let name = seated(&network, &claimed);
    let (operator, epoch, point) = at(&claimed, 0);
    network.world.done(&name, call(Tx::Demand { operator, epoch, point, reply: None }));
    network.world.wait(6_000);
    assert_eq!(network.faults(operator)[0].cause, Cause::NotDelivered);
    assert_eq!(network.record(&claimed).stage, Stage::Void);
}

#[test]
fn r8_a_finding_is_sealed_by_its_auditor_then_revealed_and_nothing_else_counts() {
    let mut network = small();
    let right = network.right();
    let claimed = opened(&mut network, &right);
    let name = seated(&network, &claimed);
    let (operator, epoch, point) = at(&claimed, 0);
    let (finding, salt) = (right.finding(), salt_of(&name));
    let reveal =
        |finding: &Finding| call(Tx::Reveal { operator, epoch, point, finding: *finding, salt });
    let early = rejected(Error::WrongPhase { phase: Phase::Committing });
    assert_eq!(network.world.send(&name, reveal(&finding)), early);
    let sealed = commit(&claimed, 0, &name, &right);
    let stranger = Error::NotTheAuditor { account: account("bob") };
    assert_eq!(network.world.send("bob", sealed.clone()), rejected(stranger));
    let other = call(Tx::Commit { operator, epoch, point: 5, commitment: digest("x") });
    assert_eq!(network.world.send(&name, other), rejected(Error::UnknownPoint));
    let key = public("hot");
    let far = network.world.far;
    network.world.done(&name, crate::testing::grant("hot", coins(1), Credit::ZERO, far));
    let status = network.world.send_by(&name, "hot", sealed.clone());
    assert_eq!(status, rejected(Error::NotTheAuditorsKey { key }));
    network.world.done(&name, sealed.clone());
    let late = rejected(Error::WrongPhase { phase: Phase::Revealing });
    assert_eq!(network.world.send(&name, sealed), late);
    let copied = Finding { n_out: 3, ..finding };
    assert_eq!(network.world.send(&name, reveal(&copied)), rejected(Error::NotCommitted));
    let (trace_root, salt) = (digest("no"), toy::trace_salt());
    let trace = |trace_root| call(Tx::RevealTrace { operator, epoch, point, trace_root, salt });
    assert_eq!(network.world.send("bob", trace(trace_root)), rejected(Error::WrongTrace));
    network.world.done("bob", trace(right.trace_root()));
    let again = network.world.send("olga", trace(right.trace_root()));
    assert_eq!(again, rejected(Error::Repeated));
    network.world.done(&name, reveal(&finding));
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::Passed)]);
}

#[test]
fn r8_a_finding_that_no_run_can_have_is_refused_and_its_auditor_is_missed() {
    let mut network = small();
    let right = network.right();
    let claimed = opened(&mut network, &right);
    let name = seated(&network, &claimed);
    let mut absurd = right.clone();
    absurd.finish = Finish::Cancelled;
    let sealed = commit(&claimed, 0, &name, &absurd);
    network.world.done(&name, sealed);
    let (operator, epoch, point) = at(&claimed, 0);
    let (finding, salt) = (absurd.finding(), salt_of(&name));
    let status =
        network.world.send(&name, call(Tx::Reveal { operator, epoch, point, finding, salt }));
    assert_eq!(status, disputes_rejected(disputes::Error::BadFinding));
    let reveals = network.reveals(&claimed, |_| None, true);
    network.all_done(reveals);
    network.world.wait(6_000);
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::NoAuditor)]);
    let record = auditor(&network.world.state, &account(&name)).unwrap().unwrap();
    assert_eq!((record.bond, record.seats), (coins(98), 0));
}

#[test]
fn r8_an_operator_that_does_not_show_its_trace_is_at_fault() {
    let mut network = small();
    let right = network.right();
    let claimed = opened(&mut network, &right);
    let commits = network.commits(&claimed, |_| Some(right.clone()));
    network.all_done(commits);
    let reveals = network.reveals(&claimed, |_| Some(right.clone()), false);
    network.all_done(reveals);
    network.world.wait(6_000);
    assert_eq!(network.faults(claimed.operator)[0].cause, Cause::NotRevealed);
    assert!(events(&network).iter().any(|event| matches!(event, Event::AuditPaid { .. })));
}

#[test]
fn r8_a_wrong_run_is_disputed_down_to_its_step_refunded_and_slashed() {
    let mut network = small();
    let (right, liar) = (network.right(), wrong(&network));
    let claimed = opened(&mut network, &liar);
    let locked = network.world.holding("gateway").locked;
    network.audit(&claimed, |_| Some(right.clone()));
    assert_eq!(network.points(&claimed)[0].1.phase, Phase::Disputed);
    assert_eq!(network.record(&claimed).holds, 1);
    network.play_out(|name, _| Some(if name == "olga" { liar.clone() } else { right.clone() }));
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::Failed)]);
    let record = network.record(&claimed);
    assert_eq!((record.stage, record.returned), (Stage::Void, record.totals.fee));
    let back = network.world.holding("gateway").locked.checked_sub(locked).unwrap();
    assert_eq!(back, record.totals.fee, "the payer has its fee back");
    let fault = &network.faults(claimed.operator)[0];
    assert!(matches!(fault.cause, Cause::Disputed(disputes::Cause::WrongStep { .. })));
    assert_eq!((fault.refunded, fault.spread.victim), (record.totals.fee, Coin::ZERO));
    assert_eq!(fault.reporter, None, "an auditor is not paid for what it finds");
    assert_eq!(fault.spread.taken, coins(50), "5 % of the bond");
    assert_eq!(network.bond(claimed.operator), coins(950));
}

#[test]
fn r8_a_lying_auditor_loses_its_part_of_the_dispute_and_the_honest_operator_nothing() {
    let mut network = small();
    let (right, liar) = (network.right(), wrong(&network));
    let claimed = opened(&mut network, &right);
    let name = seated(&network, &claimed);
    network.audit(&claimed, |_| Some(liar.clone()));
    assert_eq!(network.points(&claimed)[0].1.phase, Phase::Disputed);
    let posted = auditor(&network.world.state, &account(&name)).unwrap().unwrap().bond;
    assert!(posted < coins(100), "a part of its bond stands behind the finding");
    network.play_out(|owner, _| Some(if owner == "olga" { right.clone() } else { liar.clone() }));
    network.world.wait(120_000);
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::Passed)]);
    assert_eq!(network.bond(claimed.operator), coins(1_000));
    let record = auditor(&network.world.state, &account(&name)).unwrap().unwrap();
    assert_eq!(record.bond, posted, "what it had posted is gone");
    assert_eq!(network.record(&claimed).stage, Stage::Settled, "paid, only later");
    assert_eq!(network.world.pot(Pot::DisputeBonds), Coin::ZERO);
}

#[test]
fn an_operator_that_loses_on_purpose_harms_no_auditor_that_found_its_receipt_right() {
    let mut network = small();
    let (right, ally) = (network.right(), wrong(&network));
    let claimed = opened(&mut network, &right);
    let name = seated(&network, &claimed);
    network.audit(&claimed, |_| Some(right.clone()));
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::Passed)]);
    // An ally says something false of the receipt, and the operator shows a false fine tree: its
    // receipt commits to none.
    let mut false_tree = right.clone();
    false_tree.faults.push((1, 2));
    assert_eq!(false_tree.finding(), right.finding());
    let subject = Box::new(claimed.opening(0).subject());
    let challenge = disputes::Tx::Challenge { subject, finding: ally.finding() };
    network.world.done("otto", Call::Disputes(challenge));
    network
        .play_out(|owner, _| Some(if owner == "olga" { false_tree.clone() } else { ally.clone() }));
    let fault = &network.faults(claimed.operator)[0];
    assert!(matches!(fault.cause, Cause::Disputed(disputes::Cause::WrongStep { .. })));
    let record = auditor(&network.world.state, &account(&name)).unwrap().unwrap();
    assert_eq!(record.bond, coins(100));
}

#[test]
fn r9_missing_auditors_are_replaced_once_lose_a_part_and_those_who_come_are_paid() {
    let mut network = small();
    let right = network.right();
    // Take fills the pot for audits.
    let first = network.drawn("olga", &right, 120);
    network.audit(&first, |_| Some(right.clone()));
    network.world.wait(30_000);

    let claimed = opened(&mut network, &right);
    let absent = seated(&network, &claimed);
    network.world.wait(10_500);
    let present = seated(&network, &claimed);
    assert_ne!(absent, present);
    let gone = auditor(&network.world.state, &account(&absent)).unwrap().unwrap();
    assert_eq!((gone.bond, gone.seats), (coins(98), 0));
    let before = network.world.balance(&present);
    let pot = network.world.pot(Pot::Audit);
    network.audit(&claimed, |_| Some(right.clone()));
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::Passed)]);
    let (price, rules) = (UsdNano::new(units::NANO / 10), audited().verification);
    let pay = math::audit_pay(network.receipt_fee(), price, &rules).unwrap();
    assert_eq!(network.world.pot(Pot::Audit), pot.checked_sub(pay).unwrap());
    let fees = rules.audit_fee.mul_div(2, 1, Rounding::Up).unwrap();
    let after = before.checked_add(pay).unwrap().checked_sub(fees).unwrap();
    assert_eq!(network.world.balance(&present), after);

    // Nobody comes at all: the claim is paid, unaudited.
    let claimed = opened(&mut network, &right);
    network.world.wait(25_000);
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::NoAuditor)]);
    assert_eq!(network.record(&claimed).audit, Audit::Unaudited);
    assert_eq!(network.bond(claimed.operator), coins(1_000));
}

/// Receipts of olga and otto for one body.
struct Duel {
    network: Network,
    sides: [(Request, Receipt, ToyRun); 2],
}

impl Duel {
    fn new(runs: [ToyRun; 2]) -> Self {
        let mut network = network();
        network.join("otto", coins(1_000));
        network.world.block(&[]);
        let freshness = units::Round::new(network.world.round.get() - 1);
        let owners = ["olga", "otto"];
        let mut sides = owners.into_iter().zip(runs).map(|(owner, run)| {
            let mut request = toy::request(network.world.chain, 1, 4, None, freshness);
            request.operator = operator_of(owner, 0);
            let receipt = toy::receipt(&request, &run);
            (request, receipt, run)
        });
        let sides = [sides.next().unwrap(), sides.next().unwrap()];
        Self { network, sides }
    }

    fn exhibit(&self, index: usize) -> Exhibit {
        let (request, receipt, _) = &self.sides[index];
        let box_name = box_of(["olga", "otto"][index]);
        let subject = toy::subject(request.clone(), receipt.clone(), &box_name);
        Exhibit { request: subject.request, receipt: subject.receipt }
    }

    fn certificate(&self, contradiction: Contradiction) -> Call {
        let (first, second) = (self.exhibit(0), self.exhibit(1));
        call(Tx::Conflict(Box::new(Certificate { first, second, contradiction })))
    }

    /// Shows that token 1 differs.
    fn output(&self) -> Call {
        let leaf = |index: usize| toy::opened_leaf(&self.sides[index].2, 1);
        let (first, second) = (leaf(0), leaf(1));
        self.certificate(Contradiction::Output { index: 1, first, second })
    }

    fn answer(&self, index: usize) -> Call {
        let (_, receipt, run) = &self.sides[index];
        let (receipt, trace_root) = (receipt.hash(), run.trace_root());
        call(Tx::Answer { receipt, trace_root, salt: toy::trace_salt() })
    }

    fn operator(index: usize) -> OperatorId {
        operator_of(["olga", "otto"][index], 0)
    }

    /// Both answer and play with what they have signed.
    fn play(&mut self) {
        for index in [0, 1] {
            let answer = self.answer(index);
            self.network.world.done("bob", answer);
        }
        let runs = [self.sides[0].2.clone(), self.sides[1].2.clone()];
        self.network.play_out(|name, _| match name {
            "olga" => Some(runs[0].clone()),
            "otto" => Some(runs[1].clone()),
            _ => None,
        });
        self.network.world.wait(120_000);
    }

    fn is_over(&self) -> bool {
        let world = &self.network.world;
        world.state.scan(&CONFLICT_OF, &(), 1).unwrap().is_empty()
    }
}

#[test]
fn r10_of_two_contradicting_receipts_the_wrong_one_pays_and_the_right_one_does_not() {
    let base = network();
    let (right, liar) = (base.right(), other_token(&base));
    for (runs, guilty) in [([right.clone(), liar.clone()], 1), ([liar, right], 0)] {
        let mut duel = Duel::new(runs);
        let before = duel.network.world.balance("bob");
        let certificate = duel.output();
        duel.network.world.done("bob", certificate.clone());
        let again = duel.network.world.send("bob", certificate);
        let receipt = duel.sides[0].1.hash();
        assert_eq!(again, rejected(Error::InConflict { receipt }));
        duel.play();
        assert!(duel.is_over());
        assert_eq!(duel.network.bond(Duel::operator(1 - guilty)), coins(1_000));
        assert!(duel.network.faults(Duel::operator(1 - guilty)).is_empty());
        let fault = &duel.network.faults(Duel::operator(guilty))[0];
        assert!(matches!(fault.cause, Cause::Disputed(disputes::Cause::WrongStep { .. })));
        assert_eq!(fault.reporter, Some(account("bob")));
        assert!(fault.spread.reporter > Coin::ZERO && fault.spread.victim > Coin::ZERO);
        assert!(duel.network.world.balance("bob") > before);
        let late = duel.output();
        let receipt = duel.sides[guilty].1.hash();
        let status = duel.network.world.send("bob", late);
        let ended = matches!(
            status,
            Status::Rejected(Rejection::Verification(
                Error::TooLate { .. } | Error::Punished { .. }
            ))
        );
        assert!(ended, "{status:?} {receipt}");
    }
}

#[test]
fn r10_a_false_output_under_a_right_trace_a_false_end_and_silence_are_each_found() {
    let base = network();
    let right = base.right();
    let mut masked = right.clone();
    masked.false_outputs.push(1);
    let mut duel = Duel::new([masked, right.clone()]);
    let certificate = duel.output();
    duel.network.world.done("bob", certificate);
    duel.play();
    assert!(duel.is_over());
    let cause = duel.network.faults(Duel::operator(0))[0].cause;
    assert_eq!(cause, Cause::Disputed(disputes::Cause::WrongOutput));
    assert!(duel.network.faults(Duel::operator(1)).is_empty());

    let mut short = right.clone();
    short.tokens.truncate(2);
    short.finish = Finish::Stop;
    let mut duel = Duel::new([right.clone(), short]);
    let certificate = duel.certificate(Contradiction::End);
    duel.network.world.done("bob", certificate);
    duel.play();
    assert!(duel.is_over());
    assert_eq!(duel.network.faults(Duel::operator(1)).len(), 1);
    assert!(duel.network.faults(Duel::operator(0)).is_empty());

    let mut duel = Duel::new([right, other_token(&base)]);
    let certificate = duel.output();
    duel.network.world.done("bob", certificate);
    let (answer, receipt) = (duel.answer(0), duel.sides[0].1.hash());
    let bad = call(Tx::Answer { receipt, trace_root: digest("no"), salt: toy::trace_salt() });
    assert_eq!(duel.network.world.send("olga", bad), rejected(Error::WrongTrace));
    duel.network.world.done("olga", answer.clone());
    assert_eq!(duel.network.world.send("olga", answer), rejected(Error::Repeated));
    duel.network.world.wait(21_000);
    assert!(duel.is_over());
    assert_eq!(duel.network.faults(Duel::operator(1))[0].cause, Cause::NotRevealed);
    assert!(duel.network.faults(Duel::operator(0)).is_empty());
    let receipt = digest("none");
    let none = call(Tx::Answer { receipt, trace_root: receipt, salt: receipt });
    assert_eq!(duel.network.world.send("olga", none), rejected(Error::NotInConflict { receipt }));
}

#[test]
fn r10_who_answers_and_then_does_not_play_is_at_fault_and_the_other_is_not() {
    let base = network();
    let (right, liar) = (base.right(), other_token(&base));
    let mut duel = Duel::new([right.clone(), liar]);
    let certificate = duel.output();
    duel.network.world.done("bob", certificate);
    for index in [0, 1] {
        let answer = duel.answer(index);
        duel.network.world.done("bob", answer);
    }
    for _ in 0..30 {
        duel.network.play_out(|name, _| (name == "olga").then(|| right.clone()));
        duel.network.world.wait(10_000);
    }
    assert!(duel.is_over());
    assert!(!duel.network.faults(Duel::operator(1)).is_empty());
    assert!(duel.network.faults(Duel::operator(0)).is_empty());
    assert_eq!(duel.network.bond(Duel::operator(0)), coins(1_000));
}

#[test]
fn r10_a_cancelled_answer_convicts_for_a_token_and_never_for_its_length() {
    let base = network();
    let right = base.right();
    let mut cancelled = right.clone();
    cancelled.tokens.truncate(2);
    cancelled.finish = Finish::Cancelled;
    let mut duel = Duel::new([cancelled.clone(), right]);
    let ends = duel.certificate(Contradiction::End);
    assert_eq!(duel.network.world.send("bob", ends), rejected(Error::NoContradiction));
    let same = duel.output();
    assert_eq!(duel.network.world.send("bob", same), rejected(Error::NoContradiction));

    let mut duel = Duel::new([cancelled, other_token(&base)]);
    let certificate = duel.output();
    duel.network.world.done("bob", certificate);
    duel.play();
    assert!(duel.is_over());
    assert_eq!(duel.network.faults(Duel::operator(1)).len(), 1);
    assert!(duel.network.faults(Duel::operator(0)).is_empty());
}

#[test]
fn r10_two_words_of_one_operator_on_one_request_end_it_for_ever() {
    let base = network();
    let (right, liar) = (base.right(), other_token(&base));
    let mut duel = Duel::new([right.clone(), liar.clone()]);
    duel.sides[1].0 = duel.sides[0].0.clone();
    duel.sides[1].1 = toy::receipt(&duel.sides[0].0, &liar);
    let [first, second] = [0, 1].map(|index| {
        let (request, receipt, _) = &duel.sides[index];
        let subject = toy::subject(request.clone(), receipt.clone(), &box_of("olga"));
        Exhibit { request: subject.request, receipt: subject.receipt }
    });
    let leaf = |run: &ToyRun| toy::opened_leaf(run, 1);
    let contradiction =
        Contradiction::Output { index: 1, first: leaf(&right), second: leaf(&liar) };
    let certificate = Certificate { first, second, contradiction };
    let filing = call(Tx::Conflict(Box::new(certificate)));
    duel.network.world.done("bob", filing.clone());
    let fault = &duel.network.faults(Duel::operator(0))[0];
    assert_eq!((fault.cause, fault.grade), (Cause::Equivocation, Grade::Total));
    assert_eq!(fault.spread.taken, coins(1_000));
    let discipline = staking::discipline(&duel.network.world.state, &Duel::operator(0)).unwrap();
    assert!(discipline.tombstoned);
    let receipt = duel.sides[0].1.hash();
    let again = duel.network.world.send("bob", filing);
    assert_eq!(again, rejected(Error::Punished { receipt }));
}

#[test]
fn r10_what_does_not_belong_together_is_no_certificate() {
    let base = network();
    let (right, liar) = (base.right(), other_token(&base));
    let mut duel = Duel::new([right, liar]);
    let leaf = |index: usize| toy::opened_leaf(&duel.sides[index].2, 1);
    let (first, mut second) = (leaf(0), leaf(1));
    second.path = RangeProof::new(&[digest("a"), digest("b")], 0..1).unwrap();
    let bad = duel.certificate(Contradiction::Output { index: 1, first, second });
    assert_eq!(duel.network.world.send("bob", bad), rejected(Error::BadOpening));
    let certificate = duel.output();
    duel.sides[1].0.body.seed = 6;
    duel.sides[1].1.request = duel.sides[1].0.hash();
    let other = duel.output();
    assert_eq!(duel.network.world.send("bob", other), rejected(Error::OtherBody));
    duel.network.world.wait(40_000);
    let status = duel.network.world.send("bob", certificate);
    assert!(matches!(status, Status::Rejected(Rejection::Verification(Error::TooLate { .. }))));
}

/// A claim of five receipts whose tree holds another in the place of the third, and that third.
fn leaving_out(network: &mut Network) -> (Claimed, Exhibit) {
    let right = network.right();
    let mut claimed = network.serve("olga", &copies(&right, 5));
    let (request, receipt, _) = claimed.work[2].clone();
    let subject = toy::subject(request, receipt, &box_of("olga"));
    claimed.work[2].1.t_done = Millis::new(9);
    let leaf =
        |(request, receipt, _): &(Request, Receipt, _)| receipt.leaf(request.payer, request.lane);
    let leaves: Vec<_> = claimed.work.iter().map(leaf).collect();
    claimed.tree = crypto::merkle_sum::SumTree::new(&leaves).unwrap();
    network.world.wait_for_next_period();
    let filing = network.filing(&claimed);
    network.world.done("olga", filing);
    network.filed(&claimed);
    (claimed, Exhibit { request: subject.request, receipt: subject.receipt })
}

fn omission(claimed: &Claimed, exhibit: Exhibit, around: &[usize]) -> Omission {
    let placed = |index: &usize| {
        let (request, receipt, _) = &claimed.work[*index];
        let leaf = receipt.leaf(request.payer, request.lane);
        PlacedLeaf { leaf, path: claimed.path(*index) }
    };
    let payer = account("gateway");
    let delta = claimed.tree.totals().fee;
    let range = LaneRange { payer, lane: 0, first: 1, last: 5, delta };
    let range_path = RangeProof::new(&[range.leaf()], 0..1).unwrap();
    Omission {
        epoch: claimed.epoch,
        exhibit,
        range,
        lane_index: 0,
        range_path,
        around: List::new(around.iter().map(placed).collect()).unwrap(),
    }
}

#[test]
fn r11_a_receipt_that_a_claim_leaves_out_convicts_and_one_that_it_holds_does_not() {
    let mut network = network();
    let (claimed, exhibit) = leaving_out(&mut network);
    let send = |network: &mut Network, omission| {
        network.world.send("bob", call(Tx::Omission(Box::new(omission))))
    };
    let held = Exhibit { request: claimed.opening(1).request, receipt: claimed.opening(1).receipt };
    for around in [&[1][..], &[0, 1], &[0, 2], &[4], &[]] {
        let innocent = omission(&claimed, held.clone(), around);
        assert_eq!(send(&mut network, innocent), rejected(Error::NotMissing));
    }
    let mut bad = omission(&claimed, exhibit.clone(), &[2]);
    bad.range.last = 9;
    assert_eq!(send(&mut network, bad), rejected(Error::WrongRange));
    let mut bad = omission(&claimed, exhibit.clone(), &[2]);
    bad.around =
        List::new(vec![PlacedLeaf { path: claimed.path(1), ..bad.around[0].clone() }]).unwrap();
    assert_eq!(send(&mut network, bad), rejected(Error::BadPath));
    let good = omission(&claimed, exhibit, &[2]);
    assert_eq!(send(&mut network, good.clone()), Status::Applied);
    let fault = &network.faults(claimed.operator)[0];
    assert_eq!((fault.cause, fault.grade), (Cause::Omission, Grade::Pattern));
    assert_eq!(fault.spread.taken, coins(300));
    assert_eq!(network.record(&claimed).stage, Stage::Void);
    let receipt = fault.receipt.unwrap();
    assert_eq!(send(&mut network, good), rejected(Error::Punished { receipt }));
}

#[test]
fn r12_a_receipt_is_punished_once_silence_once_for_a_claim_and_a_repeated_fault_harder() {
    let mut network = network();
    let right = network.right();
    // Two receipts are drawn and neither is opened: one fault.
    loop {
        let claimed = network.drawn("olga", &right, 5);
        if network.openings(&claimed).len() == 2 {
            network.world.wait(6_000);
            break;
        }
        network.audit(&claimed, |_| Some(right.clone()));
        network.world.wait(30_000);
    }
    let operator = operator_of("olga", 0);
    assert_eq!(network.faults(operator).len(), 1);
    network.world.wait(30_000);
    let claimed = network.drawn("olga", &right, 1);
    network.world.wait(6_000);
    let faults = network.faults(operator);
    assert_eq!((faults.len(), faults[1].grade), (2, Grade::Pattern));
    assert_eq!(faults[1].spread.taken, coins(285), "30 % of what was left");
    assert_eq!(network.record(&claimed).stage, Stage::Void);
}

#[test]
fn r12_a_second_wrong_step_at_one_weighted_op_is_wrong_weights() {
    let mut network = small();
    let right = network.right();
    let mut liar = right.clone();
    // A leaf of odd number reads weights in the toy model.
    liar.faults.extend([(1, 1), (1, FINE_LEAVES - 1)]);
    for (faults, tombstoned) in [(1, false), (2, true)] {
        let claimed = opened(&mut network, &liar);
        network.audit(&claimed, |_| Some(right.clone()));
        network.play_out(|name, _| Some(if name == "olga" { liar.clone() } else { right.clone() }));
        assert_eq!(network.faults(claimed.operator).len(), faults);
        let known = staking::discipline(&network.world.state, &claimed.operator).unwrap();
        assert_eq!(known.tombstoned, tombstoned);
        network.world.wait(30_000);
    }
    assert_eq!(network.bond(operator_of("olga", 0)), Coin::ZERO);
    let next = network.serve("olga", &copies(&right, 1));
    network.world.wait_for_next_period();
    let filing = network.filing(&next);
    let operator = operator_of("olga", 0);
    let status = network.world.send("olga", filing);
    let tombstoned = staking::Error::Tombstoned { operator };
    assert_eq!(status, Status::Rejected(Rejection::Staking(tombstoned)));
}

#[test]
fn r13_a_slash_is_half_burned_and_grows_with_what_others_did_lately() {
    let mut network = small();
    network.join("otto", coins(1_000));
    network.world.block(&[]);
    let (right, burned) = (network.right(), network.world.burned());
    let (one, other) = (network.drawn("olga", &right, 1), network.drawn("otto", &right, 1));
    network.world.wait(8_000);
    let (first, second) =
        (network.faults(one.operator).remove(0), network.faults(other.operator).remove(0));
    assert_eq!(first.correlation, 10_000);
    // All bonds were 2,000 coins, less the first slash.
    let share = 1_000 * 10_000 / 1_950;
    assert_eq!(u128::from(second.correlation), 10_000 + 3 * share);
    for fault in [&first, &second] {
        let half = fault.spread.taken.mul_div(1, 2, Rounding::Up).unwrap();
        assert_eq!(fault.spread.burned, half);
        assert_eq!(fault.spread.insurance, fault.spread.taken.checked_sub(half).unwrap());
    }
    let all = first.spread.burned.checked_add(second.spread.burned).unwrap();
    assert!(network.world.burned().checked_sub(burned).unwrap() >= all);
}

#[test]
fn r13_who_reports_itself_loses_more_than_half() {
    // C16: an accomplice challenges, and the payer is the operator's as well.
    let base = network();
    let (right, liar) = (base.right(), other_token(&base));
    let mut duel = Duel::new([right, liar]);
    let certificate = duel.output();
    duel.network.world.done("otto", certificate);
    duel.play();
    let fault = &duel.network.faults(Duel::operator(1))[0];
    assert_eq!((fault.reporter, fault.spread.reporter), (None, Coin::ZERO));
    let back = fault.spread.victim.checked_add(fault.spread.reporter).unwrap();
    let half = fault.spread.taken.mul_div(1, 2, Rounding::Down).unwrap();
    assert!(back < half);
}

#[test]
fn r14_after_a_fault_no_claim_is_taken_until_the_jail_is_over() {
    let mut network = small();
    let right = network.right();
    let claimed = network.drawn("olga", &right, 1);
    network.world.wait(6_000);
    let cap = value_cap(&network.world.state, &claimed.operator, Millis::ZERO).unwrap().unwrap();
    let (operator, until) = (claimed.operator, cap.jailed_until);
    assert!(until.get() > network.world.clock());
    let next = network.serve("olga", &copies(&right, 1));
    network.world.wait_for_next_period();
    let filing = network.filing(&next);
    let status = network.world.send("olga", filing.clone());
    assert_eq!(status, rejected(Error::Jailed { operator, until }));
    network.world.wait(20_000);
    network.world.done("olga", filing);
}

#[test]
fn r15_probation_ends_by_passed_audits_and_time_and_starts_again_with_a_fault() {
    let rules = Params::default();
    let (hundred, week) = (u64::from(rules.passes_per_level), rules.probation);
    let of = |passed, clock| {
        let known = Standing { passed, ..Standing::new(Millis::ZERO) };
        math::levels_left(&known, clock, &rules)
    };
    assert_eq!(of(0, Millis::ZERO), 4);
    assert_eq!(of(hundred * 2 - 1, Millis::ZERO), 3);
    assert_eq!(of(hundred * 4, Millis::ZERO), 1, "not before the week is over");
    assert_eq!(of(hundred * 4, week), 0);

    let mut network = small();
    let right = network.right();
    let claimed = opened(&mut network, &right);
    network.audit(&claimed, |_| Some(right.clone()));
    let known = |network: &Network| {
        standing(&network.world.state, &operator_of("olga", 0), Millis::ZERO).unwrap()
    };
    assert_eq!((known(&network).passed, known(&network).faults), (1, 0));
    network.drawn("olga", &right, 1);
    network.world.wait(6_000);
    let after = known(&network);
    assert_eq!((after.passed, after.faults), (0, 1));
    assert_eq!(after.last_fault, Some(after.since));
}

/// A drawn receipt whose mode is sealed, with so many auditors and the name of the first.
fn sealed_point(run: &ToyRun, auditors: u8) -> (Network, Claimed, String) {
    let mut network = few(auditors);
    network.mode = AuditMode::Sealed;
    let claimed = opened(&mut network, run);
    let name = seated(&network, &claimed);
    (network, claimed, name)
}

#[test]
fn r17_sealed_content_is_brought_to_its_auditor_alone_and_the_audit_goes_on() {
    let right = small().right();
    let (mut network, claimed, name) = sealed_point(&right, 1);
    let key = at(&claimed, 0);
    let (operator, epoch, point) = key;
    let demand = |reply| call(Tx::Demand { operator, epoch, point, reply });
    let mode = AuditMode::Sealed;
    assert_eq!(network.world.send(&name, demand(None)), rejected(Error::OtherMode { mode }));
    let small_order = SealKey::new([0; 32]);
    let bad = rejected(Error::BadReplyKey { key: small_order });
    assert_eq!(network.world.send(&name, demand(Some(small_order))), bad);
    let early = network.world.send("olga", brought(&toy::content(&right), &name, key));
    assert_eq!(early, rejected(Error::NotDemanded));
    network.world.done(&name, demanded(&name, key));
    let again = network.world.send(&name, demanded(&name, key));
    assert_eq!(again, rejected(Error::DemandedBefore));
    let delivery = Delivery::Open(toy::content(&right));
    let open = call(Tx::Deliver { operator, epoch, point, delivery });
    assert_eq!(network.world.send("olga", open), rejected(Error::OtherMode { mode }));
    // Nobody else can say what is under the seal, so nobody else brings it.
    let content = brought(&toy::content(&right), &name, key);
    let account = account("bob");
    let stranger = rejected(Error::NotTheOperator { account });
    assert_eq!(network.world.send("bob", content.clone()), stranger);
    let other = brought(&toy::content(&right), "bob", key);
    assert_eq!(network.world.send("olga", other), rejected(Error::NotDemanded));
    network.world.done("olga", content.clone());
    let again = rejected(Error::NotDemanded);
    assert_eq!(network.world.send("olga", content), again);
    let kept = network.world.state.get(&SEALED, &(key, crate::testing::account(&name)));
    let kept = kept.unwrap().unwrap();
    let ids: Vec<u8> = right.tokens.iter().flat_map(|id| id.to_le_bytes()).collect();
    assert!(!kept.windows(ids.len()).any(|bytes| bytes == ids), "the state does not show it");
    network.audit(&claimed, |_| Some(right.clone()));
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::Passed)]);
    assert!(network.world.state.scan(&SEALED, &(), 1).unwrap().is_empty(), "nothing is left");
}

#[test]
fn r17_an_operator_that_brings_nothing_under_the_seal_is_at_fault() {
    let right = small().right();
    let (mut network, claimed, name) = sealed_point(&right, 1);
    let key = at(&claimed, 0);
    let operator = claimed.operator;
    network.world.done(&name, demanded(&name, key));
    network.world.wait(6_000);
    assert_eq!(network.faults(operator)[0].cause, Cause::NotDelivered);
}

#[test]
fn r17_garbage_under_a_seal_convicts_its_operator_and_a_groundless_complaint_nobody() {
    let right = small().right();
    let mut wrong = toy::content(&right);
    wrong.output = List::new(vec![1, 2, 3, 4]).unwrap();
    for (content, holds) in [(toy::content(&right), true), (wrong, false)] {
        let (mut network, claimed, name) = sealed_point(&right, 1);
        let key = at(&claimed, 0);
        let (operator, epoch, point) = key;
        let secret = reply_of(&name, key);
        let complain = |secret| call(Tx::Complain { operator, epoch, point, secret });
        network.world.done(&name, demanded(&name, key));
        let early = network.world.send(&name, complain(secret.clone()));
        assert_eq!(early, rejected(Error::NothingDelivered));
        network.world.done("olga", brought(&content, &name, key));
        let other = network.world.send(&name, complain(reply_of("bob", key)));
        assert_eq!(other, rejected(Error::WrongSecret));
        let stranger = rejected(Error::NotTheAuditor { account: account("bob") });
        assert_eq!(network.world.send("bob", complain(secret.clone())), stranger);
        if holds {
            let status = network.world.send(&name, complain(secret));
            assert_eq!(status, rejected(Error::ContentHolds));
            assert!(network.faults(operator).is_empty());
            continue;
        }
        network.world.done(&name, complain(secret));
        assert_eq!(network.faults(operator)[0].cause, Cause::NotDelivered);
        let paid = |event: &Event| matches!(event, Event::AuditPaid { .. });
        assert!(events(&network).iter().any(paid), "it is paid as for a finding");
        assert_eq!(network.record(&claimed).stage, Stage::Void);
    }
}

#[test]
fn r17_what_does_not_open_at_all_convicts_as_well_as_what_opens_to_something_else() {
    let right = small().right();
    let (mut network, claimed, name) = sealed_point(&right, 1);
    let key = at(&claimed, 0);
    let (operator, epoch, point) = key;
    let (secret, auditor) = (reply_of(&name, key), account(&name));
    network.world.done(&name, demanded(&name, key));
    let content = Sealed::new(vec![7; 40]).unwrap();
    let delivery = Delivery::Sealed { auditor, content };
    network.world.done("olga", call(Tx::Deliver { operator, epoch, point, delivery }));
    network.world.done(&name, call(Tx::Complain { operator, epoch, point, secret }));
    assert_eq!(network.faults(operator)[0].cause, Cause::NotDelivered);
}

#[test]
fn r17_each_auditor_is_brought_its_own_and_the_time_runs_until_all_have_it() {
    let right = small().right();
    let (mut network, claimed, _) = sealed_point(&right, 2);
    let key = at(&claimed, 0);
    let seats = network.points(&claimed)[0].1.seats.clone();
    let names: Vec<String> = seats.iter().map(|seat| network.name(seat.auditor)).collect();
    network.world.done(&names[0], demanded(&names[0], key));
    let same = network.world.send(&names[1], demanded(&names[0], key));
    assert_eq!(same, rejected(Error::ReplyKeyTaken { key: reply_of(&names[0], key).key() }));
    network.world.done(&names[1], demanded(&names[1], key));
    let phase = |network: &Network| network.points(&claimed)[0].1.phase;
    network.world.done("olga", brought(&toy::content(&right), &names[1], key));
    assert_eq!(phase(&network), Phase::Delivering, "one waits");
    network.world.done("olga", brought(&toy::content(&right), &names[0], key));
    assert_eq!(phase(&network), Phase::Committing);
    network.audit(&claimed, |_| Some(right.clone()));
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::Passed)]);
}

#[test]
fn r17_an_auditor_that_has_committed_needs_nothing_more_and_its_demand_no_answer() {
    let right = small().right();
    let (mut network, claimed, name) = sealed_point(&right, 2);
    let key = at(&claimed, 0);
    network.world.done(&name, demanded(&name, key));
    network.world.done(&name, commit(&claimed, 0, &name, &right));
    assert_eq!(network.points(&claimed)[0].1.phase, Phase::Committing);
    network.audit(&claimed, |_| Some(right.clone()));
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::Passed)]);
}

#[test]
fn r17_a_box_key_that_was_rotated_away_still_brings_what_it_signed() {
    let right = small().right();
    let (mut network, claimed, name) = sealed_point(&right, 1);
    let key = at(&claimed, 0);
    let operator = claimed.operator;
    let rotate = staking::Tx::RotateBoxKey { operator, box_key: public("new box") };
    network.world.done("olga", Call::Staking(rotate));
    network.world.done(&name, demanded(&name, key));
    let far = network.world.far;
    for hot in ["hot", &box_of("olga")] {
        network.world.done("olga", crate::testing::grant(hot, coins(1), Credit::ZERO, far));
    }
    let content = brought(&toy::content(&right), &name, key);
    let account = account("olga");
    let stranger = rejected(Error::NotTheOperator { account });
    assert_eq!(network.world.send_by("olga", "hot", content.clone()), stranger);
    let status = network.world.send_by("olga", &box_of("olga"), content);
    assert_eq!(status, Status::Applied);
}

/// A network whose payers let nobody see anything, and whose operators say so or do not.
fn unseen(says_so: bool) -> Network {
    let mut network = small();
    (network.mode, network.canary_only) = (AuditMode::CanaryOnly, says_so);
    network
}

#[test]
fn r16_a_drawn_receipt_that_is_never_opened_ends_its_point_and_its_claim_is_unaudited() {
    let mut network = unseen(true);
    let claimed = network.drawn("olga", &wrong(&network), 1);
    let value = payments::unverified(&network.world.state, &claimed.operator).unwrap();
    let fee = claimed.tree.totals().fee;
    assert_eq!(value, fee.checked_add(fee).unwrap(), "it counts twice");
    let openings = network.openings(&claimed);
    network.all_done(openings);
    assert_eq!(outcomes(&network, &claimed), [Some(Outcome::NeverOpened)]);
    assert_eq!(network.record(&claimed).audit, Audit::Unaudited);
    network.world.wait(30_000);
    assert_eq!(network.record(&claimed).stage, Stage::Settled);
    assert!(network.faults(claimed.operator).is_empty());
    let value = payments::unverified(&network.world.state, &claimed.operator).unwrap();
    assert!(value.is_zero());
}

#[test]
fn r16_a_claim_that_does_not_say_that_it_holds_such_a_receipt_is_a_fault() {
    let mut network = unseen(false);
    let right = network.right();
    let claimed = opened(&mut network, &right);
    let fault = &network.faults(claimed.operator)[0];
    assert_eq!((fault.cause, fault.grade), (Cause::Undeclared, Grade::First));
    assert_eq!(fault.refunded, claimed.tree.totals().fee);
    assert_eq!(network.record(&claimed).stage, Stage::Void);
}

#[test]
fn r16_open_receipts_of_a_claim_that_may_hold_others_are_audited_and_not_opening_is_a_fault() {
    let mut network = small();
    network.canary_only = true;
    let right = network.right();
    let claimed = opened(&mut network, &right);
    network.audit(&claimed, |_| Some(right.clone()));
    assert_eq!(network.record(&claimed).audit, Audit::Passed);
    network.mode = AuditMode::CanaryOnly;
    let claimed = network.drawn("olga", &right, 1);
    network.world.wait(6_000);
    assert_eq!(network.faults(claimed.operator)[0].cause, Cause::NotOpened);
}

#[test]
fn r16_such_a_claim_may_be_worth_half_of_the_value_cap() {
    let mut params = audited();
    params.verification.saving = BasisPoints::WHOLE;
    let mut network = Network::empty(params, &["olga"]);
    network.join("olga", coins(100));
    (network.mode, network.canary_only) = (AuditMode::CanaryOnly, true);
    let cap = value_cap(&network.world.state, &operator_of("olga", 0), Millis::ZERO);
    let cap = cap.unwrap().unwrap().value.unwrap();
    let fee = network.receipt_fee().get();
    let most = usize::try_from(cap.get() / 2 / fee).unwrap();
    let right = network.right();
    let claimed = network.serve("olga", &copies(&right, most + 1));
    network.world.wait_for_next_period();
    let filing = network.filing(&claimed);
    let status = network.world.send("olga", filing);
    let value = Credit::new(2 * fee * (most as u128 + 1));
    assert_eq!(status, rejected(Error::OverValueCap { value, cap }));
    network.claim("olga", &right, most);
}

#[test]
fn a_fault_of_a_receipt_that_is_drawn_later_still_voids_its_claim() {
    let mut network = small();
    let (right, liar) = (network.right(), wrong(&network));
    let claimed = network.claim("olga", &liar, 1);
    let opening = claimed.opening(0);
    let subject = Box::new(opening.subject());
    let finding = right.finding();
    network.world.done("bob", Call::Disputes(disputes::Tx::Challenge { subject, finding }));
    network.play_out(|name, _| Some(if name == "olga" { liar.clone() } else { right.clone() }));
    assert_eq!(network.faults(claimed.operator).len(), 1);
    while network.points(&claimed).is_empty() {
        network.world.block(&[]);
    }
    let openings = network.openings(&claimed);
    network.all_done(openings);
    assert_eq!(network.faults(claimed.operator).len(), 1, "punished once");
    assert_eq!(network.record(&claimed).stage, Stage::Void);
}

#[test]
fn a_session_key_opens_and_answers_but_never_touches_an_auditors_bond() {
    let mut network = small();
    let far = network.world.far;
    network.world.done("ada", crate::testing::grant("hot", coins(1), Credit::ZERO, far));
    for tx in [Network::enlist_call("hot", coins(1)), call(Tx::Retire)] {
        let status = network.world.send_by("ada", "hot", tx);
        assert_eq!(status, Status::Refused(transaction::Error::OwnKeyNeeded.into()));
    }
    let right = network.right();
    let claimed = network.drawn("olga", &right, 1);
    let open = call(Tx::Open(Box::new(claimed.opening(0))));
    assert_eq!(network.world.send_by("ada", "hot", open), Status::Applied);
}

#[test]
fn ended_points_are_kept_for_the_retention_time_and_then_forgotten() {
    let mut params = audited();
    params.payments.claim_retention = Millis::new(params::SECOND * 60);
    let mut network = Network::new(params);
    let right = network.right();
    let claimed = opened(&mut network, &right);
    network.audit(&claimed, |_| Some(right.clone()));
    let (operator, epoch, _) = at(&claimed, 0);
    let kept = point(&network.world.state, &operator, epoch, 0).unwrap().unwrap();
    assert_eq!((kept.phase, kept.receipt), (Phase::Ended, Some(claimed.work[0].1.hash())));
    network.world.wait(70_000);
    assert!(network.world.state.scan(&POINTS, &(), 1).unwrap().is_empty());
    assert_eq!(fault(&network.world.state, &operator, 0).unwrap(), None);
    assert_eq!(conflict(&network.world.state, &digest("none")).unwrap(), None);
    assert_eq!(network.world.state.scan(&AUDITORS, &(), 9).unwrap().len(), 4);
}

proptest! {
    #[test]
    fn the_probability_grows_with_the_value_and_falls_with_the_bond(
        value in 0_u128..1_000_000_000_000_000,
        more in 0_u128..1_000_000_000_000_000,
        bond in 1_u128..1_000_000_000_000_000,
        added in 0_u128..1_000_000_000_000_000,
    ) {
        let (price, rules) = (UsdNano::new(units::NANO / 10), Params::default());
        let of = |value, bond| {
            math::probability(Credit::new(value), Coin::new(bond), price, &rules).unwrap()
        };
        prop_assert!(of(value, bond) >= rules.audit_floor);
        prop_assert!(of(value + more, bond) >= of(value, bond));
        prop_assert!(of(value, bond + added) <= of(value, bond));
        let cap = math::value_cap(Coin::new(bond), price, 0, &rules).unwrap();
        let at_cap = of(cap.get().saturating_sub(2), bond);
        // One below the cap is audited for certain but for rounding of the worths.
        prop_assert!(at_cap <= BasisPoints::WHOLE);
        if value > cap.get() + 2 {
            prop_assert_eq!(of(value, bond), BasisPoints::WHOLE);
        }
    }

    #[test]
    fn at_every_value_within_the_cap_no_cheat_pays_in_expectation(
        value in 1_u128..20_000_000_000,
        bond in 100_000_000_000_u128..1_000_000_000_000,
        percent in 1_u128..=100,
    ) {
        // C1: a cheat that fakes a share x of a claim gains at most x of its fee; with probability
        // p·(1 − (1 − x)^2)·q it loses the claim and what is burned of the slash.
        let (price, rules) = (UsdNano::new(units::NANO / 10), Params::default());
        let bond = Coin::new(bond);
        let cap = math::value_cap(bond, price, 0, &rules).unwrap();
        let value = Credit::new(value.min(cap.get()));
        let p = math::probability(value, bond, price, &rules).unwrap();
        let wanted =
            math::wanted(Grade::First, bond, (value, p), 10_000, price, &rules).unwrap();
        let taken = wanted.min(bond);
        let burned = taken.get() / 2;
        let usd = burned * price.get() / units::NANO;
        let missed = 100 - percent;
        let found = 10_000 - missed * missed; // Of 10,000.
        let caught = u128::from(p.get()) * found * u128::from(rules.detection.get());
        let whole = 1_000_000_000_000_u128;
        let gain = (whole - caught) * value.get() / 100 * percent;
        let loss = caught * (value.get() + usd);
        prop_assert!(loss >= gain, "p {p:?}, loss {loss}, gain {gain}");
    }

    #[test]
    fn a_spread_sums_to_what_was_taken_and_burns_half(
        taken in 0_u128..1_000_000_000_000_000,
        harmed in 0_u128..1_000_000_000_000_000,
        reported: bool,
    ) {
        let (price, rules) = (UsdNano::new(units::NANO / 10), Params::default());
        let (taken, harmed) = (Coin::new(taken), Coin::new(harmed));
        let spread = math::spread(taken, harmed, reported, price, &rules).unwrap();
        let parts = [spread.burned, spread.victim, spread.reporter, spread.insurance];
        prop_assert_eq!(Coin::total(parts), Ok(taken));
        prop_assert!(spread.burned >= taken.checked_sub(spread.burned).unwrap());
        prop_assert!(spread.victim <= harmed);
        let most = Credit::new(rules.reporter_most.get());
        let most = credits::math::coin_worth(most, price).unwrap();
        prop_assert!(spread.reporter <= most);
        prop_assert!(reported || spread.reporter.is_zero());
    }

    #[test]
    fn a_slash_grows_at_most_fourfold(recent in 0_u128..1 << 90, all in 0_u128..1 << 90) {
        let recent = Correlation { since: Millis::ZERO, bonds: Coin::new(recent) };
        let grown = math::correlated(&recent, Coin::new(all)).unwrap();
        prop_assert!((10_000..=40_000).contains(&grown));
    }

    #[test]
    fn the_logarithm_falls_and_halving_adds_one(x in 1_u64..) {
        let one = 1_u64 << 40;
        let here = math::neg_log2(x);
        prop_assert!(here <= 64 * one + 1);
        if x > 1 {
            let half = math::neg_log2(x / 2);
            prop_assert!(half >= here + one - 1, "rounded halves are lower still");
        }
        prop_assert!(math::neg_log2(x.saturating_add(1)) <= here);
    }
}

#[test]
fn auditors_are_drawn_by_their_bonds() {
    // One with three times the bond wins three of four draws.
    let mut wins = 0_u32;
    for n in 0..20_000_u64 {
        let seed = Seed::new(crypto::hash_bytes(crypto::Domain::BeaconSeed, &n.to_le_bytes()));
        let small = math::score(&seed, coins(10), &[b"small"]);
        let large = math::score(&seed, coins(30), &[b"large"]);
        wins += u32::from(large < small);
    }
    // Three standard deviations of a binomial with n = 20,000 and p = 0.75 are 184.
    assert!((15_000 - 184..=15_000 + 184).contains(&wins), "{wins}");
}

#[test]
fn every_parameter_has_bounds_and_the_defaults_lie_within_them() {
    assert_eq!(Params::default().check(), Ok(()));
    assert_eq!(Params::devnet().check(), Ok(()));
    assert_eq!(audited().check(), Ok(()));
    for change in [
        (|it| it.leaves = 9) as fn(&mut Params),
        |it| it.auditors = 0,
        |it| it.auditors = 5,
        |it| it.audited_owners = 0,
        |it| it.passes_per_level = 0,
        |it| it.probation_levels = 9,
        |it| it.burned = BasisPoints::new(4_999).unwrap(),
        |it| it.audit_pay = 1_001,
        |it| it.jail = Millis::new(31 * 86_400_000),
        |it| it.evidence_fee = coins(2),
    ] {
        let mut params = Params::default();
        change(&mut params);
        assert!(params.check().is_err());
    }
}
