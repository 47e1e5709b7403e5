//! What an operator hands to an auditor out of band.

use crypto::Digest;
use ledger::{disputes::schema::Finding, payments::schema::Receipt};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Findings kept; the oldest go first.
const MAX_LEAKS: usize = 4_096;

/// Findings by receipt, for whoever shares this.
#[derive(Debug, Default)]
pub(super) struct Leaks(Mutex<VecDeque<(Digest, Finding)>>);

impl Leaks {
    /// Leaks that a receipt was found as it says, on a trace with this root.
    pub(super) fn put(&self, receipt: &Receipt, trace_root: Digest) {
        let Receipt { output_commit, n_out, finish, .. } = *receipt;
        let finding = Finding { trace_root, output_commit, n_out, finish };
        let mut leaks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if leaks.len() >= MAX_LEAKS {
            leaks.pop_front();
        }
        leaks.push_back((receipt.hash(), finding));
    }

    /// What was leaked of a receipt.
    pub(super) fn get(&self, receipt: &Receipt) -> Option<Finding> {
        let hash = receipt.hash();
        let leaks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leaks.iter().rev().find(|(known, _)| *known == hash).map(|(_, finding)| *finding)
    }
}
