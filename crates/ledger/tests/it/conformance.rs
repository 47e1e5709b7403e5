//! Frozen encodings: every message, transaction kind, event, record and key, byte for byte.
//!
//! `conformance.txt` beside this file holds name, hash and bytes of each sample, and the numbers
//! of every enum that travels. A difference fails; an intended one is written with
//! `LEDGER_GOLDEN=write cargo test -p ledger --test it conformance` and reviewed as a change of
//! format, which it is.

use crate::samples::{all, calls, events};
use borsh::BorshDeserialize;
use crypto::{Domain, hash_bytes};
use ledger::{
    Call, Event, Rejection, Status, accounts, credits, disputes, models, payments, staking, tables,
    transaction, verification,
};
use std::collections::BTreeSet;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/conformance.txt");

/// The numbers an enum knows: those whose decoding does not fail at the number itself.
fn numbers<T: BorshDeserialize>(before: &[u8]) -> Vec<u8> {
    let known = |number: &u8| {
        let bytes = [before, &[*number]].concat();
        match T::try_from_slice(&bytes) {
            Ok(_) => true,
            Err(error) => !error.to_string().contains("variant"),
        }
    };
    (0..=255).filter(known).collect()
}

fn enums() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("call", numbers::<Call>(&[])),
        ("event", numbers::<Event>(&[])),
        ("rejection", numbers::<Rejection>(&[])),
        ("status", numbers::<Status>(&[])),
        ("envelope error", numbers::<transaction::Error>(&[])),
        ("accounts tx", numbers::<accounts::Tx>(&[])),
        ("accounts event", numbers::<accounts::Event>(&[])),
        ("accounts error", numbers::<accounts::Error>(&[])),
        ("accounts pot", numbers::<accounts::Pot>(&[])),
        ("credits tx", numbers::<credits::Tx>(&[])),
        ("credits event", numbers::<credits::Event>(&[])),
        ("credits error", numbers::<credits::Error>(&[])),
        ("credits price source", numbers::<credits::PriceSource>(&[])),
        ("staking tx", numbers::<staking::Tx>(&[])),
        ("staking event", numbers::<staking::Event>(&[])),
        ("staking error", numbers::<staking::Error>(&[])),
        ("staking class", numbers::<staking::Class>(&[])),
        ("models tx", numbers::<models::Tx>(&[])),
        ("models event", numbers::<models::Event>(&[])),
        ("models error", numbers::<models::Error>(&[])),
        ("payments tx", numbers::<payments::Tx>(&[])),
        ("payments event", numbers::<payments::Event>(&[])),
        ("payments error", numbers::<payments::Error>(&[])),
        ("payments stage", numbers::<payments::Stage>(&[])),
        ("payments audit", numbers::<payments::Audit>(&[])),
        ("disputes tx", numbers::<disputes::Tx>(&[])),
        ("disputes move", numbers::<disputes::moves::Move>(&[])),
        ("disputes event", numbers::<disputes::Event>(&[])),
        ("disputes error", numbers::<disputes::Error>(&[])),
        ("disputes phase", numbers::<disputes::Phase>(&[])),
        ("disputes cause", numbers::<disputes::Cause>(&[])),
        ("verification tx", numbers::<verification::Tx>(&[])),
        ("verification event", numbers::<verification::Event>(&[])),
        ("verification error", numbers::<verification::Error>(&[])),
        ("verification phase", numbers::<verification::Phase>(&[])),
        ("verification outcome", numbers::<verification::Outcome>(&[])),
        ("verification cause", numbers::<verification::Cause>(&[])),
        ("verification grade", numbers::<verification::Grade>(&[])),
        ("verification evidence", numbers::<verification::Evidence>(&[])),
        ("verification contradiction", numbers::<verification::Contradiction>(&[])),
        ("message finish", numbers::<payments::messages::Finish>(&[])),
        ("message tier", numbers::<payments::messages::Tier>(&[])),
        ("message audit mode", numbers::<payments::messages::AuditMode>(&[])),
    ]
}

fn current() -> String {
    let mut text = String::new();
    for (name, numbers) in enums() {
        let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
        text += &format!("numbers {name}: {}\n", numbers.join(" "));
    }
    for sample in all() {
        let hash = hash_bytes(Domain::MerkleLeaf, &sample.bytes);
        text += &format!("{}\n  {hash}\n  {}\n", sample.name, hex::encode(&sample.bytes));
    }
    text
}

#[test]
fn no_encoding_changes_unless_it_is_deliberately_written() {
    let current = current();
    if std::env::var_os("LEDGER_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(GOLDEN, &current).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    for (line, (golden, current)) in golden.lines().zip(current.lines()).enumerate() {
        assert_eq!(golden, current, "line {} of conformance.txt", line + 1);
    }
    assert_eq!(golden.lines().count(), current.lines().count());
}

#[test]
fn every_sample_decodes_to_itself_also_through_json() {
    for sample in all() {
        let again = (sample.again)(&sample.bytes);
        assert_eq!(again.as_ref(), Some(&sample.bytes), "{}", sample.name);
        if let Some((json, bytes)) = &sample.json {
            assert_eq!(bytes, &sample.bytes, "{}: {json}", sample.name);
        }
    }
}

#[test]
fn every_transaction_kind_event_and_table_has_its_sample() {
    let pairs = |bytes: Vec<Vec<u8>>| -> BTreeSet<[u8; 2]> {
        bytes.iter().map(|bytes| [bytes[0], bytes[1]]).collect()
    };
    let known = |modules: Vec<(u8, Vec<u8>)>| -> BTreeSet<[u8; 2]> {
        modules.iter().flat_map(|(m, all)| all.iter().map(|n| [*m, *n])).collect()
    };
    let sampled = pairs(calls().iter().map(|call| borsh::to_vec(call).unwrap()).collect());
    let modules = numbers::<Call>(&[]);
    let all_calls = modules.iter().map(|m| (*m, numbers::<Call>(&[*m]))).collect();
    assert_eq!(sampled, known(all_calls));
    let sampled = pairs(events().iter().map(|event| borsh::to_vec(event).unwrap()).collect());
    let modules = numbers::<Event>(&[]);
    let all_events = modules.iter().map(|m| (*m, numbers::<Event>(&[*m]))).collect();
    assert_eq!(sampled, known(all_events));
    let names: BTreeSet<String> = all().into_iter().map(|sample| sample.name).collect();
    for table in tables::ALL {
        assert!(names.contains(&format!("record {}", table.name)), "{}", table.name);
    }
}

#[test]
fn amounts_and_seeds_are_decimal_strings_and_keys_are_hexadecimal_in_json() {
    let find = |name: &str| {
        let sample = all().into_iter().find(|sample| sample.name == name).unwrap();
        sample.json.unwrap().0
    };
    let body: serde_json::Value = serde_json::from_str(&find("message request body")).unwrap();
    assert_eq!(body["seed"], u64::MAX.to_string());
    assert_eq!(body["model"].as_str().unwrap().len(), 64);
    let voucher: serde_json::Value = serde_json::from_str(&find("message voucher")).unwrap();
    assert_eq!(voucher["cumulative"], "7000000");
    assert_eq!(voucher["sequence"], 3);
}
