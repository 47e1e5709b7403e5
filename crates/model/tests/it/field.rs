//! The field of 2^64 − 2^32 + 1 elements ("Goldilocks"), as much of it as constraints need.

use std::ops::{Add, Mul, Sub};

const P: u64 = 0xffff_ffff_0000_0001;

/// An element, in its smallest form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct F(u64);

impl F {
    pub(crate) const ZERO: Self = Self(0);
    pub(crate) const ONE: Self = Self(1);

    pub(crate) fn of(value: i128) -> Self {
        Self(value.rem_euclid(i128::from(P)) as u64)
    }

    pub(crate) fn power_of_two(bits: u32) -> Self {
        Self::of(1 << bits)
    }

    /// The integer 0 … p − 1 that it stands for.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// What a range look-up decides: whether it lies in 0 … limit − 1.
    pub(crate) const fn below(self, limit: u64) -> bool {
        self.0 < limit
    }
}

impl Add for F {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::of(i128::from(self.0) + i128::from(other.0))
    }
}

impl Sub for F {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::of(i128::from(self.0) - i128::from(other.0))
    }
}

impl Mul for F {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self((u128::from(self.0) * u128::from(other.0) % u128::from(P)) as u64)
    }
}

/// Σ limbs_i·2^(16 i).
pub(crate) fn joined(limbs: &[F]) -> F {
    limbs.iter().rev().fold(F::ZERO, |sum, limb| sum * F::power_of_two(16) + *limb)
}

/// The first `count` limbs of 16 bits of a non-negative number.
pub(crate) fn limbs(value: i128, count: usize) -> Vec<F> {
    (0..count).map(|index| F::of(value >> (16 * index) & 0xffff)).collect()
}
