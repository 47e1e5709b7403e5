//! Units, multipliers and rounded weights.
//!
//! A unit is the real value of one integer step. For a linear op with input unit `s`, output unit
//! `u` and shift 2^16 the multiplier comes first, `m = ⌈max|W|·s·2^16 / (127·u)⌉`. Then the weights
//! are rounded to the scale that goes with it, `w = round(W·s·2^16 / (u·m))`: no error is left in
//! the multiplier.

use model::constants::{
    BIAS_MAX, GAIN_MAX, HALF, HALF_WIDE, MULTIPLIER_MAX, SHIFT, SHIFT_WIDE, STREAM_MAX, TABLE_ROWS,
};
use model::rows::Rows;
use model::{Channels, OpWeights};

use super::ImportError;
use super::source::Matrix;

/// 2^16 as a float.
pub(super) const SCALE: f64 = (1_u64 << SHIFT) as f64;
/// 2^32 as a float.
pub(super) const SCALE_WIDE: f64 = (1_u64 << SHIFT_WIDE) as f64;
/// Largest activation that units are chosen for: half a percent below 2^15, for the rounding of
/// weights.
pub(super) const A16_MOST: f64 = 32_600.0;

/// What a norm gives: `y = z·gains + biases` with ‖z‖ < 1, in steps of `unit`.
#[derive(Clone, Debug)]
pub(super) struct NormOutput {
    gains: Vec<f64>,
    biases: Vec<f64>,
    pub(super) unit: f64,
}

impl NormOutput {
    /// From γ and β of a norm over as many channels.
    pub(super) fn new(gamma: &[f64], beta: &[f64]) -> Self {
        let length = (gamma.len() as f64).sqrt();
        let gains: Vec<f64> = gamma.iter().map(|gamma| gamma * length).collect();
        let reach = gains.iter().zip(beta).map(|(gain, bias)| gain.abs() + bias.abs());
        Self { unit: largest(reach) / A16_MOST, gains, biases: beta.to_vec() }
    }

    /// The integers of the norm op.
    pub(super) fn weights(&self) -> Result<OpWeights, ImportError> {
        let gains = self.gains.iter().map(|gain| {
            integer("a gain", gain / self.unit, i64::from(GAIN_MAX)).map(|gain| gain as i32)
        });
        let biases = self.biases.iter().map(|bias| {
            Ok(integer("a bias", bias / self.unit * SCALE_WIDE, BIAS_MAX - HALF_WIDE)? + HALF_WIDE)
        });
        Ok(OpWeights::Norm {
            gains: gains.collect::<Result<_, ImportError>>()?,
            biases: biases.collect::<Result<_, ImportError>>()?,
        })
    }

    /// Largest magnitude of each channel.
    pub(super) fn reach(&self) -> Vec<f64> {
        self.gains.iter().zip(&self.biases).map(|(gain, bias)| gain.abs() + bias.abs()).collect()
    }

    /// Largest magnitude that each output of a linear op behind this norm can have:
    /// Cauchy–Schwarz over z, the constant part, and half a step per rounded input.
    pub(super) fn linear_reach(&self, weights: &Matrix, bias: &[f64]) -> Vec<f64> {
        let reach = |(row, bias): (&[f64], &f64)| {
            let (mut squares, mut constant, mut rounding) = (0.0, *bias, 0.0);
            for (w, (gain, beta)) in row.iter().zip(self.gains.iter().zip(&self.biases)) {
                squares += (w * gain) * (w * gain);
                constant += w * beta;
                rounding += w.abs() * self.unit / 2.0;
            }
            squares.sqrt() + constant.abs() + rounding
        };
        weights.rows().zip(bias).map(reach).collect()
    }
}

/// The largest of some magnitudes; at least a little, so that it can be a unit.
pub(super) fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(1e-9, f64::max)
}

/// How many fraction bits a requantise drops.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requantise {
    /// 16: of weighted sums of activations.
    Narrow,
    /// 32: of weighted sums of gate products.
    Wide,
}

/// Input and output units of a linear op.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    pub(super) input: f64,
    pub(super) output: f64,
    pub(super) requantise: Requantise,
}

/// The integers of a linear op; with `stream`, the unit of the rows that are added.
pub(super) fn channels(
    weights: &Matrix,
    bias: &[f64],
    units: Units,
    stream: Option<f64>,
) -> Result<Channels, ImportError> {
    let (one, half) = match units.requantise {
        Requantise::Narrow => (SCALE, HALF),
        Requantise::Wide => (SCALE_WIDE, HALF_WIDE),
    };
    let mut out = rows_w8(weights, units.input * one / units.output)?;
    for bias in bias {
        out.biases.push(integer("a bias", bias / units.output * one, BIAS_MAX - half)? + half);
    }
    if let Some(unit) = stream {
        let factor = integer("a stream multiplier", unit / units.output * one, STREAM_MAX)?;
        out.streams = vec![factor; weights.count()];
    }
    Ok(out)
}

/// Weight rows and their multipliers: `m·w` is the float times `step`.
pub(super) fn rows_w8(weights: &Matrix, step: f64) -> Result<Channels, ImportError> {
    let mut out = Channels { weights: Rows::new(weights.columns), ..Channels::default() };
    for row in weights.rows() {
        let most = row.iter().fold(0.0_f64, |most, w| most.max(w.abs()));
        let multiplier = (most * step / 127.0).ceil().max(1.0);
        let multiplier = integer("a multiplier", multiplier, i64::from(MULTIPLIER_MAX))?;
        let scale = step / multiplier as f64;
        let quantised: Vec<i8> =
            row.iter().map(|w| (w * scale).round().clamp(-127.0, 127.0) as i8).collect();
        out.weights.push(&quantised);
        out.multipliers.push(multiplier as i32);
    }
    Ok(out)
}

/// A table of `function` over activations of unit `input`, in steps of `output`.
pub(super) fn table(function: impl Fn(f64) -> f64, input: f64, output: f64) -> Vec<i16> {
    let first = f64::from(i16::MIN);
    (0..TABLE_ROWS)
        .map(|row| {
            let value = function((first + row as f64) * input) / output;
            value.round().clamp(first, f64::from(i16::MAX)) as i16
        })
        .collect()
}

/// The exponent of the finest power of two, at most `finest`, of which `reach` takes fewer than
/// `limit` steps.
pub(super) fn bits(reach: f64, limit: f64, finest: u32) -> u32 {
    let fits = |bits: &u32| reach * power_of_two(*bits) < limit;
    (0..=finest).rev().find(fits).unwrap_or(0)
}

/// 2^bits.
pub(super) fn power_of_two(bits: u32) -> f64 {
    (1_u64 << bits) as f64
}

/// A rounded number of at most `most` in magnitude.
pub(super) fn integer(what: &'static str, value: f64, most: i64) -> Result<i64, ImportError> {
    let rounded = value.round();
    if rounded.abs() <= most as f64 {
        Ok(rounded as i64)
    } else {
        Err(ImportError::Unbounded { what, value })
    }
}
