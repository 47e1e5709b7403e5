//! Accounts: scenarios as sentences, and properties of the formulas.

use super::{Error, Pot, Tx, math::existing, state::Supply};
use crate::{
    Call, Rejection, Status,
    testing::{World, account, coins, grant, key, public, sign, transfer, whole_credits},
    transaction,
};
use crypto::{AccountId, PublicKey};
use proptest::prelude::*;
use units::{Coin, Credit, Millis, Nonce};

fn rejected(error: Error) -> Status {
    Status::Rejected(Rejection::Accounts(error))
}

fn refused(error: transaction::Error) -> Status {
    Status::Refused(Rejection::Envelope(error))
}

#[test]
fn r1_r2_a_transfer_moves_coin_and_burns_only_its_fee() {
    let mut world = World::new();
    let fee = world.params().accounts.transfer_fee;
    world.done("alice", transfer("bob", coins(5)));
    assert_eq!(world.balance("bob"), coins(1_000_005));
    let left = coins(999_995).checked_sub(fee).unwrap();
    assert_eq!(world.balance("alice"), left);
    assert_eq!(world.burned(), fee);
}

#[test]
fn r3_the_same_transaction_twice_in_one_block_counts_once() {
    let mut world = World::new();
    let twice = world.authorized("alice", "alice", 0, transfer("bob", coins(1)));
    world.block(&[twice.clone(), twice]);
    assert_eq!(world.last.outcomes[0].status, Status::Applied);
    let wrong = transaction::Error::WrongNonce { given: Nonce::new(0), expected: Nonce::new(1) };
    assert_eq!(world.last.outcomes[1].status, refused(wrong));
    assert_eq!(world.balance("bob"), coins(1_000_001));
}

#[test]
fn r3_a_nonce_ahead_behind_or_at_the_end_is_refused_without_effect() {
    let mut world = World::new();
    world.done("alice", transfer("bob", coins(1)));
    let before = world.state.clone();
    for nonce in [0, 2, 3, u64::MAX] {
        let mut envelope = world.signed("alice", "alice", 0, transfer("bob", coins(1)));
        envelope.transaction.nonce = Nonce::new(nonce);
        let signed = sign(envelope.transaction, "alice");
        world.block(&[signed.authorize(&crate::Ed25519).unwrap()]);
        let given = Nonce::new(nonce);
        let wrong = transaction::Error::WrongNonce { given, expected: Nonce::new(1) };
        assert_eq!(world.last.outcomes[0].status, refused(wrong));
        assert_eq!(world.last.outcomes[0].fee, Coin::ZERO);
    }
    assert_eq!(
        world.balance("alice"),
        super::account(&before, &account("alice")).unwrap().unwrap().balance
    );
}

#[test]
fn r4_a_rejected_call_still_pays_its_fee_and_takes_its_nonce() {
    let mut world = World::new();
    let before = world.balance("alice");
    let status = world.send("alice", transfer("bob", Coin::MAX));
    let fee = world.params().accounts.transfer_fee;
    let balance = before.checked_sub(fee).unwrap();
    assert_eq!(status, rejected(Error::Insufficient { balance, amount: Coin::MAX }));
    assert_eq!(world.balance("alice"), balance);
    assert!(world.last.events.is_empty());
    world.done("alice", transfer("bob", coins(1)));
}

#[test]
fn r4_an_account_that_cannot_pay_the_fee_has_no_effect() {
    let mut world = World::new();
    world.done("alice", transfer("carol", Coin::new(10_000_000)));
    for _ in 0..100 {
        let transaction = world.authorized("carol", "carol", 0, transfer("carol", Coin::ZERO));
        world.block(&[transaction]);
    }
    assert_eq!(world.balance("carol"), Coin::ZERO);
    let fee = world.params().accounts.transfer_fee;
    let status = world.send("carol", transfer("bob", Coin::new(1)));
    assert_eq!(status, refused(transaction::Error::FeeNotCovered { fee, balance: Coin::ZERO }));
}

#[test]
fn r4_an_account_that_was_never_opened_is_refused() {
    let mut world = World::new();
    let status = world.send("nobody", transfer("bob", coins(1)));
    let unknown = transaction::Error::UnknownAccount { account: account("nobody") };
    assert_eq!(status, refused(unknown));
}

#[test]
fn r5_a_transfer_of_nothing_is_rejected() {
    let mut world = World::new();
    assert_eq!(world.send("alice", transfer("bob", Coin::ZERO)), rejected(Error::ZeroAmount));
}

#[test]
fn r5_a_transfer_to_oneself_costs_its_fee_and_changes_nothing_else() {
    let mut world = World::new();
    let before = world.balance("alice");
    world.done("alice", transfer("alice", coins(1_000)));
    let fee = world.params().accounts.transfer_fee;
    assert_eq!(world.balance("alice"), before.checked_sub(fee).unwrap());
}

#[test]
fn r5_coin_that_would_overflow_the_receiver_cannot_exist() {
    let mut world = World::new();
    let amount = Coin::MAX.checked_sub(Coin::new(1)).unwrap();
    let status = world.send("alice", transfer("bob", amount));
    assert!(matches!(status, Status::Rejected(Rejection::Accounts(Error::Insufficient { .. }))));
}

#[test]
fn r6_a_first_transfer_below_the_opening_minimum_is_rejected() {
    let mut world = World::new();
    let minimum = world.params().accounts.opening_minimum;
    let amount = minimum.checked_sub(Coin::new(1)).unwrap();
    let status = world.send("alice", transfer("carol", amount));
    assert_eq!(status, rejected(Error::BelowOpeningMinimum { amount, minimum }));
    world.done("alice", transfer("carol", minimum));
    world.done("alice", transfer("carol", Coin::new(1)));
}

#[test]
fn r7_a_session_key_may_not_move_coin() {
    let mut world = World::new();
    world.done("alice", grant("phone", coins(1), Credit::ZERO, world.far));
    let status = world.send_by("alice", "phone", transfer("phone", coins(1)));
    assert_eq!(status, refused(transaction::Error::OwnKeyNeeded));
}

#[test]
fn r7_a_session_pays_fees_up_to_its_cap() {
    let mut world = World::new();
    world.fund("alice", 10);
    let fee = world.params().payments.deposit_fee;
    world.done("alice", grant("phone", fee, Credit::ZERO, world.far));
    let deposit = crate::testing::deposit(Credit::new(5));
    assert_eq!(world.send_by("alice", "phone", deposit.clone()), Status::Applied);
    let cap = transaction::Error::SessionFeeCap { fee, left: Coin::ZERO };
    assert_eq!(world.send_by("alice", "phone", deposit), refused(cap));
}

#[test]
fn r7_a_session_ends_with_its_expiry_and_with_its_revocation() {
    let mut world = World::new();
    world.fund("alice", 10);
    let soon = Millis::new(world.clock() + 2_000);
    world.done("alice", grant("phone", coins(1), Credit::ZERO, soon));
    world.wait(2_000);
    let deposit = crate::testing::deposit(Credit::new(5));
    let ended = refused(transaction::Error::SessionEnded);
    assert_eq!(world.send_by("alice", "phone", deposit.clone()), ended);
    world.done("alice", grant("phone", coins(1), Credit::ZERO, world.far));
    assert_eq!(world.send_by("alice", "phone", deposit.clone()), Status::Applied);
    let key = public("phone");
    world.done("alice", Call::Accounts(Tx::RevokeSession { key }));
    assert_eq!(world.send_by("alice", "phone", deposit), ended);
}

#[test]
fn r7_a_key_that_was_never_granted_is_refused() {
    let mut world = World::new();
    let status = world.send_by("alice", "bob", crate::testing::deposit(Credit::new(1)));
    let unknown = transaction::Error::UnknownSession { signer: public("bob") };
    assert_eq!(status, refused(unknown));
}

#[test]
fn r7_a_grant_to_the_own_key_or_into_the_past_is_rejected() {
    let mut world = World::new();
    let own = grant("alice", coins(1), Credit::ZERO, world.far);
    assert_eq!(world.send("alice", own), rejected(Error::OwnKey));
    let past = grant("phone", coins(1), Credit::ZERO, Millis::ZERO);
    let status = world.send("alice", past);
    let clock = world.now().clock;
    assert_eq!(status, rejected(Error::ExpiryPassed { expires: Millis::ZERO, clock }));
    let key = public("phone");
    let status = world.send("alice", Call::Accounts(Tx::RevokeSession { key }));
    assert_eq!(status, rejected(Error::UnknownSession { key }));
}

#[test]
fn r8_a_session_backs_allocations_up_to_its_spend_cap_and_gets_unspent_limits_back() {
    let mut world = World::new();
    let operator = world.register("olga", "box");
    world.fund("gateway", 100);
    world.done("gateway", grant("hot", coins(1), whole_credits(10), world.far));
    let expires = Millis::new(world.clock() + 5_000);
    let seven = whole_credits(7);
    let allocate =
        |number| crate::testing::allocate(number, operator, public("hot"), seven, expires);
    assert_eq!(world.send_by("gateway", "hot", allocate(0)), Status::Applied);
    let left = whole_credits(3);
    let exceeded = rejected(Error::SpendCapExceeded { amount: seven, left });
    assert_eq!(world.send_by("gateway", "hot", allocate(1)), exceeded);
    world.wait(6_000);
    let session = super::session(&world.state, &account("gateway"), &public("hot"));
    assert_eq!(session.unwrap().unwrap().backed, Credit::ZERO);
}

#[test]
fn r9_granting_again_keeps_nonce_and_use_and_no_cap_falls_below_it() {
    let mut world = World::new();
    world.fund("alice", 10);
    world.done("alice", grant("phone", coins(1), Credit::ZERO, world.far));
    let deposit = crate::testing::deposit(Credit::new(5));
    let first = world.signed("alice", "phone", 0, deposit.clone());
    assert_eq!(world.send_by("alice", "phone", deposit), Status::Applied);
    let used = world.params().payments.deposit_fee;
    let low = grant("phone", Coin::ZERO, Credit::ZERO, world.far);
    let below = rejected(Error::FeeCapBelowUsed { cap: Coin::ZERO, used });
    assert_eq!(world.send("alice", low), below);
    world.done("alice", grant("phone", coins(2), Credit::ZERO, world.far));
    world.block(&[first.authorize(&crate::Ed25519).unwrap()]);
    let wrong = transaction::Error::WrongNonce { given: Nonce::new(0), expected: Nonce::new(1) };
    assert_eq!(world.last.outcomes[0].status, refused(wrong));
}

#[test]
fn r10_a_key_of_small_order_opens_no_account_and_no_session() {
    let mut world = World::new();
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = PublicKey::new(identity);
    let to = AccountId::new(weak);
    let status = world.send("alice", Call::Accounts(Tx::Transfer { to, amount: coins(1) }));
    assert_eq!(status, rejected(Error::BadKey { key: weak }));
    let grant = Call::Accounts(Tx::GrantSession {
        key: weak,
        fee_cap: Coin::ZERO,
        spend_cap: Credit::ZERO,
        expires: world.far,
    });
    assert_eq!(world.send("alice", grant), rejected(Error::BadKey { key: weak }));
}

#[test]
fn a_signature_by_another_key_or_of_another_content_authorises_nothing() {
    let world = World::new();
    let good = world.signed("alice", "alice", 0, transfer("bob", coins(1)));
    let mut other_key = good.clone();
    other_key.signature = key("bob").sign(crypto::Domain::Transaction, &other_key.transaction);
    let mut other_content = good.clone();
    other_content.transaction.nonce = Nonce::new(1);
    let mut zero = good;
    zero.signature = crypto::Signature::new([0; 64]);
    for bad in [other_key, other_content, zero] {
        assert_eq!(bad.authorize(&crate::Ed25519), Err(transaction::Error::BadSignature));
    }
}

#[test]
fn r2_pots_start_empty_but_for_the_treasury() {
    let world = World::new();
    for pot in Pot::ALL {
        let held = if pot == Pot::Treasury { coins(100) } else { Coin::ZERO };
        assert_eq!(world.pot(pot), held);
    }
}

proptest! {
    #[test]
    fn r2_existing_coin_is_what_was_made_less_what_was_burned(made: u64, more: u64, burned: u64) {
        let supply = Supply {
            genesis: Coin::new(made.into()),
            minted: Coin::new(more.into()),
            burned: Coin::new(burned.into()),
        };
        let total = u128::from(made) + u128::from(more);
        let expected = total.checked_sub(burned.into()).map(Coin::new);
        prop_assert_eq!(existing(&supply).ok(), expected);
    }
}
