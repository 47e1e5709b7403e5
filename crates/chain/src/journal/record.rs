//! What the journal keeps of a block: everything that cannot be had again without executing it.
//!
//! Rules: one record per finalized block, in order; a record is never changed.
//! Never here: what is not final.

use borsh::{BorshDeserialize, BorshSerialize};
use ledger::{Event, Writes};
use light::{Certificate, rpc::TransactionResult};
use units::Millis;

/// A finalized block with its effects.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Record {
    /// The encoded block.
    pub(crate) block: Vec<u8>,
    /// The certificate of this very block; `None` if only a descendant was certified.
    pub(crate) certificate: Option<Certificate>,
    /// The ledger's clock after the block.
    pub(crate) clock: Millis,
    /// Everything that it wrote; block 1 also carries the entries of genesis.
    pub(crate) writes: Writes,
    /// What became of each transaction, in order.
    pub(crate) results: Vec<TransactionResult>,
    /// What happened, in order.
    pub(crate) events: Vec<Event>,
}
