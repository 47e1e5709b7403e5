//! Models: scenarios as sentences, and properties of the formulas.

use super::{
    Error, Params, Publication, Tx, by_name,
    math::{is_name, publish_fee},
    model,
    schema::{FullName, Graph, Manifest, Name},
};
use crate::{
    Call, ModelFacts, Rejection, Status,
    accounts::Pot,
    testing::{World, coins, digest, grant},
    transaction,
    verifier::{Reach, Task},
};
use crypto::ModelId;
use proptest::prelude::*;
use units::{Coin, Credit, Text};

fn rejected(error: Error) -> Status {
    Status::Rejected(Rejection::Models(error))
}

fn facts(model: &str, weights: &str) -> ModelFacts {
    ModelFacts {
        model: ModelId::new(digest(model)),
        semantics: 0,
        task: Task::Embed,
        graph_root: digest("graph"),
        weight_root: digest(weights),
        preprocess: digest("preprocess"),
        reach: Reach::Full,
        per_position: 1,
        per_output: 2,
        per_pair: 3,
        blocks: 6,
        max_input: 512,
        max_positions: 512,
        vocabulary: 30_522,
        width: 384,
    }
}

fn name(text: &str) -> Name {
    Text::new(text).unwrap()
}

fn full(text: &str) -> FullName {
    Text::new(text).unwrap()
}

fn publication(publisher: &str, model: &str, facts: &ModelFacts) -> Publication {
    Publication {
        publisher: name(publisher),
        name: name(model),
        manifest: Manifest::new(borsh::to_vec(facts).unwrap()).unwrap(),
        graph: Graph::new(vec![1; 2_000]).unwrap(),
    }
}

fn publish(publication: Publication) -> Call {
    Call::Models(Tx::Publish(publication))
}

#[test]
fn r1_r2_a_model_is_registered_once_with_the_facts_the_gate_computed() {
    let mut world = World::new();
    let facts = facts("m", "w");
    world.done("alice", publish(publication("acme", "mini", &facts)));
    let record = model(&world.state, &facts.model).unwrap().unwrap();
    assert_eq!(record.facts, facts);
    assert_eq!(by_name(&world.state, &full("acme/mini")).unwrap(), Some(facts.model));
    let again = world.send("alice", publish(publication("acme", "mini-2", &facts)));
    assert_eq!(again, rejected(Error::AlreadyRegistered { model: facts.model }));
}

#[test]
fn r2_what_the_gate_refuses_is_rejected_with_its_reason() {
    let mut world = World::new();
    let mut empty = publication("acme", "mini", &facts("m", "w"));
    empty.graph = Graph::default();
    let reason = Text::new("the graph is empty").unwrap();
    assert_eq!(world.send("alice", publish(empty)), rejected(Error::Rejected { reason }));
    let mut garbage = publication("acme", "mini", &facts("m", "w"));
    garbage.manifest = Manifest::new(vec![7; 99]).unwrap();
    let status = world.send("alice", publish(garbage));
    assert!(matches!(status, Status::Rejected(Rejection::Models(Error::Rejected { .. }))));
}

#[test]
fn r3_weights_that_are_registered_are_refused_under_another_name() {
    let mut world = World::new();
    let first = facts("m", "w");
    world.done("alice", publish(publication("acme", "mini", &first)));
    let copy = publication("better", "maxi", &facts("other", "w"));
    let duplicate = rejected(Error::DuplicateWeights { model: first.model });
    assert_eq!(world.send("bob", publish(copy)), duplicate);
}

#[test]
fn r4_a_publisher_keeps_its_name_and_a_name_its_model() {
    let mut world = World::new();
    let first = facts("m", "w");
    world.done("alice", publish(publication("acme", "mini", &first)));
    let foreign = publication("acme", "other", &facts("n", "v"));
    let publisher = name("acme");
    let status = world.send("bob", publish(foreign));
    assert_eq!(status, rejected(Error::NotThePublisher { publisher }));
    let taken = publication("acme", "mini", &facts("n", "v"));
    let expected = Error::NameTaken { name: full("acme/mini"), model: first.model };
    assert_eq!(world.send("alice", publish(taken)), rejected(expected));
}

#[test]
fn r4_a_text_that_is_no_name_is_rejected_before_the_gate_is_asked() {
    let mut world = World::new();
    for bad in ["", "Acme", "-acme", ".", "a/b", "a b", "ä"] {
        let status = world.send("alice", publish(publication(bad, "mini", &facts("m", "w"))));
        assert_eq!(status, rejected(Error::BadName { name: name(bad) }));
        let status = world.send("alice", publish(publication("acme", bad, &facts("m", "w"))));
        assert_eq!(status, rejected(Error::BadName { name: name(bad) }));
    }
}

#[test]
fn r5_the_deposit_lies_in_its_pot() {
    let mut world = World::new();
    world.done("alice", publish(publication("acme", "mini", &facts("m", "w"))));
    // Fifty dollars at ten cents a coin.
    assert_eq!(world.pot(Pot::ModelDeposits), coins(500));
    let poor = "carol";
    world.done("alice", crate::testing::transfer(poor, coins(400)));
    let status = world.send(poor, publish(publication("poor", "mini", &facts("n", "v"))));
    assert!(matches!(status, Status::Rejected(Rejection::Accounts(_))));
}

#[test]
fn r6_the_fee_grows_with_the_bytes() {
    let params = Params::default();
    let fee = |bytes| publish_fee(bytes, 0, &params).unwrap().get();
    let step = params.publish_fee_per_kib.get();
    assert_eq!(fee(0), params.publish_fee.get());
    assert_eq!(fee(1), params.publish_fee.get() + step);
    assert_eq!(fee(1_024), params.publish_fee.get() + step);
    assert_eq!(fee(1_025), params.publish_fee.get() + 2 * step);
}

#[test]
fn r7_manifest_and_graph_are_kept() {
    use crate::Read;
    let mut world = World::new();
    let facts = facts("m", "w");
    let publication = publication("acme", "mini", &facts);
    world.done("alice", publish(publication.clone()));
    let graph = world.state.get(&super::GRAPHS, &facts.model).unwrap();
    let manifest = world.state.get(&super::MANIFESTS, &facts.model).unwrap();
    assert_eq!((manifest, graph), (Some(publication.manifest), Some(publication.graph)));
}

#[test]
fn a_session_key_may_not_publish() {
    let mut world = World::new();
    world.done("alice", grant("phone", coins(10), Credit::ZERO, world.far));
    let call = publish(publication("acme", "mini", &facts("m", "w")));
    let refused = Status::Refused(Rejection::Envelope(transaction::Error::OwnKeyNeeded));
    assert_eq!(world.send_by("alice", "phone", call), refused);
}

proptest! {
    #[test]
    fn r4_every_name_is_made_of_plain_characters(text in "\\PC{0,40}") {
        if is_name(&text) {
            prop_assert!(!text.is_empty());
            let plain = "abcdefghijklmnopqrstuvwxyz0123456789-.";
            prop_assert!(text.chars().all(|c| plain.contains(c)));
            prop_assert!(!text.starts_with(['-', '.']));
        }
    }

    #[test]
    fn r6_no_size_makes_the_fee_overflow(
        manifest in 0..usize::MAX / 2, graph in 0..usize::MAX / 2,
    ) {
        let fee = publish_fee(manifest, graph, &Params::default()).unwrap();
        prop_assert!(fee > Coin::ZERO);
    }
}
