//! Bytes and transactions of people who mean harm: each gets its typed error, changes nothing
//! but its fee, and costs bounded time and memory.

use crate::{
    random::{Random, seed_from_env},
    samples,
    testing::{
        LaneOf, PORTS, World, claim_of, coins, file, key, public, redeem, sign, transfer,
        whole_credits,
    },
};
use crypto::{Domain, Signature};
use ledger::{
    Call, Ed25519, Rejection, SignedTransaction, Status, Transaction, accounts, apply_block,
    credits, payments, transaction, transaction::MAX_TRANSACTION_BYTES,
};
use proptest::prelude::*;
use units::{Coin, Credit, Nonce};

fn malformed(bytes: &[u8]) -> bool {
    matches!(SignedTransaction::decode(bytes), Err(transaction::Error::Malformed { .. }))
}

#[test]
fn empty_too_large_and_trailing_bytes_are_refused_each_by_its_error() {
    assert!(malformed(&[]));
    let large = vec![0; MAX_TRANSACTION_BYTES + 1];
    assert_eq!(SignedTransaction::decode(&large), Err(transaction::Error::TooLarge));
    for call in samples::calls() {
        let mut bytes = borsh::to_vec(&samples::envelope(call)).unwrap();
        assert!(SignedTransaction::decode(&bytes).is_ok());
        bytes.push(0);
        assert!(malformed(&bytes));
    }
}

#[test]
fn unknown_kinds_and_lengths_beyond_the_bound_are_refused_without_a_large_allocation() {
    let good = samples::envelope(transfer("bob", coins(1)));
    let bytes = borsh::to_vec(&good).unwrap();
    // Chain, account, signer: 32 bytes each; nonce and height: 8 each; then the call.
    let call_at = 3 * 32 + 2 * 8;
    for module in (0..=255).filter(|module| !(1..=5).contains(module)) {
        let mut bad = bytes.clone();
        bad[call_at] = module;
        assert!(malformed(&bad), "module {module}");
    }
    let mut bad = bytes;
    bad[call_at + 1] = 9;
    assert!(malformed(&bad));
    // A claim whose list of lanes announces four thousand million of them.
    let mut claim = claim_of(crate::testing::operator_of("olga", 0), units::Epoch::ZERO, vec![]);
    claim.key_epoch = 7;
    let mut bytes = borsh::to_vec(&samples::envelope(file(claim))).unwrap();
    let lanes_at = bytes.len() - 64 - 4;
    bytes[lanes_at..lanes_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(malformed(&bytes));
}

#[test]
fn a_boolean_of_two_and_an_option_of_two_are_no_encodings() {
    let session = samples::all().into_iter().find(|it| it.name == "record accounts.sessions");
    let session = session.unwrap();
    let mut bytes = session.bytes.clone();
    *bytes.last_mut().unwrap() = 2;
    assert_eq!((session.again)(&bytes), None);
    let voucher = samples::all().into_iter().find(|it| it.name == "message opening voucher");
    let voucher = voucher.unwrap();
    let mut bytes = voucher.bytes.clone();
    *bytes.last_mut().unwrap() = 2;
    assert_eq!((voucher.again)(&bytes), None);
}

#[test]
fn a_signature_under_another_domain_or_shifted_by_the_group_order_is_refused() {
    let world = World::new();
    let good = world.signed("alice", "alice", 0, transfer("bob", coins(1)));
    let mut other = good.clone();
    other.signature = key("alice").sign(Domain::Voucher, &good.transaction);
    assert_eq!(other.authorize(&Ed25519), Err(transaction::Error::BadSignature));
    // s + L: the same scalar in a second spelling.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = *good.signature.as_bytes();
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    let shifted = SignedTransaction { signature: Signature::new(bytes), ..good };
    assert_eq!(shifted.authorize(&Ed25519), Err(transaction::Error::BadSignature));
}

#[test]
fn ten_thousand_mints_and_redemptions_of_one_to_ten_billionths_never_gain() {
    let mut world = World::new();
    let (mint_fee, redeem_fee) = {
        let params = world.params();
        (params.credits.mint_fee, params.credits.redeem_fee)
    };
    let wealth = |world: &World| world.balance("alice");
    world
        .done("alice", Call::Credits(credits::Tx::Mint { coin: coins(1), at_least: Credit::ZERO }));
    let before = wealth(&world);
    let mut fees = 0;
    // Whole blocks of probes, invariants after each.
    for round in 0..100_u64 {
        let probe = |n: u64| {
            let amount = 1 + u128::from((round + n) % 10);
            if n.is_multiple_of(2) {
                let coin = Coin::new(amount);
                Call::Credits(credits::Tx::Mint { coin, at_least: Credit::ZERO })
            } else {
                redeem(Credit::new(amount))
            }
        };
        let block: Vec<_> =
            (0..100).map(|n| world.authorized("alice", "alice", n, probe(n))).collect();
        world.block(&block);
        fees += 50 * (mint_fee.get() + redeem_fee.get());
    }
    // Whatever is left in credits is worth no more than the coin behind it.
    let rest = world.holding("alice").free;
    world.done("alice", redeem(rest));
    fees += redeem_fee.get();
    let first_coin = coins(1).get();
    assert!(wealth(&world).get() + fees <= before.get() + first_coin);
}

#[test]
fn no_loop_of_one_account_through_credits_and_its_own_operator_ends_with_more_coin() {
    let mut world = World::new();
    let operator = world.register("alice", "box");
    let before = world.balance("alice");
    for turn in 1..=5_u64 {
        world.fund("alice", 10);
        let allocation = world.allocate("alice", operator, whole_credits(10));
        let sum = |turns: u64| whole_credits(u128::from(turns) * 10);
        let lane = LaneOf {
            payer: "alice",
            signer: "alice",
            lane: 0,
            allocation,
            range: (turn, turn),
            cumulative: (sum(turn - 1), sum(turn)),
        };
        world.wait_for_next_period();
        let epoch = world.now().epoch(&world.params().windows).get() - 1;
        let lane = lane.claim(world.chain, operator);
        world.done("alice", file(claim_of(operator, units::Epoch::new(epoch), vec![lane])));
    }
    world.wait(100_000);
    let free = world.holding("alice").free;
    if !free.is_zero() {
        world.done("alice", redeem(free));
    }
    // Fifty credits went round; a tenth of their coin, 50, is gone at least.
    let lost = before.checked_sub(world.balance("alice")).unwrap();
    assert!(lost >= coins(50));
}

#[test]
fn fee_and_amount_that_together_exceed_the_balance_cost_the_fee_only() {
    let mut world = World::new();
    let all = world.balance("alice");
    let status = world.send("alice", transfer("bob", all));
    let insufficient =
        accounts::Error::Insufficient { balance: world.balance("alice"), amount: all };
    assert_eq!(status, Status::Rejected(insufficient.into()));
}

#[test]
fn absurd_amounts_in_every_call_are_rejected_and_change_nothing_but_the_fee() {
    let mut world = World::new();
    let operator = world.register("olga", "box");
    world.fund("olga", 10);
    let far = units::Millis::MAX;
    let calls = [
        transfer("bob", Coin::MAX),
        Call::Credits(credits::Tx::Mint { coin: Coin::MAX, at_least: Credit::MAX }),
        redeem(Credit::MAX),
        Call::Staking(ledger::staking::Tx::Bond { operator, amount: Coin::MAX }),
        Call::Staking(ledger::staking::Tx::Unbond { operator, amount: Coin::MAX }),
        crate::testing::register_call(u32::MAX, "box", Coin::MAX),
        crate::testing::deposit(Credit::MAX),
        crate::testing::withdraw(Credit::MAX),
        crate::testing::allocate(0, operator, public("olga"), Credit::MAX, far),
        Call::Payments(payments::Tx::Extend {
            allocation: u64::MAX,
            limit: Credit::MAX,
            expires: far,
        }),
    ];
    for call in calls {
        let before = world.balance("olga");
        let rest = (world.holding("olga"), world.pot(accounts::Pot::Bonds));
        let status = world.send("olga", call.clone());
        assert!(matches!(status, Status::Rejected(_)), "{call:?}: {status:?}");
        let fee = world.last.outcomes[0].fee;
        assert_eq!(world.balance("olga"), before.checked_sub(fee).unwrap());
        assert_eq!((world.holding("olga"), world.pot(accounts::Pot::Bonds)), rest);
    }
}

#[test]
fn a_claim_with_absurd_sequences_and_sums_is_rejected() {
    let mut world = World::new();
    let operator = world.register("olga", "box");
    world.fund("gateway", 10);
    let allocation = world.allocate("gateway", operator, whole_credits(10));
    let cases = [
        ((1, u64::MAX), (Credit::ZERO, Credit::MAX)),
        ((u64::MAX, u64::MAX), (Credit::ZERO, whole_credits(1))),
        ((0, 0), (Credit::ZERO, whole_credits(1))),
    ];
    for (range, cumulative) in cases {
        let lane =
            LaneOf { payer: "gateway", signer: "gateway", lane: 0, allocation, range, cumulative };
        let mut claim = claim_of(operator, units::Epoch::ZERO, vec![]);
        claim.lanes = units::List::new(vec![lane.claim(world.chain, operator)]).unwrap();
        claim.totals.fee = cumulative.1;
        claim.totals.count = u64::MAX;
        world.wait_for_next_period();
        let status = world.send("olga", file(claim));
        assert!(matches!(status, Status::Rejected(Rejection::Payments(_))), "{status:?}");
    }
}

/// Changes a few bytes, cuts, or adds.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let length = bytes.len() as u64;
        match random.below(6) {
            0 => bytes.truncate(random.below(length + 1) as usize),
            1 => bytes.push(random.next() as u8),
            _ if length == 0 => {}
            2 => bytes[random.below(length) as usize] = 0xff,
            _ => bytes[random.below(length) as usize] ^= 1 << random.below(8),
        }
    }
}

#[test]
fn every_decoder_survives_mutated_bytes_and_accepts_only_the_one_encoding() {
    let mut random = Random::new(seed_from_env("LEDGER_SEED", 21));
    for sample in samples::all() {
        for _ in 0..300 {
            let mut bytes = sample.bytes.clone();
            mutate(&mut random, &mut bytes);
            if let Some(again) = (sample.again)(&bytes) {
                assert_eq!(again, bytes, "{} has a second spelling", sample.name);
            }
        }
    }
}

#[test]
fn mutated_transactions_signed_by_their_mutator_never_break_a_rule() {
    let mut random = Random::new(seed_from_env("LEDGER_SEED", 22));
    let mut world = World::new();
    let operator = world.register("alice", "box");
    world.fund("alice", 10);
    world.allocate("alice", operator, whole_credits(5));
    let mut applied = 0;
    for _ in 0..2_000 {
        let calls = samples::calls();
        let call = calls[random.below(calls.len() as u64) as usize].clone();
        let mut bytes = borsh::to_vec(&call).unwrap();
        mutate(&mut random, &mut bytes);
        let Ok(call) = borsh::from_slice::<Call>(&bytes) else { continue };
        let transaction = world.authorized("alice", "alice", 0, call);
        world.block(&[transaction]);
        applied += 1;
    }
    assert!(applied > 200, "only {applied} mutants decoded");
}

proptest! {
    #[test]
    fn random_bytes_never_authorise_anything(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        if let Ok(signed) = SignedTransaction::decode(&bytes) {
            prop_assert!(signed.authorize(&Ed25519).is_err());
        }
    }

    #[test]
    fn any_envelope_of_a_known_account_is_applied_rejected_or_refused(
        nonce: u64, valid_until: u64, amount: u128,
    ) {
        let world = World::new();
        let transaction = Transaction {
            nonce: Nonce::new(nonce),
            valid_until: units::Height::new(valid_until),
            ..world.signed("alice", "alice", 0, transfer("bob", Coin::new(amount))).transaction
        };
        let signed = sign(transaction, "alice").authorize(&Ed25519).unwrap();
        let result = apply_block(&world.state, &world.env(500), &[signed], &PORTS);
        let lifetime = world.params().block.transaction_lifetime;
        prop_assert_eq!(result.is_ok(), (1..=1 + lifetime).contains(&valid_until));
    }
}
