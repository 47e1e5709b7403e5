//! One type per quantity, so that a height is never added to an amount.
//!
//! Rules: money is `u128` in billionths and travels in JSON as a decimal string, because a
//! JSON number loses digits above 2^53; counts and times are `u64` and travel as numbers.
//! Never here: conversions between quantities; those are formulas and live with their rule.

use crate::{Overflow, Rounding, mul_div};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Billionths in one whole coin, credit or dollar.
pub const NANO: u128 = 1_000_000_000;

/// A value outside the range of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{value} is out of range: at most {max}")]
pub struct OutOfRange {
    /// What was given.
    pub value: u64,
    /// The largest that is allowed.
    pub max: u64,
}

macro_rules! common {
    ($name:ident, $inner:ty) => {
        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0);
            /// The largest value.
            pub const MAX: Self = Self(<$inner>::MAX);

            /// From the bare number, in the unit of the type.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The bare number, in the unit of the type.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            /// Whether there is nothing of it.
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// The sum.
            ///
            /// # Errors
            /// [`Overflow`] if it does not fit.
            pub const fn checked_add(self, other: Self) -> Result<Self, Overflow> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Ok(Self(sum)),
                    None => Err(Overflow),
                }
            }

            /// The difference.
            ///
            /// # Errors
            /// [`Overflow`] if `other` is larger.
            pub const fn checked_sub(self, other: Self) -> Result<Self, Overflow> {
                match self.0.checked_sub(other.0) {
                    Some(difference) => Ok(Self(difference)),
                    None => Err(Overflow),
                }
            }

            /// The difference, or zero if `other` is larger.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// The sum of all.
            ///
            /// # Errors
            /// [`Overflow`] if it does not fit.
            pub fn total(parts: impl IntoIterator<Item = Self>) -> Result<Self, Overflow> {
                parts.into_iter().try_fold(Self::ZERO, Self::checked_add)
            }
        }
    };
}

macro_rules! money {
    ($(#[$doc:meta])* $name:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize,
            BorshDeserialize,
        )]
        pub struct $name(u128);

        common!($name, u128);

        impl $name {
            /// From whole units.
            ///
            /// # Errors
            /// [`Overflow`] above about 3.4 · 10^29 whole units.
            pub const fn whole(units: u128) -> Result<Self, Overflow> {
                match units.checked_mul(NANO) {
                    Some(nano) => Ok(Self(nano)),
                    None => Err(Overflow),
                }
            }

            /// `self · numerator / denominator` with a named rounding.
            ///
            /// # Errors
            /// [`Overflow`] if the denominator is zero or the result does not fit.
            pub fn mul_div(
                self,
                numerator: u128,
                denominator: u128,
                rounding: Rounding,
            ) -> Result<Self, Overflow> {
                mul_div(self.0, numerator, denominator, rounding).map(Self)
            }
        }

        impl fmt::Display for $name {
            /// Whole units, then billionths without trailing zeros.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (whole, nano) = (self.0.wrapping_div(NANO), self.0.wrapping_rem(NANO));
                let digits = format!("{nano:09}");
                let fraction = digits.trim_end_matches('0');
                if fraction.is_empty() {
                    write!(f, "{whole} {}", $unit)
                } else {
                    write!(f, "{whole}.{fraction} {}", $unit)
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as Deserialize>::deserialize(deserializer)?;
                decimal(&text).map(Self).ok_or_else(|| {
                    de::Error::custom(format_args!("{text:?} is not a decimal amount"))
                })
            }
        }
    };
}

macro_rules! count {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize,
            BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        common!($name, u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// A decimal number in its only spelling: digits, no sign, no leading zero.
fn decimal(text: &str) -> Option<u128> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if plain && canonical { text.parse().ok() } else { None }
}

money!(
    /// Coin (SELV) in billionths: stake, rewards, transaction fees.
    Coin,
    "SELV"
);
money!(
    /// The stable credit in billionths; one credit is one US dollar of service.
    Credit,
    "credits"
);
money!(
    /// US dollars in billionths: prices of the coin, deposits quoted in dollars.
    UsdNano,
    "USD"
);
money!(
    /// Credit billionths per unit of work, as an operator asks for it.
    Price,
    "credits per unit"
);
count!(
    /// Units of inference work: 2^20 multiply-adds, rounded up per task.
    WorkUnits
);
count!(
    /// Number of a block; genesis is 0.
    Height
);
count!(
    /// A consensus view as the ledger sees it; each round has one beacon seed.
    Round
);
count!(
    /// Number of a ledger period; claims are filed per epoch.
    Epoch
);
count!(
    /// Milliseconds: a span, or a point on the ledger's clock.
    Millis
);
count!(
    /// Number of an account's next transaction, from 0.
    Nonce
);

/// Hundredths of a per cent, at most 10,000.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, Serialize,
)]
#[serde(transparent)]
pub struct BasisPoints(u16);

impl BasisPoints {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One in a hundred.
    pub const PER_CENT: Self = Self(100);
    /// The whole.
    pub const WHOLE: Self = Self(10_000);

    /// From hundredths of a per cent.
    ///
    /// # Errors
    /// [`OutOfRange`] above 10,000.
    pub fn new(value: u16) -> Result<Self, OutOfRange> {
        if value <= Self::WHOLE.0 {
            Ok(Self(value))
        } else {
            Err(OutOfRange { value: u64::from(value), max: u64::from(Self::WHOLE.0) })
        }
    }

    /// Hundredths of a per cent.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// This share of `amount`.
    ///
    /// # Errors
    /// Never in practice: a share is at most the whole. [`Overflow`] is kept for the type.
    pub fn of(self, amount: u128, rounding: Rounding) -> Result<u128, Overflow> {
        mul_div(amount, u128::from(self.0), u128::from(Self::WHOLE.0), rounding)
    }
}

impl BorshDeserialize for BasisPoints {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let value = u16::deserialize_reader(reader)?;
        Self::new(value)
            .map_err(|error| borsh::io::Error::new(borsh::io::ErrorKind::InvalidData, error))
    }
}

impl<'de> Deserialize<'de> for BasisPoints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<u16 as Deserialize>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
