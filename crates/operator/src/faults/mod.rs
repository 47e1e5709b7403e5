//! Faults that a box can be given: what networks fear, for seeing it caught.
//!
//! Rules: one file per fault, named after it; a box has at most one, and only if its settings say
//! so; a fault changes what the box does and nothing of how others see it.
//! Never here: what catches it.

mod lazy;
mod output;
mod silent;
mod weights;

pub use lazy::Lazy;
pub use output::FlippedOutput;
pub use silent::Silent;
pub use weights::SwappedWeights;

use core::fmt::Debug;
use crypto::ModelId;
use model::Run;

/// What a box does otherwise than an honest one. Every method's default is honest.
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

    /// Whether it opens drawn receipts, shows its trace and plays disputes.
    fn answers(&self) -> bool {
        true
    }
}
