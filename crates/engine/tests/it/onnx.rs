//! Imports of the small encoder from ONNX graphs, written here as exporters write them.

use engine::import::calibrate::{Wishes, import_path};
use engine::import::{ImportError, Source, import};
use proptest::prelude::*;

use crate::import::{HEADS, PLACES, WIDTH, recipe, tensors};
use crate::write::{Tensors, safetensors};

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn integer(out: &mut Vec<u8>, field: u64, value: i64) {
    varint(out, field << 3);
    varint(out, value.cast_unsigned());
}

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
}

/// A graph under way.
struct Writer {
    graph: Vec<u8>,
    made: usize,
    style: Style,
    flaw: Option<Flaw>,
}

impl Writer {
    fn tensor(name: &str, shape: &[usize], kind: i64, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        shape.iter().for_each(|size| integer(&mut out, 1, *size as i64));
        integer(&mut out, 2, kind);
        bytes(&mut out, 8, name.as_bytes());
        bytes(&mut out, 9, data);
        out
    }

    fn constant(&mut self, name: &str, shape: &[usize], data: &[f32]) -> String {
        let data: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes(&mut self.graph, 5, &Self::tensor(name, shape, 1, &data));
        name.to_owned()
    }

    fn number(&mut self, value: f32) -> String {
        self.made += 1;
        self.constant(&format!("number_{}", self.made), &[], &[value])
    }

    fn integers(&mut self, values: &[i64]) -> String {
        self.made += 1;
        let name = format!("integers_{}", self.made);
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes(&mut self.graph, 5, &Self::tensor(&name, &[values.len()], 7, &data));
        name
    }

    fn node(&mut self, op: &str, inputs: &[&str], attributes: &[Vec<u8>]) -> String {
        self.made += 1;
        let output = format!("{op}_{}", self.made);
        let mut node = Vec::new();
        inputs.iter().for_each(|input| bytes(&mut node, 1, input.as_bytes()));
        bytes(&mut node, 2, output.as_bytes());
        bytes(&mut node, 3, format!("node_{output}").as_bytes());
        bytes(&mut node, 4, op.as_bytes());
        attributes.iter().for_each(|attribute| bytes(&mut node, 5, attribute));
        bytes(&mut self.graph, 1, &node);
        output
    }

    fn transpose(&mut self, input: &str, perm: &[i64]) -> String {
        let mut attribute = Vec::new();
        bytes(&mut attribute, 1, b"perm");
        perm.iter().for_each(|axis| integer(&mut attribute, 8, *axis));
        self.node("Transpose", &[input], &[attribute])
    }

    fn norm(&mut self, tensors: &Tensors, name: &str, input: &str) -> String {
        let [gamma, beta] = ["weight", "bias"].map(|part| {
            let name = format!("{name}.{part}");
            let (shape, data) = &tensors[&name];
            self.constant(&name, shape, data)
        });
        if self.style != Style::Spread {
            let mut epsilon = Vec::new();
            bytes(&mut epsilon, 1, b"epsilon");
            varint(&mut epsilon, 2 << 3 | 5);
            epsilon.extend(1e-12_f32.to_le_bytes());
            return self.node("LayerNormalization", &[input, &gamma, &beta], &[epsilon]);
        }
        let (axes, two, epsilon) = (self.integers(&[-1]), self.number(2.0), self.number(1e-12));
        let mean = self.node("ReduceMean", &[input, &axes], &[]);
        let distance = self.node("Sub", &[input, &mean], &[]);
        let square = self.node("Pow", &[&distance, &two], &[]);
        let variance = self.node("ReduceMean", &[&square, &axes], &[]);
        let variance = self.node("Add", &[&variance, &epsilon], &[]);
        let root = self.node("Sqrt", &[&variance], &[]);
        let quotient = self.node("Div", &[&distance, &root], &[]);
        let scaled = self.node("Mul", &[&quotient, &gamma], &[]);
        self.node("Add", &[&scaled, &beta], &[])
    }

    fn linear(&mut self, tensors: &Tensors, name: &str, input: &str) -> String {
        let (shape, data) = &tensors[&format!("{name}.weight")];
        let (rows, columns) = (shape[0], shape[1]);
        if self.style == Style::Whole {
            let weight = self.constant(&format!("{name}.weight"), shape, data);
            let (shape, data) = &tensors[&format!("{name}.bias")];
            let bias = self.constant(&format!("{name}.bias"), shape, data);
            let mut by_rows = Vec::new();
            bytes(&mut by_rows, 1, b"transB");
            integer(&mut by_rows, 3, 1);
            return self.node("Gemm", &[input, &weight, &bias], &[by_rows]);
        }
        let weight = if self.style == Style::Fused {
            let turned: Vec<f32> =
                (0..data.len()).map(|at| data[at % rows * columns + at / rows]).collect();
            self.constant(&format!("onnx::MatMul_{}", self.made), &[columns, rows], &turned)
        } else {
            let plain = self.constant(&format!("{name}.weight"), shape, data);
            self.transpose(&plain, &[1, 0])
        };
        let (shape, data) = &tensors[&format!("{name}.bias")];
        let bias = self.constant(&format!("{name}.bias"), shape, data);
        let product = self.node("MatMul", &[input, &weight], &[]);
        self.node("Add", &[&bias, &product], &[])
    }

    fn gelu(&mut self, x: &str) -> String {
        let (one, half) = (self.number(1.0), self.number(0.5));
        if self.style != Style::Spread {
            let root = self.number(std::f32::consts::SQRT_2);
            let inner = self.node("Div", &[x, &root], &[]);
            let erf = self.node("Erf", &[&inner], &[]);
            let sum = self.node("Add", &[&erf, &one], &[]);
            let product = self.node("Mul", &[x, &sum], &[]);
            return self.node("Mul", &[&product, &half], &[]);
        }
        let factor = self.number(std::f32::consts::FRAC_1_SQRT_2);
        let inner = self.node("Mul", &[&factor, x], &[]);
        let erf = self.node("Erf", &[&inner], &[]);
        let sum = self.node("Add", &[&one, &erf], &[]);
        let halved = self.node("Mul", &[&half, x], &[]);
        self.node("Mul", &[&halved, &sum], &[])
    }

    fn attention(&mut self, tensors: &Tensors, name: &str, x: &str, mask: &str) -> String {
        let width = WIDTH / HEADS;
        let split = self.integers(&[0, 0, HEADS as i64, width as i64]);
        let part = |writer: &mut Self, part: &str| {
            let rows = writer.linear(tensors, &format!("{name}.self.{part}"), x);
            writer.node("Reshape", &[&rows, &split], &[])
        };
        let (q, k, v) = (part(self, "query"), part(self, "key"), part(self, "value"));
        let (mut q, v) = (self.transpose(&q, &[0, 2, 1, 3]), self.transpose(&v, &[0, 2, 1, 3]));
        let scores = if self.style != Style::Spread {
            let k = self.transpose(&k, &[0, 2, 3, 1]);
            let scores = self.node("MatMul", &[&q, &k], &[]);
            let root = (width as f32).sqrt();
            let root = if self.flaw == Some(Flaw::Scale) { 2.0 * root } else { root };
            let root = self.number(root);
            self.node("Div", &[&scores, &root], &[])
        } else {
            let scale = self.number((width as f32).sqrt().sqrt().recip());
            q = self.node("Mul", &[&q, &scale], &[]);
            let k = self.transpose(&k, &[0, 2, 1, 3]);
            let k = self.transpose(&k, &[0, 1, 3, 2]);
            let k = self.node("Mul", &[&k, &scale], &[]);
            self.node("MatMul", &[&q, &k], &[])
        };
        let scores = self.node("Add", &[&scores, mask], &[]);
        let weights = self.node("Softmax", &[&scores], &[]);
        let mixed = self.node("MatMul", &[&weights, &v], &[]);
        let mixed = self.transpose(&mixed, &[0, 2, 1, 3]);
        let join = self.integers(&[0, 0, WIDTH as i64]);
        self.node("Reshape", &[&mixed, &join], &[])
    }

    fn embedding(&mut self, tensors: &Tensors) -> String {
        let places: Vec<i64> = (0..PLACES as i64).collect();
        let (places, zeros) = (self.integers(&places), self.integers(&[0; PLACES]));
        let indexes = [("word", "input_ids"), ("token_type", &zeros), ("position", &places)];
        let rows = indexes.map(|(part, index)| {
            let name = format!("embeddings.{part}_embeddings.weight");
            let (shape, data) = &tensors[&name];
            let table = self.constant(&name, shape, data);
            self.node("Gather", &[&table, index], &[])
        });
        let sum = self.node("Add", &[&rows[0], &rows[1]], &[]);
        let sum = self.node("Add", &[&sum, &rows[2]], &[]);
        self.norm(tensors, "embeddings.LayerNorm", &sum)
    }
}

/// What is done to a graph before it is a file.
type Twist<'a> = &'a dyn Fn(&mut Writer);

fn onnx(tensors: &Tensors, style: Style, twist: Twist<'_>) -> Vec<u8> {
    flawed(tensors, style, None, twist)
}

fn flawed(tensors: &Tensors, style: Style, flaw: Option<Flaw>, twist: Twist<'_>) -> Vec<u8> {
    let mut writer = Writer { graph: Vec::new(), made: 0, style, flaw };
    let (one, lowest) = (writer.number(1.0), writer.number(f32::MIN));
    let mask = writer.node("Sub", &[&one, "attention_mask"], &[]);
    let mut mask = writer.node("Mul", &[&mask, &lowest], &[]);
    if flaw == Some(Flaw::Causal) {
        mask = writer.node("Trilu", &[&mask], &[]);
    }
    let mut x = writer.embedding(tensors);
    for block in 0..2 {
        let name = |part: &str| format!("encoder.layer.{block}.{part}");
        let mixed = writer.attention(tensors, &name("attention"), &x, &mask);
        let mixed = writer.linear(tensors, &name("attention.output.dense"), &mixed);
        let sum = writer.node("Add", &[&mixed, &x], &[]);
        let middle = writer.norm(tensors, &name("attention.output.LayerNorm"), &sum);
        let hidden = writer.linear(tensors, &name("intermediate.dense"), &middle);
        let hidden = writer.gelu(&hidden);
        let down = writer.linear(tensors, &name("output.dense"), &hidden);
        let sum = writer.node("Add", &[&down, &middle], &[]);
        x = writer.norm(tensors, &name("output.LayerNorm"), &sum);
    }
    twist(&mut writer);
    let mut graph = writer.graph;
    let named = |name: &str| {
        let mut out = Vec::new();
        bytes(&mut out, 1, name.as_bytes());
        out
    };
    ["input_ids", "attention_mask"].iter().for_each(|name| bytes(&mut graph, 11, &named(name)));
    bytes(&mut graph, 12, &named(&x));
    model(&graph, 17)
}

fn model(graph: &[u8], opset: i64) -> Vec<u8> {
    let mut out = Vec::new();
    integer(&mut out, 1, 8);
    bytes(&mut out, 7, graph);
    let mut version = Vec::new();
    integer(&mut version, 2, opset);
    bytes(&mut out, 8, &version);
    out
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
    assert!(causal.contains("mask") && causal.contains("Trilu"), "{causal}");
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
    let mut writer = Writer { graph: Vec::new(), made: 0, style: Style::Fused, flaw: None };
    let x = writer.embedding(&tensors());
    let x = writer.node("Tanh", &[&x], &[]);
    let mut output = Vec::new();
    bytes(&mut output, 1, x.as_bytes());
    bytes(&mut writer.graph, 12, &output);
    let error = reason(&model(&writer.graph, 17));
    assert!(error.starts_with("Tanh (node_Tanh_"), "{error}");
}

#[test]
fn data_in_other_files_is_never_looked_for() {
    let outside = |writer: &mut Writer| {
        let mut tensor = Writer::tensor("outside", &[1], 1, &[]);
        let mut entry = Vec::new();
        bytes(&mut entry, 1, b"location");
        bytes(&mut entry, 2, b"../../../etc/passwd");
        bytes(&mut tensor, 13, &entry);
        integer(&mut tensor, 14, 1);
        bytes(&mut writer.graph, 5, &tensor);
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
        let tensor = Writer::tensor("huge", &[1 << 31, 1 << 31, 1 << 31], 1, &[0; 4]);
        bytes(&mut writer.graph, 5, &tensor);
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
