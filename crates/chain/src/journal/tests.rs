//! The journal on a real disk: restarts, torn tails, damage.

use super::*;
use std::io::Read as _;
use tempfile::tempdir;
use units::Millis;

fn record(number: u8) -> Record {
    Record {
        block: vec![number; 100],
        certificate: None,
        clock: Millis::new(number.into()),
        writes: [(vec![number], Some(vec![number; 10])), (vec![0], None)].into(),
        results: Vec::new(),
        events: Vec::new(),
    }
}

fn filled(dir: &Path, records: u8) -> Journal {
    let (mut journal, base) = Journal::open(dir).unwrap();
    assert!(base.state.is_none());
    for number in 1..=records {
        journal.append(&record(number)).unwrap();
    }
    journal
}

/// The smallest state that a snapshot can hold.
fn state() -> State {
    let genesis = ledger::Genesis {
        name: units::Text::new("test").unwrap(),
        time: Millis::new(1),
        price: ledger::credits::PriceSource::Fixed(units::UsdNano::new(1_000_000_000)),
        treasury: units::Coin::ZERO,
        accounts: units::List::default(),
        operators: units::List::default(),
        models: units::List::default(),
        params: ledger::Params::default(),
    };
    let chain = crypto::ChainId::new(crypto::Digest::ZERO);
    let models = crate::ports::Models::default();
    let ports = ledger::Ports { verifier: &models, signatures: &ledger::Ed25519 };
    State::from_genesis(&genesis, chain, &ports).unwrap()
}

fn only_segment(dir: &Path) -> PathBuf {
    segment_path(dir, 1)
}

#[test]
fn records_come_back_as_they_were_also_after_a_restart() {
    let dir = tempdir().unwrap();
    drop(filled(dir.path(), 3));
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.range(), 1..4);
    journal.append(&record(4)).unwrap();
    for number in 1..=4 {
        assert_eq!(journal.read(Height::new(number.into())).unwrap(), Some(record(number)));
    }
    assert_eq!(journal.read(Height::ZERO).unwrap(), None);
    assert_eq!(journal.read(Height::new(5)).unwrap(), None);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off_and_the_rest_is_kept() {
    let dir = tempdir().unwrap();
    let journal = filled(dir.path(), 3);
    let (start, end) = (journal.segments[0].offsets[2], journal.segments[0].bytes);
    drop(journal);
    let whole = fs::read(only_segment(dir.path())).unwrap();
    for length in start..end {
        fs::write(only_segment(dir.path()), &whole[..usize::try_from(length).unwrap()]).unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.range(), 1..3, "cut at {length}");
        journal.append(&record(3)).unwrap();
        assert_eq!(journal.read(Height::new(3)).unwrap(), Some(record(3)));
    }
}

#[test]
fn a_changed_byte_before_the_tail_is_an_error_that_names_the_place() {
    let dir = tempdir().unwrap();
    drop(filled(dir.path(), 3));
    let mut bytes = Vec::new();
    File::open(only_segment(dir.path())).unwrap().read_to_end(&mut bytes).unwrap();
    for place in 4..bytes.len() / 2 {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        fs::write(only_segment(dir.path()), damaged).unwrap();
        match Journal::open(dir.path()) {
            Err(JournalError::Damaged { offset, .. }) => assert!(offset <= place as u64),
            // A length that now reaches beyond the end looks like a torn tail; what is lost
            // then is noticed by consensus, which knows of the blocks.
            Ok((journal, _)) => assert!(journal.range().end < 4),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_missing_segment_is_an_error() {
    let dir = tempdir().unwrap();
    drop(filled(dir.path(), 2));
    fs::rename(segment_path(dir.path(), 1), segment_path(dir.path(), 7)).unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(JournalError::Gap { .. })));
}

#[test]
fn a_full_segment_ends_with_a_snapshot_from_which_the_next_start_goes_on() {
    let dir = tempdir().unwrap();
    let state = state();
    let mut journal = filled(dir.path(), 2);
    assert!(!journal.is_full());
    journal.roll(&state).unwrap();
    journal.append(&record(3)).unwrap();
    drop(journal);
    let (journal, base) = Journal::open(dir.path()).unwrap();
    assert_eq!((base.height, base.state), (Height::new(2), Some(state)));
    assert_eq!(journal.range(), 1..4);
    assert_eq!(journal.read(Height::new(1)).unwrap(), Some(record(1)));
    assert_eq!(journal.read(Height::new(3)).unwrap(), Some(record(3)));
}
