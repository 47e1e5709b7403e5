//! The ops, one file each: the normative text of what a model computes.
//!
//! Rules: every op is a total function of its row, its weights and its attributes: any integers in,
//! exactly one row out, no trap. Sums are exact, so their order does not matter. One rounding:
//! floor after half has been added. What an op may assume of its weights is in `constants.rs` and
//! was checked when the model was loaded.

pub mod attention;
pub mod embedding;
pub mod exp;
pub mod gate;
pub mod linear;
pub mod logits;
pub mod norm;
pub mod pool;
pub mod residual;
pub mod rope;
pub mod sample;
pub mod table;
pub mod unit;

#[cfg(test)]
mod tests;
