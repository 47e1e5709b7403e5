//! What a light client gets from a real chain holds, and no single altered byte of it does.

use crate::support::{Caller, account, start, transfer};
use chain::Chain;
use crypto::SecretKey;
use ledger::accounts::ACCOUNTS;
use light::{
    Certificate, ChainAnchor, Header, StateProof,
    rpc::{BlockAnswer, Outcome, StateAnswer, StateEvidence},
    verify_certificate, verify_state,
};
use tempfile::{TempDir, tempdir};
use units::Coin;

/// A chain with a few blocks of which one holds a transfer to bob.
fn chain_with_transfer() -> (TempDir, Chain, SecretKey) {
    let dir = tempdir().unwrap();
    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    let bob = SecretKey::from_seed([2; 32]);
    let result = caller.submit(&transfer(&caller.status(), 0, &bob));
    assert_eq!(result.outcome, Outcome::Applied);
    (dir, chain, bob)
}

fn evidence(chain: &Chain, key: &[u8]) -> (Option<Vec<u8>>, StateEvidence) {
    let path = format!("/v1/state?key={}&proof=true", hex::encode(key));
    let answer: StateAnswer = Caller(chain.rpc_addr()).get(&path).json();
    (answer.value.map(|value| value.0), answer.evidence.unwrap())
}

/// Every copy of `bytes` with one byte changed, in its lowest and in its highest bit.
fn mutations(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len()).flat_map(move |place| {
        [1, 0x80].map(|bit| {
            let mut copy = bytes.to_vec();
            copy[place] ^= bit;
            copy
        })
    })
}

/// Whether the whole chain of evidence holds.
fn holds(anchor: &ChainAnchor, evidence: &StateEvidence, key: &[u8], value: Option<&[u8]>) -> bool {
    let StateEvidence { header, certificate, proof } = evidence;
    verify_certificate(anchor, header, certificate).is_ok()
        && verify_state(header, key, value, proof).is_ok()
}

#[test]
fn no_altered_certificate_anchor_or_header_verifies() {
    let (_dir, chain, _) = chain_with_transfer();
    let block: BlockAnswer = Caller(chain.rpc_addr()).get("/v1/blocks/1").json();
    let (header, certificate) = (block.header, block.certificate.unwrap());
    let anchor = chain.anchor().clone();
    verify_certificate(&anchor, &header, &certificate).unwrap();
    assert_eq!(header.digest(), block.digest);

    for bytes in mutations(certificate.as_bytes()) {
        let altered = Certificate::new(bytes).unwrap();
        assert!(verify_certificate(&anchor, &header, &altered).is_err(), "{altered:?}");
    }
    for bytes in mutations(&borsh::to_vec(&header).unwrap()) {
        if let Ok(altered) = borsh::from_slice::<Header>(&bytes) {
            assert!(verify_certificate(&anchor, &altered, &certificate).is_err(), "{altered:?}");
        }
    }
    for bytes in mutations(&borsh::to_vec(&anchor).unwrap()) {
        if let Ok(altered) = borsh::from_slice::<ChainAnchor>(&bytes) {
            assert!(verify_certificate(&altered, &header, &certificate).is_err(), "{altered:?}");
        }
    }
    for length in 0..certificate.as_bytes().len() {
        let cut = Certificate::new(certificate.as_bytes()[..length].to_vec()).unwrap();
        assert!(verify_certificate(&anchor, &header, &cut).is_err());
    }
    chain.shutdown().unwrap();
}

#[test]
fn no_altered_seed_verifies() {
    let (_dir, chain, bob) = chain_with_transfer();
    let caller = Caller(chain.rpc_addr());
    let result = caller.submit(&transfer(&caller.status(), 1, &bob));
    let block: BlockAnswer = caller.get(&format!("/v1/blocks/{}", result.height)).json();
    let header = block.header;
    let (round, seed) = header.round_seeds().next().expect("a later block brings seeds");
    seed.verify(chain.anchor(), header.committee, round).unwrap();
    for bytes in mutations(seed.as_bytes()) {
        let altered = light::SeedSignature::new(bytes.try_into().unwrap());
        assert!(altered.verify(chain.anchor(), header.committee, round).is_err());
    }
    chain.shutdown().unwrap();
}

#[test]
fn no_altered_proof_key_or_value_verifies() {
    let (_dir, chain, bob) = chain_with_transfer();
    let key = ACCOUNTS.key_bytes(&account(&bob));
    let (value, mut evidence) = evidence(&chain, &key);
    let value = value.expect("bob was paid");
    let anchor = chain.anchor().clone();
    assert_eq!(ACCOUNTS.decode(&value).unwrap().balance, Coin::whole(1).unwrap());
    assert!(holds(&anchor, &evidence, &key, Some(&value)));

    for altered in mutations(&value) {
        assert!(!holds(&anchor, &evidence, &key, Some(&altered)));
    }
    for altered in mutations(&key) {
        assert!(!holds(&anchor, &evidence, &altered, Some(&value)));
    }
    assert!(!holds(&anchor, &evidence, &key, None));
    let StateProof::Present(proof) = evidence.proof.clone() else { panic!("bob was paid") };
    for altered in mutations(&proof) {
        evidence.proof = StateProof::Present(altered.clone());
        assert!(!holds(&anchor, &evidence, &key, Some(&value)), "{altered:?}");
        evidence.proof = StateProof::Absent(altered);
        assert!(!holds(&anchor, &evidence, &key, None));
    }
    chain.shutdown().unwrap();
}

#[test]
fn absence_is_proved_and_no_altered_proof_of_it_verifies() {
    let (_dir, chain, _) = chain_with_transfer();
    let nobody = ACCOUNTS.key_bytes(&account(&SecretKey::from_seed([9; 32])));
    let (value, mut evidence) = evidence(&chain, &nobody);
    let anchor = chain.anchor().clone();
    assert_eq!(value, None);
    assert!(holds(&anchor, &evidence, &nobody, None));
    assert!(!holds(&anchor, &evidence, &nobody, Some(b"something")));

    let StateProof::Absent(proof) = evidence.proof.clone() else { panic!("nobody was paid") };
    for altered in mutations(&proof) {
        evidence.proof = StateProof::Absent(altered.clone());
        assert!(!holds(&anchor, &evidence, &nobody, None), "{altered:?}");
        evidence.proof = StateProof::Present(altered);
        assert!(!holds(&anchor, &evidence, &nobody, Some(b"something")));
    }
    chain.shutdown().unwrap();
}
