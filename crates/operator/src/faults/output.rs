//! Flipped output: runs the model and says something else.

use super::Fault;
use model::{Output, Run};

/// Changes the first token, or the first element of a row, by one bit.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlippedOutput;

impl Fault for FlippedOutput {
    fn altered(&self, mut run: Run) -> Run {
        match &mut run.output {
            Output::Tokens(tokens) => tokens.iter_mut().take(1).for_each(|token| *token ^= 1),
            Output::Row(row) => row.iter_mut().take(1).for_each(|element| *element ^= 1),
        }
        run
    }
}
