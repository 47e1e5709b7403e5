//! The machine gate: facts of real models, and one refusal per rule.

use model::{Facts, ModelError, Op, WeightType, inspect, inspect_bytes, work_units};
use units::List;

use crate::support::{chat, embed, with_graph, with_ops};

fn refused(parts: (model::Manifest, model::Graph), expected: &str) {
    let error = inspect(&parts.0, &parts.1).expect_err("the gate must refuse this");
    assert_eq!(without_advice(&error), expected);
}

/// What is wrong, once it is sure that what to do is said too.
fn without_advice(error: &ModelError) -> String {
    let text = error.to_string();
    let (wrong, advice) = text.rsplit_once("; ").expect("an error says what to do");
    let verbs = ["choose", "fetch or import", "import", "correct", "give"];
    assert!(verbs.iter().any(|verb| advice.contains(verb)), "{advice}");
    wrong.to_owned()
}

#[test]
fn facts_of_the_test_models_are_counted_from_their_graphs() {
    let facts = chat().facts().clone();
    // Per block: q 64×64, k and v 64×32, output 64×64, gate and up 64×128, down 128×64.
    let block = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128;
    assert_eq!(
        (facts.per_position, facts.per_output, facts.per_pair),
        (3 * block, 64 * 96, 3 * 128)
    );
    assert_eq!((facts.blocks, facts.width, facts.vocabulary), (3, 64, 96));
    let facts = embed().facts().clone();
    let block = 4 * 64 * 64 + 2 * 64 * 128;
    assert_eq!((facts.per_position, facts.per_output, facts.per_pair), (2 * block, 0, 2 * 128));
}

#[test]
fn work_is_rounded_up_and_never_counts_the_last_token_as_a_position() {
    let facts =
        Facts { per_position: 1 << 20, per_output: 1, per_pair: 1 << 20, ..chat().facts().clone() };
    // T = 3 + 2 − 1 = 4, pairs = 10.
    assert_eq!(work_units(&facts, 3, 2).get(), 4 + 10 + 1);
    assert_eq!(work_units(&facts, 3, 0).get(), 3 + 6);
    let facts = Facts { reach: model::Reach::Full, ..facts };
    assert_eq!(work_units(&facts, 3, 1).get(), 3 + 9 + 1);
    assert!(work_units(&facts, u32::MAX, u32::MAX).get() > 0);
}

#[test]
fn bytes_and_structs_give_the_same_facts() {
    let model = chat();
    let manifest = borsh::to_vec(model.manifest()).unwrap();
    let graph = borsh::to_vec(model.graph()).unwrap();
    assert_eq!(inspect_bytes(&manifest, &graph).unwrap(), *model.facts());
    let mut longer = graph;
    longer.push(0);
    assert!(matches!(inspect_bytes(&manifest, &longer), Err(ModelError::Encoding { .. })));
    let huge = vec![0; (1 << 20) + 1];
    assert!(matches!(inspect_bytes(&manifest, &huge), Err(ModelError::TooLarge { .. })));
    let endless = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(inspect_bytes(&manifest, &endless), Err(ModelError::Encoding { .. })));
}

#[test]
fn an_op_may_not_read_what_comes_after_it() {
    let parts = with_ops(&chat(), |ops| ops[1] = Op::Norm { input: 1, centred: false, offset: 1 });
    refused(parts, "op 1 reads value 1: no op before this one makes it");
}

#[test]
fn an_op_may_not_read_another_kind_of_row() {
    let weights = WeightType::W8;
    let parts = with_ops(&chat(), |ops| ops[2] = Op::Linear { input: 0, outputs: 64, weights });
    refused(parts, "op 2 reads value 0: it holds another kind of row");
}

#[test]
fn grouped_four_bit_weights_are_reserved() {
    let weights = WeightType::W4Grouped;
    let parts = with_ops(&chat(), |ops| ops[2] = Op::Linear { input: 1, outputs: 64, weights });
    refused(parts, "op 2 uses 4-bit grouped weights, which are reserved and not supported yet");
}

#[test]
fn widths_have_bounds() {
    let weights = WeightType::W8;
    for (outputs, expected) in [
        (63, "op 2: a row's width is a positive even number"),
        (0, "op 2: a row's width is a positive even number"),
        (65_538, "the width of a row is 65538, the limit is 65536"),
    ] {
        let parts = with_ops(&chat(), |ops| ops[2] = Op::Linear { input: 1, outputs, weights });
        refused(parts, expected);
    }
    let embedding = Op::EmbeddingScaled { width: u32::MAX - 1, factor: 1 };
    let parts = with_ops(&chat(), |ops| ops[0] = embedding);
    refused(parts, "the width of the stream is 4294967294, the limit is 16384");
}

#[test]
fn heads_must_divide() {
    let parts = with_ops(&chat(), |ops| {
        if let Op::Attention { key_heads, .. } = &mut ops[7] {
            *key_heads = 3;
        }
    });
    refused(parts, "op 7: key heads do not divide the heads");
    let parts = with_ops(&chat(), |ops| {
        if let Op::Attention { heads, .. } = &mut ops[7] {
            *heads = 0;
        }
    });
    refused(parts, "op 7: key heads do not divide the heads");
}

#[test]
fn boundaries_ascend_and_cut() {
    let parts = with_graph(&chat(), |graph| {
        graph.boundaries = List::new(vec![0, 0]).unwrap();
    });
    refused(parts, "boundary 1: boundaries must ascend");
    let parts = with_graph(&chat(), |graph| {
        graph.boundaries = List::new(vec![0, 1]).unwrap();
    });
    refused(
        parts,
        "op 5: attention and rotation stand inside blocks, outputs after the last boundary",
    );
    let parts = with_graph(&chat(), |graph| {
        graph.boundaries = List::new(vec![0, 4_000]).unwrap();
    });
    refused(parts, "boundary 1: no op makes it");
    let parts = with_graph(&chat(), |graph| graph.boundaries = List::empty());
    refused(parts, "the number of boundaries is 0, at least 1 is needed");
}

#[test]
fn a_block_reads_nothing_from_before_its_boundary() {
    let last = chat().graph().boundaries.last().copied().unwrap();
    let parts = with_ops(&chat(), |ops| {
        let head = usize::try_from(last).unwrap() + 1;
        ops[head] = Op::Norm { input: 0, centred: false, offset: 1 };
    });
    let expected = format!("op {} reads value 0: it lies before the last boundary", last + 1);
    refused(parts, &expected);
}

#[test]
fn a_graph_ends_in_its_output() {
    let parts = with_ops(&chat(), |ops| {
        ops.pop();
    });
    let ops = parts.1.ops.len();
    refused(parts, &format!("op {}: the last op gives no output", ops - 1));
}

#[test]
fn manifests_have_bounds_too() {
    let model = chat();
    let graph = model.graph();
    let with = |change: &dyn Fn(&mut model::Manifest)| {
        let mut manifest = model.manifest().clone();
        change(&mut manifest);
        inspect(&manifest, graph).expect_err("the gate must refuse this")
    };
    assert_eq!(
        with(&|manifest| manifest.semantics = 7).to_string(),
        "semantics version 7 is not supported; this program computes version 1: import the model \
         again, or run a program of its version"
    );
    assert_eq!(without_advice(&with(&|m| m.max_input = 0)), "max_input is 0, at least 1 is needed");
    assert_eq!(
        without_advice(&with(&|m| m.max_input = 2_049)),
        "max_input is 2049, the limit is 2048"
    );
    assert_eq!(
        without_advice(&with(&|m| m.max_positions = 8_193)),
        "max_positions is 8193, the limit is 8192"
    );
    assert_eq!(
        without_advice(&with(&|m| m.stop_ids = List::new(vec![7, 7]).unwrap())),
        "stop id 7: stop ids must ascend"
    );
    assert_eq!(
        without_advice(&with(&|m| m.stop_ids = List::new(vec![96]).unwrap())),
        "stop id 96: it is outside the vocabulary"
    );
    assert!(
        with(&|m| m.graph_root = crypto::Digest::ZERO)
            .to_string()
            .starts_with("the graph does not match")
    );
    assert_eq!(
        without_advice(&with(&|m| m.licence = units::Text::new("").unwrap())),
        "the licence must be printable ASCII and not empty"
    );
}

#[test]
fn keys_that_depend_on_an_attention_of_their_block_are_refused() {
    let model = embed();
    assert!(matches!(model.graph().ops[5], Op::Attention { .. }));
    assert!(matches!(model.graph().ops[9], Op::Table { input: 8, .. }));
    let parts = with_ops(&model, |ops| {
        // The hidden row comes from the stream behind the first attention.
        ops[9] =
            Op::Attention { queries: 8, keys: 8, values: 8, heads: 4, key_heads: 4, multiplier: 1 };
    });
    refused(
        parts,
        "op 5: keys and values of an attention depend on it; a boundary must lie between the two",
    );
}
