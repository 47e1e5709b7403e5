//! Matrix products by themselves: however many rows and channels, every backend's are the plain
//! ones.

use engine::{BackendKind, Product};
use model::Channels;
use model::rows::Rows;

/// Numbers from -`most` to `most`, no two neighbours alike.
fn numbers(count: usize, most: i64) -> impl Iterator<Item = i64> {
    let steps = (0..count as i64).map(|at| at * 7_919 + at * at % 911);
    steps.map(move |value| value % (2 * most + 1) - most)
}

fn channels(outputs: usize, inputs: usize) -> Channels {
    let weights = numbers(outputs * inputs, 127).map(|w| i8::try_from(w).unwrap());
    Channels {
        weights: Rows::from_data(inputs, weights.collect()),
        multipliers: vec![3; outputs],
        biases: numbers(outputs, 1 << 20).collect(),
        streams: Vec::new(),
    }
}

/// Numbers of rows on both sides of every tile and block, of channels that make an even and an odd
/// number of panels, the last one whole or not, and of inputs that fill their last quad or not.
#[test]
fn products_of_any_number_of_rows_and_channels_agree_on_every_backend() {
    for most in [900, 127] {
        for (outputs, inputs) in [(16, 6), (32, 64), (40, 30), (48, 128), (90, 34)] {
            compare(outputs, inputs, most);
        }
    }
}

fn compare(outputs: usize, inputs: usize, most: u16) {
    let channels = channels(outputs, inputs);
    let product = |kind, threads| Product::new(kind, threads, &channels, most).unwrap();
    let plain = product(BackendKind::Scalar, 1);
    for kind in BackendKind::available() {
        for threads in [1, 2] {
            let fast = product(kind, threads);
            for rows in (1..=30).chain([35, 36, 65, 66, 67, 72, 128, 132]) {
                let input = numbers(rows * inputs, most.into());
                let input: Vec<i16> = input.map(|a| i16::try_from(a).unwrap()).collect();
                let (mut expected, mut found) = (vec![0; rows * outputs], vec![1; rows * outputs]);
                plain.run(&input, &mut expected);
                fast.run(&input, &mut found);
                assert_eq!(
                    found, expected,
                    "{kind:?} {threads} {rows}x{inputs}x{outputs} of at most {most}"
                );
            }
        }
    }
}
