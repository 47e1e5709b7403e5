//! The binary as people use it: a whole network in a process of its own, on loopback.
//!
//! Rules: every test has a folder and ports of its own; a process is ended by its own handle.
//! Never here: a clock in an assertion; waits are bounded and say what they waited for.

mod crash;
mod first_minutes;
mod local;
mod network;
mod sdk;
mod verified;
