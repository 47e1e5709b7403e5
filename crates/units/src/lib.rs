//! Quantities of the network: money, work, time, each a type of its own.
//!
//! Rules: a quantity is made by `new` and read by `get`; it has no operators, so each sum and
//! difference is checked and its failure is a value; every division names its rounding.
//! Never here: `+ - *` on quantities, floats, anything that reads a clock.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::float_arithmetic,
        clippy::as_conversions,
        clippy::let_underscore_must_use
    )
)]

mod bounded;
mod math;
mod quantity;

pub use bounded::{List, Text, TooLong};
pub use math::{Overflow, Rounding, mul_div};
pub use quantity::{
    BasisPoints, Coin, Credit, Epoch, Height, Millis, NANO, Nonce, OutOfRange, Price, Round,
    UsdNano, WorkUnits,
};

#[cfg(test)]
mod tests;
