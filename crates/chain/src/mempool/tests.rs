//! The mempool alone: answers, bounds, evictions, with transactions that no ledger looks at.

use super::*;
use crypto::{ChainId, Domain, SecretKey};
use ledger::{Call, Ed25519, accounts::Tx};
use light::rpc::Outcome;
use units::Coin;

const LIMITS: Limits = Limits {
    bytes: 2_000,
    sender_bytes: 1_500,
    sender_transactions: 6,
    nonces_ahead: 10,
    waiters: 2,
};

fn signed(key: u8, nonce: u64) -> SignedTransaction {
    let key = SecretKey::from_seed([key; 32]);
    let transaction = Transaction {
        chain: ChainId::new(Digest::ZERO),
        account: AccountId::new(key.public()),
        signer: key.public(),
        nonce: Nonce::new(nonce),
        valid_until: Height::new(100),
        call: Call::Accounts(Tx::Transfer {
            to: AccountId::new(key.public()),
            amount: Coin::new(1),
        }),
    };
    let signature = key.sign(Domain::Transaction, &transaction);
    SignedTransaction { transaction, signature }
}

fn entry(key: u8, nonce: u64) -> Entry {
    let signed = signed(key, nonce);
    let authorized = signed.clone().authorize(&Ed25519).unwrap();
    Entry { signed, authorized }
}

fn insert(pool: &Mempool, key: u8, nonce: u64) -> Result<oneshot::Receiver<Answer>, Unpooled> {
    pool.insert(entry(key, nonce), Nonce::ZERO)
}

fn result(key: u8, nonce: u64) -> TransactionResult {
    TransactionResult {
        id: signed(key, nonce).transaction.id(),
        height: Height::new(1),
        index: 0,
        outcome: Outcome::Applied,
        fee: Coin::ZERO,
    }
}

fn alive(_: &Transaction) -> Option<String> {
    None
}

#[test]
fn an_entry_leaves_with_its_block_and_its_caller_is_told() {
    let pool = Mempool::new(LIMITS);
    let mut answer = insert(&pool, 1, 0).unwrap();
    assert_eq!(pool.waiting().len(), 1);
    pool.settle(Height::new(1), &[signed(1, 0)], &[result(1, 0)], alive);
    assert_eq!(answer.try_recv().unwrap(), Ok(result(1, 0)));
    assert_eq!(pool.status(), MempoolStatus::default());
}

#[test]
fn the_same_transaction_joins_and_another_of_its_nonce_is_refused() {
    let pool = Mempool::new(LIMITS);
    let _first = insert(&pool, 1, 0).unwrap();
    let second = insert(&pool, 1, 0).unwrap();
    assert_eq!(insert(&pool, 1, 0).unwrap_err(), Unpooled::TooManyWaiters);
    drop(second);
    assert!(insert(&pool, 1, 0).is_ok());
    let mut other = signed(1, 0).transaction;
    other.valid_until = Height::new(99);
    let signature = SecretKey::from_seed([1; 32]).sign(Domain::Transaction, &other);
    let signed = SignedTransaction { transaction: other, signature };
    let authorized = signed.clone().authorize(&Ed25519).unwrap();
    let refused = pool.insert(Entry { signed, authorized }, Nonce::ZERO).unwrap_err();
    assert!(matches!(refused, Unpooled::NonceTaken { .. }), "{refused}");
    assert_eq!(pool.status().transactions, 1);
}

#[test]
fn a_nonce_far_ahead_and_a_sender_with_too_much_are_refused() {
    let pool = Mempool::new(LIMITS);
    assert!(matches!(insert(&pool, 1, 11).unwrap_err(), Unpooled::NonceTooFar { .. }));
    for nonce in 0..6 {
        insert(&pool, 1, nonce).unwrap();
    }
    assert!(matches!(insert(&pool, 1, 6).unwrap_err(), Unpooled::SenderFull { .. }));
}

#[test]
fn a_full_pool_makes_room_at_the_cost_of_the_largest_sender_newest_first() {
    let pool = Mempool::new(LIMITS);
    let mut answers: Vec<_> = (0..6).map(|nonce| insert(&pool, 1, nonce).unwrap()).collect();
    let size = pool.status().bytes / 6;
    let room = LIMITS.bytes / size - 6;
    for key in 0..room {
        insert(&pool, 10 + u8::try_from(key).unwrap(), 0).unwrap();
    }
    insert(&pool, 2, 0).unwrap();
    assert_eq!(answers[5].try_recv().unwrap(), Err(Unpooled::Evicted));
    assert!(answers[4].try_recv().is_err(), "only the newest had to go");
    assert!(pool.status().bytes <= LIMITS.bytes);
    // Whoever holds most makes no room for itself.
    assert!(matches!(insert(&pool, 1, 5).unwrap_err(), Unpooled::Full { .. }));
}

#[test]
fn a_sender_of_a_final_block_is_looked_at_again_even_if_the_block_came_from_elsewhere() {
    let pool = Mempool::new(LIMITS);
    let mut mine = insert(&pool, 1, 0).unwrap();
    let mut others = insert(&pool, 2, 0).unwrap();
    let mut rival = signed(1, 0);
    rival.transaction.valid_until = Height::new(99);
    let dead = |_: &Transaction| Some("its nonce is used".to_owned());
    pool.settle(Height::new(1), &[rival], &[], dead);
    assert!(matches!(mine.try_recv().unwrap(), Err(Unpooled::Overtaken { .. })));
    assert!(others.try_recv().is_err(), "another sender is not affected");
}

#[test]
fn what_expires_is_dropped() {
    let pool = Mempool::new(LIMITS);
    let mut answer = insert(&pool, 1, 0).unwrap();
    let dead = |_: &Transaction| Some("expired".to_owned());
    pool.settle(Height::new(99), &[], &[], dead);
    assert_eq!(pool.status().transactions, 1);
    pool.settle(Height::new(100), &[], &[], dead);
    assert!(matches!(answer.try_recv().unwrap(), Err(Unpooled::Overtaken { .. })));
}
