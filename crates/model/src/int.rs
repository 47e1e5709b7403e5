//! Exact integers for the normative formulas, and the few long sums that must be quick.
//!
//! [`Int`] reads like the formula it computes. The limits in `constants.rs` keep every intermediate
//! of every op far inside 128 bits, so its operators are exact; past 128 bits, which nothing
//! reaches, they would saturate rather than panic or wrap.

use std::ops::{Add, Mul, Neg, Sub};

use crate::constants::{RES_MAX, RES_MIN};

/// A signed integer, exact for every value that a legal model can produce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Int(i128);

impl Int {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// Two to the power `bits` (at most 126).
    pub const fn power_of_two(bits: u32) -> Self {
        match 1_i128.checked_shl(bits) {
            Some(value) => Self(value),
            None => Self(i128::MAX),
        }
    }

    /// The value as i128.
    pub const fn get(self) -> i128 {
        self.0
    }

    /// Arithmetic right shift: floor of the division by 2^bits.
    pub fn shift_down(self, bits: u32) -> Self {
        Self(self.0.checked_shr(bits).unwrap_or(if self.0 < 0 { -1 } else { 0 }))
    }

    /// Floor of the division by a positive integer; a divisor below one counts as one.
    pub fn div_floor(self, divisor: Self) -> Self {
        Self(self.0.checked_div_euclid(divisor.0.max(1)).unwrap_or(0))
    }

    /// Ceiling of the division by a positive integer; a divisor below one counts as one.
    pub fn div_ceil(self, divisor: Self) -> Self {
        -((-self).div_floor(divisor))
    }

    /// Floor of the square root; a negative value counts as zero.
    pub fn sqrt_floor(self) -> Self {
        Self(self.0.max(0).checked_isqrt().unwrap_or(0))
    }

    /// Ceiling of the square root; a negative value counts as zero.
    pub fn sqrt_ceil(self) -> Self {
        let floor = self.sqrt_floor();
        if floor * floor < self { floor + Self(1) } else { floor }
    }

    /// The magnitude.
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// Clamp to an activation.
    pub fn to_a16(self) -> i16 {
        let limit = if self < Self::ZERO { i16::MIN } else { i16::MAX };
        i16::try_from(self.0).unwrap_or(limit)
    }

    /// Clamp to the residual stream.
    pub fn to_res(self) -> i32 {
        let clamped = self.0.clamp(i128::from(RES_MIN), i128::from(RES_MAX));
        i32::try_from(clamped).unwrap_or(0)
    }

    /// Clamp to i32.
    pub fn to_i32(self) -> i32 {
        i32::try_from(self.0).unwrap_or(if self.0 < 0 { i32::MIN } else { i32::MAX })
    }

    /// Clamp to i64.
    pub fn to_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(if self.0 < 0 { i64::MIN } else { i64::MAX })
    }

    /// Clamp to an index.
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(if self.0 < 0 { 0 } else { usize::MAX })
    }

    /// Clamp to u64.
    pub fn to_u64(self) -> u64 {
        u64::try_from(self.0).unwrap_or(if self.0 < 0 { 0 } else { u64::MAX })
    }
}

macro_rules! from_small {
    ($($small:ty),*) => {$(
        impl From<$small> for Int {
            fn from(value: $small) -> Self {
                Self(i128::from(value))
            }
        }
    )*};
}
from_small!(i8, i16, i32, i64, u8, u16, u32, u64);

impl From<i128> for Int {
    fn from(value: i128) -> Self {
        Self(value)
    }
}

impl From<usize> for Int {
    fn from(value: usize) -> Self {
        Self(i128::try_from(value).unwrap_or(i128::MAX))
    }
}

impl Add for Int {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Int {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul for Int {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self(self.0.saturating_mul(other.0))
    }
}

impl Neg for Int {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

/// Sum of exact integers.
pub fn sum(values: impl Iterator<Item = Int>) -> Int {
    values.fold(Int::ZERO, |total, value| total + value)
}

/// Σ w·a. At most 65,536 terms below 2^22 each: below 2^38, so that i64 never wraps.
pub fn dot_w8(weights: &[i8], activations: &[i16]) -> Int {
    let terms = weights.iter().zip(activations);
    Int::from(
        terms
            .fold(0_i64, |acc, (w, a)| acc.wrapping_add(i64::from(*w).wrapping_mul(i64::from(*a)))),
    )
}

/// Σ a·b over activations. At most 65,536 terms of at most 2^30 each: at most 2^46.
pub fn dot_a16(left: &[i16], right: &[i16]) -> Int {
    let terms = left.iter().zip(right);
    Int::from(
        terms
            .fold(0_i64, |acc, (a, b)| acc.wrapping_add(i64::from(*a).wrapping_mul(i64::from(*b)))),
    )
}

/// Σ w·p over gate products. At most 65,536 terms below 2^37 each: below 2^53.
pub fn dot_products(weights: &[i8], products: &[i32]) -> Int {
    let terms = weights.iter().zip(products);
    Int::from(
        terms
            .fold(0_i64, |acc, (w, p)| acc.wrapping_add(i64::from(*w).wrapping_mul(i64::from(*p)))),
    )
}

/// Σ|w|·limit for limits of at most 2^30. At most 65,536 terms below 2^37 each: below 2^53.
pub fn dot_limits(weights: &[i8], limits: &[u32]) -> Int {
    let terms = weights.iter().zip(limits);
    Int::from(terms.fold(0_u64, |sum, (w, limit)| {
        sum.wrapping_add(u64::from(w.unsigned_abs()).wrapping_mul(u64::from(*limit)))
    }))
}

/// Σ(w·G)². At most 65,536 terms below 2^44 each: below 2^60.
pub fn dot_gains(weights: &[i8], gains: &[i32]) -> Int {
    let terms = weights.iter().zip(gains);
    Int::from(terms.fold(0_u64, |sum, (w, gain)| {
        let scaled = u64::from(i32::from(*w).wrapping_mul(*gain).unsigned_abs());
        sum.wrapping_add(scaled.wrapping_mul(scaled))
    }))
}

/// Σ w·β for |β| ≤ 2^47: 256 terms at a time stay below 2^62.
pub fn dot_offsets(weights: &[i8], offsets: &[i64]) -> Int {
    let chunks = weights.chunks(256).zip(offsets.chunks(256));
    sum(chunks.map(|(weights, offsets)| {
        let terms = weights.iter().zip(offsets);
        Int::from(
            terms.fold(0_i64, |sum, (w, offset)| {
                sum.wrapping_add(i64::from(*w).wrapping_mul(*offset))
            }),
        )
    }))
}

/// Σ|w|. At most 65,536 terms below 2^7 each.
pub fn sum_magnitudes(weights: &[i8]) -> Int {
    let total = weights.iter().fold(0_u32, |sum, w| sum.wrapping_add(w.unsigned_abs().into()));
    Int::from(total)
}
