//! kill −9 at random moments: nothing acknowledged is lost, nothing is paid twice.

use crate::network::Network;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// Kills in a test run; the soak has fifty.
const KILLS: u64 = 3;
const SOAK_KILLS: u64 = 50;

/// Pause between questions: enough of them to meet every kind of moment, few enough to look at
/// each afterwards.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// A small generator of pseudo-random numbers, so that one printed seed replays a run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

fn seed() -> u64 {
    let chosen = env::var("SELVEDGE_SEED").ok().and_then(|seed| seed.parse().ok());
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = chosen.unwrap_or(clock.as_secs());
    eprintln!("replay with SELVEDGE_SEED={seed}");
    seed
}

/// Asks until the connection breaks; keeps every answer that arrived whole.
fn ask(network: &Network, round: u64, acknowledged: &Mutex<Vec<String>>) {
    for number in 0.. {
        let text = format!("thread {number} of round {round}");
        let body = json!({ "model": "tiny-test-embed", "input": text });
        let Some(reply) = network.post("/embeddings", &body) else { return };
        if reply.status == 200 {
            acknowledged.lock().unwrap().push(reply.receipt.unwrap());
        }
        thread::sleep(ASK_EVERY);
    }
}

fn killed_at_random(kills: u64) {
    let mut dice = Dice(seed());
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..kills {
        let network = Arc::new(Network::start(folder.path()));
        let asking = {
            let (network, acknowledged) = (Arc::clone(&network), Arc::clone(&acknowledged));
            thread::spawn(move || ask(&network, round, &acknowledged))
        };
        thread::sleep(Duration::from_millis(300 + dice.below(12_000)));
        // The asking thread ends when its connection breaks.
        network.kill();
        asking.join().unwrap();
    }
    let network = Network::start(folder.path());
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(!acknowledged.is_empty());
    let mut places = BTreeMap::new();
    for id in &acknowledged {
        let bundle = network.wait_for("a settled receipt", |network| {
            let mut body = network.get(&format!("/receipts/{id}"))?.body;
            let bundle = body["bundles"][0].take();
            (bundle["settlement"]["claim"]["stage"] == "settled").then_some(bundle)
        });
        let place = place(&bundle);
        let twice = places.insert(place.clone(), id.clone());
        assert!(twice.is_none(), "{place:?} is the place of two receipts");
    }
    books_close(&network);
    network.interrupt();
}

/// Where a receipt stands on the ledger: payer, operator, lane, sequence.
fn place(bundle: &Value) -> Vec<String> {
    let request = &bundle["request"]["message"];
    ["payer", "operator", "lane", "sequence"].map(|name| request[name].to_string()).to_vec()
}

/// What all claims add up to is what all lanes were claimed for: no receipt counts twice.
fn books_close(network: &Network) {
    let operators = network.query(&["operators"]);
    let mut claimed = 0_u128;
    let mut receipts = 0_u64;
    for operator in operators.as_array().unwrap() {
        let id = operator["key"].as_str().unwrap();
        for claim in network.query(&["claims", id]).as_array().unwrap() {
            let totals = &claim["record"]["totals"];
            claimed += totals["fee"].as_str().unwrap().parse::<u128>().unwrap();
            receipts += totals["count"].as_u64().unwrap();
        }
    }
    let lanes = network.query(&["lanes"]);
    let sum = |name: &str| -> u128 {
        let of_lane = |lane: &Value| match &lane["record"][name] {
            Value::String(text) => text.parse::<u128>().unwrap(),
            number => number.as_u64().unwrap().into(),
        };
        lanes.as_array().unwrap().iter().map(of_lane).sum()
    };
    assert_eq!(claimed, sum("cumulative"));
    assert_eq!(u128::from(receipts), sum("sequence"));
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_paid_twice() {
    killed_at_random(KILLS);
}

#[test]
#[ignore = "runs for ten minutes; `cargo xtask soak` starts it"]
fn soak_fifty_kills() {
    killed_at_random(SOAK_KILLS);
}
