//! Devnets with an operator that does something wrong: whole networks on loopback, real models.

mod liars;
mod world;
