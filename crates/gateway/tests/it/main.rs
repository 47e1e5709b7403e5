//! The gateway over real sockets, real boxes and a real chain of one validator.

mod answers;
mod billing;
mod boxes;
mod claims;
mod duplicates;
mod modes;
mod refusals;
mod settlement;
mod world;
