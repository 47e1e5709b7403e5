//! What the README promises, done by the commands it prints.

use crate::network::{Network, json};
use serde_json::{Value, json as object};
use std::{fs, process::Command};

#[test]
fn a_paid_answer_is_verified_offline_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let network = Network::start(home);
    let saved = home.join("answer");
    let saved_text = saved.to_str().unwrap();

    let (code, answer) = json(home, &["embed", "a selvedge holds", "--save", saved_text]);
    assert_eq!(code, 0, "{answer}");
    let receipt = answer["receipt"].as_str().unwrap().to_owned();
    let (code, chat) = json(home, &["chat", "What holds a cloth together?", "--max-tokens", "8"]);
    assert_eq!(code, 0, "{chat}");
    assert!(chat["usage"]["completion_tokens"].as_u64().unwrap() > 0);

    let verify = ["receipt", "verify", "--from", saved_text, "--wait", "settled", "--replay"];
    let (code, report) = json(home, &verify);
    assert_eq!(code, 0, "{report}");
    let level = report["level"].as_str().unwrap();
    assert!(["audited", "final"].contains(&level), "every claim of a devnet is audited: {level}");
    assert_eq!(report["assurance"], "single validator");
    let standing = |subject: &str| -> String {
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["subject"] == subject).unwrap();
        finding["standing"].as_str().unwrap().to_owned()
    };
    for subject in ["prompt", "answer", "price", "computation", "audit", "operator"] {
        assert_eq!(standing(subject), "proven", "{subject}");
    }
    assert_eq!(standing("chain"), "claimed", "nobody said which chain to trust");

    let (code, explained) = json(home, &["explain", "task", &receipt]);
    assert_eq!(code, 0, "{explained}");
    assert_eq!(explained["receipts"][0]["claim"]["audit"], "passed", "{explained}");

    let last = ["receipt", "verify", "--from", saved_text, "--wait", "final"];
    let (code, report) = json(home, &last);
    assert_eq!((code, report["level"].as_str()), (0, Some("final")), "{report}");

    let height = network.query(&["status"])["height"].as_u64().unwrap();
    network.interrupt();
    forgeries_fail_offline(home, &saved);

    let network = Network::start(home);
    assert!(network.query(&["status"])["height"].as_u64().unwrap() >= height);
    let reply = network.get(&format!("/receipts/{receipt}")).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body["bundles"].as_array().unwrap().len(), 1);
    network.interrupt();
}

#[test]
fn the_call_that_the_readme_shows_is_answered() {
    let readme = include_str!("../../../../README.md");
    let blocks: Vec<&str> = readme.split("```console\n").skip(1).collect();
    let block = |start: &str| {
        let found = blocks.iter().find(|block| block.starts_with(start));
        found.unwrap_or_else(|| panic!("no block starts with {start}")).split("```").next().unwrap()
    };
    // The test command is what a landing runs; the other one starts the network of this test.
    let commands = block("cargo run -- devnet");
    assert!(commands.lines().any(|line| line.starts_with("cargo xtask test")));

    let folder = tempfile::tempdir().unwrap();
    let network = Network::start(folder.path());
    let call = block("curl")
        .replace("http://127.0.0.1:8080/v1", &network.base_url)
        .replace("all-minilm-l6-v2", "tiny-test-embed");
    let output =
        Command::new("sh").args(["-c", &call]).env("KEY", &network.api_key).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {call} {}", String::from_utf8_lossy(&output.stderr))
    });
    assert!(!answer["data"][0]["embedding"].as_array().unwrap().is_empty(), "{answer}");
    network.interrupt();
}

/// With no network running: the honest bundle verifies, each forgery fails.
fn forgeries_fail_offline(home: &std::path::Path, saved: &std::path::Path) {
    let text = |name: &str| saved.join(name).to_str().unwrap().to_owned();
    let (bundle, input, output) = (text("bundle.json"), text("request.json"), text("answer.json"));
    let check = |bundle: &str, input: &str, output: &str| {
        json(home, &["receipt", "verify", bundle, "--input", input, "--output", output])
    };
    assert_eq!(check(&bundle, &input, &output).0, 0);

    let forged = text("forged.json");
    let honest: Value = serde_json::from_slice(&fs::read(&bundle).unwrap()).unwrap();
    let fails = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut value = honest.clone();
        change(&mut value);
        fs::write(&forged, value.to_string()).unwrap();
        let (code, report) = check(&forged, &input, &output);
        assert_eq!((code, report["reason"].as_str().unwrap()), (3, name), "{report}");
    };
    fails("Fee", &|b| b["request"]["message"]["price"] = object!("11"));
    fails("OtherOperator", &|b| {
        b["receipt"]["message"]["operator"] = b["receipt"]["message"]["previous"].clone();
        b["receipt"]["message"]["operator"] = object!("11".repeat(32));
    });
    fails("ReceiptSignature", &|b| b["receipt"]["message"]["t_done"] = object!(1));
    fails("OtherClaim", &|b| b["settlement"]["claim"]["key_epoch"] = object!(7));
    fails("NotInClaim", &|b| b["settlement"]["claim"]["root"] = object!("22".repeat(32)));
    fails("State", &|b| b["settlement"]["claim"]["bond"] = object!("1"));
    fails("Certificate", &|b| b["settlement"]["evidence"]["header"]["time"] = object!(1));

    let other = text("other.json");
    fs::write(&other, object!({ "model": "tiny-test-embed", "input": ["other"] }).to_string())
        .unwrap();
    let (code, report) = check(&bundle, &other, &output);
    assert_eq!((code, report["reason"].as_str().unwrap()), (3, "OtherPrompt"));
    let (code, report) = check(&bundle, &input, &other);
    assert_eq!((code, report["reason"].as_str().unwrap()), (3, "OtherAnswer"));
}
