//! Blocks, state, proofs and restarts of one running chain.

use crate::support::{Caller, account, config, genesis, start, transfer};
use chain::StartError;
use crypto::SecretKey;
use ledger::accounts;
use light::{
    rpc::{BlockAnswer, Outcome, RpcError, StateAnswer, TransactionResult},
    verify_certificate, verify_state,
};
use tempfile::tempdir;
use units::Coin;

#[test]
fn a_transfer_becomes_final_and_its_state_is_proved() {
    let dir = tempdir().unwrap();
    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    let bob = SecretKey::from_seed([2; 32]);

    let result = caller.submit(&transfer(&caller.status(), 0, &bob));
    assert_eq!(result.outcome, Outcome::Applied);
    assert_eq!(caller.balance(&bob), Some(Coin::whole(1).unwrap()));

    let block: BlockAnswer = caller.get(&format!("/v1/blocks/{}", result.height)).json();
    assert_eq!(block.transactions, [result.id]);
    let certificate = block.certificate.unwrap();
    verify_certificate(chain.anchor(), &block.header, &certificate).unwrap();
    block.header.verify_seeds(chain.anchor()).unwrap();

    let key = accounts::ACCOUNTS.key_bytes(&account(&bob));
    let path = format!("/v1/state?key={}&proof=true", hex::encode(&key));
    let answer: StateAnswer = caller.get(&path).json();
    let evidence = answer.evidence.unwrap();
    verify_certificate(chain.anchor(), &evidence.header, &evidence.certificate).unwrap();
    let value = answer.value.map(|value| value.0);
    verify_state(&evidence.header, &key, value.as_deref(), &evidence.proof).unwrap();
    chain.shutdown().unwrap();
}

#[test]
fn a_second_start_goes_on_with_the_same_chain() {
    let dir = tempdir().unwrap();
    let bob = SecretKey::from_seed([2; 32]);
    let mut height = 0;
    for round in 0..3 {
        let chain = start(dir.path());
        let caller = Caller(chain.rpc_addr());
        let status = caller.status();
        assert!(status.height.get() >= height);
        let result = caller.submit(&transfer(&status, round, &bob));
        assert_eq!(result.outcome, Outcome::Applied);
        assert_eq!(caller.balance(&bob), Some(Coin::whole(u128::from(round) + 1).unwrap()));
        height = caller.status().height.get();
        chain.shutdown().unwrap();
    }
}

#[test]
fn another_genesis_in_the_same_folder_is_refused() {
    let dir = tempdir().unwrap();
    start(dir.path()).shutdown().unwrap();
    let mut other = config(dir.path());
    other.genesis = ledger::Genesis { treasury: Coin::whole(1).unwrap(), ..genesis() };
    let error = chain::start(other).unwrap_err();
    assert!(matches!(error, StartError::OtherChain { .. }), "{error}");
    assert!(error.to_string().contains("another folder"), "{error}");
}

#[test]
fn two_nodes_do_not_share_a_folder() {
    let dir = tempdir().unwrap();
    let chain = start(dir.path());
    let error = chain::start(config(dir.path())).unwrap_err();
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    chain.shutdown().unwrap();
}

#[test]
fn the_same_blocks_give_the_same_roots_in_a_fresh_state() {
    let (dir, scratch) = (tempdir().unwrap(), tempdir().unwrap());
    let bob = SecretKey::from_seed([2; 32]);
    for nonce in 0..4 {
        let chain = start(dir.path());
        let caller = Caller(chain.rpc_addr());
        caller.submit(&transfer(&caller.status(), nonce, &bob));
        chain.shutdown().unwrap();
    }
    let replayed = chain::replay(dir.path(), &genesis(), scratch.path()).unwrap();
    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    let block: BlockAnswer = caller.get(&format!("/v1/blocks/{}", replayed.height)).json();
    assert_eq!(block.digest, replayed.digest);
    assert!(replayed.height.get() >= 4);
    chain.shutdown().unwrap();

    let other = ledger::Genesis { treasury: Coin::whole(1).unwrap(), ..genesis() };
    let error = chain::replay(dir.path(), &other, scratch.path()).unwrap_err();
    assert!(matches!(error, chain::ReplayError::OtherGenesis { .. }), "{error}");
}

#[test]
fn a_batch_is_checked_together_and_answered_one_by_one() {
    let dir = tempdir().unwrap();
    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    let bob = SecretKey::from_seed([2; 32]);
    let mut batch: Vec<_> = (0..20).map(|n| transfer(&caller.status(), n, &bob)).collect();
    batch[7].signature = crypto::Signature::new([1; 64]);
    let body = borsh::to_vec(&batch).unwrap();
    let sending =
        std::thread::spawn(move || caller.try_call("POST /v1/transactions/batch", &body).unwrap());
    // The nonces behind the bad one wait until it comes again, well signed.
    caller.submit(&transfer(&caller.status(), 7, &bob));
    let results: Vec<Result<TransactionResult, RpcError>> =
        borsh::from_slice(&sending.join().unwrap().body).unwrap();
    for (place, result) in results.iter().enumerate() {
        match result {
            Ok(result) => assert_eq!(result.outcome, Outcome::Applied),
            Err(error) => assert_eq!((place, error.code.as_str()), (7, "bad_signature")),
        }
    }
    assert_eq!(results.len(), 20);
    assert_eq!(caller.balance(&bob), Some(Coin::whole(20).unwrap()));
    let malformed = caller.try_call("POST /v1/transactions/batch", &[0xff; 64]).unwrap();
    assert_eq!(malformed.refused(), (400, "malformed".into()));
    chain.shutdown().unwrap();
}
