//! Decoders in ONNX graphs that do something else than the architecture, written by hand: windows
//! that a short run does not show, and ops between the known ones.

use engine::import::{ImportError, Source};

use crate::exporters::{Exporter, Writer};
use crate::graph::{bytes, whole};
use crate::llama::tensors;

/// Where something may be put.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// The rows that the attention reads, and the stream.
    Read,
    /// What the attention adds to the stream, and the stream.
    Mixed,
    /// The rows that the gates read, and those that the attention reads.
    Hidden,
    /// The rows behind the last norm, and the stream.
    Last,
    /// The logits, and the rows that they are made from.
    Logits,
}

/// What is put there: from the value at a place, and another one.
type Put<'t> = &'t dyn Fn(&mut Writer, Place, [String; 2]) -> String;

/// A decoder of one block, as `torch.export` writes it but for this.
pub(crate) struct Twist<'t> {
    /// The mask, from the number of positions.
    pub(crate) mask: &'t dyn Fn(&mut Writer, &str) -> String,
    pub(crate) put: Put<'t>,
    pub(crate) words: &'t str,
    /// The shape of a table of words without data, instead of the table.
    pub(crate) claimed: Option<[usize; 2]>,
}

impl Default for Twist<'_> {
    fn default() -> Self {
        let put: Put<'_> = &|_, _, [value, _]| value;
        Self { mask: &causal, put, words: "input_ids", claimed: None }
    }
}

impl Twist<'_> {
    pub(crate) fn decoder(&self) -> Vec<u8> {
        let mut writer = Writer::new(tensors(), Exporter::Dynamo, None);
        let writer = &mut writer;
        let shape = writer.graph.node("Shape", &["input_ids"], &[]);
        let index = writer.graph.whole(&[], &[1]);
        let count = writer.graph.node("Gather", &[&shape, &index], &[]);
        let mask = (self.mask)(writer, &count);
        let table = match self.claimed {
            Some(shape) => writer.graph.constant("table", &shape, &[]),
            None => writer.weight("model.embed_tokens.weight"),
        };
        let stream = writer.graph.node("Gather", &[&table, self.words], &[]);
        let rotation = writer.rotation();
        let [x, stream] = writer.norm("model.layers.0.input_layernorm", &stream, None);
        let read = (self.put)(writer, Place::Read, [x, stream.clone()]);
        let mixed = writer.attention(0, &read, &rotation, &mask);
        let mixed = writer.linear(&["model.layers.0.self_attn.o_proj".to_owned()], &mixed);
        let mixed = (self.put)(writer, Place::Mixed, [mixed, stream.clone()]);
        let name = "model.layers.0.post_attention_layernorm";
        let [x, stream] = writer.norm(name, &stream, Some(&mixed));
        let x = (self.put)(writer, Place::Hidden, [x, read]);
        let added = writer.feed_forward(0, &x);
        let [x, stream] = writer.norm("model.norm", &stream, Some(&added));
        let x = (self.put)(writer, Place::Last, [x, stream]);
        let turned = writer.graph.node("Transpose", &[&table], &[]);
        let logits = writer.graph.node("MatMul", &[&x, &turned], &[]);
        let logits = (self.put)(writer, Place::Logits, [logits, x]);
        let inputs = ["input_ids", "position_ids", "token_type_ids", "bias"];
        std::mem::replace(&mut writer.graph, crate::graph::Graph::new()).finish(&inputs, &[&logits])
    }
}

/// `[count, count]`.
fn square(writer: &mut Writer, count: &str) -> String {
    let axis = writer.graph.integers(&[0]);
    let count = writer.graph.node("Unsqueeze", &[count, &axis], &[]);
    writer.graph.node("Concat", &[&count, &count], &[whole("axis", 0)])
}

/// The lowest number above the diagonal.
pub(crate) fn causal(writer: &mut Writer, count: &str) -> String {
    triangle(writer, count, f32::MIN, 1, 1)
}

/// A triangle of a number.
fn triangle(writer: &mut Writer, count: &str, number: f32, shift: i64, upper: i64) -> String {
    let sizes = square(writer, count);
    let (number, shift) = (writer.graph.number(number), writer.graph.whole(&[], &[shift]));
    let all = writer.graph.node("Expand", &[&number, &sizes], &[]);
    writer.graph.node("Trilu", &[&all, &shift], &[whole("upper", upper)])
}

/// A row and a column of positions, as floats or not.
fn places(writer: &mut Writer, count: &str, floats: bool) -> [String; 2] {
    let (zero, one) = (writer.graph.whole(&[], &[0]), writer.graph.whole(&[], &[1]));
    let range = writer.graph.node("Range", &[&zero, count, &one], &[]);
    [1, 0].map(|axis| {
        let axis = writer.graph.integers(&[axis]);
        let places = writer.graph.node("Unsqueeze", &[&range, &axis], &[]);
        if floats { writer.graph.node("Cast", &[&places], &[whole("to", 1)]) } else { places }
    })
}

/// The causal mask, and the lowest number where `far` is true.
fn without(writer: &mut Writer, count: &str, far: &str) -> String {
    let (mask, lowest) = (causal(writer, count), writer.graph.number(f32::MIN));
    writer.graph.node("Where", &[far, &lowest, &mask], &[])
}

/// Where queries are further from keys than a number.
fn beyond(writer: &mut Writer, count: &str, number: &str, floats: bool) -> String {
    let [rows, columns] = places(writer, count, floats);
    let distance = writer.graph.node("Sub", &[&rows, &columns], &[]);
    let far = writer.graph.node("Greater", &[&distance, number], &[]);
    without(writer, count, &far)
}

/// Where queries and keys lie in different chunks.
fn chunks(writer: &mut Writer, count: &str, cut: &dyn Fn(&mut Writer, &str) -> String) -> String {
    let [rows, columns] = places(writer, count, false);
    let (rows, columns) = (cut(writer, &rows), cut(writer, &columns));
    let same = writer.graph.node("Equal", &[&rows, &columns], &[]);
    let other = writer.graph.node("Not", &[&same], &[]);
    without(writer, count, &other)
}

/// A constant mask of 128 positions of which each sees these, cut to the positions there are.
fn constant(writer: &mut Writer, count: &str, seen: fn(usize, usize) -> bool) -> String {
    let cell = |at: usize| if seen(at / 128, at % 128) { 0.0 } else { -10_000.0 };
    let data: Vec<f32> = (0..128 * 128).map(cell).collect();
    let all = writer.graph.constant("buffer", &[128, 128], &data);
    let sizes = square(writer, count);
    let (starts, axes) = (writer.graph.integers(&[0, 0]), writer.graph.integers(&[0, 1]));
    writer.graph.node("Slice", &[&all, &starts, &sizes, &axes], &[])
}

/// A mask, from the number of positions.
type Mask = fn(&mut Writer, &str) -> String;

const WINDOWS: [(&str, Mask); 7] = [
    ("a triangle of what is too far", |writer, count| {
        let far = triangle(writer, count, 1.0, -65, 0);
        let far = writer.graph.node("Cast", &[&far], &[whole("to", 9)]);
        without(writer, count, &far)
    }),
    ("floats", |writer, count| {
        let window = writer.graph.number(64.0);
        beyond(writer, count, &window, true)
    }),
    ("a number behind an op", |writer, count| {
        let (window, axis) = (writer.graph.whole(&[], &[64]), writer.graph.integers(&[0]));
        let window = writer.graph.node("Unsqueeze", &[&window, &axis], &[]);
        beyond(writer, count, &window, false)
    }),
    ("a number laid over all", |writer, count| {
        let (window, sizes) = (writer.graph.whole(&[], &[4]), square(writer, count));
        let window = writer.graph.node("Expand", &[&window, &sizes], &[]);
        beyond(writer, count, &window, false)
    }),
    ("chunks by quotients", |writer, count| {
        chunks(writer, count, &|writer, places| {
            let size = writer.graph.whole(&[], &[64]);
            writer.graph.node("Div", &[places, &size], &[])
        })
    }),
    ("chunks by products", |writer, count| {
        chunks(writer, count, &|writer, places| {
            let part = writer.graph.number(1.0 / 64.0);
            let places = writer.graph.node("Cast", &[places], &[whole("to", 1)]);
            let places = writer.graph.node("Mul", &[&places, &part], &[]);
            writer.graph.node("Cast", &[&places], &[whole("to", 7)])
        })
    }),
    ("a constant", |writer, count| {
        constant(writer, count, |row, column| column <= row && row - column < 64)
    }),
];

const MASKS: [(&str, Mask); 4] = [
    ("a triangle", causal),
    ("a constant", |writer, count| constant(writer, count, |row, column| column <= row)),
    ("a distance", |writer, count| {
        let [rows, columns] = places(writer, count, false);
        let distance = writer.graph.node("Sub", &[&columns, &rows], &[]);
        let zero = writer.graph.whole(&[], &[0]);
        let far = writer.graph.node("Greater", &[&distance, &zero], &[]);
        without(writer, count, &far)
    }),
    ("lowest numbers of 16 bits, twice", |writer, count| {
        let mask = triangle(writer, count, -65_504.0, 1, 1);
        let (one, lowest) = (writer.graph.number(1.0), writer.graph.number(-65_504.0));
        let [rows, columns] = places(writer, count, true);
        let all = writer.graph.node("Mul", &[&rows, &columns], &[]);
        let all = writer.graph.node("Mul", &[&all, &lowest], &[]);
        let all = writer.graph.node("Greater", &[&all, &one], &[]);
        let none = writer.graph.number(0.0);
        let absent = writer.graph.node("Where", &[&all, &lowest, &none], &[]);
        writer.graph.node("Add", &[&mask, &absent], &[])
    }),
];

#[test]
fn windows_that_a_run_of_a_few_positions_does_not_show_are_refused() {
    for (name, mask) in WINDOWS {
        let file = Twist { mask: &mask, ..Twist::default() }.decoder();
        let error = Source::read(&file).unwrap_err();
        assert!(matches!(error, ImportError::Op { .. }), "{name}: {error}");
        assert!(error.to_string().contains("sees itself and all before it"), "{name}: {error}");
    }
}

#[test]
fn masks_that_are_causal_are_found_however_they_are_written() {
    for (name, mask) in MASKS {
        let file = Twist { mask: &mask, ..Twist::default() }.decoder();
        assert!(Source::read(&file).is_ok(), "{name}: {}", Source::read(&file).unwrap_err());
    }
}

/// The refusal of a decoder with something at a place.
fn refused(at: Place, put: &dyn Fn(&mut Writer, [String; 2]) -> String) -> String {
    let put = |writer: &mut Writer, place: Place, values: [String; 2]| {
        if place == at { put(writer, values) } else { values.into_iter().next().unwrap() }
    };
    let file = Twist { put: &put, ..Twist::default() }.decoder();
    Source::read(&file).unwrap_err().to_string()
}

#[test]
fn what_stands_between_the_pieces_of_a_decoder_is_refused() {
    let halved = |writer: &mut Writer, [value, _]: [String; 2]| {
        let half = writer.graph.number(0.5);
        writer.graph.node("Mul", &[&value, &half], &[])
    };
    for place in [Place::Read, Place::Mixed, Place::Hidden, Place::Last, Place::Logits] {
        refused(place, &halved);
        // Numbers that are cut off, and what has the name of an op without effect.
        refused(place, &|writer, [value, _]| {
            let cut = writer.graph.node("Cast", &[&value], &[whole("to", 3)]);
            writer.graph.node("Cast", &[&cut], &[whole("to", 1)])
        });
        refused(place, &|writer, [value, _]| {
            writer.graph.write("com.microsoft", "Identity", &[&value], &["odd"], &[]);
            "odd".to_owned()
        });
        let error = refused(place, &|writer, [value, _]| {
            writer.graph.write("custom", "Identity", &[&value], &["odd"], &[]);
            "odd".to_owned()
        });
        assert!(error.contains("an op of custom, which is not read"), "{place:?}: {error}");
    }
    // Gates beside the attention, rows without a norm, and logits with more.
    let error = refused(Place::Hidden, &|_, [_, other]| other);
    assert!(error.contains("the norm of the stream that the block adds to"), "{error}");
    refused(Place::Last, &|_, [_, stream]| stream);
    refused(Place::Logits, &|writer, [logits, _]| writer.graph.node("Tanh", &[&logits], &[]));
    let error = refused(Place::Logits, &|writer, [logits, _]| {
        let bias =
            writer.graph.constant("more", &[tensors()["model.embed_tokens.weight"].0[0]], &{
                vec![0.5; tensors()["model.embed_tokens.weight"].0[0]]
            });
        writer.graph.node("Add", &[&logits, &bias], &[])
    });
    assert!(error.contains("logits without a bias"), "{error}");
}

#[test]
fn words_come_from_an_input_of_words_and_ops_from_their_domains() {
    for words in ["position_ids", "token_type_ids", "bias"] {
        let file = Twist { words, ..Twist::default() }.decoder();
        assert!(matches!(Source::read(&file), Err(ImportError::Op { .. })), "{words}");
    }
    let mut file = Twist::default().decoder();
    assert!(Source::read(&file).is_ok());
    bytes(&mut file, 25, &[]);
    let error = Source::read(&file).unwrap_err().to_string();
    assert!(error.contains("ops that the file itself defines are not read"), "{error}");
}
