//! Steps composed at the largest legal sizes give what the op gives.

use model::layout::{ChannelShape, Tensors};
use model::ops::attention::{Attention, attention};
use model::ops::gate::gate;
use model::ops::linear::linear;
use model::ops::logits::{argmax, logits};
use model::ops::norm::{Norm, norm};
use model::ops::residual::residual;
use model::ops::sample::sample;
use model::ops::unit::unit;
use model::rows::Rows;
use model::step::{Address, Fine, Operand, Part, Source};
use model::{Channels, Op};

use crate::step_sizes::{Drawn, decoder, encoder, last_trees, longest};
use crate::support::Random;

fn a16(row: Vec<i64>) -> Vec<i16> {
    row.into_iter().map(|x| i16::try_from(x).unwrap()).collect()
}

fn i32s(row: Vec<i64>) -> Vec<i32> {
    row.into_iter().map(|x| i32::try_from(x).unwrap()).collect()
}

/// Element `index` of group `group` of a part, computed by steps.
fn stepped(drawn: &Drawn<'_>, op: u32, part: Part, group: u64, index: usize) -> i64 {
    let position = drawn.fine.shape().positions() as u32 - 1;
    let address = Address { op, part, position, group, leaf: 0 };
    let piece = drawn.fine.geometry(&address).unwrap().piece;
    let (leaf, element) = (index as u64 / piece, index as u64 % piece);
    let address = Address { leaf, ..address };
    i64::try_from(drawn.fine.element(&address, element, &mut { drawn }).unwrap()).unwrap()
}

fn channel_shape(fine: &Fine<'_>, op: u32) -> ChannelShape {
    match fine.shape().plan().tensors()[op as usize] {
        Tensors::Channels(shape) => shape,
        other => panic!("{other:?}"),
    }
}

/// One channel of an op, put together from its weight leaves.
fn one_channel(drawn: &Drawn<'_>, op: u32, channel: usize) -> Channels {
    let shape = channel_shape(drawn.fine, op);
    let first = (channel * shape.blocks()) as u64;
    let first = drawn.fine.shape().plan().weight_leaf(op, first).unwrap();
    let (mut weights, mut numbers) = (Vec::new(), Vec::new());
    for leaf in first..first + shape.blocks() as u64 {
        let bytes = { drawn }.open(Operand::Weights { leaf }).unwrap();
        let (row, rest) = bytes.split_at(bytes.len() - 20);
        weights.extend(row.iter().map(|byte| i8::from_le_bytes([*byte])));
        numbers = rest.to_vec();
    }
    Channels {
        weights: Rows::from_data(shape.inputs, weights),
        multipliers: vec![i32::from_le_bytes(numbers[..4].try_into().unwrap())],
        biases: vec![i64::from_le_bytes(numbers[4..12].try_into().unwrap())],
        streams: vec![i64::from_le_bytes(numbers[12..].try_into().unwrap())],
    }
}

/// The values of one channel, key after key.
fn column(drawn: &Drawn<'_>, op: u32, channel: usize) -> Vec<i16> {
    let position = drawn.fine.shape().positions() as u32 - 1;
    let group = channel as u64;
    let address = Address { op, part: Part::Columns, position, group, leaf: 0 };
    let count = drawn.fine.geometry(&address).unwrap().leaves_of_group();
    let first = drawn.fine.index(&address).unwrap();
    let bytes = { drawn }.open(Operand::Fine { first, count }).unwrap();
    bytes.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b)).collect()
}

#[test]
fn products_over_many_blocks_are_the_ops() {
    let plan = decoder();
    let shape = longest(&plan);
    let trees = last_trees(&shape);
    let mut random = Random::new(21);
    // Sums are computed by steps from rows and weights that are drawn.
    let steps = |address: &Address| address.part == Part::Sums;
    for (tree, op) in [(1, 2), (1, 8), (1, 10), (1, 13), (1, 14), (2, 16), (2, 17)] {
        let fine = &trees[tree];
        let drawn = Drawn::new(fine, &steps);
        let position = shape.positions() as u32 - 1;
        let outputs = channel_shape(fine, op).outputs;
        for index in [0, outputs - 1, (random.next() % outputs as u64) as usize] {
            let channels = one_channel(&drawn, op, index);
            let row = |value| drawn.row(value, position);
            let stream = |value: u32| vec![i32::try_from(row(value)[index]).unwrap()];
            let expected = match plan.graph().ops[op as usize] {
                Op::Linear { input, .. } => i64::from(linear(&channels, &a16(row(input)))[0]),
                Op::LinearResidual { input, stream: x, .. } => {
                    i64::from(residual(&channels, &a16(row(input)), &stream(x))[0])
                }
                Op::GateResidual { gate: left, up, stream: x, .. } => {
                    i64::from(gate(&channels, &a16(row(left)), &a16(row(up)), &stream(x))[0])
                }
                Op::Logits { input, .. } => logits(&channels, &a16(row(input)))[0],
                ref other => panic!("{other:?}"),
            };
            assert_eq!(stepped(&drawn, op, Part::Row, 0, index), expected, "op {op}, {index}");
        }
    }
}

#[test]
fn the_widest_norm_is_the_op() {
    let plan = decoder();
    let shape = longest(&plan);
    let trees = last_trees(&shape);
    let steps =
        |address: &Address| matches!(address.part, Part::Totals | Part::Squares | Part::Scale);
    let position = shape.positions() as u32 - 1;
    for (tree, op) in [(1, 1), (1, 9), (2, 15)] {
        let drawn = Drawn::new(&trees[tree], &steps);
        let Op::Norm { input, centred, offset } = plan.graph().ops[op as usize] else {
            panic!("op {op} is a norm")
        };
        let first = plan.weight_leaf(op, 0).unwrap();
        let (mut gains, mut biases) = (Vec::new(), Vec::new());
        for leaf in first..first + 64 {
            let bytes = { &drawn }.open(Operand::Weights { leaf }).unwrap();
            let (left, right) = bytes.split_at(1_024);
            gains.extend(left.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)));
            biases.extend(right.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)));
        }
        let attributes = Norm { centred, offset, gains: &gains, biases: &biases };
        let expected = norm(&attributes, &i32s(drawn.row(input, position)));
        for index in (0..expected.len()).step_by(97) {
            let found = stepped(&drawn, op, Part::Row, 0, index);
            assert_eq!(found, i64::from(expected[index]), "op {op}, {index}");
        }
    }
}

#[test]
fn columns_are_the_values_of_all_keys() {
    let plan = decoder();
    let shape = longest(&plan);
    let trees = last_trees(&shape);
    let drawn = Drawn::new(&trees[1], &|_| false);
    for key in [0, 1_023, 1_024, 8_191] {
        let found = stepped(&drawn, 7, Part::Columns, 16_383, key);
        assert_eq!(found, drawn.row(4, key as u32)[16_383]);
    }
}

#[test]
fn attention_over_the_longest_context_is_the_op() {
    let plan = decoder();
    let shape = longest(&plan);
    let trees = last_trees(&shape);
    // Columns are drawn: each stands for the values of one channel.
    let steps =
        |address: &Address| address.op == 7 && !matches!(address.part, Part::Row | Part::Columns);
    let drawn = Drawn::new(&trees[1], &steps);
    let positions = shape.positions() as usize;
    let (head, width) = (37, 256);
    let cut = |row: Vec<i64>| a16(row[head * width..][..width].to_vec());
    let query = cut(drawn.row(5, positions as u32 - 1));
    let mut keys = Rows::new(width);
    for position in 0..positions as u32 {
        keys.push(&cut(drawn.row(6, position)));
    }
    let channels = [0, 100, 255];
    let mut values = vec![0; positions * width];
    for channel in channels {
        for (key, value) in column(&drawn, 7, head * width + channel).into_iter().enumerate() {
            values[key * width + channel] = value;
        }
    }
    let values = Rows::from_data(width, values);
    let attributes = Attention { heads: 1, key_heads: 1, multiplier: 30 };
    let expected = attention(&attributes, &query, &keys, &values, positions);
    for channel in channels {
        let found = stepped(&drawn, 7, Part::Row, 0, head * width + channel);
        assert_eq!(found, i64::from(expected[channel]), "channel {channel}");
    }
}

#[test]
fn sampling_from_the_largest_vocabulary_is_the_op() {
    let plan = decoder();
    let shape = longest(&plan);
    let trees = last_trees(&shape);
    let steps = |address: &Address| address.op == 17 && address.part != Part::Row;
    let drawn = Drawn::new(&trees[2], &steps);
    let logits = drawn.row(17, shape.positions() as u32 - 1);
    let Op::Logits { multiplier, .. } = plan.graph().ops[17] else { panic!("op 17 gives logits") };
    let run = shape.run();
    let expected = sample(&logits, multiplier, &run.sampling, run.seed, 2);
    assert_eq!(stepped(&drawn, 17, Part::Token, 0, 0), i64::from(expected));
    assert_ne!(expected, argmax(&logits), "the draw is not the best entry, so it was one");
}

#[test]
fn the_widest_embedding_row_is_the_op() {
    let plan = encoder();
    let shape = longest(&plan);
    let trees = last_trees(&shape);
    let steps = |address: &Address| address.op == 10 && address.part != Part::Row;
    let drawn = Drawn::new(&trees[2], &steps);
    let expected = unit(&i32s(drawn.row(9, shape.positions() as u32 - 1)));
    for index in (0..expected.len()).step_by(997) {
        assert_eq!(stepped(&drawn, 10, Part::Row, 0, index), i64::from(expected[index]));
    }
    // A pooled element is the one before it and the row's.
    let (row, pooled) = (drawn.row(8, 8_191), drawn.row(9, 8_190));
    assert_eq!(stepped(&drawn, 9, Part::Row, 0, 65_535), row[65_535] + pooled[65_535]);
}
