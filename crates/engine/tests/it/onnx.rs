//! Imports of the small encoder from ONNX graphs, written here as exporters write them.

use engine::import::calibrate::{Wishes, import_path};
use engine::import::{ImportError, Source, import};
use proptest::prelude::*;

use crate::graph::{Graph, bytes, float, integer, model, whole};
use crate::import::{HEADS, PLACES, WIDTH, recipe, tensors};
use crate::write::{Tensors, safetensors};

/// How an exporter writes norms, weights and GELU.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// One op per norm, columns of weights, GELU with quotient first.
    Fused,
    /// Norms of nine ops, rows of weights behind a transposition, GELU with factors first, keys
    /// turned twice, both operands of a score scaled.
    Spread,
    /// As `Fused`, with products and biases in one op, over rows of weights.
    Whole,
}

/// What makes a graph another than an encoder's.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    /// Scores are divided by another number than the root of a head's width.
    Scale,
    /// A position reaches only those before it.
    Causal,
    /// The mask is made of more values than a mask needs.
    Wide,
}

/// An encoder under way.
struct Writer {
    graph: Graph,
    style: Style,
    flaw: Option<Flaw>,
}

impl Writer {
    const fn new(style: Style, flaw: Option<Flaw>) -> Self {
        Self { graph: Graph::new(), style, flaw }
    }

    fn norm(&mut self, tensors: &Tensors, name: &str, input: &str) -> String {
        let [gamma, beta] = ["weight", "bias"].map(|part| {
            let name = format!("{name}.{part}");
            let (shape, data) = &tensors[&name];
            self.graph.constant(&name, shape, data)
        });
        if self.style != Style::Spread {
            let epsilon = [float("epsilon", 1e-12)];
            return self.graph.node("LayerNormalization", &[input, &gamma, &beta], &epsilon);
        }
        let (axes, two, epsilon) =
            (self.graph.integers(&[-1]), self.graph.number(2.0), self.graph.number(1e-12));
        let mean = self.graph.node("ReduceMean", &[input, &axes], &[]);
        let distance = self.graph.node("Sub", &[input, &mean], &[]);
        let square = self.graph.node("Pow", &[&distance, &two], &[]);
        let variance = self.graph.node("ReduceMean", &[&square, &axes], &[]);
        let variance = self.graph.node("Add", &[&variance, &epsilon], &[]);
        let root = self.graph.node("Sqrt", &[&variance], &[]);
        let quotient = self.graph.node("Div", &[&distance, &root], &[]);
        let scaled = self.graph.node("Mul", &[&quotient, &gamma], &[]);
        self.graph.node("Add", &[&scaled, &beta], &[])
    }

    fn linear(&mut self, tensors: &Tensors, name: &str, input: &str) -> String {
        let (shape, data) = &tensors[&format!("{name}.weight")];
        let (rows, columns) = (shape[0], shape[1]);
        if self.style == Style::Whole {
            let weight = self.graph.constant(&format!("{name}.weight"), shape, data);
            let (shape, data) = &tensors[&format!("{name}.bias")];
            let bias = self.graph.constant(&format!("{name}.bias"), shape, data);
            return self.graph.node("Gemm", &[input, &weight, &bias], &[whole("transB", 1)]);
        }
        let weight = if self.style == Style::Fused {
            let turned: Vec<f32> =
                (0..data.len()).map(|at| data[at % rows * columns + at / rows]).collect();
            self.graph.constant(
                &format!("onnx::MatMul_{}", self.graph.made),
                &[columns, rows],
                &turned,
            )
        } else {
            let plain = self.graph.constant(&format!("{name}.weight"), shape, data);
            self.graph.transpose(&plain, &[1, 0])
        };
        let (shape, data) = &tensors[&format!("{name}.bias")];
        let bias = self.graph.constant(&format!("{name}.bias"), shape, data);
        let product = self.graph.node("MatMul", &[input, &weight], &[]);
        self.graph.node("Add", &[&bias, &product], &[])
    }

    fn gelu(&mut self, x: &str) -> String {
        let (one, half) = (self.graph.number(1.0), self.graph.number(0.5));
        if self.style != Style::Spread {
            let root = self.graph.number(std::f32::consts::SQRT_2);
            let inner = self.graph.node("Div", &[x, &root], &[]);
            let erf = self.graph.node("Erf", &[&inner], &[]);
            let sum = self.graph.node("Add", &[&erf, &one], &[]);
            let product = self.graph.node("Mul", &[x, &sum], &[]);
            return self.graph.node("Mul", &[&product, &half], &[]);
        }
        let factor = self.graph.number(std::f32::consts::FRAC_1_SQRT_2);
        let inner = self.graph.node("Mul", &[&factor, x], &[]);
        let erf = self.graph.node("Erf", &[&inner], &[]);
        let sum = self.graph.node("Add", &[&one, &erf], &[]);
        let halved = self.graph.node("Mul", &[&half, x], &[]);
        self.graph.node("Mul", &[&halved, &sum], &[])
    }

    fn attention(&mut self, tensors: &Tensors, name: &str, x: &str, mask: &str) -> String {
        let width = WIDTH / HEADS;
        let split = self.graph.integers(&[0, 0, HEADS as i64, width as i64]);
        let part = |writer: &mut Self, part: &str| {
            let rows = writer.linear(tensors, &format!("{name}.self.{part}"), x);
            writer.graph.node("Reshape", &[&rows, &split], &[])
        };
        let (q, k, v) = (part(self, "query"), part(self, "key"), part(self, "value"));
        let (mut q, v) =
            (self.graph.transpose(&q, &[0, 2, 1, 3]), self.graph.transpose(&v, &[0, 2, 1, 3]));
        let scores = if self.style != Style::Spread {
            let k = self.graph.transpose(&k, &[0, 2, 3, 1]);
            let scores = self.graph.node("MatMul", &[&q, &k], &[]);
            let root = (width as f32).sqrt();
            let root = if self.flaw == Some(Flaw::Scale) { 2.0 * root } else { root };
            let root = self.graph.number(root);
            self.graph.node("Div", &[&scores, &root], &[])
        } else {
            let scale = self.graph.number((width as f32).sqrt().sqrt().recip());
            q = self.graph.node("Mul", &[&q, &scale], &[]);
            let k = self.graph.transpose(&k, &[0, 2, 1, 3]);
            let k = self.graph.transpose(&k, &[0, 1, 3, 2]);
            let k = self.graph.node("Mul", &[&k, &scale], &[]);
            self.graph.node("MatMul", &[&q, &k], &[])
        };
        let scores = self.graph.node("Add", &[&scores, mask], &[]);
        let weights = self.graph.node("Softmax", &[&scores], &[]);
        let mixed = self.graph.node("MatMul", &[&weights, &v], &[]);
        let mixed = self.graph.transpose(&mixed, &[0, 2, 1, 3]);
        let join = self.graph.integers(&[0, 0, WIDTH as i64]);
        self.graph.node("Reshape", &[&mixed, &join], &[])
    }

    fn embedding(&mut self, tensors: &Tensors) -> String {
        let places: Vec<i64> = (0..PLACES as i64).collect();
        let (places, zeros) = (self.graph.integers(&places), self.graph.integers(&[0; PLACES]));
        let indexes = [("word", "input_ids"), ("token_type", &zeros), ("position", &places)];
        let rows = indexes.map(|(part, index)| {
            let name = format!("embeddings.{part}_embeddings.weight");
            let (shape, data) = &tensors[&name];
            let table = self.graph.constant(&name, shape, data);
            self.graph.node("Gather", &[&table, index], &[])
        });
        let sum = self.graph.node("Add", &[&rows[0], &rows[1]], &[]);
        let sum = self.graph.node("Add", &[&sum, &rows[2]], &[]);
        self.norm(tensors, "embeddings.LayerNorm", &sum)
    }
}

/// What is done to a graph before it is a file.
type Twist<'a> = &'a dyn Fn(&mut Writer);

fn onnx(tensors: &Tensors, style: Style, twist: Twist<'_>) -> Vec<u8> {
    flawed(tensors, style, None, twist)
}

fn flawed(tensors: &Tensors, style: Style, flaw: Option<Flaw>, twist: Twist<'_>) -> Vec<u8> {
    let mut writer = Writer::new(style, flaw);
    let (one, lowest) = (writer.graph.number(1.0), writer.graph.number(f32::MIN));
    let mask = writer.graph.node("Sub", &[&one, "attention_mask"], &[]);
    let mut mask = writer.graph.node("Mul", &[&mask, &lowest], &[]);
    if flaw == Some(Flaw::Causal) {
        let (column, next) = (writer.graph.integers(&[-1, 1]), writer.graph.whole(&[], &[1]));
        let column = writer.graph.node("Reshape", &["attention_mask", &column], &[]);
        let square = writer.graph.node("Mul", &[&column, "attention_mask"], &[]);
        let square = writer.graph.node("Mul", &[&square, &lowest], &[]);
        mask = writer.graph.node("Trilu", &[&square, &next], &[]);
    }
    if flaw == Some(Flaw::Wide) {
        for sum in 0..300 {
            let names: Vec<String> = (0..1000).map(|at| format!("{sum}_{at}")).collect();
            let mut inputs: Vec<&str> = names.iter().map(String::as_str).collect();
            inputs.push(&mask);
            mask = writer.graph.node("Add", &inputs, &[]);
        }
    }
    let mut x = writer.embedding(tensors);
    for block in 0..2 {
        let name = |part: &str| format!("encoder.layer.{block}.{part}");
        let mixed = writer.attention(tensors, &name("attention"), &x, &mask);
        let mixed = writer.linear(tensors, &name("attention.output.dense"), &mixed);
        let sum = writer.graph.node("Add", &[&mixed, &x], &[]);
        let middle = writer.norm(tensors, &name("attention.output.LayerNorm"), &sum);
        let hidden = writer.linear(tensors, &name("intermediate.dense"), &middle);
        let hidden = writer.gelu(&hidden);
        let down = writer.linear(tensors, &name("output.dense"), &hidden);
        let sum = writer.graph.node("Add", &[&down, &middle], &[]);
        x = writer.norm(tensors, &name("output.LayerNorm"), &sum);
    }
    twist(&mut writer);
    writer.graph.finish(&["input_ids", "attention_mask"], &[&x])
}

fn reason(file: &[u8]) -> String {
    Source::read(file).unwrap_err().to_string()
}

#[test]
fn whatever_the_exporter_the_model_is_that_of_the_checkpoint() {
    let plain = safetensors(&tensors());
    let expected = import(&plain, Some(b"{}"), &recipe(), &mut |_, _| {}).unwrap().id();
    for style in [Style::Fused, Style::Spread, Style::Whole] {
        let file = onnx(&tensors(), style, &|_| {});
        let found = import(&file, Some(b"{}"), &recipe(), &mut |_, _| {}).unwrap().id();
        assert_eq!(found, expected);
    }
}

#[test]
fn an_attention_that_is_not_the_encoders_is_refused() {
    let refused = |flaw| {
        let file = flawed(&tensors(), Style::Fused, Some(flaw), &|_| {});
        import(&file, Some(b"{}"), &recipe(), &mut |_, _| {}).unwrap_err().to_string()
    };
    let causal = refused(Flaw::Causal);
    assert!(causal.contains("a position sees all that are there"), "{causal}");
    let wide = refused(Flaw::Wide);
    assert!(wide.contains("attentions that take fewer steps"), "{wide}");
    let scale = refused(Flaw::Scale);
    assert!(scale.contains("root of a head's width"), "{scale}");
}

#[test]
fn a_recipe_for_another_graph_is_refused() {
    let file = onnx(&tensors(), Style::Fused, &|_| {});
    let mut other = recipe();
    other.heads *= 2;
    let error = import(&file, Some(b"{}"), &other, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, ImportError::Differs { .. }), "{error}");
}

#[test]
fn the_first_op_that_no_pattern_covers_is_named() {
    // The last norm is the graph's output: hide it behind an op.
    let mut writer = Writer::new(Style::Fused, None);
    let x = writer.embedding(&tensors());
    let x = writer.graph.node("Tanh", &[&x], &[]);
    let error = reason(&writer.graph.finish(&[], &[&x]));
    assert!(error.starts_with("Tanh (node_Tanh_"), "{error}");
}

#[test]
fn data_in_other_files_is_never_looked_for() {
    let outside = |writer: &mut Writer| {
        let mut tensor = Graph::tensor("outside", &[1], 1, &[]);
        let mut entry = Vec::new();
        bytes(&mut entry, 1, b"location");
        bytes(&mut entry, 2, b"../../../etc/passwd");
        bytes(&mut tensor, 13, &entry);
        integer(&mut tensor, 14, 1);
        bytes(&mut writer.graph.bytes, 5, &tensor);
    };
    let file = onnx(&tensors(), Style::Fused, &outside);
    assert!(matches!(Source::read(&file), Err(ImportError::ExternalData { .. })));
}

#[test]
fn bombs_and_cycles_are_refused() {
    let mut graph = Vec::new();
    (0..1_000_000).for_each(|_| bytes(&mut graph, 1, &[]));
    assert!(reason(&model(&graph, 17)).contains("more than 65536 nodes"));
    let error = reason(&model(&[], 30));
    assert!(error.contains("opset 30; 13 to 21 are read"), "{error}");
    // A norm's sum that reads itself.
    for op in ["Add", "Identity", "Mul"] {
        let mut graph = Vec::new();
        let mut node = Vec::new();
        bytes(&mut node, 1, b"x");
        bytes(&mut node, 1, b"x");
        bytes(&mut node, 2, b"x");
        bytes(&mut node, 4, op.as_bytes());
        bytes(&mut graph, 1, &node);
        let mut output = Vec::new();
        bytes(&mut output, 1, b"x");
        bytes(&mut graph, 12, &output);
        assert!(matches!(Source::read(&model(&graph, 17)), Err(ImportError::Op { .. })), "{op}");
    }
    let huge = |writer: &mut Writer| {
        let tensor = Graph::tensor("huge", &[1 << 31, 1 << 31, 1 << 31], 1, &[0; 4]);
        bytes(&mut writer.graph.bytes, 5, &tensor);
    };
    let file = onnx(&tensors(), Style::Fused, &huge);
    assert!(Source::read(&file).is_ok(), "nothing reads it");
}

#[test]
fn an_onnx_file_without_its_tokenizer_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, onnx(&tensors(), Style::Spread, &|_| {})).unwrap();
    let wishes = Wishes { licence: Some("MIT"), ..Wishes::default() };
    let error = import_path(&path, &wishes, &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, ImportError::NoTokenizer), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_onnx_file_never_panics(at: prop::sample::Index, byte: u8, cut: bool) {
        let mut file = onnx(&tensors(), Style::Spread, &|_| {});
        let at = at.index(file.len());
        file[at] = byte;
        if cut {
            file.truncate(at);
        }
        let _model = import(&file, Some(b"{}"), &recipe(), &mut |_, _| {});
    }

    #[test]
    fn any_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Source::read(&bytes).is_err());
        bytes.insert(0, 8);
        prop_assert!(Source::read(&bytes).is_err());
    }
}
