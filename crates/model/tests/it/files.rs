//! Model files: round trips, and damage of every sort.

use model::{Model, ModelError};
use proptest::prelude::*;

use crate::support::{chat, embed};

#[test]
fn files_come_back_as_they_were() {
    for model in [chat(), embed()] {
        let bytes = model.to_bytes();
        let read = Model::from_bytes(&bytes).unwrap();
        assert_eq!(read, model);
        assert_eq!(read.to_bytes(), bytes);
    }
}

#[test]
fn another_length_is_refused_before_tensors_are_read() {
    let bytes = chat().to_bytes();
    for cut in [0, 5, 13, 14, 60, bytes.len() - 1] {
        assert!(Model::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(Model::from_bytes(&longer), Err(ModelError::Length { .. })));
}

#[test]
fn a_weight_of_minus_128_is_refused() {
    let model = chat();
    let mut weights = model.weights().clone();
    if let model::OpWeights::Channels(channels) = &mut weights.ops[0] {
        let mut data = channels.weights.data().to_vec();
        data[3] = -128;
        channels.weights = model::rows::Rows::from_data(64, data);
    }
    let parts = (model.manifest().clone(), model.graph().clone());
    let error = Model::new(parts.0, parts.1, weights, model.preprocess().to_vec()).unwrap_err();
    assert_eq!(error, ModelError::Range { op: 0, what: "a weight", value: -128 });
}

#[test]
fn the_header_can_be_read_alone() {
    let model = chat();
    let bytes = model.to_bytes();
    let (header, rest) = model::Header::read(&bytes).unwrap();
    assert_eq!(header.manifest.id(), model.id());
    assert_eq!(header.preprocess, model.preprocess());
    assert_eq!(u64::try_from(rest.len()).unwrap(), model.facts().weight_bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No damaged byte goes unnoticed: every part of a file is under a hash of the manifest, and
    /// the manifest is the id.
    #[test]
    fn a_changed_byte_is_refused_or_gives_another_id(at: prop::sample::Index, flip in 1..=255_u8) {
        let model = chat();
        let mut bytes = model.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(read) = Model::from_bytes(&bytes) {
            prop_assert_ne!(read.id(), model.id());
        }
    }

    #[test]
    fn damage_to_the_header_never_panics(
        changes in prop::collection::vec((0..2_500_usize, any::<u8>()), 1..6),
        cut in 0..2_500_usize,
    ) {
        let mut bytes = chat().to_bytes();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let _read = Model::from_bytes(&bytes);
        let _read = model::Header::read(&bytes[..cut]);
    }

    #[test]
    fn damaged_manifests_and_graphs_never_panic(
        at: prop::sample::Index,
        byte: u8,
        in_graph: bool,
    ) {
        let model = chat();
        let mut manifest = borsh::to_vec(model.manifest()).unwrap();
        let mut graph = borsh::to_vec(model.graph()).unwrap();
        let bytes = if in_graph { &mut graph } else { &mut manifest };
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _facts = model::inspect_bytes(&manifest, &graph);
        // The same damage under a manifest that agrees with it reaches the rules behind the hash.
        if let Ok(graph) = borsh::from_slice::<model::Graph>(&graph) {
            let manifest = model::Manifest { graph_root: graph.root(), ..model.manifest().clone() };
            let _facts = model::inspect(&manifest, &graph);
        }
    }
}
