//! The way of a transaction from a caller's bytes into the mempool, and of its result back.
//!
//! Rules: the cheapest check first (size, encoding, chain, expiry, nonce, fee), the signature
//! last; the same bytes sent again get the same answer, whether they wait or are final. The
//! answer comes once the block is final, applied and on disk.
//! Never here: the choice for a block.

use super::{Shared, error::Refusal};
use crate::mempool::{Answer, Entry, Unpooled};
use crypto::{Digest, PublicKey, Signature};
use ledger::{Ed25519, Signatures, SignedTransaction};
use light::rpc::{RpcError, TransactionResult};
use std::num::NonZero;
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
        self.submit_one(SignedTransaction::decode(bytes)?, &Ed25519)
    }

    fn submit_one(
        &self,
        signed: SignedTransaction,
        signatures: &dyn Signatures,
    ) -> Result<Submitted, Refusal> {
        let id = signed.transaction.id();
        if let Some(result) = self.machine.archive().result(&id).map_err(Refusal::internal)? {
            return Ok(Submitted::Done(result));
        }
        let next = self.machine.triage(&signed.transaction)?;
        let authorized = signed.clone().authorize(signatures)?;
        let receiver = self.machine.mempool().insert(Entry { signed, authorized }, next)?;
        // Between the look into the archive and the insertion it may have become final.
        match self.machine.archive().result(&id).map_err(Refusal::internal)? {
            Some(result) => Ok(Submitted::Done(result)),
            None => Ok(Submitted::Waiting(receiver)),
        }
    }

    /// Checks many transactions, their signatures together and on all cores, and waits for all
    /// results; one that is refused takes nothing from the others.
    pub(super) async fn submit_all(
        &self,
        batch: Vec<SignedTransaction>,
    ) -> Vec<Result<TransactionResult, RpcError>> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let share = batch.len().div_ceil(cores).max(1);
        let mut tasks = Vec::new();
        let mut batch = batch.into_iter().peekable();
        while batch.peek().is_some() {
            let (shared, part) = (self.clone(), batch.by_ref().take(share).collect());
            tasks.push(tokio::task::spawn_blocking(move || shared.submit_part(part)));
        }
        let mut results = Vec::new();
        for task in tasks {
            let submitted = task.await.expect("checks do not panic");
            for submitted in submitted {
                let result = match submitted {
                    Ok(submitted) => self.result(submitted).await,
                    Err(refusal) => Err(refusal),
                };
                results.push(result.map_err(|refusal| refusal.error));
            }
        }
        results
    }

    /// A core's share of a batch.
    fn submit_part(&self, part: Vec<SignedTransaction>) -> Vec<Result<Submitted, Refusal>> {
        let items: Vec<_> = part
            .iter()
            .map(|signed| {
                let transaction = &signed.transaction;
                (transaction.signer, transaction.id(), signed.signature)
            })
            .collect();
        // If one is bad, each is checked alone to find it.
        let signatures: &dyn Signatures =
            if Ed25519.verify_all(&items) { &Checked } else { &Ed25519 };
        part.into_iter().map(|signed| self.submit_one(signed, signatures)).collect()
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

/// Signatures of a batch that was found good as a whole.
struct Checked;

impl Signatures for Checked {
    fn verify(&self, _: &PublicKey, _: &Digest, _: &Signature) -> bool {
        true
    }

    fn verify_all(&self, _: &[(PublicKey, Digest, Signature)]) -> bool {
        true
    }
}
