//! Certificates hold for the inputs built to break them, and fall when a number grows.

use model::certificate::{Certificate, certify};
use model::constants::HALF_WIDE;
use model::int::dot_w8;
use model::ops::norm::{Norm, norm};
use model::{Model, Op, OpWeights, Parts};

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
