//! Hostile transactions and requests: each gets its code and leaves nothing behind.

use crate::support::{Caller, account, alice, sign, start, transfer};
use crypto::{AccountId, ChainId, Digest, Domain, PublicKey, SecretKey, Signature};
use ledger::{
    Call, SignedTransaction, Transaction, accounts::Tx, transaction::MAX_TRANSACTION_BYTES,
};
use light::rpc::{Outcome, Status};
use std::io::{Read as _, Write as _};
use tempfile::tempdir;
use units::{Coin, Height, Nonce};

/// A transfer as [`transfer`] makes it, changed before it is signed.
fn changed(status: &Status, change: impl FnOnce(&mut Transaction)) -> SignedTransaction {
    let bob = SecretKey::from_seed([2; 32]);
    let mut transaction = transfer(status, 0, &bob).transaction;
    change(&mut transaction);
    let signature = alice().sign(Domain::Transaction, &transaction);
    SignedTransaction { transaction, signature }
}

#[test]
fn a_bad_transaction_gets_its_code_and_changes_nothing() {
    let dir = tempdir().unwrap();
    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    let status = caller.status();
    let bob = SecretKey::from_seed([2; 32]);
    let good = transfer(&status, 0, &bob);
    let bytes = borsh::to_vec(&good).unwrap();
    let raw = |body: &[u8]| caller.try_call("POST /v1/transactions", body).unwrap().refused();
    let refused = |signed: &SignedTransaction| caller.post(signed).refused();
    let before = caller.balance(&alice());

    assert_eq!(raw(b""), (400, "malformed".into()));
    assert_eq!(raw(&bytes[..bytes.len() - 1]), (400, "malformed".into()));
    assert_eq!(raw(&[bytes.as_slice(), &[0]].concat()), (400, "malformed".into()));
    assert_eq!(raw(&[0xff; 200]), (400, "malformed".into()));
    assert_eq!(raw(&vec![0; MAX_TRANSACTION_BYTES + 1]), (413, "too_large".into()));

    let other_chain = changed(&status, |t| t.chain = ChainId::new(Digest::new([9; 32])));
    assert_eq!(refused(&other_chain), (400, "wrong_chain".into()));
    let expired = changed(&status, |t| t.valid_until = Height::ZERO);
    assert_eq!(refused(&expired), (400, "expired".into()));
    let immortal = changed(&status, |t| t.valid_until = Height::MAX);
    assert_eq!(refused(&immortal), (400, "valid_too_long".into()));
    let far = changed(&status, |t| t.nonce = Nonce::MAX);
    assert_eq!(refused(&far), (409, "nonce_too_far".into()));
    let stranger = changed(&status, |t| t.signer = bob.public());
    assert_eq!(refused(&stranger), (400, "unknown_session".into()));
    let unopened = sign(&bob, &status, 0, good.transaction.call.clone());
    assert_eq!(refused(&unopened), (400, "unknown_account".into()));

    let zero = SignedTransaction { signature: Signature::new([0; 64]), ..good.clone() };
    assert_eq!(refused(&zero), (400, "bad_signature".into()));
    let mut flipped = *good.signature.as_bytes();
    flipped[0] ^= 1;
    let flipped = SignedTransaction { signature: Signature::new(flipped), ..good.clone() };
    assert_eq!(refused(&flipped), (400, "bad_signature".into()));
    let signature = bob.sign(Domain::Transaction, &good.transaction);
    let others = SignedTransaction { signature, ..good };
    assert_eq!(refused(&others), (400, "bad_signature".into()));

    assert_eq!(caller.balance(&alice()), before);
    assert_eq!(caller.status().mempool.transactions, 0);
    chain.shutdown().unwrap();
}

#[test]
fn a_transfer_against_the_rules_leaves_only_its_fee() {
    let dir = tempdir().unwrap();
    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    let bad: [(AccountId, Coin); 4] = [
        (account(&SecretKey::from_seed([2; 32])), Coin::ZERO),
        (account(&SecretKey::from_seed([2; 32])), Coin::MAX),
        (account(&SecretKey::from_seed([2; 32])), Coin::new(1)),
        (AccountId::new(PublicKey::new([0; 32])), Coin::whole(1).unwrap()),
    ];
    for (nonce, (to, amount)) in (0..).zip(bad) {
        let before = caller.balance(&alice()).unwrap();
        let call = Call::Accounts(Tx::Transfer { to, amount });
        let result = caller.submit(&sign(&alice(), &caller.status(), nonce, call));
        assert!(matches!(result.outcome, Outcome::Rejected(_)), "{result:?}");
        let after = caller.balance(&alice()).unwrap();
        assert_eq!(before.checked_sub(after), Ok(result.fee));
    }
    chain.shutdown().unwrap();
}

#[test]
fn the_same_bytes_get_the_same_answer_and_count_once() {
    let dir = tempdir().unwrap();
    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    let bob = SecretKey::from_seed([2; 32]);
    let signed = transfer(&caller.status(), 0, &bob);
    let together: Vec<_> = (0..4)
        .map(|_| {
            let signed = signed.clone();
            std::thread::spawn(move || caller.submit(&signed))
        })
        .map(|thread| thread.join().unwrap())
        .collect();
    assert!(together.iter().all(|result| *result == together[0]));
    assert_eq!(caller.submit(&signed), together[0]);
    assert_eq!(caller.balance(&bob), Some(Coin::whole(1).unwrap()));

    let other = transfer(&caller.status(), 0, &SecretKey::from_seed([3; 32]));
    assert_eq!(caller.post(&other).refused(), (409, "wrong_nonce".into()));
    chain.shutdown().unwrap();
}

#[test]
fn a_bad_request_gets_a_status_and_a_hint() {
    let dir = tempdir().unwrap();
    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    let refused = |path: &str| caller.get(path).refused();
    assert_eq!(refused("/v1/nothing"), (404, "not_found".into()));
    assert_eq!(refused("/v1/transactions"), (405, "method_not_allowed".into()));
    assert_eq!(refused("/v1/transactions/xyz"), (400, "bad_id".into()));
    let unknown = format!("/v1/transactions/{}", Digest::ZERO);
    assert_eq!(refused(&unknown), (404, "not_found".into()));
    assert_eq!(refused("/v1/state"), (400, "bad_query".into()));
    assert_eq!(refused("/v1/state?key=0G"), (400, "bad_key".into()));
    assert_eq!(refused("/v1/state?key=AB"), (400, "bad_key".into()));
    let long = format!("/v1/state?key={}", "00".repeat(1_025));
    assert_eq!(refused(&long), (400, "bad_key".into()));
    assert_eq!(refused("/v1/blocks/-1"), (400, "bad_height".into()));
    assert_eq!(refused("/v1/blocks/18446744073709551615"), (404, "not_found".into()));
    assert_eq!(refused("/v1/events?from=0"), (400, "too_old".into()));
    assert_eq!(refused("/v1/events?from=x"), (400, "bad_query".into()));

    let many = "x: y\r\n".repeat(65);
    let head = format!("GET /v1/status HTTP/1.1\r\n{}", many.trim_end());
    assert_eq!(caller.try_call_raw(&head), 431);
    let twice = "POST /v1/transactions HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6";
    assert_eq!(caller.try_call_raw(twice), 400);
    assert_eq!(caller.try_call_raw("nonsense"), 400);
    chain.shutdown().unwrap();
}

#[test]
fn an_open_event_stream_does_not_hold_up_a_shutdown() {
    let dir = tempdir().unwrap();
    let chain = start(dir.path());
    let mut stream = std::net::TcpStream::connect(chain.rpc_addr()).unwrap();
    stream.write_all(b"GET /v1/events?from=1 HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let mut seen = String::new();
    while !seen.contains("\"height\":2") {
        let mut bytes = [0; 4_096];
        let read = stream.read(&mut bytes).unwrap();
        assert_ne!(read, 0);
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(seen.find("\"height\":1").unwrap() < seen.find("\"height\":2").unwrap());
    chain.shutdown().unwrap();
}
