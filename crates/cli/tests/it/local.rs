//! Models on this machine, without a network: run, inspect, check, and what is refused.

use crate::network::{json, selvedge};
use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Output, Stdio},
};

fn plain(home: &Path, arguments: &[&str]) -> Output {
    selvedge(home).args(arguments).output().unwrap()
}

fn ran(home: &Path, arguments: &[&str]) -> Value {
    let (code, object) = json(home, &[&["run"], arguments].concat());
    assert_eq!(code, 0, "{object}");
    object
}

#[test]
fn a_run_commits_to_the_same_bits_on_every_kernel_and_number_of_threads() {
    let home = tempfile::tempdir().unwrap();
    let sampled = ["--max-tokens", "24", "--temperature", "0.8", "--seed", "11", "--top-p", "0.9"];
    for (model, extra) in [("tiny-test-chat", &sampled[..]), ("tiny-test-embed", &[])] {
        let ask = [&[model, "what holds a cloth together"], extra].concat();
        let expected = ran(home.path(), &[&ask[..], &["--backend", "scalar"]].concat());
        let again = ran(home.path(), &[&ask[..], &["--threads", "2"]].concat());
        assert_eq!(again["commitments"], expected["commitments"]);
        assert_eq!(again["text"], expected["text"]);
        assert_eq!(again["embedding"], expected["embedding"]);
        let other = ran(home.path(), &[&[model, "another text"], extra].concat());
        for name in ["input_commit", "output_commit", "trace_root", "trace_commit"] {
            assert_ne!(other["commitments"][name], expected["commitments"][name], "{name}");
        }
    }
}

#[test]
fn a_stop_text_ends_the_answer_before_it() {
    let home = tempfile::tempdir().unwrap();
    let whole = ran(home.path(), &["tiny-test-chat", "hello", "--max-tokens", "12"]);
    let text = whole["text"].as_str().unwrap();
    assert_eq!(whole["finish_reason"], "length");
    let words: Vec<&str> = text.split_whitespace().collect();
    let stop = words[words.len() / 2];
    let cut = ran(home.path(), &["tiny-test-chat", "hello", "--max-tokens", "12", "--stop", stop]);
    assert_eq!(cut["finish_reason"], "stop");
    let before = text.split(stop).next().unwrap();
    assert_eq!(cut["text"], before);
}

#[test]
fn what_is_asked_may_come_from_standard_input() {
    let home = tempfile::tempdir().unwrap();
    let mut child = selvedge(home.path())
        .args(["--json", "run", "tiny-test-embed", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a selvedge holds").unwrap();
    let output = child.wait_with_output().unwrap();
    let piped: Value = serde_json::from_slice(&output.stdout).unwrap();
    let given = ran(home.path(), &["tiny-test-embed", "a selvedge holds"]);
    assert_eq!(piped["commitments"], given["commitments"]);
}

#[test]
fn a_run_that_cannot_be_says_why_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let long = "cloth ".repeat(4_000);
    let refused: [(&[&str], &str); 6] = [
        (&["no-such-model", "hello"], "known are"),
        (&["all-minilm-l6-v2", "hello"], "selvedge model pull all-minilm-l6-v2"),
        (&["tiny-test-chat", &long], "tokens"),
        (&["tiny-test-chat", "hello", "--max-tokens", "0"], "token"),
        (&["tiny-test-chat", "hello", "--stop", ""], "stop"),
        (&["tiny-test-chat", "hello", "--threads", "0"], "threads"),
    ];
    for (arguments, hint) in refused {
        let (code, object) = json(home.path(), &[&["run"], arguments].concat());
        let message = object["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(code, 1, "{object}");
        assert!(message.contains(hint), "{message}");
    }
    for wrong in [["--temperature", "2.5"], ["--top-p", "-1"], ["--backend", "abacus"]] {
        let arguments = [&["run", "tiny-test-chat", "hello"], &wrong[..]].concat();
        assert_eq!(plain(home.path(), &arguments).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_model_is_inspected_and_checked() {
    let home = tempfile::tempdir().unwrap();
    for model in ["tiny-test-chat", "tiny-test-embed"] {
        let (code, facts) = json(home.path(), &["model", "inspect", model]);
        assert_eq!(code, 0, "{facts}");
        assert!(facts["work"]["per_position"].as_u64().unwrap() > 0);
        let (code, check) = json(home.path(), &["model", "check", model]);
        assert_eq!(code, 0, "{check}");
        assert_eq!(check["id"], facts["id"]);
        assert_eq!(check["holds"], true);
    }
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("model.cir");
    let name = file.to_str().unwrap();
    for bytes in [&b""[..], b"GGUF", &[0xff; 4_096]] {
        fs::write(&file, bytes).unwrap();
        let (code, object) = json(home.path(), &["model", "check", name]);
        assert_eq!(code, 1, "{object}");
        let message = object["error"]["message"].as_str().unwrap();
        assert!(message.contains("no model that this program can run"), "{message}");
    }
}
