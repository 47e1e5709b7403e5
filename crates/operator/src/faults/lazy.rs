//! Cached answer: runs the model once, then says the same to everybody.

use super::Fault;
use model::{Output, Run};
use std::sync::{Mutex, PoisonError};

/// Remembers its first answer of each kind, tokens and rows, and gives no other.
#[derive(Debug, Default)]
pub struct Lazy {
    tokens: Mutex<Option<Run>>,
    row: Mutex<Option<Run>>,
}

impl Fault for Lazy {
    fn invented(&self, ids: &[u32], max_tokens: u32) -> Option<Run> {
        let kind = if max_tokens == 0 { &self.row } else { &self.tokens };
        let mut run = kind.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        run.n_in = u32::try_from(ids.len()).ok()?;
        (max_tokens == 0 || run.n_out <= max_tokens).then_some(run)
    }

    fn altered(&self, run: Run) -> Run {
        let kind = if matches!(run.output, Output::Row(_)) { &self.row } else { &self.tokens };
        let mut known = kind.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert(run.clone());
        run
    }
}
