//! Conflict certificates: two answers to one request body of which at least one is wrong.
//!
//! Rules: outputs are compared as far as both go, so that an answer that was broken off is held
//! against a different token and never against its length; a leaf is opened with its own salt, and
//! the request's stays hidden. Never here: who is wrong; the ledger finds out.

#[cfg(test)]
mod tests;

use crypto::{Digest, Salt, Signed, Tree, merkle::RangeProof};
use ledger::{
    bytes::Bytes,
    payments::messages::{Receipt, Request},
    verification::{Certificate, Contradiction, Exhibit, OpenedLeaf, math::contradict_in_end},
};
use model::{Output, commit};

/// An answer as whoever asked for it has it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// What was ordered.
    pub request: &'a Signed<Request>,
    /// What the operator states.
    pub receipt: &'a Signed<Receipt>,
    /// What it gave; the receipt commits to it.
    pub output: &'a Output,
}

/// The certificate that two answers under one salt make; `None` if they do not contradict each
/// other, or are not answers to one body.
#[must_use]
pub fn certificate(salt: &Salt, first: Answer<'_>, second: Answer<'_>) -> Option<Certificate> {
    if first.request.message.body != second.request.message.body {
        return None;
    }
    let contradiction = contradiction(salt, first, second)?;
    Some(Certificate { first: exhibit(first), second: exhibit(second), contradiction })
}

fn contradiction(salt: &Salt, first: Answer<'_>, second: Answer<'_>) -> Option<Contradiction> {
    let (one, other) = (commit::output_bytes(first.output), commit::output_bytes(second.output));
    if let Some(index) = one.iter().zip(&other).position(|(one, other)| one != other) {
        let first = opened(salt, first.output, one.get(index)?, index)?;
        let second = opened(salt, second.output, other.get(index)?, index)?;
        return Some(Contradiction::Output { index: u32::try_from(index).ok()?, first, second });
    }
    let ends = contradict_in_end(&first.receipt.message, &second.receipt.message);
    ends.then_some(Contradiction::End)
}

fn opened(salt: &Salt, output: &Output, data: &[u8], index: usize) -> Option<OpenedLeaf> {
    let leaves: Vec<Digest> = commit::output_leaves(salt, output);
    let index = u64::try_from(index).ok()?;
    Some(OpenedLeaf {
        salt: salt.of_leaf(Tree::Output, index),
        data: Bytes::new(data.to_vec()).ok()?,
        path: RangeProof::new(&leaves, index..index.checked_add(1)?).ok()?,
    })
}

fn exhibit(answer: Answer<'_>) -> Exhibit {
    Exhibit { request: answer.request.clone(), receipt: answer.receipt.clone() }
}
