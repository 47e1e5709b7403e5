//! Imports of the small decoder from ONNX graphs, written here as exporters write them.

use engine::import::calibrate::{Wishes, import_path};
use engine::import::{ImportError, Source, import};
use proptest::prelude::*;

use crate::graph::{Graph, float, whole};
use crate::llama::{BLOCKS, HEADS, HIDDEN, KEY_HEADS, TEMPLATE, WIDTH, gguf, recipe, tensors};
use crate::write::{Numbers, Tensors, safetensors};

const HEAD: usize = WIDTH / HEADS;
const GROUP: i64 = (HEADS / KEY_HEADS) as i64;
const RUNTIME: &str = "com.microsoft";
const EXPORTERS: [Exporter; 5] = [
    Exporter::Script,
    Exporter::Dynamo,
    Exporter::Optimizer,
    Exporter::Builder,
    Exporter::BuilderApart,
];

/// Who writes the graph.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Exporter {
    /// `TorchScript`: quotients by roots, weights as columns, scores scaled, masks by comparison.
    Script,
    /// `torch.export`: reciprocals, weights behind transpositions, operands of scores scaled, masks
    /// by triangles, rows without numbers put right.
    Dynamo,
    /// ONNX Runtime's optimizer: fused norms and rotations over single ops.
    Optimizer,
    /// ONNX Runtime's model builder: one fused attention over packed rows.
    Builder,
    /// As `Builder`, rotations before the attention and rows apart.
    BuilderApart,
}

/// What makes a graph another than the decoder's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    /// The first half of a head is turned the other way.
    Halves,
    /// Neighbouring elements are turned against each other.
    Neighbours,
    /// Scores are scaled by another number.
    Scale,
    /// Key heads alternate.
    Groups,
    /// Every position sees all.
    Open,
    /// A position sees so many before it.
    Window,
    /// Frequencies of a longer context.
    Frequencies,
    /// Another activation.
    Gelu,
    /// The last norm has another epsilon.
    Epsilon,
    /// Keys are not turned.
    Unturned,
}

/// A decoder under way.
struct Writer {
    graph: Graph,
    exporter: Exporter,
    flaw: Option<Flaw>,
    tensors: Tensors,
    made: usize,
}

impl Writer {
    fn fused(&self) -> bool {
        !matches!(self.exporter, Exporter::Script | Exporter::Dynamo)
    }

    fn weight(&mut self, name: &str) -> String {
        let (shape, data) = &self.tensors[name];
        self.graph.constant(name, shape, data)
    }

    /// A fused op; the sum of a norm is its fourth output.
    fn runtime(&mut self, op: &str, inputs: &[&str], attributes: &[Vec<u8>]) -> [String; 2] {
        self.made += 1;
        let names = [format!("{op}_{}_out", self.made), format!("{op}_{}_sum", self.made)];
        let outputs = [names[0].as_str(), "", "", names[1].as_str()];
        let count = if op.starts_with("Skip") { 4 } else { 1 };
        let domain = if op == "SimplifiedLayerNormalization" { "" } else { RUNTIME };
        self.graph.write(domain, op, inputs, &outputs[..count], attributes);
        names
    }

    /// The norm of a stream, and the stream itself; `added` is what the stream gets first.
    fn norm(&mut self, name: &str, stream: &str, added: Option<&str>) -> [String; 2] {
        let last = name == "model.norm" && self.flaw == Some(Flaw::Epsilon);
        let value = if last { 1e-6 } else { 1e-5 };
        let gamma = self.weight(&format!("{name}.weight"));
        if self.fused() {
            let epsilon = [float("epsilon", value)];
            let Some(added) = added else {
                let inputs = [stream, gamma.as_str()];
                let [normed, _] = self.runtime("SimplifiedLayerNormalization", &inputs, &epsilon);
                return [normed, stream.to_owned()];
            };
            let inputs = [stream, added, gamma.as_str()];
            return self.runtime("SkipSimplifiedLayerNormalization", &inputs, &epsilon);
        }
        let graph = &mut self.graph;
        let stream = match added {
            Some(added) => graph.node("Add", &[stream, added], &[]),
            None => stream.to_owned(),
        };
        let (axes, two, epsilon) = (graph.integers(&[-1]), graph.number(2.0), graph.number(value));
        let x = graph.node("Cast", &[&stream], &[whole("to", 1)]);
        let square = graph.node("Pow", &[&x, &two], &[]);
        let mean = graph.node("ReduceMean", &[&square, &axes], &[]);
        let mean = graph.node("Add", &[&mean, &epsilon], &[]);
        let root = graph.node("Sqrt", &[&mean], &[]);
        let inverse = if self.exporter == Exporter::Script {
            let one = graph.number(1.0);
            graph.node("Div", &[&one, &root], &[])
        } else {
            graph.node("Reciprocal", &[&root], &[])
        };
        let x = graph.node("Mul", &[&x, &inverse], &[]);
        let x = graph.node("Cast", &[&x], &[whole("to", 1)]);
        [graph.node("Mul", &[&gamma, &x], &[]), stream]
    }

    /// A product with the rows of these weights, put below each other.
    fn linear(&mut self, names: &[String], x: &str) -> String {
        let mut rows = Vec::new();
        names.iter().for_each(|name| rows.extend(&self.tensors[&format!("{name}.weight")].1));
        let columns = self.tensors[&format!("{}.weight", names[0])].0[1];
        let count = rows.len() / columns;
        let name = format!("{}.weight", names.join("+"));
        let weight = if self.exporter == Exporter::Dynamo {
            let plain = self.graph.constant(&name, &[count, columns], &rows);
            self.graph.transpose(&plain, &[1, 0])
        } else {
            let turned: Vec<f32> =
                (0..rows.len()).map(|at| rows[at % count * columns + at / count]).collect();
            self.graph.constant(&name, &[columns, count], &turned)
        };
        let product = self.graph.node("MatMul", &[x, &weight], &[]);
        let biases = names.iter().filter_map(|name| self.tensors.get(&format!("{name}.bias")));
        let bias: Vec<f32> = biases.flat_map(|(_, data)| data.clone()).collect();
        if bias.is_empty() {
            return product;
        }
        let bias = self.graph.constant(&format!("{name}.bias"), &[bias.len()], &bias);
        self.graph.node("Add", &[&bias, &product], &[])
    }

    fn frequency(&self, pair: usize) -> f32 {
        let frequency = 10_000_f32.powf(-(pair as f32) / (HEAD / 2) as f32);
        if self.flaw == Some(Flaw::Frequencies) && pair > 3 { frequency / 8.0 } else { frequency }
    }

    /// Cosines and sines of each position, one row of a head wide; or tables of them.
    fn rotation(&mut self) -> [String; 2] {
        let frequencies: Vec<f32> = (0..HEAD / 2).map(|pair| self.frequency(pair)).collect();
        if self.fused() {
            let table = |turn: fn(f32) -> f32| -> Vec<f32> {
                let places = (0..128).flat_map(|at| frequencies.iter().map(move |f| at as f32 * f));
                places.map(turn).collect()
            };
            let (cos, sin) = (table(f32::cos), table(f32::sin));
            let shape = [128, HEAD / 2];
            return [("cos_cache", cos), ("sin_cache", sin)]
                .map(|(name, data)| self.graph.constant(name, &shape, &data));
        }
        let graph = &mut self.graph;
        let table = graph.constant("inv_freq", &[1, HEAD / 2, 1], &frequencies);
        let axis = graph.integers(&[1]);
        let places = graph.node("Unsqueeze", &["position_ids", &axis], &[]);
        let places = graph.node("Cast", &[&places], &[whole("to", 1)]);
        let angles = graph.node("MatMul", &[&table, &places], &[]);
        let angles = graph.transpose(&angles, &[0, 2, 1]);
        let angles = graph.node("Concat", &[&angles, &angles], &[whole("axis", -1)]);
        ["Cos", "Sin"].map(|op| {
            let turned = graph.node(op, &[&angles], &[]);
            graph.node("Unsqueeze", &[&turned, &axis], &[])
        })
    }

    /// What is added to scores: nothing, or the lowest number.
    fn mask(&mut self) -> String {
        let flaw = self.flaw;
        let graph = &mut self.graph;
        let shape = graph.node("Shape", &["input_ids"], &[]);
        let (index, zero, one) =
            (graph.whole(&[], &[1]), graph.whole(&[], &[0]), graph.whole(&[], &[1]));
        let count = graph.node("Gather", &[&shape, &index], &[]);
        let lowest = graph.number(f32::MIN);
        if self.exporter == Exporter::Dynamo {
            let axis = graph.integers(&[0]);
            let count = graph.node("Unsqueeze", &[&count, &axis], &[]);
            let sizes = graph.node("Concat", &[&count, &count], &[whole("axis", 0)]);
            let all = graph.node("Expand", &[&lowest, &sizes], &[]);
            let shift = graph.whole(&[], &[if flaw == Some(Flaw::Open) { 4000 } else { 1 }]);
            return graph.node("Trilu", &[&all, &shift], &[whole("upper", 1)]);
        }
        let range = graph.node("Range", &[&zero, &count, &one], &[]);
        let (rows, columns) = (graph.integers(&[1]), graph.integers(&[0]));
        let rows = graph.node("Unsqueeze", &[&range, &rows], &[]);
        let columns = graph.node("Unsqueeze", &[&range, &columns], &[]);
        let mut seen = match flaw {
            Some(Flaw::Open) => graph.node("LessOrEqual", &[&zero, &columns], &[]),
            _ => graph.node("LessOrEqual", &[&columns, &rows], &[]),
        };
        if flaw == Some(Flaw::Window) {
            let window = graph.whole(&[], &[64]);
            let first = graph.node("Sub", &[&rows, &window], &[]);
            let near = graph.node("Greater", &[&columns, &first], &[]);
            seen = graph.node("And", &[&seen, &near], &[]);
        }
        let none = graph.number(0.0);
        graph.node("Where", &[&seen, &none, &lowest], &[])
    }

    fn turned(&mut self, x: &str, [cos, sin]: &[String; 2]) -> String {
        if self.fused() {
            let inputs = [x, "position_ids", cos, sin];
            let attributes = [whole("interleaved", 0), whole("num_heads", 0)];
            return self.runtime("RotaryEmbedding", &inputs, &attributes)[0].clone();
        }
        let (flaw, graph) = (self.flaw, &mut self.graph);
        let half = HEAD as i64 / 2;
        let axis = graph.integers(&[3]);
        let mut part = |start: i64, end: i64| {
            let (start, end) = (graph.integers(&[start]), graph.integers(&[end]));
            graph.node("Slice", &[x, &start, &end, &axis], &[])
        };
        let (first, second) = (part(0, half), part(half, i64::MAX));
        let halves = if flaw == Some(Flaw::Halves) {
            [second, graph.node("Neg", &[&first], &[])]
        } else {
            [graph.node("Neg", &[&second], &[]), first]
        };
        let other = graph.node("Concat", &[&halves[0], &halves[1]], &[whole("axis", -1)]);
        let plain = graph.node("Mul", &[x, cos], &[]);
        let other = graph.node("Mul", &[&other, sin], &[]);
        graph.node("Add", &[&plain, &other], &[])
    }

    /// Rows cut into heads, `[1, heads, positions, width]`.
    fn heads(&mut self, rows: &str, count: usize) -> String {
        let cut = self.graph.integers(&[1, -1, count as i64, HEAD as i64]);
        let heads = self.graph.node("Reshape", &[rows, &cut], &[]);
        self.graph.transpose(&heads, &[0, 2, 1, 3])
    }

    /// Each key head as many times as query heads share it.
    fn repeated(&mut self, heads: &str) -> String {
        let tiled = self.flaw == Some(Flaw::Groups);
        let graph = &mut self.graph;
        let axis = graph.integers(&[if tiled { 1 } else { 2 }]);
        let sizes = if tiled { [1, GROUP, 1, 1, 1] } else { [1, 1, GROUP, 1, 1] };
        let sizes = graph.integers(&sizes);
        let apart = graph.node("Unsqueeze", &[heads, &axis], &[]);
        let many = graph.node("Expand", &[&apart, &sizes], &[]);
        let join = graph.integers(&[1, HEADS as i64, -1, HEAD as i64]);
        graph.node("Reshape", &[&many, &join], &[])
    }

    fn attention(&mut self, block: usize, x: &str, rotation: &[String; 2], mask: &str) -> String {
        let name = |part: &str| format!("model.layers.{block}.self_attn.{part}_proj");
        let names = [name("q"), name("k"), name("v")];
        let apart = self.exporter == Exporter::BuilderApart;
        if apart || self.exporter == Exporter::Builder {
            return self.fused_attention(&names, x, rotation);
        }
        let [q, k, v] = names.map(|name| self.linear(&[name], x));
        let (q, k, v) =
            (self.heads(&q, HEADS), self.heads(&k, KEY_HEADS), self.heads(&v, KEY_HEADS));
        let unturned = self.flaw == Some(Flaw::Unturned);
        let q = self.turned(&q, rotation);
        let k = if unturned { k } else { self.turned(&k, rotation) };
        let (k, v) = (self.repeated(&k), self.repeated(&v));
        let wrong = if self.flaw == Some(Flaw::Scale) { 1.1 } else { 1.0 };
        let scale = wrong / (HEAD as f32).sqrt();
        let graph = &mut self.graph;
        let k = graph.transpose(&k, &[0, 1, 3, 2]);
        let scores = if self.exporter == Exporter::Dynamo {
            let root = graph.number(scale.sqrt());
            let (q, k) =
                (graph.node("Mul", &[&q, &root], &[]), graph.node("Mul", &[&k, &root], &[]));
            graph.node("MatMul", &[&q, &k], &[])
        } else {
            let scale = graph.number(scale);
            let scores = graph.node("MatMul", &[&q, &k], &[]);
            graph.node("Mul", &[&scores, &scale], &[])
        };
        let scores = graph.node("Add", &[&scores, mask], &[]);
        let mut shares = graph.node("Softmax", &[&scores], &[whole("axis", -1)]);
        if self.exporter == Exporter::Dynamo {
            let none = graph.node("IsNaN", &[&shares], &[]);
            let zero = graph.number(0.0);
            shares = graph.node("Where", &[&none, &zero, &shares], &[]);
        }
        let mixed = graph.node("MatMul", &[&shares, &v], &[]);
        let mixed = graph.transpose(&mixed, &[0, 2, 1, 3]);
        let join = graph.integers(&[1, -1, WIDTH as i64]);
        graph.node("Reshape", &[&mixed, &join], &[])
    }

    fn fused_attention(&mut self, names: &[String; 3], x: &str, rotation: &[String; 2]) -> String {
        let packed = self.exporter == Exporter::Builder;
        let rows = if packed {
            [self.linear(names, x), String::new(), String::new()]
        } else {
            let [q, k, v] = names.each_ref().map(|name| self.linear(std::slice::from_ref(name), x));
            [self.turned(&q, rotation), self.turned(&k, rotation), v]
        };
        let scale = if self.flaw == Some(Flaw::Scale) { 0.3 } else { (HEAD as f32).sqrt().recip() };
        let window = if self.flaw == Some(Flaw::Window) { 64 } else { -1 };
        let attributes = [
            whole("num_heads", HEADS as i64),
            whole("kv_num_heads", KEY_HEADS as i64),
            float("scale", scale),
            whole("local_window_size", window),
            whole("do_rotary", i64::from(packed)),
            whole("rotary_interleaved", i64::from(self.flaw == Some(Flaw::Neighbours))),
        ];
        let tables = if packed { rotation.each_ref().map(String::as_str) } else { ["", ""] };
        let [q, k, v] = rows.each_ref().map(String::as_str);
        let inputs = [q, k, v, "", "", "seqlens_k", "total_sequence_length", tables[0], tables[1]];
        self.runtime("GroupQueryAttention", &inputs, &attributes)[0].clone()
    }

    fn feed_forward(&mut self, block: usize, x: &str) -> String {
        let name = |part: &str| [format!("model.layers.{block}.mlp.{part}_proj")];
        let (gate, up) = (self.linear(&name("gate"), x), self.linear(&name("up"), x));
        let active = if self.flaw == Some(Flaw::Gelu) {
            self.graph.node("Gelu", &[&gate], &[])
        } else {
            let sigmoid = self.graph.node("Sigmoid", &[&gate], &[]);
            self.graph.node("Mul", &[&gate, &sigmoid], &[])
        };
        let hidden = self.graph.node("Mul", &[&active, &up], &[]);
        self.linear(&name("down"), &hidden)
    }

    fn decoder(&mut self) -> String {
        let table = self.weight("model.embed_tokens.weight");
        let mut stream = self.graph.node("Gather", &[&table, "input_ids"], &[]);
        let (rotation, mask) = (self.rotation(), self.mask());
        let mut added: Option<String> = None;
        for block in 0..BLOCKS {
            let name = |part: &str| format!("model.layers.{block}.{part}");
            let [x, sum] = self.norm(&name("input_layernorm"), &stream, added.as_deref());
            let mixed = self.attention(block, &x, &rotation, &mask);
            let mixed = self.linear(&[name("self_attn.o_proj")], &mixed);
            let [x, sum] = self.norm(&name("post_attention_layernorm"), &sum, Some(&mixed));
            added = Some(self.feed_forward(block, &x));
            stream = sum;
        }
        let [x, _] = self.norm("model.norm", &stream, added.as_deref());
        // A tied head is the table's copy, or the table itself.
        if self.tensors.contains_key("lm_head.weight") {
            return self.linear(&["lm_head".to_owned()], &x);
        }
        if self.exporter == Exporter::Dynamo {
            let turned = self.graph.node("Transpose", &[&table], &[]);
            return self.graph.node("MatMul", &[&x, &turned], &[]);
        }
        let words = self.tensors["model.embed_tokens.weight"].clone();
        self.tensors.insert("copy.weight".to_owned(), words);
        self.linear(&["copy".to_owned()], &x)
    }
}

/// What is done to a graph before it is a file.
type Twist<'a> = &'a dyn Fn(&mut Writer);

fn written(tensors: Tensors, exporter: Exporter, flaw: Option<Flaw>, twist: Twist<'_>) -> Vec<u8> {
    let mut writer = Writer { graph: Graph::new(), exporter, flaw, tensors, made: 0 };
    let logits = writer.decoder();
    twist(&mut writer);
    writer.graph.finish(&["input_ids", "attention_mask", "position_ids"], &[&logits])
}

fn onnx(tensors: Tensors, exporter: Exporter) -> Vec<u8> {
    written(tensors, exporter, None, &|_| {})
}

fn tokenizer() -> Vec<u8> {
    Source::read(&gguf(&tensors()).finish()).unwrap().tokenizer().unwrap()
}

fn id(file: &[u8]) -> String {
    import(file, Some(&tokenizer()), &recipe(), &mut |_, _| {}).unwrap().id().to_string()
}

/// The refusal of a decoder with this flaw.
fn refused(exporter: Exporter, flaw: Flaw) -> String {
    let file = written(tensors(), exporter, Some(flaw), &|_| {});
    let error = Source::read(&file).unwrap_err();
    assert!(matches!(error, ImportError::Op { .. }), "{exporter:?}, {flaw:?}: {error}");
    error.to_string()
}

#[test]
fn whatever_the_exporter_of_a_decoder_the_model_is_that_of_the_checkpoint() {
    let expected = id(&safetensors(&tensors()));
    for exporter in EXPORTERS {
        let file = onnx(tensors(), exporter);
        assert_eq!(id(&file), expected, "{exporter:?}");
        assert_eq!(Source::read(&file).unwrap().unused(), [] as [String; 0], "{exporter:?}");
    }
}

#[test]
fn logits_of_their_own_and_biases_are_found() {
    let mut tensors = tensors();
    let shape = tensors["model.embed_tokens.weight"].0.clone();
    Numbers(3).add(&mut tensors, "lm_head.weight", &shape, (0.4, 0.0));
    let key_width = HEAD * KEY_HEADS;
    for block in 0..BLOCKS {
        for (part, rows) in [
            ("self_attn.q_proj", WIDTH),
            ("self_attn.k_proj", key_width),
            ("self_attn.v_proj", key_width),
            ("self_attn.o_proj", WIDTH),
            ("mlp.gate_proj", HIDDEN),
            ("mlp.up_proj", HIDDEN),
            ("mlp.down_proj", WIDTH),
        ] {
            let name = format!("model.layers.{block}.{part}.bias");
            Numbers(rows as u32).add(&mut tensors, &name, &[rows], (0.1, 0.0));
        }
    }
    let expected = id(&safetensors(&tensors));
    for exporter in EXPORTERS {
        assert_eq!(id(&onnx(tensors.clone(), exporter)), expected, "{exporter:?}");
    }
}

#[test]
fn an_attention_that_is_not_the_decoders_is_refused_by_what_it_does() {
    for (flaw, expected) in [
        (Flaw::Halves, "a rotation of each head's first half against its second"),
        (Flaw::Scale, "scores over the root of a head's width"),
        (Flaw::Groups, "query heads that share key heads, neighbours first"),
        (Flaw::Open, "a mask by which a position sees itself and all before it"),
        (Flaw::Frequencies, "rotation frequencies base^(-i / pairs), without scaling"),
        // A position's own score tells that its query is turned and its key is not.
        (Flaw::Unturned, "scores over the root of a head's width"),
    ] {
        for exporter in [Exporter::Script, Exporter::Dynamo] {
            let error = refused(exporter, flaw);
            assert!(error.starts_with("Softmax (node_Softmax_"), "{flaw:?}: {error}");
            assert!(error.contains(expected), "{flaw:?}: {error}");
        }
    }
    let error = refused(Exporter::Script, Flaw::Window);
    assert!(error.starts_with("Sub (node_Sub_") && error.contains("all before it"), "{error}");
}

#[test]
fn a_fused_attention_with_other_attributes_is_refused() {
    for flaw in [Flaw::Window, Flaw::Neighbours] {
        let error = refused(Exporter::Builder, flaw);
        assert!(error.starts_with("GroupQueryAttention (node_"), "{flaw:?}: {error}");
        assert!(error.contains("whose value can be computed"), "{flaw:?}: {error}");
    }
    for exporter in [Exporter::Builder, Exporter::BuilderApart] {
        let error = refused(exporter, Flaw::Scale);
        assert!(error.contains("scores over the root of a head's width"), "{error}");
        let error = refused(exporter, Flaw::Frequencies);
        assert!(error.contains("without scaling"), "{error}");
    }
}

#[test]
fn other_activations_and_norms_are_refused() {
    for exporter in EXPORTERS {
        let error = refused(exporter, Flaw::Gelu);
        assert!(error.starts_with("Mul (") && error.contains("a gate's SiLU"), "{error}");
        let error = refused(exporter, Flaw::Epsilon);
        assert!(error.contains("one epsilon in all norms"), "{error}");
    }
}

#[test]
fn an_input_that_nobody_knows_and_a_value_that_needs_itself_are_refused() {
    let masked = |mask: &dyn Fn(&mut Writer) -> String| {
        let tensors = tensors();
        let exporter = Exporter::Script;
        let mut writer = Writer { graph: Graph::new(), exporter, flaw: None, tensors, made: 0 };
        let mask = mask(&mut writer);
        let table = writer.weight("model.embed_tokens.weight");
        let stream = writer.graph.node("Gather", &[&table, "input_ids"], &[]);
        let rotation = writer.rotation();
        let [x, sum] = writer.norm("model.layers.0.input_layernorm", &stream, None);
        let mixed = writer.attention(0, &x, &rotation, &mask);
        let mixed = writer.linear(&["model.layers.0.self_attn.o_proj".to_owned()], &mixed);
        let name = "model.layers.0.post_attention_layernorm";
        let [x, sum] = writer.norm(name, &sum, Some(&mixed));
        let added = writer.feed_forward(0, &x);
        let [x, _] = writer.norm("model.norm", &sum, Some(&added));
        let turned = writer.graph.node("Transpose", &[&table], &[]);
        let logits = writer.graph.node("MatMul", &[&x, &turned], &[]);
        let inputs = ["input_ids", "position_ids", "bias"];
        Source::read(&writer.graph.finish(&inputs, &[&logits])).unwrap_err().to_string()
    };
    let error = masked(&|_| "bias".to_owned());
    assert!(error.starts_with("an input or constant (bias) stands where an input"), "{error}");
    let error = masked(&|writer| {
        writer.graph.write("", "Neg", &["a"], &["b"], &[]);
        writer.graph.write("", "Neg", &["b"], &["a"], &[]);
        "a".to_owned()
    });
    assert!(error.contains("a value that does not need itself"), "{error}");
    let error = masked(&|writer| {
        let sizes = writer.graph.integers(&[1 << 40, 1 << 40]);
        writer.graph.node("ConstantOfShape", &[&sizes], &[])
    });
    assert!(error.starts_with("ConstantOfShape ("), "{error}");
}

#[test]
fn a_recipe_for_another_decoder_is_refused() {
    let file = onnx(tensors(), Exporter::Dynamo);
    let mut other = recipe();
    other.rope_base = Some(500_000.0);
    let error = import(&file, Some(&tokenizer()), &other, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, ImportError::Differs { .. }), "{error}");
}

#[test]
fn a_folder_as_an_exporter_leaves_it_gives_the_chat_model_of_the_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("model.onnx", &onnx(tensors(), Exporter::Optimizer));
    write("tokenizer.json", &tokenizer());
    write("tokenizer_config.json", b"{}");
    write("chat_template.jinja", TEMPLATE.as_bytes());
    let runtime = serde_json::json!({ "model": { "context_length": 128, "eos_token_id": [0] } });
    write("genai_config.json", runtime.to_string().as_bytes());
    let wishes = Wishes { licence: Some("MIT"), ..Wishes::default() };
    let from_runtime = import_path(folder.path(), &wishes, &mut |_, _, _| {}).unwrap();
    let mut config = serde_json::json!({
        "max_position_embeddings": 128, "eos_token_id": 0, "rope_theta": 10_000.0,
    });
    write("config.json", config.to_string().as_bytes());
    let from_config = import_path(folder.path(), &wishes, &mut |_, _, _| {}).unwrap();
    let alone = tempfile::tempdir().unwrap();
    let path = alone.path().join("small.gguf");
    std::fs::write(&path, gguf(&tensors()).finish()).unwrap();
    let from_file = import_path(&path, &wishes, &mut |_, _, _| {}).unwrap();
    assert_eq!(from_config.model.id(), from_file.model.id());
    assert_eq!(from_runtime.model.id(), from_file.model.id());
    assert_eq!(from_config.recipe.chat, from_file.recipe.chat);
    config["rope_theta"] = 20_000.0.into();
    write("config.json", config.to_string().as_bytes());
    let error = import_path(folder.path(), &wishes, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("rope_theta is 20000 there and 10000 in the graph"), "{error}");
}

#[test]
fn half_a_decoder_is_refused_where_it_ends() {
    let mut writer = Writer {
        graph: Graph::new(),
        exporter: Exporter::Script,
        flaw: None,
        tensors: tensors(),
        made: 0,
    };
    let table = writer.weight("model.embed_tokens.weight");
    let stream = writer.graph.node("Tanh", &["input_ids"], &[]);
    let [x, _] = writer.norm("model.norm", &stream, None);
    let turned = writer.graph.node("Transpose", &[&table], &[]);
    let logits = writer.graph.node("MatMul", &[&x, &turned], &[]);
    let error = Source::read(&writer.graph.finish(&["input_ids"], &[&logits])).unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("Tanh (node_Tanh_") && error.contains("stream"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_damaged_decoder_file_never_panics(
        at: prop::sample::Index, byte: u8, cut: bool, from_end: bool, exporter in 0..5_usize,
    ) {
        let mut file = onnx(tensors(), EXPORTERS[exporter]);
        // Most bytes are weights: half of the damage is done where ops stand.
        let limit = if from_end { 20_000.min(file.len()) } else { file.len() };
        let at = file.len() - 1 - at.index(limit);
        file[at] = byte;
        if cut {
            file.truncate(at);
        }
        let _model = import(&file, Some(&tokenizer()), &recipe(), &mut |_, _| {});
    }
}
