//! What payers, operators and their tools share: talking to the chain, keys, money off chain,
//! and checking what was answered.
//!
//! - [`rpc`], [`follow`], [`transactions`]: the chain's HTTP interface, watching it, sending to it.
//! - [`keystore`]: secret keys on disk. [`store`]: a database whose writes share a sync.
//! - [`lanes`]: the two ends of a payment lane, as pure state machines.
//! - [`wire`]: the messages of a link.
//! - [`bundle`]: all that a stranger needs to check an answer. [`conflict`]: two answers of which
//!   one is wrong.
//! - [`caps`]: what an operator may still serve.
//! - [`openai`]: request bodies as users send them.
//!
//! Never here: an engine, HTTP servers, decisions about routing or price.

pub mod bundle;
pub mod caps;
pub mod conflict;
pub mod follow;
pub mod keystore;
pub mod lanes;
pub mod openai;
pub mod rpc;
pub mod store;
pub mod transactions;
pub mod wire;
