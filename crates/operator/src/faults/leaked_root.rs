//! Leaked false root: an operator answers rightly, and leaks a wrong trace root of each receipt as
//! bait for auditors that copy instead of running the model.
//!
//! It is the reason why nobody copies from a stranger: a leak that is worth something looks the
//! same.

use super::{Fault, leaks::Leaks};
use crypto::{Domain, hash_bytes};
use ledger::{disputes::schema::Finding, payments::schema::Receipt};
use model::Run;

/// Shared by the operator and the auditor that copies; where nothing was leaked the auditor runs
/// the model.
#[derive(Debug, Default)]
pub struct LeakedRoot(Leaks);

impl Fault for LeakedRoot {
    fn signed(&self, receipt: &Receipt, run: &Run) {
        // A hash like any other: only who has run the model can tell.
        let bait = hash_bytes(Domain::TraceLeaf, run.trace_root.as_bytes());
        self.0.put(receipt, bait);
    }

    fn copied(&self, receipt: &Receipt) -> Option<Finding> {
        self.0.get(receipt)
    }
}
