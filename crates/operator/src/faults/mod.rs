//! Faults that a party can be given: what networks fear, for seeing it caught.
//!
//! Rules: one file per fault, named after it; a party has at most one, and only if its settings
//! say so; a fault changes what the party does and nothing of how others see it; what several do
//! in league is one fault that they share.
//! Never here: what catches it.

mod colluding_auditor;
mod garbling;
mod griefing_challenger;
mod lazy;
mod leaked_root;
mod leaks;
mod omitting;
mod output;
mod silent;
mod weights;

pub use colluding_auditor::ColludingAuditor;
pub use garbling::Garbling;
pub use griefing_challenger::GriefingChallenger;
pub use lazy::Lazy;
pub use leaked_root::LeakedRoot;
pub use omitting::Omitting;
pub use output::FlippedOutput;
pub use silent::Silent;
pub use weights::SwappedWeights;

use core::fmt::Debug;
use crypto::{ModelId, merkle_sum::Leaf};
use ledger::{
    disputes::schema::Finding,
    payments::schema::{Receipt, ReceiptKey},
    verification::Content,
};
use model::Run;

/// What a box or an auditor does otherwise than an honest one. Every method's default is honest.
pub trait Fault: Debug + Send + Sync {
    /// Under which name it serves a model that it has loaded.
    fn poses_as(&self, model: ModelId) -> ModelId {
        model
    }

    /// An answer to `ids` that it gives without running the model.
    fn invented(&self, ids: &[u32], max_tokens: u32) -> Option<Run> {
        let _ = (ids, max_tokens);
        None
    }

    /// What it says instead of what it has computed.
    fn altered(&self, run: Run) -> Run {
        run
    }

    /// What it tells others of a receipt that it has signed, and of the run behind it.
    fn signed(&self, receipt: &Receipt, run: &Run) {
        let _ = (receipt, run);
    }

    /// What it finds, as an auditor, without running the model.
    fn copied(&self, receipt: &Receipt) -> Option<Finding> {
        let _ = receipt;
        None
    }

    /// What it puts into its claim in the place of a receipt.
    fn claimed(&self, leaf: Leaf<ReceiptKey>) -> Leaf<ReceiptKey> {
        leaf
    }

    /// What it brings auditors in the place of what it committed to.
    fn brought(&self, content: Content) -> Content {
        content
    }

    /// Whether it opens drawn receipts, shows its trace and plays disputes.
    fn answers(&self) -> bool {
        true
    }
}
