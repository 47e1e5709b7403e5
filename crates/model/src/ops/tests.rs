//! Pinned values and edges of each op.

use proptest::prelude::*;

use super::attention::{Attention, attention};
use super::embedding::{embedding_scaled, embedding_sum};
use super::exp::EXP;
use super::gate::gate;
use super::linear::linear;
use super::logits::{argmax, logits};
use super::norm::{Norm, norm};
use super::pool::sum_pool;
use super::residual::residual;
use super::rope::rope;
use super::sample::{draw, sample};
use super::table::{index, table};
use super::unit::unit;
use crate::constants::{HALF, HALF_WIDE, RES_MAX, RES_MIN};
use crate::rows::Rows;
use crate::run::Sampling;
use crate::weights::Channels;

fn one_channel(weights: &[i8], multiplier: i32, bias: i64, stream: i64) -> Channels {
    Channels {
        weights: Rows::from_data(weights.len(), weights.to_vec()),
        multipliers: vec![multiplier],
        biases: vec![bias],
        streams: vec![stream],
    }
}

#[test]
fn the_exponential_table_is_what_its_formula_says() {
    assert_eq!(EXP[0], 4_096);
    assert_eq!(EXP[1_023], 0);
    for (t, entry) in EXP.iter().enumerate().take(1_023).skip(1) {
        let exact = 4_096.0 * libm::exp(-(t as f64 + 0.5) / 64.0);
        assert_eq!(f64::from(*entry), exact.round(), "entry {t}");
    }
}

#[test]
fn linear_rounds_half_up_and_clamps() {
    // acc = 3·1000 − 2·500 = 2,000.
    let y = |multiplier, bias| linear(&one_channel(&[3, -2], multiplier, bias, 0), &[1_000, 500]);
    assert_eq!(y(1 << 15, HALF), [1_000]);
    assert_eq!(y(1, HALF - 2_000), [0], "32,768 is half a step");
    assert_eq!(y(1, HALF - 2_001), [0]);
    assert_eq!(y(1, HALF - 2_000 + (1 << 15)), [1], "half a step rounds up");
    assert_eq!(y(1, HALF - 2_000 - (1 << 16)), [-1], "and below zero the floor does the same");
    assert_eq!(y(1 << 23, 0), [i16::MAX]);
    assert_eq!(linear(&one_channel(&[-127, -127], 1 << 23, 0, 0), &[1_000, 500]), [i16::MIN]);
}

#[test]
fn residual_adds_the_stream_exactly_and_clamps() {
    let channels = one_channel(&[1, 0], 1 << 16, HALF, 1 << 16);
    assert_eq!(residual(&channels, &[5, 0], &[-7]), [-2]);
    assert_eq!(i64::from(residual(&channels, &[5, 0], &[RES_MAX as i32])[0]), RES_MAX);
    assert_eq!(i64::from(residual(&channels, &[-5, 0], &[RES_MIN as i32])[0]), RES_MIN);
}

#[test]
fn a_gate_product_is_never_rounded() {
    // The product −32,768² does not fit 31 bits signed halves; the sum does.
    let channels = one_channel(&[1, -1], 1 << 22, HALF_WIDE, 1 << 32);
    let (left, up) = ([i16::MIN, 3], [i16::MIN, 5]);
    let v = ((1_i128 << 30) - 15) * (1 << 22) + (9 << 32) + i128::from(HALF_WIDE);
    assert_eq!(i128::from(gate(&channels, &left, &up, &[9])[0]), v >> 32);
}

#[test]
fn a_table_starts_at_the_most_negative_activation() {
    let mut entries = vec![0_i16; 1 << 16];
    entries[0] = 11;
    entries[1 << 15] = 22;
    entries[(1 << 16) - 1] = 33;
    assert_eq!(table(&entries, &[i16::MIN, 0, i16::MAX]), [11, 22, 33]);
    assert_eq!(index(-1), (1 << 15) - 1);
}

#[test]
fn embeddings_add_or_scale() {
    assert_eq!(embedding_sum(&[i16::MIN, 1], &[i16::MIN, -2]), [-65_536, -1]);
    let channels = one_channel(&[127, -1], 3, 0, 0);
    assert_eq!(embedding_scaled(&channels.channel(0), 1 << 15), [191, -1]);
}

#[test]
fn a_norm_of_equal_elements_is_its_bias() {
    let (gains, biases) = (vec![1_000; 4], vec![(7_i64 << 32) + HALF_WIDE; 4]);
    let attributes = Norm { centred: true, offset: 1, gains: &gains, biases: &biases };
    assert_eq!(norm(&attributes, &[5; 4]), [7; 4]);
    assert_eq!(norm(&attributes, &[RES_MAX as i32; 4]), [7; 4]);
}

#[test]
fn a_norm_is_shorter_than_its_gain() {
    let (gains, biases) = (vec![30_000; 2], vec![HALF_WIDE; 2]);
    let rms = Norm { centred: false, offset: 1, gains: &gains, biases: &biases };
    // r = ⌊√(25 + 1)⌋ + 1 = 6 for (3, 4).
    assert_eq!(norm(&rms, &[3, 4]), [15_000, 20_000]);
    assert_eq!(norm(&rms, &[RES_MIN as i32, 0]), [-29_531, 0]);
}

#[test]
fn a_rotation_by_a_right_angle_swaps_the_halves() {
    let one = 1 << 16;
    assert_eq!(rope(&[1, 2, 3, 4], 1, &[0, one], &[one, 0]), [-3, 2, 1, 4]);
    assert_eq!(rope(&[1, 2, 3, 4], 2, &[0], &[one]), [-2, 1, -4, 3]);
}

#[test]
fn attention_over_one_key_is_four_times_its_value() {
    let attributes = Attention { heads: 1, key_heads: 1, multiplier: 1 };
    let keys = Rows::from_data(2, vec![1, 2]);
    let values = Rows::from_data(2, vec![100, -8_191]);
    assert_eq!(attention(&attributes, &[3, 4], &keys, &values, 1), [400, -32_764]);
}

#[test]
fn keys_beyond_the_reach_do_not_exist() {
    let attributes = Attention { heads: 1, key_heads: 1, multiplier: 4_000 };
    let keys = Rows::from_data(2, vec![1, 2, 30_000, 30_000]);
    let values = Rows::from_data(2, vec![100, 50, 8_000, 8_000]);
    assert_eq!(attention(&attributes, &[3, 4], &keys, &values, 1), [400, 200]);
    assert_eq!(attention(&attributes, &[3, 4], &keys, &values, 2), [32_000, 32_000]);
}

#[test]
fn equal_scores_weigh_the_same() {
    let attributes = Attention { heads: 2, key_heads: 1, multiplier: 65_535 };
    let keys = Rows::from_data(2, vec![5, 5, 5, 5]);
    let values = Rows::from_data(2, vec![10, 0, 20, 1]);
    assert_eq!(attention(&attributes, &[1, 0, 0, 1], &keys, &values, 2), [60, 2, 60, 2]);
}

#[test]
fn pooling_and_unit_give_a_row_of_length_two_to_the_24() {
    let rows = Rows::from_data(2, vec![1, i16::MIN, 2, i16::MIN]);
    assert_eq!(sum_pool(&rows), [3, -65_536]);
    assert_eq!(unit(&[3, -4]), [8_388_608, -11_184_811]);
    assert_eq!(unit(&[0, 0]), [0, 0]);
    assert_eq!(unit(&[i32::MIN, 0]), [-16_777_216, 0]);
}

#[test]
fn of_equal_logits_the_lowest_id_wins() {
    let channels = one_channel(&[127, 127], 1 << 23, 0, 0);
    assert_eq!(logits(&channels, &[i16::MAX, i16::MAX]), [127 * 2 * 32_767 * (1 << 23)]);
    assert_eq!(argmax(&[3, 9, 9]), 1);
    assert_eq!(argmax(&[]), 0);
}

#[test]
fn draws_are_pinned() {
    let draws = [draw(0, 0), draw(0, 1), draw(u64::MAX, u32::MAX)];
    expect_test::expect!["[6411760804243426077, 17483302712622468038, 437728314537486160]"]
        .assert_eq(&format!("{draws:?}"));
}

#[test]
fn sampling_keeps_what_top_k_and_top_p_leave() {
    let logits = [0, 1 << 40, 1 << 40, 0];
    let drawn = |sampling: Sampling| {
        let mut ids: Vec<u32> =
            (0..2_000).map(|seed| sample(&logits, 1, &sampling, seed, 0)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let all = Sampling { temperature_milli: 1_000, top_p_milli: 1_000, top_k: 0 };
    assert_eq!(drawn(all), [0, 1, 2, 3], "2^40 is 256 steps, four nats");
    assert_eq!(drawn(Sampling { top_k: 2, ..all }), [1, 2]);
    assert_eq!(drawn(Sampling { top_k: 1, ..all }), [1]);
    assert_eq!(drawn(Sampling { top_p_milli: 900, ..all }), [1, 2]);
    assert_eq!(drawn(Sampling { top_p_milli: 0, ..all }), [1], "at least one is kept");
    assert_eq!(drawn(Sampling { temperature_milli: 1, ..all }), [1, 2], "others weigh nothing");
}

proptest! {
    #[test]
    fn a_unit_row_lies_within_its_range(row in prop::collection::vec(any::<i32>(), 1..50)) {
        for q in unit(&row) {
            prop_assert!(q.unsigned_abs() <= 1 << 24);
        }
    }

    #[test]
    fn a_norm_without_bias_stays_inside_its_gain(
        x in prop::collection::vec(RES_MIN as i32..=RES_MAX as i32, 2..64),
        centred: bool,
    ) {
        let (gains, biases) = (vec![32_766; x.len()], vec![HALF_WIDE; x.len()]);
        let y = norm(&Norm { centred, offset: 1, gains: &gains, biases: &biases }, &x);
        let shorter = |y: &i16| (i64::from(y.unsigned_abs()) - 1).max(0).pow(2);
        let square = y.iter().fold(0, |square, y| square + shorter(y));
        prop_assert!(square < 32_766_i64.pow(2));
    }
}
