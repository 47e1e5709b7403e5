//! Blocks, state, proofs and restarts of one running chain.

use crate::support::{Caller, account, config, genesis, start, transfer};
use chain::StartError;
use crypto::SecretKey;
use ledger::accounts;
use light::{
    rpc::{BlockAnswer, Outcome, StateAnswer},
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
