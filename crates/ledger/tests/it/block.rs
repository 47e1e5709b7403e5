//! Whole blocks: order, bounds, time, seeds, the proposer's choice.

use crate::testing::{
    PORTS, World, account, coins, deposit, digest, grant, register_call, seed, sign, transfer,
};
use crypto::{ChainId, Digest};
use ledger::{
    Authorized, BlockError, Ed25519, Read, Rejection, Status, Transaction, View, apply_block,
    disputes, next_deadline, select, staking, tables, transaction, triage,
};
use units::{Coin, Credit, Height, Millis, Nonce, Round};

#[test]
fn b1_a_block_that_is_invalid_changes_nothing_and_a_valid_one_changes_only_by_its_writes() {
    let mut world = World::new();
    let before = world.state.clone();
    let mut env = world.env(500);
    env.height = Height::new(7);
    let invalid = apply_block(&world.state, &env, &[], &PORTS);
    assert_eq!(
        invalid,
        Err(BlockError::Height { given: Height::new(7), expected: Height::new(1) })
    );
    assert_eq!(world.state, before);
    let good = world.authorized("alice", "alice", 0, transfer("bob", coins(1)));
    let applied =
        apply_block(&world.state, &world.env(500), core::slice::from_ref(&good), &PORTS).unwrap();
    assert_eq!(world.state, before);
    world.block(&[good]);
    assert_eq!(applied, world.last);
}

#[test]
fn b1_the_same_block_on_the_same_state_always_gives_the_same_writes() {
    let world = World::new();
    let good = world.authorized("alice", "alice", 0, transfer("bob", coins(1)));
    let env = world.env(500);
    let first = apply_block(&world.state, &env, core::slice::from_ref(&good), &PORTS).unwrap();
    let again = apply_block(&world.state, &env, &[good], &PORTS).unwrap();
    assert_eq!(first, again);
}

#[test]
fn b1_a_view_through_pending_blocks_is_the_state_that_committing_them_gives() {
    let mut world = World::new();
    let first = world.authorized("alice", "alice", 0, transfer("carol", coins(5)));
    let env = world.env(500);
    let pending = apply_block(&world.state, &env, core::slice::from_ref(&first), &PORTS).unwrap();
    let view = View::from(&world.state).over(&pending.writes);
    let mut next = env.clone();
    next.height = Height::new(2);
    next.time = Millis::new(env.time.get() + 500);
    next.round = Round::new(2);
    let speculative = apply_block(view, &next, &[], &PORTS).unwrap();
    world.block(&[first]);
    next.seeds = vec![];
    let committed = apply_block(&world.state, &next, &[], &PORTS).unwrap();
    assert_eq!(speculative, committed);
}

#[test]
fn t1_heights_times_and_rounds_grow() {
    let mut world = World::new();
    world.block(&[]);
    let good = world.env(500);
    let parent = world.now();
    let mut same_time = good.clone();
    same_time.time = parent.time;
    let mut same_round = good.clone();
    same_round.round = parent.round;
    let mut skipped = good;
    skipped.height = Height::new(3);
    let expected = Height::new(2);
    let cases = [
        (same_time, BlockError::Time { given: parent.time, parent: parent.time }),
        (same_round, BlockError::Round { given: parent.round, parent: parent.round }),
        (skipped, BlockError::Height { given: Height::new(3), expected }),
    ];
    for (env, error) in cases {
        assert_eq!(apply_block(&world.state, &env, &[], &PORTS), Err(error));
    }
}

#[test]
fn t2_the_clock_follows_time_but_by_at_most_five_seconds_a_block() {
    let mut world = World::new();
    world.block_after(700, &[]).unwrap();
    assert_eq!(world.clock(), 700);
    world.block_after(3_600_000, &[]).unwrap();
    assert_eq!(world.clock(), 5_700);
}

#[test]
fn t3_seeds_come_in_order_of_past_rounds_and_once() {
    let mut world = World::new();
    world.seeds = false;
    for _ in 0..40 {
        world.block(&[]);
    }
    let bring = |world: &World, rounds: &[u64]| {
        let mut env = world.env(500);
        env.seeds = rounds.iter().map(|r| (Round::new(*r), seed(Round::new(*r)))).collect();
        (apply_block(&world.state, &env, &[], &PORTS), env)
    };
    let wrong = |round| Err(BlockError::Seed { round: Round::new(round) });
    assert_eq!(bring(&world, &[5, 4]).0, wrong(4));
    assert_eq!(bring(&world, &[5, 5]).0, wrong(5));
    assert_eq!(bring(&world, &[41]).0, wrong(41));
    let many: Vec<u64> = (1..34).collect();
    assert_eq!(bring(&world, &many).0, Err(BlockError::TooManySeeds { count: 33 }));
    let (applied, env) = bring(&world, &[3, 7]);
    world.state.commit(&applied.unwrap().writes);
    (world.time, world.round) = (env.time, env.round);
    assert_eq!(bring(&world, &[7]).0, wrong(7));
    // A seed of an earlier round may still come: it was skipped before.
    assert!(bring(&world, &[4]).0.is_ok());
}

#[test]
fn t4_a_seed_is_kept_for_the_challenge_window_and_a_day_and_then_forgotten() {
    let mut world = World::new();
    world.block(&[]);
    world.block(&[]);
    let first = Round::new(1);
    assert!(world.state.has(&tables::SEEDS, &first));
    let kept = world.params().windows.challenge.get() + 86_400_000;
    // Directly, for the sake of speed: invariants need not be checked 17,000 times.
    let until = world.clock() + kept;
    while world.clock() < until {
        let env = world.env(5_000);
        let applied = apply_block(&world.state, &env, &[], &PORTS).unwrap();
        world.state.commit(&applied.writes);
        (world.time, world.round) = (env.time, env.round);
        if world.clock() < until {
            assert!(world.state.has(&tables::SEEDS, &first));
        }
    }
    world.block(&[]);
    assert!(!world.state.has(&tables::SEEDS, &first));
}

#[test]
fn b3_a_transaction_of_another_chain_or_of_another_time_makes_its_block_invalid() {
    let mut world = World::new();
    world.block(&[]);
    world.block(&[]);
    let good = world.signed("alice", "alice", 0, transfer("bob", coins(1))).transaction;
    let other = ChainId::new(Digest::ZERO);
    let (height, lifetime) = (Height::new(3), world.params().block.transaction_lifetime);
    let latest = Height::new(3 + lifetime);
    let late = Height::new(4 + lifetime);
    let expired = Height::new(2);
    let cases = [
        (
            Transaction { chain: other, ..good.clone() },
            transaction::Error::WrongChain { named: other, expected: world.chain },
        ),
        (
            Transaction { valid_until: expired, ..good.clone() },
            transaction::Error::Expired { valid_until: expired, height },
        ),
        (
            Transaction { valid_until: late, ..good.clone() },
            transaction::Error::ValidTooLong { valid_until: late, latest },
        ),
    ];
    for (bad, error) in cases {
        let refused = triage(&world.state, &bad);
        assert_eq!(refused, Err(error.clone().into()));
        let bad = sign(bad, "alice").authorize(&Ed25519).unwrap();
        assert_eq!(select(&world.state, &[&bad]).unwrap(), Vec::<usize>::new());
        let result = world.block_after(500, &[bad]);
        assert_eq!(result, Err(BlockError::Transaction { index: 0, error }));
    }
    let last = Transaction { valid_until: height, ..good };
    world.block(&[sign(last, "alice").authorize(&Ed25519).unwrap()]);
    assert_eq!(world.last.outcomes[0].status, Status::Applied);
}

/// A world whose blocks hold few transactions.
fn narrow(transactions: u32) -> World {
    let mut genesis = crate::testing::genesis();
    genesis.params.block.transactions = transactions;
    World::from_genesis(&genesis)
}

#[test]
fn b2_a_block_with_too_many_transactions_is_invalid_and_the_proposer_never_makes_one() {
    let mut world = narrow(3);
    let transactions: Vec<_> =
        (0..5).map(|n| world.authorized("alice", "alice", n, transfer("bob", coins(1)))).collect();
    let too_many = BlockError::TooManyTransactions { count: 4, limit: 3 };
    assert_eq!(world.block_after(500, &transactions), Err(too_many));
    let candidates: Vec<_> = transactions.iter().collect();
    assert_eq!(select(&world.state, &candidates).unwrap(), [0, 1, 2]);
}

#[test]
fn b2_what_is_no_payment_takes_at_most_half_of_a_block() {
    let mut world = World::new();
    let profile = |n: u64| {
        let endpoint = units::Text::new("x".repeat(256)).unwrap();
        let models = (0..64).map(|m| crate::testing::digest(&format!("{n} {m}")));
        let mut models: Vec<_> = models.map(crypto::ModelId::new).collect();
        models.sort();
        let profile = staking::Profile { endpoint, models: units::List::new(models).unwrap() };
        let operator = crate::testing::operator_of("olga", 0);
        ledger::Call::Staking(staking::Tx::SetProfile { operator, profile })
    };
    world.done("olga", register_call(0, "box", coins(100)));
    let many: Vec<_> = (0..900).map(|n| world.authorized("olga", "olga", n, profile(n))).collect();
    let payment = world.authorized("alice", "alice", 0, transfer("bob", coins(1)));
    let result = world.block_after(500, &many);
    assert!(matches!(result, Err(BlockError::RestTooLarge { limit: 2_097_152, .. })));
    let candidates: Vec<_> = many.iter().chain([&payment]).collect();
    let chosen = select(&world.state, &candidates).unwrap();
    assert!(chosen.contains(&900) && chosen.len() < 900);
    let bytes = chosen.iter().filter(|at| **at < 900).fold(0, |sum, at| sum + many[*at].bytes());
    assert!(bytes <= 2_097_152 && bytes + many[0].bytes() > 2_097_152);
    let block: Vec<_> = chosen.iter().map(|at| candidates[*at].clone()).collect();
    world.block(&block);
    assert!(world.last.outcomes.iter().all(|outcome| outcome.status == Status::Applied));
}

#[test]
fn b2_disputes_take_at_most_three_tenths_of_a_block() {
    let world = World::new();
    let play = |number: u32| {
        let bytes = ledger::bytes::Bytes::new(vec![7; 8 << 10]).unwrap();
        let play = disputes::moves::Move::Open { bytes };
        ledger::Call::Disputes(disputes::Tx::Play { receipt: digest("r"), line: number, play })
    };
    let limit = (4 << 20) / 10 * 3;
    let many: Vec<_> =
        (0..200).map(|n| world.authorized("olga", "olga", n.into(), play(n))).collect();
    let payment = world.authorized("alice", "alice", 0, transfer("bob", coins(1)));
    let result = apply_block(&world.state, &world.env(500), &many, &PORTS);
    assert!(matches!(result, Err(BlockError::TooManyDisputes { .. })), "{result:?}");
    let candidates: Vec<_> = many.iter().chain([&payment]).collect();
    let chosen = select(&world.state, &candidates).unwrap();
    assert!(chosen.contains(&200));
    let bytes = chosen.iter().filter(|at| **at < 200).fold(0, |sum, at| sum + many[*at].bytes());
    assert!(bytes <= limit && bytes + many[0].bytes() > limit, "{bytes}");

    let world = narrow(10);
    let small = |n: u64| {
        let play = disputes::moves::Move::Split { parts: Default::default() };
        let call = disputes::Tx::Play { receipt: digest("r"), line: 0, play };
        world.authorized("olga", "olga", n, ledger::Call::Disputes(call))
    };
    let four: Vec<_> = (0..4).map(small).collect();
    let result = apply_block(&world.state, &world.env(500), &four, &PORTS);
    assert!(matches!(result, Err(BlockError::TooManyDisputes { count: 4, .. })), "{result:?}");
}

#[test]
fn b5_senders_take_turns_and_nonces_keep_their_order() {
    let world = narrow(6);
    let of = |name: &str, ahead| world.authorized(name, name, ahead, transfer("bob", coins(1)));
    let candidates = [
        of("alice", 3),
        of("alice", 0),
        of("alice", 1),
        of("alice", 2),
        of("bob", 0),
        of("olga", 1), // Its predecessor is missing.
        of("otto", 0),
        of("otto", 1),
    ];
    let candidates: Vec<_> = candidates.iter().collect();
    assert_eq!(select(&world.state, &candidates).unwrap(), [1, 4, 6, 2, 7, 3]);
}

#[test]
fn b5_what_an_account_cannot_pay_is_left_out_across_all_its_signers() {
    let mut world = World::new();
    let fee = world.params().accounts.transfer_fee;
    let deposit_fee = world.params().payments.deposit_fee;
    world.done("alice", transfer("carol", coins(1)));
    world.done("carol", grant("phone", coins(1), Credit::ZERO, world.far));
    let left = fee.checked_add(deposit_fee).unwrap();
    let held = world.balance("carol").checked_sub(fee).unwrap();
    world.done("carol", transfer("bob", held.checked_sub(left).unwrap()));
    assert_eq!(world.balance("carol"), left);
    let own = |ahead| world.authorized("carol", "carol", ahead, transfer("bob", Coin::new(1)));
    let hot = |ahead| world.authorized("carol", "phone", ahead, deposit(Credit::new(1)));
    let candidates = [own(0), hot(0), own(1), own(2)];
    let candidates: Vec<_> = candidates.iter().collect();
    assert_eq!(select(&world.state, &candidates).unwrap(), [0, 2, 3]);
    let candidates = [hot(0), own(0), hot(1)];
    let candidates: Vec<_> = candidates.iter().collect();
    assert_eq!(select(&world.state, &candidates).unwrap(), [0, 1]);
}

#[test]
fn triage_tells_what_can_come_next_later_and_never() {
    let mut world = World::new();
    world.done("alice", transfer("bob", coins(1)));
    let with = |nonce| {
        let mut transaction =
            world.signed("alice", "alice", 0, transfer("bob", coins(1))).transaction;
        transaction.nonce = Nonce::new(nonce);
        triage(&world.state, &transaction)
    };
    assert_eq!(with(1), Ok(ledger::Readiness::Next));
    assert_eq!(with(5), Ok(ledger::Readiness::Later));
    let wrong = transaction::Error::WrongNonce { given: Nonce::new(0), expected: Nonce::new(1) };
    assert_eq!(with(0), Err(wrong.into()));
    let unknown = world.signed("nobody", "nobody", 0, transfer("bob", coins(1))).transaction;
    let account = account("nobody");
    let unknown_account = transaction::Error::UnknownAccount { account };
    assert_eq!(triage(&world.state, &unknown), Err(unknown_account.into()));
}

#[test]
fn the_next_deadline_is_the_earliest_thing_the_ledger_does_by_itself() {
    let mut world = World::new();
    assert_eq!(next_deadline(&world.state).unwrap(), None);
    let operator = world.register("olga", "box");
    let unbond = staking::Tx::Unbond { operator, amount: coins(1) };
    world.done("olga", ledger::Call::Staking(unbond));
    let due = Millis::new(world.clock() + 60_000);
    assert_eq!(next_deadline(&world.state).unwrap(), Some(due));
    world.wait(60_000);
    assert_eq!(next_deadline(&world.state).unwrap(), None);
}

#[test]
fn codes_are_the_module_and_the_number_of_the_error_in_it() {
    let cases: [(Rejection, u16); 4] = [
        (transaction::Error::BadSignature.into(), 0x0002),
        (ledger::accounts::Error::ZeroAmount.into(), 0x0100),
        (ledger::payments::Error::NoLanes.into(), 0x050c),
        (Rejection::Overflow, 0xff00),
    ];
    for (rejection, code) in cases {
        assert_eq!(rejection.code(), code);
    }
}

#[test]
fn events_of_each_transaction_are_counted_in_its_outcome() {
    let mut world = World::new();
    let block: Vec<Authorized<Transaction>> = vec![
        world.authorized("alice", "alice", 0, transfer("bob", coins(1))),
        world.authorized("alice", "alice", 1, transfer("bob", Coin::ZERO)),
        world.authorized("olga", "olga", 0, register_call(0, "box", coins(100))),
    ];
    world.block(&block);
    let counts: Vec<u32> = world.last.outcomes.iter().map(|outcome| outcome.events).collect();
    assert_eq!(counts, [1, 0, 2]);
    assert_eq!(world.last.events.len(), 3);
}
