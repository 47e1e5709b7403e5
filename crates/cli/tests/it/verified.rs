//! Verified work: an auditor of one's own, a liar, a consumer that goes to the ledger, and what
//! `explain` says.

use crate::network::{Network, json, selvedge};
use serde_json::{Value, json as object};
use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

#[test]
fn whoever_has_coin_audits_without_serving() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let network = Network::start(home);
    let keys = home.join("devnet/keys");
    let mut auditor = selvedge(home)
        .args(["--json", "auditor", "run", "tiny-test-embed", "tiny-test-chat"])
        .args(["--owner", "publisher", "--keys", keys.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(auditor.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let enlisted: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
        panic!("the auditor did not get ready: {error}: {line:?}");
    });

    let mut receipts = Vec::new();
    network.wait_for("a finding of the auditor", |network| {
        let body = object!({ "model": "tiny-test-embed", "input": "who looks at this?" });
        receipts.extend(network.post("/embeddings", &body).and_then(|reply| reply.receipt));
        let found = |receipt: &String| {
            let (_, explained) = json(home, &["explain", "task", receipt]);
            let drawn = explained["receipts"][0]["drawn"].as_array().cloned().unwrap_or_default();
            let mut seats = drawn.iter().flat_map(|point| point["record"]["seats"].as_array());
            seats.any(|seats| {
                let own = |seat: &&Value| seat["auditor"] == enlisted["account"];
                seats.iter().filter(own).any(|seat| !seat["finding"].is_null())
            })
        };
        receipts.iter().any(found).then_some(())
    });
    auditor.kill().unwrap();
    auditor.wait().unwrap();
    network.interrupt();
}

#[test]
fn a_liar_is_slashed_and_the_reason_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let network = Network::start_with(home, &["--liar", "silent"]);
    let fault = network.wait_for("a slash", |network| {
        let operators = network.query(&["operators"]);
        let slashed = |entry: &Value| {
            let (code, slash) = json(home, &["explain", "slash", entry["key"].as_str()?]);
            (code == 0).then_some(slash)
        };
        operators.as_array().unwrap().iter().find_map(slashed)
    });
    let fault = &fault["faults"][0]["fault"];
    assert_eq!(fault["cause"], "not_opened", "{fault}");
    assert_ne!(fault["spread"]["taken"], "0", "{fault}");
    network.interrupt();
}

#[test]
fn a_consumer_with_a_bundle_proves_to_the_ledger_what_a_liar_did() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let network = Network::start_with(home, &["--liar", "output"]);
    let (keys, bundle) = (home.join("devnet/keys"), home.join("bundle.json"));
    let (keys, bundle) = (keys.to_str().unwrap(), bundle.to_str().unwrap());
    let challenge = ["receipt", "challenge", bundle, "--key", "publisher", "--keys", keys];
    let mut number = 0;
    let ended = network.wait_for("a wrong answer", |network| {
        number += 1;
        let body = object!({ "model": "tiny-test-embed", "input": format!("right? {number}") });
        let receipt = network.post("/embeddings", &body)?.receipt?;
        let (code, _) = json(home, &["receipt", "get", &receipt, "--output", bundle]);
        assert_eq!(code, 0);
        let (code, ended) = json(home, &challenge);
        // Nothing is sent for a right one; a wrong one may have been proven by somebody else.
        (code == 0 && ended["ended"] != "right").then_some(ended)
    });
    assert_eq!(ended["ended"], "won", "{ended}");
    assert_eq!(ended["cause"], "wrong_output", "{ended}");
    let fault = network.wait_for("a slash", |_| {
        let operator = ended["operator"].as_str()?;
        let (code, slash) = json(home, &["explain", "slash", operator]);
        (code == 0).then_some(slash)
    });
    assert_ne!(fault["faults"][0]["fault"]["spread"]["taken"], "0", "{fault}");
    network.interrupt();
}
