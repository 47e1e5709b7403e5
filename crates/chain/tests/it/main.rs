//! The node through its front door: real consensus, real disk, HTTP on loopback.

mod chain;
mod support;
