//! ONNX graphs made to take memory or time, or to overflow: all are refused by a bound.

use engine::import::{ImportError, Source};

use crate::exporters::Writer;
use crate::graph::{Graph, bytes, model, whole};
use crate::onnx_twists::{Twist, causal};

/// The refusal of a decoder whose mask is made by something more.
fn refused(more: &dyn Fn(&mut Graph) -> String) -> String {
    let mask = |writer: &mut Writer, count: &str| {
        let mask = causal(writer, count);
        let more = more(&mut writer.graph);
        writer.graph.node("Add", &[&mask, &more], &[])
    };
    let file = Twist { mask: &mask, ..Twist::default() }.decoder();
    Source::read(&file).unwrap_err().to_string()
}

#[test]
fn no_number_of_rows_is_believed_before_its_data() {
    for width in [1 << 61, 1 << 31] {
        let file = Twist { claimed: Some([40, width]), ..Twist::default() }.decoder();
        let error = Source::read(&file).unwrap_err();
        assert!(matches!(error, ImportError::Tensor { .. }), "{width}: {error}");
    }
}

#[test]
fn an_axis_that_is_cut_twice_is_refused() {
    let error = refused(&|graph| {
        let sizes = graph.integers(&[8]);
        let zeros = graph.node("ConstantOfShape", &[&sizes], &[]);
        let [starts, ends, axes, steps] =
            [[0, 0], [8, 8], [0, 0], [1 << 62, 1]].map(|numbers| graph.integers(&numbers));
        graph.node("Slice", &[&zeros, &starts, &ends, &axes, &steps], &[])
    });
    assert!(error.starts_with("Slice ("), "{error}");
    let error = refused(&|graph| {
        let (shape, none) = (graph.integers(&[4, 0]), graph.integers(&[4]));
        let indexes = graph.node("ConstantOfShape", &[&shape], &[]);
        let x = graph.node("ConstantOfShape", &[&none], &[]);
        graph.node("GatherND", &[&x, &indexes], &[])
    });
    assert!(error.starts_with("GatherND ("), "{error}");
}

#[test]
fn a_run_keeps_so_many_numbers_and_no_more() {
    let large = |graph: &mut Graph| {
        let sizes = graph.integers(&[1 << 22]);
        graph.node("ConstantOfShape", &[&sizes], &[])
    };
    let error = refused(&|graph| {
        let parts: Vec<String> = (0..60).map(|_| large(graph)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node("Concat", &parts, &[whole("axis", 0)])
    });
    assert!(error.contains("whose run keeps fewer numbers"), "{error}");
    // What an op does not read is not computed.
    let mask = |writer: &mut Writer, count: &str| {
        let mut inputs = vec![causal(writer, count)];
        inputs.extend((0..60).map(|_| large(&mut writer.graph)));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        writer.graph.node("Identity", &inputs, &[])
    };
    let file = Twist { mask: &mask, ..Twist::default() }.decoder();
    assert!(Source::read(&file).is_ok(), "{}", Source::read(&file).unwrap_err());
}

#[test]
fn work_is_counted_before_it_is_done() {
    let error = refused(&|graph| {
        let (rows, columns) = (graph.integers(&[256, 1024]), graph.integers(&[1024, 256]));
        let a = graph.node("ConstantOfShape", &[&rows], &[]);
        let b = graph.node("ConstantOfShape", &[&columns], &[]);
        let mut sum = graph.node("MatMul", &[&a, &b], &[]);
        for _ in 0..4 {
            let product = graph.node("MatMul", &[&a, &b], &[]);
            sum = graph.node("Add", &[&sum, &product], &[]);
        }
        sum
    });
    assert!(error.contains("take fewer steps"), "{error}");
    // Products that sum nothing up lay nothing over each other either.
    let mask = |writer: &mut Writer, count: &str| {
        let mask = causal(writer, count);
        let graph = &mut writer.graph;
        let (none, row) = (graph.integers(&[1024, 0, 1]), graph.integers(&[1, 4096]));
        let none = graph.node("ConstantOfShape", &[&none], &[]);
        let row = graph.node("ConstantOfShape", &[&row], &[]);
        let mut parts = vec![mask];
        for _ in 0..6 {
            let product = graph.node("MatMul", &[&none, &row], &[]);
            let axes = graph.integers(&[0, 1]);
            let (start, end) = (graph.integers(&[0, 0]), graph.integers(&[0, 0]));
            parts.push(graph.node("Slice", &[&product, &start, &end, &axes], &[]));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node("Concat", &parts, &[whole("axis", 0)])
    };
    let file = Twist { mask: &mask, ..Twist::default() }.decoder();
    assert!(Source::read(&file).is_ok(), "{}", Source::read(&file).unwrap_err());
}

#[test]
fn attributes_are_counted_over_all_nodes() {
    let mut graph = Vec::new();
    let mut node = Vec::new();
    (0..64).for_each(|_| bytes(&mut node, 5, &[]));
    (0..5_000).for_each(|_| bytes(&mut graph, 1, &node));
    let error = Source::read(&model(&graph, 17)).unwrap_err().to_string();
    assert!(error.contains("more than 262144 attributes"), "{error}");
}
