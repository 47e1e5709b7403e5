//! The way of a transaction from a caller's bytes into the mempool, and of its result back.
//!
//! Rules: the cheapest check first (size, encoding, chain, expiry, nonce, fee), the signature
//! last; the same bytes sent again get the same answer, whether they wait or are final. The
//! answer comes once the block is final, applied and on disk.
//! Never here: the choice for a block.

use super::{Shared, error::Refusal};
use crate::mempool::{Answer, Entry, Unpooled};
use ledger::{Ed25519, SignedTransaction};
use light::rpc::TransactionResult;
use tokio::sync::oneshot;

/// Where a submitted transaction stands.
pub(super) enum Submitted {
    /// It is final.
    Done(TransactionResult),
    /// It waits.
    Waiting(oneshot::Receiver<Answer>),
}

impl Shared {
    /// Checks a transaction and lets it wait for a block.
    ///
    /// # Errors
    /// [`Refusal`], with the code of the first check that fails.
    pub(super) fn submit(&self, bytes: &[u8]) -> Result<Submitted, Refusal> {
        let signed = SignedTransaction::decode(bytes)?;
        let id = signed.transaction.id();
        if let Some(result) = self.machine.archive().result(&id).map_err(Refusal::internal)? {
            return Ok(Submitted::Done(result));
        }
        let next = self.machine.triage(&signed.transaction)?;
        let authorized = signed.clone().authorize(&Ed25519)?;
        let receiver = self.machine.mempool().insert(Entry { signed, authorized }, next)?;
        // Between the look into the archive and the insertion it may have become final.
        match self.machine.archive().result(&id).map_err(Refusal::internal)? {
            Some(result) => Ok(Submitted::Done(result)),
            None => Ok(Submitted::Waiting(receiver)),
        }
    }

    /// Waits for the result of a submitted transaction, or for the node to stop.
    ///
    /// # Errors
    /// [`Refusal`] if the transaction left the mempool without a block.
    pub(super) async fn result(&self, of: Submitted) -> Result<TransactionResult, Refusal> {
        match of {
            Submitted::Done(result) => Ok(result),
            Submitted::Waiting(receiver) => {
                let mut closed = self.closed.clone();
                let answer = tokio::select! {
                    answer = receiver => answer.unwrap_or(Err(Unpooled::Closed)),
                    _ = closed.wait_for(|closed| *closed) => Err(Unpooled::Closed),
                };
                Ok(answer?)
            }
        }
    }
}
