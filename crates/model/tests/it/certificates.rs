//! Certificates hold for the inputs built to break them, and fall when a number grows.

use model::certificate::{Certificate, certified, certify};
use model::constants::HALF_WIDE;
use model::inspect::Kind;
use model::int::dot_w8;
use model::ops::linear::requantise;
use model::ops::norm::{Norm, norm};
use model::reference::evaluate;
use model::rows::Rows;
use model::step::Executed;
use model::{Channels, Model, Op, OpWeights, Parts};

use crate::support::{chat, embed};

/// The model with other weights.
fn with_weights(model: &Model, change: impl FnOnce(&mut model::Weights)) -> Model {
    let mut weights = model.weights().clone();
    change(&mut weights);
    Model::from_parts(Parts {
        graph: model.graph().clone(),
        weights,
        preprocess: model.preprocess().to_vec(),
        preprocess_version: 0,
        max_input: model.manifest().max_input,
        max_positions: model.manifest().max_positions,
        stop_ids: model.manifest().stop_ids.clone(),
        licence: model.manifest().licence.clone(),
    })
    .unwrap()
}

fn worst(certificate: &Certificate) -> (bool, i128) {
    match certificate {
        Certificate::Linear { narrow, worst } => (*narrow, *worst),
        other => panic!("{other:?} is no linear op's"),
    }
}

#[test]
fn the_test_models_are_certified_throughout() {
    for model in [chat(), embed()] {
        for (op, certificate) in model.graph().ops.iter().zip(certify(&model)) {
            match certificate {
                Certificate::Nothing => {}
                Certificate::Linear { narrow, .. } | Certificate::Gate { narrow } => {
                    assert!(narrow, "{op:?}");
                }
                Certificate::Attention { scores, averages } => {
                    assert!(scores && averages, "{op:?}");
                }
            }
        }
    }
}

/// A row aligned with one channel's weights comes within one percent of the bound and never passes.
#[test]
fn the_bound_of_a_linear_op_is_sharp_and_holds() {
    let model = chat();
    let certificates = certify(&model);
    let (OpWeights::Norm { gains, biases }, OpWeights::Channels(channels)) =
        (&model.weights().ops[1], &model.weights().ops[2])
    else {
        panic!("ops 1 and 2 are a norm and a linear op")
    };
    assert!(matches!(model.graph().ops[2], Op::Linear { input: 1, .. }));
    let mut largest = 0;
    for channel in channels.iter() {
        let x: Vec<i32> =
            channel.weights.iter().zip(gains).map(|(w, g)| i32::from(*w) * g / 4).collect();
        let attributes = Norm { centred: false, offset: 1, gains, biases };
        let y = norm(&attributes, &x);
        let acc = dot_w8(channel.weights, &y).get();
        largest = largest.max(acc * i128::from(channel.multiplier) + i128::from(channel.bias));
    }
    let (narrow, bound) = worst(&certificates[2]);
    assert!(narrow && largest <= bound, "{largest} of {bound}");
    assert!(largest * 100 >= bound * 99, "{largest} of {bound}");
}

#[test]
fn every_row_of_a_run_stays_below_what_is_certified() {
    for (model, ids) in [(chat(), [3, 17, 40, 95, 0, 22]), (embed(), [95, 3, 17, 40, 5, 6])] {
        let evaluated = evaluate(&model, &ids, &[]);
        for (op, certified) in (0..).zip(certified(&model)) {
            for position in 0..6 {
                let Some(row) = evaluated.row(op, position) else { continue };
                let elements: Vec<i64> = match model.shapes()[op as usize].kind {
                    Kind::A16 => {
                        row.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b).into()).collect()
                    }
                    _ => row.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
                };
                for element in elements {
                    assert!(element.abs() <= certified.largest, "op {op}: {element}");
                }
            }
        }
    }
}

/// Each channel of every linear op that follows a norm, with the row that its weights ask for.
#[test]
fn rows_aligned_with_any_channel_of_any_op_never_pass_its_bound() {
    for model in [chat(), embed()] {
        let all = certified(&model);
        for (index, op) in model.graph().ops.iter().enumerate() {
            let Op::Linear { input, .. } = op else { continue };
            let (Op::Norm { centred, offset, .. }, OpWeights::Norm { gains, biases }) =
                (&model.graph().ops[*input as usize], &model.weights().ops[*input as usize])
            else {
                continue;
            };
            let OpWeights::Channels(channels) = &model.weights().ops[index] else {
                panic!("a linear op has channels")
            };
            let attributes = Norm { centred: *centred, offset: *offset, gains, biases };
            let mut largest = 0;
            for channel in channels.iter() {
                for sign in [1, -1] {
                    let aligned = |(w, g): (&i8, &i32)| sign * i32::from(*w) * g / 4;
                    let x: Vec<i32> = channel.weights.iter().zip(gains).map(aligned).collect();
                    let sum = dot_w8(channel.weights, &norm(&attributes, &x));
                    let v = sum.get() * i128::from(channel.multiplier) + i128::from(channel.bias);
                    largest = largest.max(v.abs());
                    let y = i64::from(requantise(&channel, sum)).abs();
                    assert!(y <= all[index].largest, "op {index}");
                }
            }
            let (_, bound) = worst(&all[index].certificate);
            assert!(largest <= bound, "op {index}: {largest} of {bound}");
            // A centred row cannot align with weights whose mean is not zero.
            let sharp = if *centred { 90 } else { 99 };
            assert!(largest * 100 >= bound * sharp, "op {index}: {largest} of {bound}");
        }
    }
}

/// The model with channel 0 of op 2 scaled and shifted so that its bound is `bound`, if it can be.
fn at_the_edge(model: &Model) -> (Model, i128) {
    let edge = (1_i128 << 31) - 1;
    let multiplied = with_weights(model, |weights| channel_of(weights, |c| c.multipliers[0] = 100));
    let (_, bound) = worst(&certify(&multiplied)[2]);
    let scaled = (100 * edge / bound) as i32;
    let scaled = with_weights(model, |weights| channel_of(weights, |c| c.multipliers[0] = scaled));
    let (narrow, bound) = worst(&certify(&scaled)[2]);
    assert!(narrow);
    let left = (edge - bound) as i64;
    let filled = with_weights(&scaled, |weights| channel_of(weights, |c| c.biases[0] += left));
    (filled, edge)
}

fn channel_of(weights: &mut model::Weights, change: impl FnOnce(&mut Channels)) {
    match &mut weights.ops[2] {
        OpWeights::Channels(channels) => change(channels),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_more_on_a_weight_multiplier_bias_or_gain_at_the_edge_breaks_the_certificate() {
    let (model, edge) = at_the_edge(&chat());
    assert_eq!(worst(&certify(&model)[2]), (true, edge));
    let changes: [fn(&mut model::Weights); 4] = [
        |weights| channel_of(weights, |channels| channels.biases[0] += 1),
        |weights| channel_of(weights, |channels| channels.multipliers[0] += 1),
        |weights| {
            channel_of(weights, |channels| {
                // The first weight that can still grow in magnitude.
                let mut data = channels.weights.data().to_vec();
                let grown = data[..64].iter().position(|w| (50..127).contains(w)).unwrap();
                data[grown] += 1;
                channels.weights = Rows::from_data(64, data);
            });
        },
        |weights| match &mut weights.ops[1] {
            OpWeights::Norm { gains, .. } => gains.iter_mut().for_each(|gain| *gain += 1),
            other => panic!("{other:?}"),
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let (narrow, bound) = worst(&certify(&with_weights(&model, change))[2]);
        assert!(!narrow && bound > edge, "change {index}: {bound}");
    }
    let less =
        with_weights(&model, |weights| channel_of(weights, |channels| channels.biases[0] -= 1));
    assert!(worst(&certify(&less)[2]).0);
}

#[test]
fn rotation_tables_that_lengthen_a_pair_count_in_the_bound_of_scores() {
    let longest = |model: &Model| certified(model)[5].largest;
    assert!(matches!(chat().graph().ops[5], Op::Rope { .. }));
    let stretched = with_weights(&chat(), |weights| {
        let one = vec![1 << 16; 8 * 2_048];
        weights.rope.cos = Rows::from_data(8, one.clone());
        weights.rope.sin = Rows::from_data(8, one);
    });
    let (before, after) = (longest(&chat()), longest(&stretched));
    assert!(after * 100 >= before * 141, "{before} to {after}");
}

#[test]
fn a_larger_number_anywhere_raises_the_bound() {
    let model = chat();
    let (_, before) = worst(&certify(&model)[2]);
    let changes: [fn(&mut model::Weights); 3] = [
        |weights| {
            if let OpWeights::Channels(channels) = &mut weights.ops[2] {
                channels.multipliers.iter_mut().for_each(|m| *m += 1);
            }
        },
        |weights| {
            if let OpWeights::Channels(channels) = &mut weights.ops[2] {
                channels.biases.iter_mut().for_each(|b| *b += 1);
            }
        },
        |weights| {
            if let OpWeights::Norm { gains, .. } = &mut weights.ops[1] {
                gains.iter_mut().for_each(|g| *g += 1);
            }
        },
    ];
    for change in changes {
        assert!(worst(&certify(&with_weights(&model, change))[2]).1 > before);
    }
}

#[test]
fn a_linear_op_that_can_leave_32_bits_has_no_certificate() {
    let model = with_weights(&chat(), |weights| {
        if let OpWeights::Channels(channels) = &mut weights.ops[2] {
            channels.multipliers[5] = 1 << 12;
        }
    });
    assert!(!worst(&certify(&model)[2]).0);
}

#[test]
fn a_norm_that_can_clamp_gives_no_bound() {
    let model = with_weights(&chat(), |weights| {
        if let OpWeights::Norm { biases, .. } = &mut weights.ops[1] {
            biases[0] = (20_000_i64 << 32) + HALF_WIDE;
        }
    });
    // 20,000 + 16,384 is past 32,767, so only the type bounds what the linear op reads.
    assert!(!worst(&certify(&model)[2]).0);
}
