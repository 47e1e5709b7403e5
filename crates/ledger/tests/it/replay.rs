//! Snapshots: the same state by another way, and refusal of everything else.

use crate::{
    generate::Generator,
    random::{Random, seed_from_env},
    testing::{PORTS, World, coins, transfer},
};
use ledger::{
    State, apply_block,
    snapshot::{SnapshotError, digest, export, import},
    tables,
};

/// A world with some history.
fn lived(blocks: u64, seed: u64) -> World {
    let mut world = World::new();
    let mut generator = Generator::new(Random::new(seed));
    for _ in 0..blocks {
        let transactions = generator.block(&world, 6);
        world.block(&transactions);
    }
    world
}

#[test]
fn a_replay_from_a_snapshot_and_the_tail_gives_the_state_of_the_whole_history() {
    let seed = seed_from_env("LEDGER_SEED", 11);
    let mut world = lived(150, seed);
    let mut copy = import(&export(&world.state)).unwrap();
    assert_eq!(copy, world.state);
    let mut generator = Generator::new(Random::new(seed + 1));
    for _ in 0..150 {
        let transactions = generator.block(&world, 6);
        let env = world.env(500);
        let applied = apply_block(&copy, &env, &transactions, &PORTS).unwrap();
        world.block(&transactions);
        assert_eq!(applied, world.last);
        copy.commit(&applied.writes);
    }
    assert_eq!(copy, world.state);
    assert_eq!(export(&copy), export(&world.state));
}

#[test]
fn a_state_rebuilt_from_its_entries_in_any_order_is_the_same() {
    let world = lived(60, 3);
    let entries = world.state.entries().map(|(key, value)| (key.to_vec(), value.to_vec()));
    let mut entries: Vec<_> = entries.collect();
    entries.reverse();
    assert_eq!(State::from_entries(entries).unwrap(), world.state);
    let unknown = vec![(vec![9, 9, 9], vec![1])];
    assert_eq!(State::from_entries(unknown), Err(SnapshotError::Entry { index: 0 }));
}

#[test]
fn a_snapshot_with_any_byte_altered_cut_or_added_is_refused() {
    let world = lived(30, 5);
    let good = export(&world.state);
    for at in (0..good.len()).step_by(97) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(import(&bad).is_err(), "byte {at}");
        assert!(import(&good[..at]).is_err(), "cut at {at}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(import(&longer).is_err());
    assert_eq!(import(&[]), Err(SnapshotError::Malformed));
    assert_eq!(digest(&good).unwrap().as_bytes()[..], good[good.len() - 32..]);
}

/// A snapshot whose digest is right and whose content was chosen by somebody.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = export(&World::new().state);
    bytes.truncate(bytes.len() - 32);
    change(&mut bytes);
    let end = crypto::hash_bytes(crypto::Domain::Snapshot, &bytes);
    bytes.extend_from_slice(end.as_bytes());
    bytes
}

#[test]
fn a_snapshot_of_another_version_or_with_a_broken_rule_is_refused_though_its_digest_is_right() {
    let version = forged(|bytes| bytes[17] = 2);
    assert_eq!(import(&version), Err(SnapshotError::Version { found: 2 }));
    let count = forged(|bytes| bytes[29..37].copy_from_slice(&u64::MAX.to_le_bytes()));
    assert_eq!(import(&count), Err(SnapshotError::Malformed));
    // One more billionth for somebody: every record decodes, the books do not close.
    let richer = forged(|bytes| {
        let balance = coins(1_000_000).get().to_le_bytes();
        let at = bytes.windows(16).position(|window| window == balance).unwrap();
        bytes[at] ^= 1;
    });
    assert!(matches!(import(&richer), Err(SnapshotError::Invariants { .. })));
}

#[test]
fn tables_have_distinct_prefixes_in_order_and_every_record_belongs_to_one() {
    let prefixes: Vec<_> = tables::ALL.iter().map(|table| table.prefix).collect();
    let mut sorted = prefixes.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(prefixes, sorted);
    let names: std::collections::BTreeSet<_> = tables::ALL.iter().map(|table| table.name).collect();
    assert_eq!(names.len(), tables::ALL.len());
    let world = lived(200, 7);
    for (key, value) in world.state.entries() {
        let table = tables::of_key(key).unwrap();
        assert!((table.holds)(&key[2..], value), "{}", table.name);
    }
}

#[test]
fn ranges_of_the_state_come_in_pages() {
    let mut world = World::new();
    world.done("alice", transfer("carol", coins(1)));
    let prefix = tables::ACCOUNTS.part(&());
    let whole: Vec<_> = world.state.range(&prefix, None, 100).collect();
    assert_eq!(whole.len(), 6);
    let first: Vec<_> = world.state.range(&prefix, None, 4).collect();
    let rest: Vec<_> = world.state.range(&prefix, Some(first[3].0), 4).collect();
    assert_eq!([first, rest].concat(), whole);
}
