//! Files made to hurt: each is refused with an error that names what, why and what to do.

use model::constants::{GRAPH_BYTES_MAX, OPS_MAX};
use model::{Graph, Header, Model, ModelError, Op, WeightType, inspect, inspect_bytes};
use proptest::prelude::*;
use units::List;

use crate::support::{chat, embed, with_graph, with_ops};

fn refusal(parts: &(model::Manifest, Graph)) -> String {
    inspect(&parts.0, &parts.1).expect_err("the gate must refuse this").to_string()
}

/// The bytes of a graph whose ops and boundaries are these bytes.
fn graph_bytes(ops: &[u8], count: u32, boundaries: &[u32]) -> Vec<u8> {
    let mut bytes = vec![1];
    for number in [96_u32, 1, 8, count] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(ops);
    bytes.extend(borsh::to_vec(boundaries).unwrap());
    bytes
}

#[test]
fn cycles_are_refused_for_every_op_that_reads() {
    for model in [chat(), embed()] {
        for index in 1..model.graph().ops.len() {
            for ahead in [0, 1, 1 << 31, u32::MAX] {
                let value = u32::try_from(index).unwrap().saturating_add(ahead);
                let parts = with_ops(&model, |ops| redirect(&mut ops[index], value));
                let expected =
                    format!("op {index} reads value {value}: no op before this one makes");
                let found = refusal(&parts);
                assert!(found.starts_with(&expected), "{found}");
            }
        }
    }
}

/// Lets an op read `value`.
fn redirect(op: &mut Op, value: u32) {
    match op {
        Op::Norm { input, .. }
        | Op::Linear { input, .. }
        | Op::Table { input, .. }
        | Op::LinearResidual { input, .. }
        | Op::GateResidual { gate: input, .. }
        | Op::Rope { input, .. }
        | Op::Attention { queries: input, .. }
        | Op::Logits { input, .. }
        | Op::SumPool { input }
        | Op::Unit { input } => *input = value,
        Op::EmbeddingSum { .. } | Op::EmbeddingScaled { .. } => unreachable!("op 0 reads nothing"),
    }
}

#[test]
fn sizes_of_two_to_the_31_and_minus_one_are_refused() {
    for huge in [1 << 31, u32::MAX - 1, u32::MAX] {
        for what in ["the vocabulary", "the number of tables", "rope_pairs"] {
            let found = refusal(&with_graph(&chat(), |graph| match what {
                "the vocabulary" => graph.vocabulary = huge,
                "the number of tables" => graph.tables = huge,
                _ => graph.rope_pairs = huge,
            }));
            assert!(found.starts_with(&format!("{what} is {huge}, the limit is")), "{found}");
        }
        let attention = |heads, key_heads| Op::Attention {
            queries: 5,
            keys: 6,
            values: 4,
            heads,
            key_heads,
            multiplier: 1,
        };
        for (index, op) in [
            (0, Op::EmbeddingScaled { width: huge, factor: huge }),
            (2, Op::Linear { input: 1, outputs: huge, weights: WeightType::W8 }),
            (5, Op::Rope { input: 2, heads: huge }),
            (7, attention(huge, 2)),
            (7, attention(4, huge)),
        ] {
            inspect_refuses(&with_ops(&chat(), |ops| ops[index] = op));
        }
        let mut manifest = chat().manifest().clone();
        manifest.max_positions = huge;
        inspect_refuses(&(manifest, chat().graph().clone()));
    }
}

fn inspect_refuses(parts: &(model::Manifest, Graph)) {
    let found = refusal(parts);
    assert!(found.contains("limit") || found.contains("op "), "{found}");
}

#[test]
fn unknown_ops_reaches_and_weight_types_are_refused() {
    let embedding = [2, 64, 0, 0, 0, 1, 0, 0, 0];
    assert!(borsh::from_slice::<Graph>(&graph_bytes(&embedding, 1, &[0])).is_ok());
    for number in [0, 13, 200, 255] {
        let bytes = graph_bytes(&[number, 64, 0, 0, 0, 1, 0, 0, 0], 1, &[0]);
        assert!(borsh::from_slice::<Graph>(&bytes).is_err(), "op {number}");
        let mut bytes = graph_bytes(&embedding, 1, &[0]);
        bytes[0] = number;
        assert!(borsh::from_slice::<Graph>(&bytes).is_err(), "reach {number}");
        let linear = [4, 0, 0, 0, 0, 64, 0, 0, 0, number];
        let bytes = graph_bytes(&[&embedding[..], &linear].concat(), 2, &[0]);
        assert!(borsh::from_slice::<Graph>(&bytes).is_err(), "weights {number}");
    }
}

#[test]
fn a_million_ops_are_refused_before_they_are_read() {
    let manifest = borsh::to_vec(chat().manifest()).unwrap();
    let unit = [12, 0, 0, 0, 0];
    let bytes = graph_bytes(&unit.repeat(1_000_000), 1_000_000, &[0]);
    let error = inspect_bytes(&manifest, &bytes).unwrap_err();
    assert!(matches!(error, ModelError::TooLarge { limit, .. } if limit == GRAPH_BYTES_MAX as u64));
    // A count alone, and one more than the limit, in few bytes.
    for count in [1_000_000, u32::MAX, OPS_MAX as u32 + 1] {
        let error = inspect_bytes(&manifest, &graph_bytes(&unit, count, &[0])).unwrap_err();
        assert!(matches!(error, ModelError::Encoding { what: "the graph", .. }), "{error}");
    }
    let mut file = chat().to_bytes()[..14].to_vec();
    file.extend(&manifest);
    file.extend(bytes);
    assert!(matches!(
        Model::from_bytes(&file),
        Err(ModelError::Encoding { what: "the graph", .. })
    ));
}

#[test]
fn every_truncation_of_a_header_is_an_error() {
    let model = chat();
    let bytes = model.to_bytes();
    let (_, tensors) = Header::read(&bytes).unwrap();
    let header = bytes.len() - tensors.len();
    for cut in 0..header {
        assert!(Header::read(&bytes[..cut]).is_err(), "cut at {cut}");
        assert!(Model::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    assert!(matches!(
        Model::from_bytes(&bytes[..header]),
        Err(ModelError::Length { found: 0, .. })
    ));
}

#[test]
fn errors_say_what_to_do() {
    let bytes = chat().to_bytes();
    let shorter = Model::from_bytes(&bytes[..bytes.len() - 3]).unwrap_err().to_string();
    assert!(shorter.ends_with("fetch or import it again"), "{shorter}");
    let mut changed = bytes;
    let tensors = Header::read(&changed).unwrap().1.len();
    let first_weight = changed.len() - tensors;
    changed[first_weight] ^= 2;
    let changed = Model::from_bytes(&changed).unwrap_err().to_string();
    assert!(changed.ends_with("fetch or import it again"), "{changed}");
    let garbage = Model::from_bytes(b"GGUF and more").unwrap_err().to_string();
    assert!(garbage.contains("model import"), "{garbage}");
}

/// A change of a file's bytes.
#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

impl Damage {
    /// Changes the first `end` bytes.
    fn apply(&self, bytes: &mut Vec<u8>, end: usize) {
        let end = end.min(bytes.len());
        match self {
            Self::Set(at, byte) => bytes[at.index(end)] = *byte,
            Self::Flip(at, bit) => bytes[at.index(end)] ^= 1 << (bit % 8),
            Self::Insert(at, more) => {
                let at = at.index(end);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = at.index(end);
                bytes.drain(at..(at + count).min(end));
            }
            Self::Copy(from, to, count) => {
                let (from, to) = (from.index(end), to.index(end));
                let count = (*count).min(end - from.max(to));
                bytes.copy_within(from..from + count, to);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let index = any::<prop::sample::Index>;
    let one = prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (index(), any::<u8>()).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (index(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, m)| Damage::Insert(at, m)),
        (index(), 1_usize..40).prop_map(|(at, count)| Damage::Remove(at, count)),
        (index(), index(), 1_usize..64).prop_map(|(from, to, n)| Damage::Copy(from, to, n)),
    ];
    prop::collection::vec(one, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Header, graph and manifest are refused or mean another model; nothing panics.
    #[test]
    fn a_damaged_file_is_refused_or_is_another_model(changes in damage(), in_header: bool) {
        let model = chat();
        let original = model.to_bytes();
        let mut bytes = original.clone();
        let end = if in_header { 700 } else { bytes.len() };
        for change in &changes {
            change.apply(&mut bytes, end);
        }
        match Model::from_bytes(&bytes) {
            Ok(read) if bytes != original => prop_assert_ne!(read.id(), model.id()),
            Ok(read) => prop_assert_eq!(read.id(), model.id()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    /// Behind the hash: a damaged graph under a manifest that agrees with it is refused, or is a
    /// model whose shapes and steps can be computed.
    #[test]
    fn a_damaged_graph_is_refused_or_has_a_shape(changes in damage(), which: bool) {
        let model = if which { chat() } else { embed() };
        let mut bytes = borsh::to_vec(model.graph()).unwrap();
        for change in &changes {
            let end = bytes.len();
            change.apply(&mut bytes, end);
        }
        let Ok(graph) = borsh::from_slice::<Graph>(&bytes) else { return Ok(()) };
        let manifest = model::Manifest {
            graph_root: graph.root(),
            stop_ids: List::default(),
            ..model.manifest().clone()
        };
        let Ok(plan) = model::step::Plan::new(&manifest, &graph) else { return Ok(()) };
        let run = model::step::RunShape {
            n_in: 1_500, n_out: 1, sampling: model::Sampling::GREEDY, seed: 1,
        };
        let shape = model::step::TraceShape::new(&plan, run).unwrap();
        for index in [0, shape.leaves() / 2, shape.leaves() - 1] {
            let fine = shape.fine(index).unwrap();
            let last = fine.address(fine.leaves() - 1).unwrap();
            prop_assert_eq!(fine.index(&last), Some(fine.leaves() - 1));
        }
    }
}
