//! Pinned values and edges of each op.

use proptest::prelude::*;

use super::attention::{Attention, attention, exponential};
use super::embedding::{embedding_scaled, embedding_sum};
use super::exp::EXP;
use super::gate::gate;
use super::linear::linear;
use super::logits::{argmax, logits};
use super::norm::{Norm, norm};
use super::pool::sum_pool;
use super::residual::residual;
use super::rope::rope;
use super::sample::{draw, sample, scaled_multiplier, steps};
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
fn the_widest_norm_never_loses_a_bit_of_its_variance() {
    // Half of 16,384 channels at each end: V = 2^66 + E + 2^14·¼, r = 2^33 + 1, R = 0.
    let ends = [RES_MIN as i32, RES_MAX as i32];
    let x: Vec<i32> = (0..16_384).map(|index| ends[index % 2]).collect();
    let (gains, biases) = (vec![32_767; x.len()], vec![HALF_WIDE; x.len()]);
    let attributes = Norm { centred: true, offset: 1 << 62, gains: &gains, biases: &biases };
    assert_eq!(norm(&attributes, &x), vec![0; x.len()]);
    // A quarter of that width keeps one bit of R: r < 2^32.
    let x = &x[..2_048];
    let attributes = Norm { centred: true, offset: 1, gains: &gains[..2_048], ..attributes };
    let attributes = Norm { biases: &biases[..2_048], ..attributes };
    let y = norm(&attributes, x);
    assert_eq!((y[0], y[1]), (-512, 512));
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

/// The rule as it stands in words: order all entries, cut them, walk to the draw.
fn drawn_in_order(logits: &[i64], multiplier: u32, sampling: &Sampling, seed: u64) -> u32 {
    let multiplier = scaled_multiplier(multiplier, sampling.temperature_milli);
    let best = *logits.iter().max().unwrap();
    let mut entries: Vec<(u16, u32)> =
        (0..).zip(logits).map(|(id, logit)| (steps(best, *logit, multiplier), id)).collect();
    entries.sort_unstable();
    if sampling.top_k > 0 {
        entries.truncate(usize::from(sampling.top_k));
    }
    let weights: Vec<i128> =
        entries.iter().map(|(t, _)| exponential(crate::int::Int::from(*t)).get()).collect();
    let total = crate::int::sum(weights.iter().map(|e| crate::int::Int::from(*e))).get();
    let wanted = (i128::from(sampling.top_p_milli) * total + 999) / 1_000;
    let (mut kept, mut prefix) = (0, 0);
    while kept == 0 || prefix < wanted {
        prefix += weights[kept];
        kept += 1;
    }
    let point = (i128::from(draw(seed, 5)) * prefix) >> 64;
    let mut before = 0;
    for ((_, id), e) in entries.iter().zip(&weights).take(kept) {
        before += e;
        if before > point {
            return *id;
        }
    }
    panic!("the draw lies within what is kept")
}

proptest! {
    #[test]
    fn a_histogram_draws_what_the_order_draws(
        logits in prop::collection::vec(-1_i64 << 40..1 << 40, 1..200),
        same in prop::collection::vec(0_usize..200, 0..40),
        temperature_milli in 1_u16..4_000, top_p_milli in 0_u16..=1_000, top_k in 0_u16..250,
        seed: u64,
    ) {
        let mut logits = logits;
        for index in same {
            let at = index % logits.len();
            logits[at] = logits[0];
        }
        let sampling = Sampling { temperature_milli, top_p_milli, top_k };
        let expected = drawn_in_order(&logits, 4, &sampling, seed);
        prop_assert_eq!(sample(&logits, 4, &sampling, seed, 5), expected);
    }

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
