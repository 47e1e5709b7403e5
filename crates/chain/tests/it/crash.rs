//! A node killed at random moments: what it acknowledged stays, nothing counts twice.

use crate::support::{Caller, account, alice, genesis, start, transfer};
use crypto::SecretKey;
use ledger::accounts::ACCOUNTS;
use light::rpc::{BlockAnswer, Outcome, StateAnswer, TransactionResult};
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::tempdir;
use units::{Coin, Nonce, Round};

/// Names the folder for the node that [`node_for_other_tests`] runs.
const DIR: &str = "SELVEDGE_TEST_DIR";

/// Names a seed to repeat a run.
const SEED: &str = "SELVEDGE_TEST_SEED";

/// How often the node is killed.
const KILLS: u64 = 3;

/// Not a test of its own: the process that the tests below start and kill.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn node_for_other_tests() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    let chain = start(&dir.join("chain"));
    let draft = dir.join("draft");
    fs::write(&draft, chain.rpc_addr().to_string()).unwrap();
    fs::rename(draft, dir.join("address")).unwrap();
    loop {
        std::thread::park();
    }
}

/// A node in a process of its own; killed when dropped.
struct Node(Child, Caller);

impl Node {
    fn start(dir: &Path) -> Self {
        let address = dir.join("address");
        drop(fs::remove_file(&address));
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::node_for_other_tests", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .stdout(Stdio::null())
            .spawn();
        // From here on the process ends with this value, whatever happens.
        let mut node = Self(child.unwrap(), Caller(SocketAddr::from(([127, 0, 0, 1], 0))));
        let give_up = Instant::now() + Duration::from_secs(120);
        loop {
            if let Ok(text) = fs::read_to_string(&address) {
                node.1 = Caller(text.parse().unwrap());
                return node;
            }
            assert!(Instant::now() < give_up, "the node does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SIGKILL, to this one process: nothing of it runs any more.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn next_nonce(caller: Caller) -> u64 {
    let key = hex::encode(ACCOUNTS.key_bytes(&account(&alice())));
    let answer: StateAnswer = caller.get(&format!("/v1/state?key={key}")).json();
    answer.value.map_or(Nonce::ZERO, |value| ACCOUNTS.decode(&value.0).unwrap().nonce).get()
}

/// Sends transfers one after the other until the node is gone; returns what it acknowledged.
fn send_until_killed(node: Node, bob: &SecretKey, lives_ms: u64) -> Vec<TransactionResult> {
    let caller = node.1;
    let (status, first) = (caller.status(), next_nonce(caller));
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(lives_ms));
        drop(node);
    });
    let mut acknowledged = Vec::new();
    for nonce in first.. {
        let body = borsh::to_vec(&transfer(&status, nonce, bob)).unwrap();
        match caller.try_call("POST /v1/transactions", &body) {
            Ok(reply) if reply.status == 200 => acknowledged.push(reply.json()),
            Ok(_) | Err(_) => break,
        }
    }
    killer.join().unwrap();
    acknowledged
}

#[test]
fn a_killed_node_loses_no_acknowledged_transfer_and_applies_none_twice() {
    kill_and_count(KILLS);
}

#[test]
#[ignore = "a long run"]
fn soak_a_node_killed_fifty_times_loses_nothing() {
    kill_and_count(50);
}

fn kill_and_count(kills: u64) {
    let dir = tempdir().unwrap();
    let bob = SecretKey::from_seed([2; 32]);
    let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| std::process::id().into());
    eprintln!("{SEED}={seed}");
    let mut acknowledged: Vec<TransactionResult> = Vec::new();
    for kill in 0..kills {
        let lives_ms = 200 + (seed + kill).wrapping_mul(0x9E37_79B9_7F4A_7C15) % 1_000;
        acknowledged.extend(send_until_killed(Node::start(dir.path()), &bob, lives_ms));
    }

    let chain = start(&dir.path().join("chain"));
    let caller = Caller(chain.rpc_addr());
    go_on(caller, &bob);
    let applied = next_nonce(caller);
    assert_eq!(caller.balance(&bob), Some(Coin::whole(applied.into()).unwrap()));
    assert!(applied > acknowledged.len() as u64);
    for result in acknowledged {
        assert_eq!(result.outcome, Outcome::Applied);
        let again: TransactionResult =
            caller.get(&format!("/v1/transactions/{}", result.id)).json();
        assert_eq!(again, result);
    }
    every_round_has_its_seed(caller, &chain);
    chain.shutdown().unwrap();
    let scratch = tempdir().unwrap();
    chain::replay(&dir.path().join("chain"), &genesis(), scratch.path()).unwrap();
}

/// One more transfer. A block that was under way when the node was killed may still come and
/// take its nonce, which the caller is told.
fn go_on(caller: Caller, bob: &SecretKey) {
    loop {
        let reply = caller.post(&transfer(&caller.status(), next_nonce(caller), bob));
        if reply.status == 200 {
            return;
        }
        let (status, code) = reply.refused();
        assert_eq!(status, 409, "{code}");
        assert!(matches!(code.as_str(), "wrong_nonce" | "overtaken"), "{code}");
    }
}

/// Walks all blocks: seeds come for every round in order, also for those that no block was made
/// in, and each is signed.
fn every_round_has_its_seed(caller: Caller, chain: &chain::Chain) {
    let status = caller.status();
    let mut next = 1;
    for height in 1..=status.height.get() {
        let block: BlockAnswer = caller.get(&format!("/v1/blocks/{height}")).json();
        block.header.verify_seeds(chain.anchor()).unwrap();
        for (round, _) in block.header.round_seeds() {
            assert_eq!(round, Round::new(next));
            next += 1;
        }
        assert_eq!(block.header.seeded, Round::new(next - 1));
        assert!(block.header.seeded < block.header.round);
    }
    assert_eq!(status.seeded, Round::new(next - 1));
}

#[test]
fn what_the_journal_lost_comes_back_from_consensus() {
    let dir = tempdir().unwrap();
    let bob = SecretKey::from_seed([2; 32]);
    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    let results: Vec<_> =
        (0..3).map(|nonce| caller.submit(&transfer(&caller.status(), nonce, &bob))).collect();
    chain.shutdown().unwrap();

    let log = dir.path().join("ledger/blocks-00000000000000000001.log");
    let length = fs::metadata(&log).unwrap().len();
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length / 2).unwrap();

    let chain = start(dir.path());
    let caller = Caller(chain.rpc_addr());
    assert_eq!(caller.balance(&bob), Some(Coin::whole(3).unwrap()));
    for result in results {
        let path = format!("/v1/transactions/{}", result.id);
        assert_eq!(caller.get(&path).json::<TransactionResult>(), result);
    }
    caller.submit(&transfer(&caller.status(), 3, &bob));
    every_round_has_its_seed(caller, &chain);
    chain.shutdown().unwrap();
}
