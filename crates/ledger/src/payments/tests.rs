//! Payments: scenarios as sentences, and properties of the formulas.

use super::{
    Audit, Error, Params, Reclaim, Stage, Tx, allocation,
    apply::{hold, release, void},
    claim, deposit as deposit_of, lane,
    math::{base, base_due, claim_fee, reclaimable, rest_due},
    messages::{Claim, LaneClaim, LaneId, MAX_CLAIM_LANES, Voucher},
    schema::{DUE, RECLAIMS},
    state::{LaneRange, LaneRefund},
    unverified,
};
use crate::{
    Call, Rejection, Status,
    accounts::{self, Pot},
    context::Context,
    credits,
    error::Failure,
    params::Windows,
    staking,
    store::{Overlay, Read},
    testing::{
        LaneOf, PORTS, World, account, allocate, claim_of, coins, deposit, file, grant, key,
        operator_of, public, tampered, whole_credits, withdraw,
    },
    transaction,
};
use crypto::{ChainId, Digest, OperatorId, Signed};
use proptest::prelude::*;
use units::{BasisPoints, Coin, Credit, Epoch, List, Millis};

fn rejected(error: Error) -> Status {
    Status::Rejected(Rejection::Payments(error))
}

fn extend(allocation: u64, limit: Credit, expires: u64) -> Call {
    let expires = Millis::new(expires);
    Call::Payments(Tx::Extend { allocation, limit, expires })
}

/// A world with operator 0 of olga, gateway with 100 credits deposited and allocation 0 of 50.
fn served() -> (World, OperatorId) {
    served_in(World::new())
}

fn served_in(mut world: World) -> (World, OperatorId) {
    let operator = world.register("olga", "box");
    world.fund("gateway", 100);
    assert_eq!(world.allocate("gateway", operator, whole_credits(50)), 0);
    (world, operator)
}

const LANE: LaneOf<'static> = LaneOf {
    payer: "gateway",
    signer: "gateway",
    lane: 0,
    allocation: 0,
    range: (1, 10),
    cumulative: (Credit::ZERO, Credit::new(20_000_000_000)),
};

/// The claim of one lane for the period that has just ended.
fn filed(world: &mut World, operator: OperatorId, lanes: Vec<LaneClaim>) -> Status {
    world.wait_for_next_period();
    let epoch = last_period(world);
    world.send("olga", file(claim_of(operator, epoch, lanes)))
}

fn last_period(world: &World) -> Epoch {
    Epoch::new(world.now().epoch(&world.params().windows).get() - 1)
}

#[test]
fn r1_a_deposit_locks_credits_and_a_withdrawal_frees_what_is_not_reserved() {
    let (mut world, _) = served();
    let free = world.holding("gateway").free;
    world.done("gateway", withdraw(whole_credits(50)));
    assert_eq!(world.holding("gateway").free, free.checked_add(whole_credits(50)).unwrap());
    let (amount, unreserved) = (Credit::new(1), Credit::ZERO);
    let over = rejected(Error::OverDeposit { amount, unreserved });
    assert_eq!(world.send("gateway", withdraw(amount)), over);
    assert_eq!(world.send("gateway", withdraw(Credit::ZERO)), rejected(Error::ZeroAmount));
    assert_eq!(world.send("gateway", deposit(Credit::ZERO)), rejected(Error::ZeroAmount));
    let status = world.send("gateway", deposit(Credit::MAX));
    assert!(matches!(status, Status::Rejected(_)));
}

#[test]
fn r1_a_session_key_may_deposit_but_not_withdraw() {
    let (mut world, _) = served();
    world.done("gateway", grant("hot", coins(1), Credit::ZERO, world.far));
    assert_eq!(world.send_by("gateway", "hot", deposit(Credit::new(1))), Status::Applied);
    let status = world.send_by("gateway", "hot", withdraw(Credit::new(1)));
    assert_eq!(status, Status::Refused(transaction::Error::OwnKeyNeeded.into()));
}

#[test]
fn r2_limits_never_exceed_the_deposit() {
    let (mut world, operator) = served();
    let expires = Millis::new(world.clock() + 60_000);
    let more = |limit| allocate(1, operator, public("gateway"), limit, expires);
    let unreserved = whole_credits(50);
    let amount = unreserved.checked_add(Credit::new(1)).unwrap();
    let over = rejected(Error::OverDeposit { amount, unreserved });
    assert_eq!(world.send("gateway", more(amount)), over);
    world.done("gateway", more(unreserved));
    let grown = extend(0, whole_credits(51), world.clock() + 700_000);
    let over = Error::OverDeposit { amount: whole_credits(1), unreserved: Credit::ZERO };
    assert_eq!(world.send("gateway", grown), rejected(over));
}

#[test]
fn r3_allocations_are_numbered_and_no_number_comes_back() {
    let (mut world, operator) = served();
    let expires = Millis::new(world.clock() + 5_000);
    let limit = whole_credits(1);
    let with = |number| allocate(number, operator, public("gateway"), limit, expires);
    for given in [0, 2, u64::MAX] {
        let wrong = rejected(Error::WrongNumber { given, expected: 1 });
        assert_eq!(world.send("gateway", with(given)), wrong);
    }
    world.done("gateway", with(1));
    world.wait(6_000);
    let late = Millis::new(world.clock() + 5_000);
    let again = allocate(1, operator, public("gateway"), limit, late);
    let wrong = rejected(Error::WrongNumber { given: 1, expected: 2 });
    assert_eq!(world.send("gateway", again), wrong);
}

#[test]
fn r3_an_allocation_to_nobody_of_nothing_or_for_no_time_is_rejected() {
    let (mut world, operator) = served();
    let expires = Millis::new(world.clock() + 60_000);
    let signer = public("gateway");
    let nobody = operator_of("bob", 7);
    let status = world.send("gateway", allocate(1, nobody, signer, whole_credits(1), expires));
    assert_eq!(status, rejected(Error::UnknownOperator { operator: nobody }));
    let status = world.send("gateway", allocate(1, operator, signer, Credit::ZERO, expires));
    assert_eq!(status, rejected(Error::ZeroAmount));
    for expires in [0, world.clock(), world.clock() + 31 * 86_400_000] {
        let expires = Millis::new(expires);
        let call = allocate(1, operator, signer, whole_credits(1), expires);
        let status = world.send("gateway", call);
        assert!(matches!(status, Status::Rejected(Rejection::Payments(Error::BadExpiry { .. }))));
    }
}

#[test]
fn r3_a_session_allocates_for_itself_within_its_life() {
    let (mut world, operator) = served();
    let ends = Millis::new(world.clock() + 60_000);
    world.done("gateway", grant("hot", coins(1), whole_credits(10), ends));
    world.done("gateway", grant("other", coins(1), whole_credits(10), ends));
    let limit = whole_credits(1);
    let foreign = allocate(1, operator, public("other"), limit, ends);
    assert_eq!(world.send_by("gateway", "hot", foreign), rejected(Error::NotTheSigner));
    let own_key = allocate(1, operator, public("gateway"), limit, ends);
    assert_eq!(world.send_by("gateway", "hot", own_key), rejected(Error::NotTheSigner));
    let late = Millis::new(ends.get() + 1);
    let status = world.send_by("gateway", "hot", allocate(1, operator, public("hot"), limit, late));
    assert!(matches!(status, Status::Rejected(Rejection::Payments(Error::BadExpiry { .. }))));
    let own = allocate(1, operator, public("hot"), limit, ends);
    assert_eq!(world.send_by("gateway", "hot", own), Status::Applied);
    let stranger = allocate(2, operator, public("bob"), limit, ends);
    let unknown = accounts::Error::UnknownSession { key: public("bob") };
    assert_eq!(world.send("gateway", stranger), Status::Rejected(unknown.into()));
}

#[test]
fn r4_a_promise_grows_and_never_shrinks() {
    let (mut world, _) = served();
    let old = allocation(&world.state, &account("gateway"), 0).unwrap().unwrap();
    let expires = old.expires.get();
    let shrinks = Error::LimitShrinks { given: whole_credits(49), limit: whole_credits(50) };
    let status = world.send("gateway", extend(0, whole_credits(49), expires));
    assert_eq!(status, rejected(shrinks));
    let status = world.send("gateway", extend(0, whole_credits(50), expires - 1));
    assert!(matches!(status, Status::Rejected(Rejection::Payments(Error::BadExpiry { .. }))));
    world.done("gateway", extend(0, whole_credits(60), expires + 1));
    let unknown = Error::UnknownAllocation { payer: account("gateway"), allocation: 9 };
    let status = world.send("gateway", extend(9, whole_credits(1), expires));
    assert_eq!(status, rejected(unknown));
}

#[test]
fn r5_an_expired_allocation_pays_nothing_and_its_rest_is_free_again() {
    let (mut world, operator) = served();
    let before = deposit_of(&world.state, &account("gateway")).unwrap();
    world.wait(601_000);
    let unknown = Error::UnknownAllocation { payer: account("gateway"), allocation: 0 };
    let lane = LANE.claim(world.chain, operator);
    let status = filed(&mut world, operator, vec![lane]);
    assert_eq!(status, rejected(unknown));
    let after = deposit_of(&world.state, &account("gateway")).unwrap();
    assert_eq!((before.reserved, after.reserved), (whole_credits(50), Credit::ZERO));
    world.done("gateway", withdraw(whole_credits(100)));
}

#[test]
fn r6_only_the_owner_claims_and_only_periods_that_ended_in_order() {
    let (mut world, operator) = served();
    world.wait_for_next_period();
    let epoch = last_period(&world);
    let lane = LANE.claim(world.chain, operator);
    let of = |epoch| file(claim_of(operator, epoch, vec![lane.clone()]));
    let foreign = world.send("bob", of(epoch));
    assert_eq!(foreign, rejected(Error::NotTheOwner { operator }));
    let current = Epoch::new(epoch.get() + 1);
    let open = world.send("olga", of(current));
    assert_eq!(open, rejected(Error::PeriodOpen { epoch: current, current }));
    world.done("olga", of(epoch));
    let again = rejected(Error::AlreadyClaimed { epoch, last: epoch });
    assert_eq!(world.send("olga", of(epoch)), again);
    let nobody = operator_of("olga", 5);
    let status = world.send("olga", file(claim_of(nobody, current, vec![lane.clone()])));
    assert_eq!(status, rejected(Error::UnknownOperator { operator: nobody }));
}

#[test]
fn r6_a_box_key_claims_as_a_session_of_its_owner_until_its_version_ends() {
    let (mut world, operator) = served();
    world.done("olga", grant("box", coins(1), Credit::ZERO, world.far));
    let rotate = staking::Tx::RotateBoxKey { operator, box_key: public("box-1") };
    world.done("olga", Call::Staking(rotate));
    world.wait_for_next_period();
    let lane = LANE.claim(world.chain, operator);
    let call = file(claim_of(operator, last_period(&world), vec![lane]));
    world.done("olga", grant("phone", coins(1), Credit::ZERO, world.far));
    let other = rejected(Error::NotTheBoxKey { key: public("phone") });
    assert_eq!(world.send_by("olga", "phone", call.clone()), other);
    assert_eq!(world.send_by("olga", "box", call), Status::Applied);
    let record = claim(&world.state, &operator, last_period(&world)).unwrap().unwrap();
    assert_eq!((record.box_key, record.key_epoch), (public("box"), 0));

    world.wait(20_000);
    let next =
        LaneOf { range: (11, 11), cumulative: (whole_credits(20), whole_credits(21)), ..LANE };
    let lane = next.claim(world.chain, operator);
    let call = file(claim_of(operator, last_period(&world), vec![lane.clone()]));
    assert_eq!(world.send("olga", call), rejected(Error::BadKeyEpoch { key_epoch: 0 }));
    let mut fresh = claim_of(operator, last_period(&world), vec![lane]);
    fresh.key_epoch = 1;
    world.done("olga", file(fresh.clone()));
    fresh.key_epoch = 2;
    fresh.epoch = Epoch::new(fresh.epoch.get() + 1);
    world.wait(10_000);
    assert_eq!(world.send("olga", file(fresh)), rejected(Error::BadKeyEpoch { key_epoch: 2 }));
}

#[test]
fn r7_lanes_are_listed_once_in_order() {
    let (mut world, operator) = served();
    assert_eq!(filed(&mut world, operator, vec![]), rejected(Error::NoLanes));
    let lane = LANE.claim(world.chain, operator);
    let twice = filed(&mut world, operator, vec![lane.clone(), lane.clone()]);
    assert_eq!(twice, rejected(Error::LaneOrder { index: 1 }));
    let other = LaneOf { lane: 1, ..LANE }.claim(world.chain, operator);
    let mut reversed = claim_of(operator, last_period(&world), vec![lane, other]);
    let mut lanes = reversed.lanes.clone().into_vec();
    lanes.reverse();
    reversed.lanes = List::new(lanes).unwrap();
    assert_eq!(world.send("olga", file(reversed)), rejected(Error::LaneOrder { index: 1 }));
}

#[test]
fn r8_ranges_follow_on_and_no_receipt_is_paid_twice() {
    let (mut world, operator) = served();
    let lane_with = |range| LaneOf { range, ..LANE }.claim(ChainId::new(Digest::ZERO), operator);
    for (first, last) in [(0, 10), (2, 10), (1, 0), (u64::MAX, 10)] {
        let mut wrong = lane_with((first, last));
        wrong.voucher = LaneOf { range: (first, last), ..LANE }
            .voucher(world.chain, operator)
            .sign(&key("gateway"));
        let mut claim = claim_of(operator, Epoch::ZERO, vec![LANE.claim(world.chain, operator)]);
        claim.lanes = List::new(vec![wrong]).unwrap();
        world.wait_for_next_period();
        claim.epoch = last_period(&world);
        let expected = Error::WrongRange { index: 0, first, last, claimed: 0 };
        assert_eq!(world.send("olga", file(claim)), rejected(expected));
    }
    let good = LANE.claim(world.chain, operator);
    assert_eq!(filed(&mut world, operator, vec![good.clone()]), Status::Applied);
    let again = filed(&mut world, operator, vec![good]);
    assert_eq!(again, rejected(Error::WrongRange { index: 0, first: 1, last: 10, claimed: 10 }));
    let id = LaneId { payer: account("gateway"), operator, index: 0 };
    assert_eq!(lane(&world.state, &id).unwrap().sequence, 10);
}

#[test]
fn r8_a_stale_voucher_a_wrong_delta_and_dust_are_rejected() {
    let (mut world, operator) = served();
    let first = LANE.claim(world.chain, operator);
    assert_eq!(filed(&mut world, operator, vec![first]), Status::Applied);
    let twenty = whole_credits(20);
    let next = |cumulative| LaneOf { range: (11, 12), cumulative: (twenty, cumulative), ..LANE };
    let stale = next(twenty).claim(world.chain, operator);
    let status = filed(&mut world, operator, vec![stale]);
    assert_eq!(
        status,
        rejected(Error::StaleVoucher { index: 0, cumulative: twenty, claimed: twenty })
    );
    let mut wrong = next(whole_credits(22)).claim(world.chain, operator);
    wrong.delta = whole_credits(1);
    let status = filed(&mut world, operator, vec![wrong]);
    let (given, added) = (whole_credits(1), whole_credits(2));
    assert_eq!(status, rejected(Error::WrongDelta { index: 0, given, added }));
    let minimum = world.params().payments.cashable_minimum;
    let delta = minimum.checked_sub(Credit::new(1)).unwrap();
    let dust = next(twenty.checked_add(delta).unwrap()).claim(world.chain, operator);
    let status = filed(&mut world, operator, vec![dust]);
    assert_eq!(status, rejected(Error::BelowMinimum { index: 0, delta, minimum }));
}

#[test]
fn r9_a_voucher_of_another_chain_operator_signer_or_content_is_rejected() {
    let (mut world, operator) = served();
    let good = LANE.claim(world.chain, operator);
    let signed = |change: &dyn Fn(&mut Voucher)| {
        let mut voucher = LANE.voucher(world.chain, operator);
        change(&mut voucher);
        LaneClaim { voucher: voucher.sign(&key("gateway")), ..good.clone() }
    };
    let other_chain = ChainId::new(Digest::ZERO);
    let foreign = signed(&|voucher| voucher.chain = other_chain);
    let other_operator = signed(&|voucher| voucher.operator = operator_of("otto", 0));
    let silent = signed(&|voucher| voucher.acknowledgement = None);
    let stranger = signed(&|voucher| voucher.session_key = public("bob"));
    let unbacked = signed(&|voucher| voucher.allocation = 7);
    let altered =
        tampered(&good, |voucher| voucher.acknowledgement.as_mut().unwrap().t_done = Millis::ZERO);
    let expected = world.chain;
    let cases = [
        (foreign, Error::WrongChain { index: 0, named: other_chain, expected }),
        (other_operator, Error::WrongOperator { index: 0, named: operator_of("otto", 0) }),
        (silent, Error::Unacknowledged { index: 0 }),
        (stranger, Error::WrongSigner { index: 0, key: public("bob") }),
        (unbacked, Error::UnknownAllocation { payer: account("gateway"), allocation: 7 }),
        (altered, Error::BadSignature { index: 0 }),
    ];
    for (lane, error) in cases {
        assert_eq!(filed(&mut world, operator, vec![lane]), rejected(error));
    }
    assert_eq!(filed(&mut world, operator, vec![good]), Status::Applied);
}

#[test]
fn r9_an_allocation_for_another_operator_pays_nothing() {
    let (mut world, _) = served();
    world.done("olga", crate::testing::register_call(1, "box-1", coins(1_000)));
    let second = operator_of("olga", 1);
    let lane = LANE.claim(world.chain, second);
    let status = filed(&mut world, second, vec![lane]);
    assert_eq!(status, rejected(Error::WrongAllocation { index: 0, allocation: 0 }));
}

#[test]
fn r9_lanes_of_one_allocation_share_its_limit() {
    let (mut world, operator) = served();
    let chain = world.chain;
    let lane = |index| {
        let cumulative = (Credit::ZERO, whole_credits(20));
        LaneOf { lane: index, cumulative, ..LANE }.claim(chain, operator)
    };
    let three = vec![lane(0), lane(1), lane(2)];
    let (delta, left) = (whole_credits(20), whole_credits(10));
    let over = rejected(Error::OverLimit { index: 2, delta, left });
    assert_eq!(filed(&mut world, operator, three), over);
    let two = vec![lane(0), lane(1)];
    assert_eq!(filed(&mut world, operator, two), Status::Applied);
    let record = allocation(&world.state, &account("gateway"), 0).unwrap().unwrap();
    assert_eq!(record.left().unwrap(), whole_credits(10));
}

#[test]
fn r9_only_the_bad_signature_among_many_is_named() {
    let (mut world, operator) = served();
    let cumulative = (Credit::ZERO, whole_credits(1));
    let lane = |index| LaneOf { lane: index, cumulative, ..LANE }.claim(world.chain, operator);
    let mut lanes: Vec<_> = (0..20).map(lane).collect();
    lanes[13] = tampered(&lanes[13], |voucher| {
        voucher.acknowledgement.as_mut().unwrap().t_sent = Millis::MAX
    });
    let status = filed(&mut world, operator, lanes);
    assert_eq!(status, rejected(Error::BadSignature { index: 13 }));
}

#[test]
fn r10_a_root_with_other_totals_is_rejected() {
    let (mut world, operator) = served();
    world.wait_for_next_period();
    let good = claim_of(operator, last_period(&world), vec![LANE.claim(world.chain, operator)]);
    let mut fee = good.clone();
    fee.totals.fee = whole_credits(21);
    let mismatch = Error::FeeMismatch { deltas: whole_credits(20), fee: whole_credits(21) };
    assert_eq!(world.send("olga", file(fee)), rejected(mismatch));
    let mut count = good.clone();
    count.totals.count = 11;
    let status = world.send("olga", file(count));
    assert_eq!(status, rejected(Error::CountMismatch { ranges: 10, count: 11 }));
    world.done("olga", file(good));
}

#[test]
fn r11_the_record_of_a_claim_keeps_who_stood_behind_it_as_of_filing() {
    let (mut world, operator) = served();
    let lane = LANE.claim(world.chain, operator);
    let status = filed(&mut world, operator, vec![lane]);
    assert_eq!(status, Status::Applied);
    let epoch = last_period(&world);
    let rotate = staking::Tx::RotateBoxKey { operator, box_key: public("box-1") };
    world.done("olga", Call::Staking(rotate));
    let more = staking::Tx::Bond { operator, amount: coins(5) };
    world.done("olga", Call::Staking(more));
    let record = claim(&world.state, &operator, epoch).unwrap().unwrap();
    assert_eq!(record.owner, account("olga"));
    assert_eq!((record.box_key, record.key_epoch), (public("box"), 0));
    assert_eq!(record.bond, coins(1_000));
    assert_eq!(record.totals.fee, whole_credits(20));
    let (first, last, delta) = (1, 10, whole_credits(20));
    let range = LaneRange { payer: account("gateway"), lane: 0, first, last, delta };
    assert_eq!(record.ranges_root, crypto::merkle::root(&[range.leaf()]));
    assert_eq!(credits::totals(&world.state).unwrap().escrow, whole_credits(20));
    assert_eq!(world.holding("gateway").locked, whole_credits(80));
}

#[test]
fn r12_a_draw_waits_for_its_rounds_seed_however_late_it_comes() {
    let (mut world, operator) = served();
    world.wait_for_next_period();
    world.seeds = false;
    let lane = LANE.claim(world.chain, operator);
    let epoch = last_period(&world);
    world.done("olga", file(claim_of(operator, epoch, vec![lane])));
    let record = |world: &World| claim(&world.state, &operator, epoch).unwrap().unwrap();
    let draw_round = record(&world).draw_round;
    assert_eq!(draw_round.get(), world.round.get() + 4);
    world.wait(100_000);
    assert_eq!(record(&world).stage, Stage::Filed);
    let mut env = world.env(500);
    env.seeds = vec![(draw_round, crate::testing::seed(draw_round))];
    let applied = crate::apply_block(&world.state, &env, &[], &crate::testing::PORTS).unwrap();
    world.state.commit(&applied.writes);
    (world.time, world.round) = (env.time, env.round);
    assert_eq!(record(&world).stage, Stage::Drawn);
    assert_eq!(record(&world).drawn, Some(world.now().clock));
    world.wait(20_000);
    // The challenge window after filing is long over, so the rest follows with the base.
    world.block(&[]);
    assert_eq!(record(&world).stage, Stage::Settled);
}

#[test]
fn r13_eighty_per_cent_come_after_the_reveal_window_and_the_rest_after_the_challenge_window() {
    let mut genesis = crate::testing::genesis();
    genesis.params.windows.challenge = Millis::new(40_000);
    let mut world = World::from_genesis(&genesis);
    let operator = world.register("olga", "box");
    world.fund("gateway", 100);
    world.allocate("gateway", operator, whole_credits(50));
    let lane = LANE.claim(world.chain, operator);
    assert_eq!(filed(&mut world, operator, vec![lane]), Status::Applied);
    let epoch = last_period(&world);
    let record = |world: &World| claim(&world.state, &operator, epoch).unwrap().unwrap();
    let filed_at = record(&world).filed.get();
    while record(&world).stage == Stage::Filed {
        world.block(&[]);
    }
    let drawn_at = world.clock();
    let before = world.balance("olga");
    world.wait(19_500);
    assert_eq!((record(&world).stage, world.balance("olga")), (Stage::Drawn, before));
    world.wait(500);
    assert_eq!((record(&world).stage, world.clock()), (Stage::BasePaid, drawn_at + 20_000));
    // 16 of 20 credits are 160 coins, less a tenth.
    let base = before.checked_add(coins(144)).unwrap();
    assert_eq!(world.balance("olga"), base);
    world.wait(filed_at + 40_000 - 500 - world.clock());
    assert_eq!(record(&world).stage, Stage::BasePaid);
    world.wait(500);
    assert_eq!((record(&world).stage, world.clock()), (Stage::Settled, filed_at + 40_000));
    assert_eq!(world.balance("olga"), base.checked_add(coins(36)).unwrap());
    assert_eq!(world.pot(Pot::Audit), coins(4));
    assert_eq!(credits::totals(&world.state).unwrap().settled, whole_credits(20));
}

#[test]
fn r14_a_settled_record_is_kept_for_the_retention_time_and_then_forgotten() {
    let mut genesis = crate::testing::genesis();
    genesis.params.payments.claim_retention = Millis::new(60_000);
    let mut world = World::from_genesis(&genesis);
    let operator = world.register("olga", "box");
    world.fund("gateway", 100);
    world.allocate("gateway", operator, whole_credits(50));
    let lane = LANE.claim(world.chain, operator);
    assert_eq!(filed(&mut world, operator, vec![lane]), Status::Applied);
    let epoch = last_period(&world);
    let stage = |world: &World| claim(&world.state, &operator, epoch).unwrap().map(|r| r.stage);
    while stage(&world) != Some(Stage::Settled) {
        world.block(&[]);
    }
    // The rest was due with the base, one block before it was paid.
    world.wait(59_000);
    assert_eq!(stage(&world), Some(Stage::Settled));
    world.wait(500);
    assert_eq!(stage(&world), None);
}

#[test]
fn a_claim_over_the_largest_number_of_lanes_fits_in_a_transaction_and_in_a_block() {
    let mut world = World::new();
    let operator = world.register("olga", "box");
    world.fund("gateway", 5_000);
    world.allocate("gateway", operator, whole_credits(4_500));
    let cumulative = (Credit::ZERO, whole_credits(1));
    let lanes = (0..MAX_CLAIM_LANES as u32)
        .map(|index| LaneOf { lane: index, cumulative, ..LANE }.claim(world.chain, operator));
    let lanes: Vec<LaneClaim> = lanes.collect();
    assert_eq!(filed(&mut world, operator, lanes), Status::Applied);
    assert_eq!(world.holding("gateway").locked, whole_credits(5_000 - 4_096));
    let fee = claim_fee(MAX_CLAIM_LANES, &world.params().payments).unwrap();
    assert_eq!(world.last.outcomes[0].fee, fee);
}

#[test]
fn a_session_signs_vouchers_only_for_allocations_that_name_it() {
    let (mut world, operator) = served();
    world.done("gateway", grant("hot", coins(1), whole_credits(30), world.far));
    let expires = Millis::new(world.clock() + 600_000);
    let call = allocate(1, operator, public("hot"), whole_credits(30), expires);
    assert_eq!(world.send_by("gateway", "hot", call), Status::Applied);
    let thief = LaneOf { signer: "hot", ..LANE }.claim(world.chain, operator);
    let status = filed(&mut world, operator, vec![thief]);
    assert_eq!(status, rejected(Error::WrongSigner { index: 0, key: public("hot") }));
    let honest = LaneOf { signer: "hot", allocation: 1, ..LANE }.claim(world.chain, operator);
    assert_eq!(filed(&mut world, operator, vec![honest]), Status::Applied);
    let revoke = accounts::Tx::RevokeSession { key: public("hot") };
    world.done("gateway", Call::Accounts(revoke));
    let promised = LaneOf {
        signer: "hot",
        allocation: 1,
        range: (11, 11),
        cumulative: (whole_credits(20), whole_credits(30)),
        ..LANE
    };
    let lane = promised.claim(world.chain, operator);
    assert_eq!(filed(&mut world, operator, vec![lane]), Status::Applied);
}

#[test]
fn a_signature_of_zeros_or_with_a_flipped_bit_is_no_signature() {
    let (mut world, operator) = served();
    let good = LANE.claim(world.chain, operator);
    for at in [0_usize, 31, 32, 63] {
        let mut bytes = *good.voucher.signature.as_bytes();
        bytes[at] ^= 1;
        let signature = crypto::Signature::new(bytes);
        let voucher = Signed { message: good.voucher.message.clone(), signature };
        let status = filed(&mut world, operator, vec![LaneClaim { voucher, ..good.clone() }]);
        assert_eq!(status, rejected(Error::BadSignature { index: 0 }));
    }
}

proptest! {
    #[test]
    fn r13_base_and_rest_are_the_fee(fee: u128) {
        let fee = Credit::new(fee);
        let base = base(fee, &Params::default()).unwrap();
        prop_assert!(base <= fee);
        let rest = fee.checked_sub(base).unwrap();
        prop_assert!(rest.get() >= fee.get() / 5);
    }

    #[test]
    fn r13_the_rest_never_comes_before_the_base(filed in 0..1_u64 << 50, wait in 0..1_u64 << 50) {
        let windows = Windows::default();
        let base = base_due(Millis::new(filed + wait), &windows).unwrap();
        let rest = rest_due(Millis::new(filed), base, &windows).unwrap();
        prop_assert!(rest >= base && rest.get() >= filed + windows.challenge.get());
    }

    #[test]
    fn fees_of_claims_grow_with_each_lane(lanes in 0..MAX_CLAIM_LANES) {
        let params = Params::default();
        let fee = claim_fee(lanes, &params).unwrap();
        let next = claim_fee(lanes + 1, &params).unwrap();
        prop_assert_eq!(next.checked_sub(fee).unwrap(), params.claim_lane_fee);
        prop_assert!(fee > Coin::ZERO);
    }
}

/// Runs code of the crate's own in a context above the world, as a higher module would.
fn within(world: &mut World, run: impl FnOnce(&mut Context<'_>) -> Result<(), Failure>) {
    let now = world.now();
    let writes = {
        let mut ctx = Context::open(Overlay::new((&world.state).into()), now, PORTS).unwrap();
        run(&mut ctx).unwrap();
        ctx.close().0
    };
    world.state.commit(&writes);
}

/// A claim of twenty credits whose seed has come.
fn drawn() -> (World, (OperatorId, Epoch)) {
    let (mut world, operator) = served();
    let lane = LANE.claim(world.chain, operator);
    assert_eq!(filed(&mut world, operator, vec![lane]), Status::Applied);
    let key = (operator, last_period(&world));
    while claim(&world.state, &key.0, key.1).unwrap().unwrap().stage == Stage::Filed {
        world.block(&[]);
    }
    (world, key)
}

#[test]
fn r15_a_held_claim_is_not_paid_and_takes_its_missed_step_when_it_is_released() {
    let (mut world, key) = drawn();
    let stage = |world: &World| claim(&world.state, &key.0, key.1).unwrap().unwrap().stage;
    within(&mut world, |ctx| hold(ctx, key, Audit::Running, BasisPoints::WHOLE, 2));
    for _ in 0..60 {
        let (env, ports) = (world.env(500), PORTS);
        // The points of this claim exist in this test only: their module would miss them.
        let applied = crate::apply_block(&world.state, &env, &[], &ports).unwrap();
        world.state.commit(&applied.writes);
        (world.time, world.round) = (env.time, env.round);
    }
    assert_eq!(stage(&world), Stage::Drawn);
    within(&mut world, |ctx| release(ctx, key, Audit::Passed));
    assert!(world.state.scan(&DUE, &(), 1).unwrap().is_empty(), "one hold is left");
    within(&mut world, |ctx| release(ctx, key, Audit::Passed));
    world.block(&[]);
    assert_eq!(stage(&world), Stage::BasePaid);
    assert_eq!(claim(&world.state, &key.0, key.1).unwrap().unwrap().audit, Audit::Passed);
    world.wait(30_000);
    assert_eq!(stage(&world), Stage::Settled);
}

/// What a void claim owes the payer of a wrong receipt of three credits.
fn wrong_receipt() -> LaneRefund {
    LaneRefund { payer: account("gateway"), lane: 0, amount: whole_credits(3) }
}

fn balance(world: &World, name: &str) -> Credit {
    deposit_of(&world.state, &account(name)).unwrap().balance
}

#[test]
fn r15_of_a_void_claim_the_wrong_receipts_payer_is_refunded_and_the_operator_is_paid_nothing() {
    for base_paid in [false, true] {
        let (mut world, key) = drawn();
        if base_paid {
            world.wait(20_000);
        }
        let owed = if base_paid { whole_credits(4) } else { whole_credits(20) };
        let before = claim(&world.state, &key.0, key.1).unwrap().unwrap();
        assert_eq!(before.owed(), Ok(owed));
        let (deposit, olga) = (balance(&world, "gateway"), world.balance("olga"));
        within(&mut world, |ctx| {
            assert_eq!(void(ctx, key, Some(wrong_receipt()))?, whole_credits(3));
            assert_eq!(void(ctx, key, Some(wrong_receipt()))?, Credit::ZERO, "once");
            Ok(())
        });
        world.check();
        let after = balance(&world, "gateway");
        assert_eq!(after.checked_sub(deposit).unwrap(), whole_credits(3));
        let record = claim(&world.state, &key.0, key.1).unwrap().unwrap();
        assert_eq!((record.stage, record.returned), (Stage::Void, whole_credits(3)));
        assert_eq!(record.audit, Audit::Failed);
        world.wait(60_000);
        assert_eq!(world.balance("olga"), olga);
        world.done("gateway", withdraw(whole_credits(3)));
    }
}

#[test]
fn r16_fees_are_unverified_until_their_base_is_paid_or_their_claim_is_void() {
    let (mut world, key) = drawn();
    assert_eq!(unverified(&world.state, &key.0).unwrap(), whole_credits(20));
    world.wait(20_000);
    assert_eq!(unverified(&world.state, &key.0).unwrap(), Credit::ZERO);
    let (mut world, key) = drawn();
    within(&mut world, |ctx| void(ctx, key, None).map(drop));
    assert_eq!(unverified(&world.state, &key.0).unwrap(), Credit::ZERO);
    world.check();
}

/// Two payers of twenty and ten credits in one drawn claim, and that claim as it was filed.
fn shared() -> (World, (OperatorId, Epoch), Claim) {
    shared_in(World::new())
}

fn shared_in(world: World) -> (World, (OperatorId, Epoch), Claim) {
    let (mut world, operator) = served_in(world);
    world.fund("bob", 100);
    assert_eq!(world.allocate("bob", operator, whole_credits(50)), 0);
    let ten = (Credit::ZERO, whole_credits(10));
    let other = LaneOf { payer: "bob", signer: "bob", cumulative: ten, ..LANE };
    let lanes = [LANE, other].map(|lane| lane.claim(world.chain, operator));
    world.wait_for_next_period();
    let key = (operator, last_period(&world));
    let whole = claim_of(operator, key.1, lanes.to_vec());
    world.done("olga", file(whole.clone()));
    while claim(&world.state, &key.0, key.1).unwrap().unwrap().stage == Stage::Filed {
        world.block(&[]);
    }
    (world, key, whole)
}

/// The lane of a payer in a claim.
fn reclaim_of(whole: &Claim, payer: &str) -> Reclaim {
    let index = whole.lanes.iter().position(|it| it.voucher.message.payer == account(payer));
    Reclaim::of(whole, u32::try_from(index.unwrap()).unwrap()).unwrap()
}

fn send_reclaim(world: &mut World, sender: &str, reclaim: &Reclaim) -> Status {
    world.send(sender, Call::Payments(Tx::Reclaim(Box::new(reclaim.clone()))))
}

#[test]
fn r17_every_payer_of_a_void_claim_has_its_whole_lane_back_once_and_anybody_may_do_it() {
    let (mut world, key, whole) = shared();
    within(&mut world, |ctx| void(ctx, key, None).map(drop));
    let before = ["gateway", "bob"].map(|name| balance(&world, name));
    let (gateway, bob) = (reclaim_of(&whole, "gateway"), reclaim_of(&whole, "bob"));
    assert_eq!(send_reclaim(&mut world, "otto", &bob), Status::Applied);
    let index = bob.lane_index;
    let again = send_reclaim(&mut world, "bob", &bob);
    assert_eq!(again, rejected(Error::ReclaimedBefore { index }));
    assert_eq!(send_reclaim(&mut world, "gateway", &gateway), Status::Applied);
    let [first, second] = before;
    let back = |name, before| balance(&world, name).checked_sub(before).unwrap();
    assert_eq!(back("gateway", first), whole_credits(20));
    assert_eq!(back("bob", second), whole_credits(10));
    let record = claim(&world.state, &key.0, key.1).unwrap().unwrap();
    assert_eq!(record.owed(), Ok(Credit::ZERO));
    world.done("bob", withdraw(whole_credits(10)));
}

#[test]
fn r17_what_was_refunded_or_paid_before_is_not_reclaimed() {
    let (mut world, key, whole) = shared();
    world.wait(20_000); // The base is paid: six of thirty credits are left.
    let before = ["gateway", "bob"].map(|name| balance(&world, name));
    within(&mut world, |ctx| void(ctx, key, Some(wrong_receipt())).map(drop));
    for payer in ["gateway", "bob"] {
        let status = send_reclaim(&mut world, payer, &reclaim_of(&whole, payer));
        assert_eq!(status, Status::Applied);
    }
    let back = |name, before| balance(&world, name).checked_sub(before).unwrap();
    assert_eq!(back("gateway", before[0]), whole_credits(4), "three of them at once");
    assert_eq!(back("bob", before[1]), whole_credits(2));

    let (mut world, key, whole) = shared();
    let all = LaneRefund { amount: whole_credits(20), ..wrong_receipt() };
    within(&mut world, |ctx| void(ctx, key, Some(all)).map(drop));
    let own = reclaim_of(&whole, "gateway");
    let status = send_reclaim(&mut world, "gateway", &own);
    assert_eq!(status, rejected(Error::NothingToReclaim { index: own.lane_index }));
}

#[test]
fn r17_only_a_lane_of_a_void_claim_in_its_place_and_time_is_reclaimed() {
    let (mut world, key, whole) = shared();
    let good = reclaim_of(&whole, "gateway");
    let stage = Stage::Drawn;
    let early = send_reclaim(&mut world, "gateway", &good);
    assert_eq!(early, rejected(Error::NotVoid { stage }));
    within(&mut world, |ctx| void(ctx, key, None).map(drop));
    let (operator, epoch) = (key.0, Epoch::new(77));
    let unknown = send_reclaim(&mut world, "gateway", &Reclaim { epoch, ..good.clone() });
    assert_eq!(unknown, rejected(Error::UnknownClaim { operator, epoch }));
    let index = good.lane_index;
    let mut dearer = good.clone();
    dearer.range.delta = whole_credits(21);
    let mut foreign = good.clone();
    foreign.range.payer = account("bob");
    for bad in [dearer, foreign] {
        let status = send_reclaim(&mut world, "gateway", &bad);
        assert_eq!(status, rejected(Error::NotALane { index }));
    }
    let elsewhere = Reclaim { lane_index: 1 - index, ..good.clone() };
    let status = send_reclaim(&mut world, "gateway", &elsewhere);
    assert_eq!(status, rejected(Error::NotALane { index: 1 - index }));
    let beyond = Reclaim { lane_index: 2, ..good };
    let status = send_reclaim(&mut world, "gateway", &beyond);
    assert_eq!(status, rejected(Error::NotALane { index: 2 }));
}

#[test]
fn r17_what_nobody_reclaims_is_forfeited_when_the_void_claim_is_forgotten() {
    let mut document = crate::testing::genesis();
    document.params.payments.claim_retention = Millis::new(60_000);
    let (mut world, key, whole) = shared_in(World::from_genesis(&document));
    within(&mut world, |ctx| void(ctx, key, None).map(drop));
    let bob = reclaim_of(&whole, "bob");
    assert_eq!(send_reclaim(&mut world, "bob", &bob), Status::Applied);
    let (burned, insurance) = (world.burned(), world.pot(Pot::Insurance));
    // Points that still run keep the record, and open nothing to its payers.
    within(&mut world, |ctx| hold(ctx, key, Audit::Failed, BasisPoints::WHOLE, 1));
    for _ in 0..13 {
        let env = world.env(5_000);
        let applied = crate::apply_block(&world.state, &env, &[], &PORTS).unwrap();
        world.state.commit(&applied.writes);
        (world.time, world.round) = (env.time, env.round);
    }
    let ended = claim(&world.state, &key.0, key.1).unwrap().unwrap().due.unwrap();
    world.every = u64::MAX;
    let late = send_reclaim(&mut world, "gateway", &reclaim_of(&whole, "gateway"));
    assert_eq!(late, rejected(Error::ReclaimedTooLate { ended }));
    world.every = 1;
    within(&mut world, |ctx| release(ctx, key, Audit::Failed));
    let (burned_fees, before) = (world.burned(), burned);
    world.block(&[]);
    assert_eq!(claim(&world.state, &key.0, key.1).unwrap(), None);
    assert!(!world.state.has(&RECLAIMS, &key));
    // Twenty credits at ten cents a coin are two hundred coins.
    assert_eq!(world.pot(Pot::Insurance).checked_sub(insurance).unwrap(), coins(100));
    assert_eq!(world.burned().checked_sub(burned_fees).unwrap(), coins(100));
    assert!(burned_fees > before, "fees of the transactions in between");
}

proptest! {
    #[test]
    fn r17_the_lanes_of_a_void_claim_never_reclaim_more_than_it_owes(
        deltas in proptest::collection::vec(1_u128..1 << 60, 1..20),
        paid in 0_u32..=10_000,
        wrong in 0_u128..1 << 62,
    ) {
        let fees = Credit::total(deltas.iter().copied().map(Credit::new));
        let fee = fees.unwrap().get();
        let paid = Credit::new(fee).mul_div(paid.into(), 10_000, units::Rounding::Down).unwrap();
        let (world, key, _) = shared();
        let mut record = claim(&world.state, &key.0, key.1).unwrap().unwrap();
        (record.totals.fee, record.paid) = (Credit::new(fee), paid);
        // The wrong receipt is the first lane's, and no dearer than it.
        let refunded = record.owed().unwrap().min(Credit::new(wrong.min(deltas[0])));
        record.returned = refunded;
        for (index, delta) in deltas.iter().enumerate() {
            let before = if index == 0 { refunded } else { Credit::ZERO };
            let back = reclaimable(&record, Credit::new(*delta), before).unwrap();
            prop_assert!(back <= record.owed().unwrap());
            record.returned = record.returned.checked_add(back).unwrap();
        }
        let dust = deltas.len() as u128;
        let even = paid.is_zero();
        prop_assert!(!even || record.owed().unwrap() <= Credit::new(dust), "nobody is left short");
    }
}
