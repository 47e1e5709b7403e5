//! The small decoder as each exporter writes it, and the flaws that make it another.

use crate::graph::{Graph, float, whole};
use crate::llama::{HEADS, KEY_HEADS, WIDTH};
use crate::write::Tensors;

pub(crate) const HEAD: usize = WIDTH / HEADS;
const GROUP: i64 = (HEADS / KEY_HEADS) as i64;
const RUNTIME: &str = "com.microsoft";
pub(crate) const EXPORTERS: [Exporter; 5] = [
    Exporter::Script,
    Exporter::Dynamo,
    Exporter::Optimizer,
    Exporter::Builder,
    Exporter::BuilderApart,
];

/// Who writes the graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Exporter {
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
pub(crate) enum Flaw {
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
    /// Queries have a norm of their own.
    QueryNorm,
    /// The second block has frequencies of another base.
    Bases,
    /// Positions from 100 on have frequencies of a longer context.
    Late,
    /// Something comes before all words.
    Past,
}

/// A decoder under way.
pub(crate) struct Writer {
    pub(crate) graph: Graph,
    exporter: Exporter,
    flaw: Option<Flaw>,
    tensors: Tensors,
    made: usize,
}

impl Writer {
    pub(crate) const fn new(tensors: Tensors, exporter: Exporter, flaw: Option<Flaw>) -> Self {
        Self { graph: Graph::new(), exporter, flaw, tensors, made: 0 }
    }

    fn fused(&self) -> bool {
        !matches!(self.exporter, Exporter::Script | Exporter::Dynamo)
    }

    pub(crate) fn weight(&mut self, name: &str) -> String {
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
    pub(crate) fn norm(&mut self, name: &str, stream: &str, added: Option<&str>) -> [String; 2] {
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
    pub(crate) fn linear(&mut self, names: &[String], x: &str) -> String {
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

    fn frequency(&self, base: f32, pair: usize) -> f32 {
        let frequency = base.powf(-(pair as f32) / (HEAD / 2) as f32);
        if self.flaw == Some(Flaw::Frequencies) && pair > 3 { frequency / 8.0 } else { frequency }
    }

    /// Cosines and sines of each position, one row of a head wide; or tables of them.
    pub(crate) fn rotation(&mut self) -> [String; 2] {
        self.rotation_by("inv_freq", 10_000.0)
    }

    fn rotation_by(&mut self, name: &str, base: f32) -> [String; 2] {
        let frequencies: Vec<f32> = (0..HEAD / 2).map(|pair| self.frequency(base, pair)).collect();
        if self.fused() {
            let table = |turn: fn(f32) -> f32| -> Vec<f32> {
                let late = |at: usize| self.flaw == Some(Flaw::Late) && at >= 100;
                let factor = |at: usize| if late(at) { 0.5 } else { 1.0 };
                let places = (0..128).flat_map(|at| {
                    frequencies.iter().map(move |frequency| factor(at) * at as f32 * frequency)
                });
                places.map(turn).collect()
            };
            let (cos, sin) = (table(f32::cos), table(f32::sin));
            let shape = [128, HEAD / 2];
            return [("cos_cache", cos), ("sin_cache", sin)]
                .map(|(name, data)| self.graph.constant(name, &shape, &data));
        }
        let graph = &mut self.graph;
        let table = graph.constant(name, &[1, HEAD / 2, 1], &frequencies);
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
    pub(crate) fn mask(&mut self) -> String {
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
            let shift = graph.whole(&[], &[if flaw == Some(Flaw::Open) { 2 } else { 1 }]);
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

    pub(crate) fn attention(
        &mut self,
        block: usize,
        x: &str,
        rotation: &[String; 2],
        mask: &str,
    ) -> String {
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
        let mut q = self.turned(&q, rotation);
        if self.flaw == Some(Flaw::QueryNorm) {
            let axes = self.graph.integers(&[-1]);
            let mean = self.graph.node("ReduceMean", &[&q, &axes], &[]);
            q = self.graph.node("Div", &[&q, &mean], &[]);
        }
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
        let past =
            if self.flaw == Some(Flaw::Past) { self.graph.number(0.5) } else { String::new() };
        let inputs =
            [q, k, v, &past, &past, "seqlens_k", "total_sequence_length", tables[0], tables[1]];
        self.runtime("GroupQueryAttention", &inputs, &attributes)[0].clone()
    }

    pub(crate) fn feed_forward(&mut self, block: usize, x: &str) -> String {
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

    pub(crate) fn decoder(&mut self) -> String {
        let table = self.weight("model.embed_tokens.weight");
        let mut stream = self.graph.node("Gather", &[&table, "input_ids"], &[]);
        let (mut rotation, mask) = (self.rotation(), self.mask());
        let mut added: Option<String> = None;
        let named = |block: &usize| {
            self.tensors.contains_key(&format!("model.layers.{block}.input_layernorm.weight"))
        };
        let blocks = (0..).take_while(named).count();
        for block in 0..blocks {
            let name = |part: &str| format!("model.layers.{block}.{part}");
            if block == 1 && self.flaw == Some(Flaw::Bases) {
                rotation = self.rotation_by("other_freq", 20_000.0);
            }
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
