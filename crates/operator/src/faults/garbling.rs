//! Garbling: brings auditors something else than it committed to.

use super::Fault;
use ledger::verification::Content;
use units::List;

/// Opens what is drawn and brings its auditors an empty input, over links and on the ledger.
#[derive(Debug, Clone, Copy, Default)]
pub struct Garbling;

impl Fault for Garbling {
    fn brought(&self, content: Content) -> Content {
        Content { input: List::empty(), ..content }
    }
}
