//! Conformance vectors of semantics version 1: what every op gives for chosen and for drawn rows,
//! and what the test models give. The golden files are never changed: another meaning is another
//! version, with files of its own (`UPDATE_EXPECT=1` writes those once).

use std::fmt::Write;
use std::ops::ControlFlow;

use crypto::{Domain, hash_bytes};
use expect_test::expect_file;
use model::constants::{
    BIAS_MAX, GAIN_MAX, HALF, HALF_WIDE, MULTIPLIER_MAX, RES_MAX, RES_MIN, STREAM_MAX,
};
use model::ops::attention::{Attention, attention};
use model::ops::embedding::{embedding_scaled, embedding_sum};
use model::ops::exp::EXP;
use model::ops::gate::gate;
use model::ops::linear::linear;
use model::ops::logits::{argmax, logits};
use model::ops::norm::{Norm, norm};
use model::ops::pool::sum_pool;
use model::ops::residual::residual;
use model::ops::rope::rope;
use model::ops::sample::{draw, sample};
use model::ops::table::table;
use model::ops::unit::unit;
use model::reference::{evaluate, run};
use model::rows::Rows;
use model::step::{FineTree, Plan, RunShape, TraceShape};
use model::{Channels, Job, Model, Output, Sampling};

use crate::support::{Random, chat, embed};

const LOW: i16 = i16::MIN;
const HIGH: i16 = i16::MAX;
const RES_LOW: i32 = RES_MIN as i32;
const RES_HIGH: i32 = RES_MAX as i32;

/// Text of all cases: a title, then one line per operand and one for what comes out.
#[derive(Default)]
struct Vectors(String);

impl Vectors {
    fn case(&mut self, title: &str) -> &mut Self {
        writeln!(self.0, "\n{title}").unwrap();
        self
    }

    fn row<T: std::fmt::Debug>(&mut self, name: &str, values: &[T]) -> &mut Self {
        let text: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        writeln!(self.0, "  {name} = {}", text.join(" ")).unwrap();
        self
    }

    /// The digest of a row too long to stand here, over its little-endian elements.
    fn digest(&mut self, name: &str, bytes: impl Iterator<Item = u8>) -> &mut Self {
        let digest = hash_bytes(Domain::TraceLeaf, &bytes.collect::<Vec<u8>>());
        writeln!(self.0, "  H({name}) = {digest}").unwrap();
        self
    }
}

/// One channel per row of weights.
fn channels(rows: &[&[i8]], multiplier: i32, bias: i64, stream: i64) -> Channels {
    Channels {
        weights: Rows::from_data(rows[0].len(), rows.concat()),
        multipliers: vec![multiplier; rows.len()],
        biases: vec![bias; rows.len()],
        streams: vec![stream; rows.len()],
    }
}

/// The cases of a product: weights, m, B, c, activations.
struct Product(&'static str, &'static [i8], i32, i64, i64, &'static [i16]);

const PRODUCTS: &[Product] = &[
    Product("rounds to nearest", &[3, -2], 1 << 15, HALF, 1 << 16, &[1_000, 501]),
    Product("half a step up from below", &[1, 0], 1, HALF - 1, 0, &[0, 0]),
    Product("half a step", &[1, 0], 1, HALF, 0, &[-32_768, 0]),
    Product("a negative tie goes up", &[1, 0], 1 << 15, HALF, 0, &[-3, 0]),
    Product("a hair below the tie goes down", &[1, 0], 1 << 15, HALF - 1, 0, &[-3, 0]),
    Product("largest before the clamp", &[1, 0], 1 << 16, 65_535, 0, &[HIGH, 0]),
    Product("first at the clamp", &[1, 0], 1 << 16, 65_536, 0, &[HIGH, 0]),
    Product("smallest before the clamp", &[1, 0], 1 << 16, 0, 0, &[LOW, 0]),
    Product("first at the lower clamp", &[1, 0], 1 << 16, -1, 0, &[LOW, 0]),
    Product("row aligned with the weights", &[127, -127], MULTIPLIER_MAX, HALF, 0, &[HIGH, LOW]),
    Product("row against the weights", &[127, -127], MULTIPLIER_MAX, HALF, 0, &[LOW, HIGH]),
    Product("largest bias", &[0, 0], 1, BIAS_MAX, 0, &[1, 1]),
    Product("smallest bias", &[0, 0], 1, -BIAS_MAX, 0, &[1, 1]),
    Product("bias that the sum undoes", &[127, 127], 1 << 7, -(127 << 23), 0, &[HIGH, HIGH]),
    Product("largest stream multiplier", &[0, 1], 1, 0, STREAM_MAX, &[0, 7]),
    Product("smallest stream multiplier", &[0, 1], 1, 0, -STREAM_MAX, &[0, 7]),
];

fn products(out: &mut Vectors) {
    for Product(title, w, m, b, c, a) in PRODUCTS {
        let op = channels(&[w], *m, *b, *c);
        out.case(&format!("product: {title}")).row("w", w).row("m B c", &[i64::from(*m), *b, *c]);
        out.row("a", a).row("linear", &linear(&op, a)).row("logits", &logits(&op, a));
        for x in [0, 1, -1, RES_HIGH, RES_LOW] {
            out.row("x", &[x]).row("residual", &residual(&op, a, &[x]));
            out.row("gate of a and a", &gate(&op, a, a, &[x]));
        }
    }
    let edges = channels(&[&[1, 0]], 1 << 16, 0, 1 << 16);
    for (x, a) in [(RES_HIGH - 1, 1), (RES_HIGH, 1), (RES_LOW + 1, -1), (RES_LOW, -1)] {
        out.case("residual at the edge").row("x a", &[x, a]);
        out.row("x'", &residual(&edges, &[a as i16, 0], &[x]));
    }
}

fn norms(out: &mut Vectors) {
    let cases: &[(&str, &[i32])] = &[
        ("V is E alone", &[5, 5, 5, 5]),
        ("zeros", &[0, 0]),
        ("three and four", &[3, 4]),
        ("the mean rounds half up", &[0, 1]),
        ("a negative mean rounds half up", &[-1, 0]),
        ("both ends", &[RES_LOW, RES_HIGH]),
        ("one end", &[RES_HIGH, RES_HIGH, RES_HIGH, RES_LOW]),
        ("r is a square root and one", &[6, 8, 0, 0]),
    ];
    for (title, x) in cases {
        for (gain, bias) in
            [(GAIN_MAX, HALF_WIDE), (-16_384, HALF_WIDE + (9 << 32)), (1, -BIAS_MAX)]
        {
            let (gains, biases) = (vec![gain; x.len()], vec![bias; x.len()]);
            for (centred, offset) in [(true, 1), (false, 1), (true, 1 << 62), (false, 11)] {
                let op = Norm { centred, offset, gains: &gains, biases: &biases };
                out.case(&format!("norm: {title}, centred {centred}, E {offset}"));
                out.row("x", x).row("G B", &[i64::from(gain), bias]).row("y", &norm(&op, x));
            }
        }
    }
    for width in [1_024, 16_384] {
        let x: Vec<i32> = (0..width).map(|k| if k % 2 == 0 { RES_LOW } else { RES_HIGH }).collect();
        let small: Vec<i32> = (0..width).map(|k| k * k % 4_099 - 2_000).collect();
        let (gains, biases) = (vec![30_000; x.len()], vec![HALF_WIDE; x.len()]);
        let op = Norm { centred: true, offset: 1, gains: &gains, biases: &biases };
        out.case(&format!("norm: ends in turn, {width} wide"));
        out.digest("y", norm(&op, &x).into_iter().flat_map(i16::to_le_bytes));
        out.case(&format!("norm: x_k = k² mod 4099 − 2000, {width} wide"));
        out.digest("y", norm(&op, &small).into_iter().flat_map(i16::to_le_bytes));
    }
}

/// Attention of one head over keys of two channels.
fn attend(out: &mut Vectors, title: &str, multiplier: u32, q: &[i16], k: &[i16], v: &[i16]) {
    let op = Attention { heads: 1, key_heads: 1, multiplier };
    let (keys, values) = (Rows::from_data(2, k.to_vec()), Rows::from_data(2, v.to_vec()));
    out.case(&format!("attention: {title}")).row("m", &[multiplier]).row("q", q);
    out.row("k", k).row("v", v).row("y", &attention(&op, q, &keys, &values, keys.len()));
}

fn attentions(out: &mut Vectors) {
    attend(out, "one key", 1, &[3, 4], &[1, 2], &[100, -8_191]);
    attend(out, "clamped", 1, &[3, 4], &[1, 2], &[8_192, -8_193]);
    attend(out, "equal scores", 65_535, &[1, 0], &[5, 1, 5, 2, 5, 3], &[9, 0, 20, 1, -4, 2]);
    // d·m of 1022·2^16, 1022·2^16 + 65535 and 1023·2^16: t = 1022, 1022, 1023.
    for d in [1_022, 1_023] {
        attend(out, "the 1023 edge", 1 << 15, &[2, 0], &[0, 0, d, 0], &[8_000, 1, -8_000, 1]);
    }
    for (q, k) in [(1, 1), (1, 64), (1, 65), (1, 128), (64, 9), (64, 10)] {
        attend(out, "weights fall", 65_535, &[q, 0], &[0, 0, k, 0], &[8_191, 1, -8_191, 0]);
    }
    attend(out, "extremes", 65_535, &[LOW, LOW], &[LOW, LOW, HIGH, HIGH], &[LOW, HIGH, HIGH, LOW]);
    let op = Attention { heads: 1, key_heads: 1, multiplier: 7 };
    let keys = Rows::from_data(2, [9, 9].repeat(8_192));
    for (title, v) in [("largest Z", [8_191, -8_191]), ("largest sums", [HIGH, LOW])] {
        let values = Rows::from_data(2, v.repeat(8_192));
        out.case(&format!("attention: {title}, 8,192 equal keys")).row("v of each", &v);
        out.row("y", &attention(&op, &[5, -5], &keys, &values, 8_192));
    }
    let op = Attention { heads: 4, key_heads: 2, multiplier: 3_000 };
    let keys = Rows::from_data(4, vec![1, 2, 3, 4, 40, 30, 20, 10]);
    let values = Rows::from_data(4, vec![1_000, 2_000, 3_000, 4_000, -1, -2, -3, -4]);
    let query = [1, 0, 0, 1, 2, 0, 0, 2];
    out.case("attention: query heads 0 1 read key head 0, 2 3 read 1, m 3000").row("q", &query);
    out.row("k", keys.data()).row("v", values.data());
    out.row("y", &attention(&op, &query, &keys, &values, 2));
}

fn rows(out: &mut Vectors) {
    let entries: Vec<i16> = (0..65_536_i32).map(|row| (row * 7 % 65_536 - 32_768) as i16).collect();
    let y = [LOW, -1, 0, 1, HIGH];
    out.case("table: T[row] = 7·row mod 65536 − 32768").row("y", &y);
    out.row("q", &table(&entries, &y));
    let one = 1 << 16;
    for (cos, sin) in [(one, 0), (0, one), (-one, 0), (46_341, 46_341), (46_341, -46_341)] {
        for input in [[LOW, LOW], [HIGH, LOW], [1, -1], [3, 0]] {
            out.case("rotation").row("C D", &[cos, sin]).row("a b", &input);
            out.row("y", &rope(&input, 1, &[cos], &[sin]));
        }
    }
    let (word, place) = ([LOW, 1, HIGH], [LOW, -2, HIGH]);
    out.case("embedding, sum").row("word", &word).row("place", &place);
    out.row("x", &embedding_sum(&word, &place));
    let weights = [127, 1, 0, -1, -127];
    for (m, factor) in [(1, 1), (3, 1 << 15), (1, 1 << 15), (MULTIPLIER_MAX, u32::MAX)] {
        let op = channels(&[&weights], m, 0, 0);
        out.case("embedding, scaled").row("w", &weights).row("m c", &[i64::from(m), factor.into()]);
        out.row("x", &embedding_scaled(&op.channel(0), factor));
    }
    out.case("sum pool: 8,192 rows of −32768 and 32767");
    out.row("sums", &sum_pool(&Rows::from_data(2, [LOW, HIGH].repeat(8_192))));
    let low = 8_192 * i32::from(LOW);
    for v in [[3, -4], [0, 0], [1, 0], [-1, 1], [low, low], [i32::MIN, 0], [i32::MAX, i32::MIN]] {
        out.case("unit").row("v", &v).row("q", &unit(&v));
    }
}

fn samples(out: &mut Vectors) {
    out.case("exponential table");
    out.digest("EXP as u16", EXP.iter().flat_map(|entry| entry.to_le_bytes()));
    out.case("draws of seed 0 and 2^64 − 1, outputs 0, 1, 2^32 − 1");
    let draws = [0, u64::MAX].map(|seed| [0, 1, u32::MAX].map(|index| draw(seed, index)));
    out.row("draw", &draws.concat());
    let sets: [&[i64]; 4] = [
        &[3, 9, 9, -1],
        &[0, 1 << 40, 1 << 40, 0, 1 << 39],
        &[i64::MIN >> 1, i64::MAX >> 1],
        &[7; 9],
    ];
    for logits in sets {
        out.case("choice").row("logits", logits).row("best", &[argmax(logits)]);
        for (temperature_milli, top_p_milli, top_k) in
            [(1_000, 1_000, 0), (1, 1_000, 0), (2_000, 500, 0), (700, 0, 3), (65_535, 900, 2)]
        {
            let sampling = Sampling { temperature_milli, top_p_milli, top_k };
            out.row("temperature top-p top-k", &[temperature_milli, top_p_milli, top_k]);
            let drawn = |seed| sample(logits, 1, &sampling, seed, 3);
            out.row("tokens of seeds 0 to 11", &(0..12).map(drawn).collect::<Vec<u32>>());
        }
    }
}

/// Every op on drawn operands of its whole range (SplitMix64 from 1; see `support`).
fn drawn(out: &mut Vectors) {
    let mut random = Random::fixed(1);
    let mut all = |count: usize, low: i64, high: i64| -> Vec<i64> {
        (0..count).map(|_| random.within(low, high)).collect()
    };
    let a16 = |values: Vec<i64>| values.into_iter().map(|x| x as i16).collect::<Vec<i16>>();
    let res = |values: Vec<i64>| values.into_iter().map(|x| x as i32).collect::<Vec<i32>>();
    let (inputs, outputs, positions) = (96, 64, 40);
    let op = Channels {
        weights: Rows::from_data(
            inputs,
            all(inputs * outputs, -127, 127).into_iter().map(|w| w as i8).collect(),
        ),
        multipliers: res(all(outputs, 1, 200)),
        biases: all(outputs, -1 << 30, 1 << 30),
        streams: all(outputs, -1 << 34, 1 << 34),
    };
    let low = i64::from(LOW);
    let input = a16(all(inputs, low, -low - 1));
    let up = a16(all(inputs, low, -low - 1));
    let stream = res(all(outputs, RES_MIN, RES_MAX));
    out.case("drawn, in this order: w 64 × 96, m, B, c, a, u, x; then G, B, q, k, v");
    out.row("linear", &linear(&op, &input)).row("residual", &residual(&op, &input, &stream));
    out.row("gate", &gate(&op, &input, &up, &stream)).row("logits", &logits(&op, &input));
    let (gains, biases) = (res(all(outputs, -32_767, 32_767)), all(outputs, -9 << 32, 9 << 32));
    for centred in [true, false] {
        let attributes = Norm { centred, offset: 77, gains: &gains, biases: &biases };
        out.row(&format!("norm of x, centred {centred}, E 77"), &norm(&attributes, &stream));
    }
    let query = a16(all(32, -4_000, 4_000));
    let keys = Rows::from_data(16, a16(all(16 * positions, -4_000, 4_000)));
    let values = Rows::from_data(16, a16(all(16 * positions, -8_191, 8_191)));
    let attributes = Attention { heads: 4, key_heads: 2, multiplier: 40 };
    let mixed = attention(&attributes, &query, &keys, &values, positions);
    out.row("attention, heads 4 over 2, m 40", &mixed);
    out.row("unit of x", &unit(&stream));
}

#[test]
fn every_op_gives_what_version_1_says() {
    let mut out = Vectors(
        "Conformance vectors of canonical inference, semantics version 1 (docs/spec/cir.md).\n\
         Numbers are decimal; a digest is BLAKE3 in key-derivation mode, selvedge.trace-leaf.1.\n"
            .to_owned(),
    );
    products(&mut out);
    norms(&mut out);
    attentions(&mut out);
    rows(&mut out);
    samples(&mut out);
    drawn(&mut out);
    expect_file!["../golden/ops.1.txt"].assert_eq(&out.0);
}

fn model_run(out: &mut Vectors, model: &Model, job: &Job<'_>) {
    let given = run(model, job, &mut |_| ControlFlow::Continue(())).unwrap();
    let tokens = match &given.output {
        Output::Tokens(tokens) => tokens.clone(),
        Output::Row(_) => Vec::new(),
    };
    out.case(&format!("{:?}, seed {}, most {}", job.sampling, job.seed, job.max_tokens));
    out.row("input", job.ids).row("finish", &[given.finish]);
    match &given.output {
        Output::Tokens(tokens) => out.row("tokens", tokens),
        Output::Row(row) => out.row("row", row),
    };
    writeln!(out.0, "  trace root = {}", given.trace_root).unwrap();
    let evaluated = evaluate(model, job.ids, &tokens);
    let plan = Plan::of(model).unwrap();
    let shape =
        RunShape { n_in: given.n_in, n_out: given.n_out, sampling: job.sampling, seed: job.seed };
    let shape = TraceShape::new(&plan, shape).unwrap();
    for index in [0, shape.leaves() / 2, shape.leaves() - 2, shape.leaves() - 1] {
        let fine = shape.fine(index).unwrap();
        let tree = FineTree::new(&fine, model, &evaluated).unwrap();
        let leaf = fine.leaf();
        writeln!(out.0, "  {leaf:?}: {} fine leaves, root {}", fine.leaves(), tree.root()).unwrap();
    }
}

#[test]
fn the_test_models_give_what_version_1_says() {
    let mut out = Vectors("Runs of the test models, semantics version 1, 96 tokens.\n".to_owned());
    let ids: Vec<u32> = (0..70).map(|k| (k * 37 + 11) % 96).collect();
    let sampled = Sampling { temperature_milli: 800, top_p_milli: 950, top_k: 20 };
    let free = Sampling { temperature_milli: 2_500, top_p_milli: 1_000, top_k: 0 };
    let model = chat();
    out.case(&format!("decoder {}", model.id()));
    for (ids, sampling) in [(&ids[..3], sampled), (&ids[..], free), (&ids[..1], Sampling::GREEDY)] {
        model_run(&mut out, &model, &Job { ids, sampling, seed: 42, max_tokens: 12, stop: &[] });
    }
    let model = embed();
    out.case(&format!("encoder {}", model.id()));
    for ids in [&ids[..3], &ids[..]] {
        model_run(&mut out, &model, &Job::embed(ids));
    }
    expect_file!["../golden/models.1.txt"].assert_eq(&out.0);
}
