//! Staking: scenarios as sentences, and properties of the formulas.

use super::{
    Class, Error, Params, Profile, Registration, Tx,
    apply::{jail, slash, tombstone},
    bond_at, box_key, discipline,
    math::{floor, key_ends},
    operator,
    schema::{SERVERS, UNBONDING},
    serving_owners,
};
use crate::{
    Call, Rejection, Status,
    accounts::Pot,
    context::Context,
    params::Windows,
    store::{Overlay, Read},
    testing::{PORTS, World, account, coins, digest, grant, operator_of, public, register_call},
};
use crypto::{ModelId, OperatorId, PublicKey};
use proptest::prelude::*;
use units::{Coin, Credit, List, Millis, Text, UsdNano};

fn rejected(error: Error) -> Status {
    Status::Rejected(Rejection::Staking(error))
}

fn bond(operator: OperatorId, amount: Coin) -> Call {
    Call::Staking(Tx::Bond { operator, amount })
}

fn unbond(operator: OperatorId, amount: Coin) -> Call {
    Call::Staking(Tx::Unbond { operator, amount })
}

fn rotate(operator: OperatorId, name: &str) -> Call {
    Call::Staking(Tx::RotateBoxKey { operator, box_key: public(name) })
}

#[test]
fn r1_an_operator_is_registered_once_under_owner_and_index() {
    let mut world = World::new();
    let first = world.register("olga", "box");
    world.done("olga", register_call(1, "box-1", coins(100)));
    assert_ne!(first, operator_of("olga", 1));
    let again = world.send("olga", register_call(0, "box-2", coins(100)));
    assert_eq!(again, rejected(Error::AlreadyRegistered { operator: first }));
    let record = operator(&world.state, &first).unwrap().unwrap();
    assert_eq!((record.owner, record.index, record.bond), (account("olga"), 0, coins(1_000)));
}

#[test]
fn r1_only_the_owner_touches_an_operator() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    let foreign = rejected(Error::NotTheOwner { operator: id });
    for call in [bond(id, coins(1)), unbond(id, coins(1)), rotate(id, "other")] {
        assert_eq!(world.send("bob", call), foreign);
    }
    let unknown = operator_of("bob", 0);
    let status = world.send("bob", bond(unknown, coins(1)));
    assert_eq!(status, rejected(Error::UnknownOperator { operator: unknown }));
}

#[test]
fn r2_bonds_and_what_waits_lie_in_their_pot_until_they_are_paid() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    world.done("olga", bond(id, coins(500)));
    assert_eq!(world.pot(Pot::Bonds), coins(1_500));
    world.done("olga", unbond(id, coins(700)));
    assert_eq!(world.pot(Pot::Bonds), coins(1_500));
    let before = world.balance("olga");
    world.wait(60_000);
    assert_eq!(world.pot(Pot::Bonds), coins(800));
    assert_eq!(world.balance("olga"), before.checked_add(coins(700)).unwrap());
}

#[test]
fn r3_a_bond_below_the_floor_of_its_class_is_rejected() {
    let mut world = World::new();
    // Five dollars at ten cents a coin.
    let (bond, floor) = (Coin::new(coins(50).get() - 1), coins(50));
    let status = world.send("olga", register_call(0, "box", bond));
    assert_eq!(status, rejected(Error::BelowFloor { bond, floor }));
    world.done("olga", register_call(0, "box", floor));
}

#[test]
fn r4_unbonding_leaves_the_floor_or_nothing() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    let status = world.send("olga", unbond(id, coins(951)));
    assert_eq!(status, rejected(Error::BelowFloor { bond: coins(49), floor: coins(50) }));
    world.done("olga", unbond(id, coins(950)));
    world.done("olga", unbond(id, coins(50)));
    assert_eq!(operator(&world.state, &id).unwrap().unwrap().bond, Coin::ZERO);
    let more = Error::MoreThanBonded { amount: coins(1), bond: Coin::ZERO };
    assert_eq!(world.send("olga", unbond(id, coins(1))), rejected(more));
    assert_eq!(world.send("olga", unbond(id, Coin::ZERO)), rejected(Error::ZeroAmount));
}

#[test]
fn r4_an_exited_operator_comes_back_with_the_floor() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    world.done("olga", unbond(id, coins(1_000)));
    let below = Error::BelowFloor { bond: coins(49), floor: coins(50) };
    assert_eq!(world.send("olga", bond(id, coins(49))), rejected(below));
    world.done("olga", bond(id, coins(50)));
}

#[test]
fn r4_nothing_is_paid_before_the_unbonding_time_and_at_most_eight_parts_wait() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    for _ in 0..8 {
        world.done("olga", unbond(id, coins(1)));
    }
    let status = world.send("olga", unbond(id, coins(1)));
    assert_eq!(status, rejected(Error::TooManyUnbondings { limit: 8 }));
    let first_due = 60_000 - 8 * 500;
    world.wait(first_due - 500);
    assert_eq!(world.pot(Pot::Bonds), coins(1_000));
    world.wait(500);
    assert_eq!(world.pot(Pot::Bonds), coins(999));
    world.done("olga", unbond(id, coins(1)));
}

#[test]
fn r5_a_block_pays_at_most_sixty_four_parts_and_the_next_one_the_rest() {
    let mut world = World::new();
    let ids: Vec<_> = (0..10).map(|index| operator_of("olga", index)).collect();
    for index in 0..10 {
        world.done("olga", register_call(index, "box", coins(100)));
    }
    let mut unbondings = vec![];
    for (ahead, id) in ids.iter().flat_map(|id| [*id; 7]).enumerate() {
        unbondings.push(world.authorized("olga", "olga", ahead as u64, unbond(id, coins(1))));
    }
    world.block(&unbondings);
    let (due, held) = (world.clock() + 60_000, world.pot(Pot::Bonds));
    world.wait(due - world.clock());
    assert_eq!(world.pot(Pot::Bonds), held.checked_sub(coins(64)).unwrap());
    world.block(&[]);
    assert_eq!(world.pot(Pot::Bonds), held.checked_sub(coins(70)).unwrap());
}

#[test]
fn r6_a_rotated_key_stays_good_for_claims_for_one_period_and_its_claim_window() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    world.done("olga", rotate(id, "box-1"));
    let old = box_key(&world.state, &id, 0).unwrap().unwrap();
    let current = box_key(&world.state, &id, 1).unwrap().unwrap();
    assert_eq!((old.key, current.key), (public("box"), public("box-1")));
    let clock = world.clock();
    assert_eq!(old.until, Some(Millis::new(clock + 10_000 + 5_000)));
    assert!(old.is_good_for_claims(Millis::new(clock + 14_999)));
    assert!(!old.is_good_for_claims(Millis::new(clock + 15_000)));
    assert!(current.is_good_for_claims(Millis::MAX));
    let same = world.send("olga", rotate(id, "box-1"));
    assert_eq!(same, rejected(Error::SameKey { key: public("box-1") }));
}

#[test]
fn r7_a_higher_class_needs_its_floor() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    let class = |class| Call::Staking(Tx::SetClass { operator: id, class });
    world.done("olga", class(Class::Consumer));
    let below = Error::BelowFloor { bond: coins(1_000), floor: coins(4_000) };
    assert_eq!(world.send("olga", class(Class::Workstation)), rejected(below));
}

#[test]
fn r7_the_box_key_as_a_session_may_change_the_profile_and_nothing_else() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    world.done("olga", grant("box", coins(1), Credit::ZERO, world.far));
    let profile = Profile { endpoint: Text::new("here").unwrap(), models: List::empty() };
    let set = Call::Staking(Tx::SetProfile { operator: id, profile: profile.clone() });
    assert_eq!(world.send_by("olga", "box", set), Status::Applied);
    assert_eq!(operator(&world.state, &id).unwrap().unwrap().profile, profile);
    let set = Call::Staking(Tx::SetProfile { operator: id, profile });
    world.done("olga", grant("phone", coins(1), Credit::ZERO, world.far));
    let other = rejected(Error::NotTheBoxKey { key: public("phone") });
    assert_eq!(world.send_by("olga", "phone", set), other);
    for call in [unbond(id, coins(1)), rotate(id, "thief"), bond(id, coins(1))] {
        assert!(matches!(world.send_by("olga", "box", call), Status::Refused(_)));
    }
}

#[test]
fn r8_the_bond_of_a_past_clock_can_be_read_and_old_ones_are_forgotten() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    let first = world.now().clock;
    world.wait(3_000);
    world.done("olga", bond(id, coins(5)));
    let second = world.now().clock;
    let between = Millis::new(second.get() - 1);
    assert_eq!(bond_at(&world.state, &id, between).unwrap(), coins(1_000));
    assert_eq!(bond_at(&world.state, &id, second).unwrap(), coins(1_005));
    assert_eq!(bond_at(&world.state, &id, Millis::MAX).unwrap(), coins(1_005));
    let before = Millis::new(first.get() - 1);
    assert_eq!(bond_at(&world.state, &id, before).unwrap(), Coin::ZERO);
}

#[test]
fn r9_a_weak_box_key_and_an_unsorted_profile_are_rejected() {
    let mut world = World::new();
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = PublicKey::new(identity);
    let model = |name| ModelId::new(digest(name));
    let mut models = vec![model("a"), model("b")];
    models.sort();
    let registration = |box_key, models| {
        let endpoint = Text::new("here").unwrap();
        let profile = Profile { endpoint, models: List::new(models).unwrap() };
        let (index, class, bond) = (0, Class::Board, coins(50));
        Call::Staking(Tx::Register(Registration { index, box_key, class, profile, bond }))
    };
    let status = world.send("olga", registration(weak, vec![]));
    assert_eq!(status, rejected(Error::BadKey { key: weak }));
    let reversed = vec![models[1], models[0]];
    let status = world.send("olga", registration(public("box"), reversed));
    assert_eq!(status, rejected(Error::ModelsOutOfOrder));
    let twice = vec![models[0], models[0]];
    let status = world.send("olga", registration(public("box"), twice));
    assert_eq!(status, rejected(Error::ModelsOutOfOrder));
    world.done("olga", registration(public("box"), models));
}

proptest! {
    #[test]
    fn r3_a_floor_is_worth_at_least_its_dollars(price in 1_000..10_u128.pow(15)) {
        let params = Params::default();
        for class in Class::ALL {
            let coin = floor(class, &params, UsdNano::new(price)).unwrap();
            let worth = coin.get() * price / 10_u128.pow(9);
            prop_assert!(worth + 1 >= params.floors.of(class).get());
        }
    }

    #[test]
    fn r6_a_key_never_ends_before_the_claims_of_its_period(clock in 0..u64::MAX / 2) {
        let windows = Windows::default();
        let ends = key_ends(Millis::new(clock), &windows).unwrap().get();
        let period_ends = (clock / windows.epoch.get() + 1) * windows.epoch.get();
        prop_assert!(ends >= period_ends + windows.claim.get());
    }
}

/// A context above the world, as a higher module has it.
fn above(world: &World) -> Context<'_> {
    Context::open(Overlay::new((&world.state).into()), world.now(), PORTS).unwrap()
}

#[test]
fn r10_a_slash_takes_what_stood_behind_the_fault_and_nothing_that_came_later() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    world.done("olga", unbond(id, coins(100))); // Waits already when the fault is done.
    let done = Millis::new(world.clock());
    world.done("olga", unbond(id, coins(300)));
    world.done("olga", bond(id, coins(500))); // Stood behind nothing yet.
    assert_eq!(bond_at(&world.state, &id, done).unwrap(), coins(900));

    let mut ctx = above(&world);
    assert_eq!(slash(&mut ctx, id, done, coins(700)), Ok(coins(700)));
    assert_eq!(operator(&ctx, &id).unwrap().unwrap().bond, coins(400), "bonded now goes first");
    assert_eq!(ctx.get(&crate::tables::POTS, &Pot::Penalties).unwrap(), Some(coins(700)));

    let mut ctx = above(&world);
    // At most what was bonded then: 900, of which 1,100 - 0 are at hand in bond alone.
    assert_eq!(slash(&mut ctx, id, done, coins(5_000)), Ok(coins(900)));
    let record = operator(&ctx, &id).unwrap().unwrap();
    assert_eq!((record.bond, record.unbonding), (coins(200), coins(400)));
}

#[test]
fn r10_a_bond_that_has_begun_to_wait_after_the_fault_still_answers_for_it() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    world.done("olga", unbond(id, coins(100)));
    let done = Millis::new(world.clock());
    world.done("olga", unbond(id, coins(300)));
    world.done("olga", unbond(id, coins(600)));
    let mut ctx = above(&world);
    assert_eq!(slash(&mut ctx, id, done, coins(700)), Ok(coins(700)));
    let record = operator(&ctx, &id).unwrap().unwrap();
    assert_eq!((record.bond, record.unbonding, record.unbondings), (Coin::ZERO, coins(300), 2));
    let waiting = ctx.scan(&UNBONDING, &(), 9).unwrap();
    let amounts: Vec<Coin> = waiting.into_iter().map(|(_, waiting)| waiting.amount).collect();
    assert_eq!(amounts, [coins(100), coins(200)], "the oldest of those after it goes first");
    // All that is left of what stood behind it; what waited before is safe.
    assert_eq!(slash(&mut ctx, id, done, coins(700)), Ok(coins(200)));
    assert_eq!(slash(&mut ctx, id, done, coins(700)), Ok(Coin::ZERO));
}

#[test]
fn r11_a_longer_jail_stays_and_a_tombstoned_operator_bonds_no_more() {
    let mut world = World::new();
    let id = world.register("olga", "box");
    let writes = {
        let mut ctx = above(&world);
        jail(&mut ctx, id, Millis::new(9_000)).unwrap();
        jail(&mut ctx, id, Millis::new(8_000)).unwrap();
        let known = discipline(&ctx, &id).unwrap();
        assert_eq!((known.jailed_until, known.tombstoned), (Millis::new(9_000), false));
        tombstone(&mut ctx, id).unwrap();
        tombstone(&mut ctx, id).unwrap();
        ctx.close().0
    };
    world.state.commit(&writes);
    world.check();
    let status = world.send("olga", bond(id, coins(1)));
    assert_eq!(status, rejected(Error::Tombstoned { operator: id }));
    world.done("olga", unbond(id, coins(1_000))); // What was not slashed stays its owner's.
}

#[test]
fn r12_owners_that_serve_a_model_are_counted_once_each_and_only_while_bonded() {
    let mut world = World::new();
    let model = ModelId::new(digest("model"));
    let serves = |models: Vec<ModelId>| Profile {
        endpoint: Text::default(),
        models: List::new(models).unwrap(),
    };
    let owners = |world: &World| serving_owners(&world.state, &model).unwrap();
    for (owner, index, count) in [("olga", 0, 1), ("olga", 1, 1), ("otto", 0, 2)] {
        world.done(owner, register_call(index, &format!("{owner} {index}"), coins(100)));
        let (operator, profile) = (operator_of(owner, index), serves(vec![model]));
        world.done(owner, Call::Staking(Tx::SetProfile { operator, profile }));
        assert_eq!(owners(&world), count);
    }
    let key = (model, account("olga"));
    assert_eq!(world.state.get(&SERVERS, &key).unwrap(), Some(2));
    world.done("olga", unbond(operator_of("olga", 0), coins(100)));
    assert_eq!(owners(&world), 2, "the other one still serves it");
    let (operator, profile) = (operator_of("olga", 1), serves(vec![]));
    world.done("olga", Call::Staking(Tx::SetProfile { operator, profile }));
    assert_eq!(owners(&world), 1);
    let writes = {
        let mut ctx = above(&world);
        tombstone(&mut ctx, operator_of("otto", 0)).unwrap();
        ctx.close().0
    };
    world.state.commit(&writes);
    world.check();
    assert_eq!(owners(&world), 0);
}
