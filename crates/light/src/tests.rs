//! Formats and hostile bytes. What real certificates and proofs do is tested with a real chain,
//! in `chain`.

use crate::{
    Certificate, ChainAnchor, GroupKey, Header, MAX_HEADER_BYTES, SeedSignature, StateCommitment,
    StateProof, rpc::HexBytes, verify_certificate, verify_state,
};
use crypto::{Digest, PublicKey};
use proptest::prelude::*;
use units::{Height, List, Millis, Round, Text};

fn anchor() -> ChainAnchor {
    ChainAnchor {
        name: Text::new("test").unwrap(),
        group_key: GroupKey::new([7; 96]),
        genesis: Digest::new([1; 32]),
    }
}

fn header(seeds: usize) -> Header {
    Header {
        parent: Digest::new([2; 32]),
        height: Height::new(9),
        time: Millis::new(1_700_000_000_000),
        committee: 0,
        round: Round::new(40),
        parent_round: Round::new(39),
        proposer: PublicKey::new([3; 32]),
        transactions: Digest::new([4; 32]),
        state: StateCommitment {
            root: Digest::new([5; 32]),
            operations: Digest::new([6; 32]),
            start: 1,
            end: 2,
        },
        messages: Digest::ZERO,
        payload: None,
        seeded: Round::new(39),
        seeds: List::new(vec![SeedSignature::new([8; 48]); seeds]).unwrap(),
    }
}

#[test]
fn the_digest_and_the_chain_id_never_change_their_meaning() {
    let digest = header(1).digest().to_string();
    assert_eq!(digest, "1cafc643bbbf9e85c91b2f1205929f3ae4411fe4b7555b484aa492c2b655c388");
    let chain = anchor().chain_id().to_string();
    assert_eq!(chain, "816dff4077ad1849fca11ee8b77449749e43238bd1b8d8781b0730415bcc30dc");
}

#[test]
fn a_header_is_small_and_bounded() {
    let size = |seeds| borsh::to_vec(&header(seeds)).unwrap().len();
    assert!(size(1) <= 330, "{}", size(1));
    assert!(size(32) <= MAX_HEADER_BYTES);
}

#[test]
fn the_rounds_of_seeds_end_with_the_last_seeded_one() {
    let header = header(3);
    let rounds: Vec<_> = header.round_seeds().map(|(round, _)| round.get()).collect();
    assert_eq!(rounds, [37, 38, 39]);
}

#[test]
fn json_is_a_view_of_the_same_header() {
    let text = serde_json::to_string(&header(2)).unwrap();
    assert_eq!(serde_json::from_str::<Header>(&text).unwrap(), header(2));
    let upper = text.to_uppercase();
    assert!(serde_json::from_str::<Header>(&upper).is_err());
}

#[test]
fn hex_has_one_spelling() {
    assert_eq!("00ff".parse(), Ok(HexBytes(vec![0, 255])));
    for wrong in ["0", "FF", "0x00", "zz", " 00"] {
        assert!(wrong.parse::<HexBytes>().is_err(), "{wrong}");
    }
}

#[test]
fn a_key_off_the_curve_is_an_error() {
    let certificate = Certificate::new(vec![0; 131]).unwrap();
    assert!(verify_certificate(&anchor(), &header(1), &certificate).is_err());
    assert!(header(1).verify_seeds(&anchor()).is_err());
    assert!(Certificate::new(vec![0; 1_000]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (anchor, header) = (anchor(), header(1));
        let (present, absent) =
            (StateProof::Present(bytes.clone()), StateProof::Absent(bytes.clone()));
        prop_assert!(verify_state(&header, b"k", Some(b"v"), &present).is_err());
        prop_assert!(verify_state(&header, b"k", None, &absent).is_err());
        if let Ok(certificate) = Certificate::new(bytes.clone()) {
            prop_assert!(verify_certificate(&anchor, &header, &certificate).is_err());
        }
        if let Ok(decoded) = borsh::from_slice::<Header>(&bytes) {
            prop_assert_eq!(borsh::to_vec(&decoded).unwrap(), bytes);
        }
    }

    #[test]
    fn an_altered_header_has_another_digest(place in 0..323_usize, bit in 0..8_u32) {
        let mut bytes = borsh::to_vec(&header(1)).unwrap();
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        if let Ok(altered) = borsh::from_slice::<Header>(&bytes) {
            prop_assert_ne!(altered.digest(), header(1).digest());
        }
    }
}
