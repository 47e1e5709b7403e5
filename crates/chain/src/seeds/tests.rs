//! Seeds with real threshold signatures of a lone validator.

use super::*;
use crate::ValidatorKeys;
use commonware_consensus::simplex::types::{Nullification, Nullify};
use crypto::Digest;
use light::ChainAnchor;
use units::Text;

fn keys() -> ValidatorKeys {
    ValidatorKeys::from_secrets([1; 32], [2; 32])
}

fn anchor() -> ChainAnchor {
    ChainAnchor {
        name: Text::new("test").unwrap(),
        group_key: keys().group_key(),
        genesis: Digest::ZERO,
    }
}

fn seeds() -> Seeds {
    Seeds::new(keys().scheme(&anchor()))
}

#[test]
fn a_nullified_round_yields_the_seed_that_a_restarted_node_makes_again() {
    let mut harvested = seeds();
    let round = ConsensusRound::new(Epoch::zero(), View::new(3));
    let vote = Nullify::sign::<sha256::Digest>(&harvested.scheme, round).unwrap();
    let votes = NonEmpty::new(&vote, std::iter::empty());
    let certificate = Nullification::from_nullifies(&harvested.scheme, votes, &Sequential).unwrap();
    harvested.report(Activity::Nullification(certificate));
    let kept = *harvested.known.lock().get(&3).expect("the seed was harvested");

    let made = seeds().get(0, Round::new(3)).unwrap();
    assert_eq!(made, kept);
    made.verify(&anchor(), 0, Round::new(3)).unwrap();
    assert!(made.verify(&anchor(), 0, Round::new(4)).is_err());
}

#[test]
fn a_block_brings_all_rounds_since_the_last_seed_up_to_the_bound() {
    let rounds = |seeded, round| {
        due_rounds(Round::new(seeded), Round::new(round)).map(Round::get).collect::<Vec<_>>()
    };
    assert_eq!(rounds(0, 1), Vec::<u64>::new());
    assert_eq!(rounds(0, 2), [1]);
    assert_eq!(rounds(4, 8), [5, 6, 7]);
    assert_eq!(rounds(4, 100), (5..=36).collect::<Vec<_>>());
    assert_eq!(rounds(u64::MAX, u64::MAX), Vec::<u64>::new());
    assert_eq!(seeds().due(0, Round::new(4), Round::new(100)).unwrap().len(), 32);
}

#[test]
fn what_blocks_have_brought_is_forgotten() {
    let seeds = seeds();
    let signature = seeds.get(0, Round::new(1)).unwrap();
    for round in 1..=5 {
        seeds.known.lock().insert(round, signature);
    }
    seeds.forget_through(Round::new(3));
    assert_eq!(seeds.known.lock().keys().copied().collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn seeds_of_another_chain_do_not_verify() {
    let other = ChainAnchor { name: Text::new("other").unwrap(), ..anchor() };
    let made = seeds().get(0, Round::new(3)).unwrap();
    assert!(made.verify(&other, 0, Round::new(3)).is_err());
}
