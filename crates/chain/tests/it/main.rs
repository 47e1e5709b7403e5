//! The node through its front door: real consensus, real disk, HTTP on loopback.

mod bad_input;
mod chain;
mod crash;
mod evidence;
mod games;
mod support;
