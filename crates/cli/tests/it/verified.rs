//! Verified work: an auditor of one's own, a liar, and what `explain` says of both.

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
