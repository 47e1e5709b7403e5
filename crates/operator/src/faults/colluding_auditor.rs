//! Colluding auditor: an operator says something else than it computes, and an auditor in league
//! with it vouches for that.

use super::{Fault, FlippedOutput, leaks::Leaks};
use ledger::{disputes::schema::Finding, payments::schema::Receipt};
use model::Run;

/// Shared by the two; receipts of other operators the auditor re-executes like any other.
#[derive(Debug, Default)]
pub struct ColludingAuditor(Leaks);

impl Fault for ColludingAuditor {
    fn altered(&self, run: Run) -> Run {
        FlippedOutput.altered(run)
    }

    fn signed(&self, receipt: &Receipt, run: &Run) {
        self.0.put(receipt, run.trace_root);
    }

    fn copied(&self, receipt: &Receipt) -> Option<Finding> {
        self.0.get(receipt)
    }
}
