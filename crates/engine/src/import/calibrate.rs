//! What a publisher measures once: how large the residual stream gets.

use super::float::{Llama, Part};
use super::source::Source;
use super::{Architecture, ImportError, Recipe};

/// The stream's largest value seen should take about this many bits: 5 below the clamp.
const STREAM_BITS: f64 = 21.0;
/// Finest unit of the stream, as an exponent.
const FINEST: f64 = 22.0;

/// The exponents of the stream's units for `Scales::residual_bits`, from running the float original
/// over some texts.
///
/// # Errors
/// A source that lacks what the architecture needs.
pub fn residual_bits(
    source: &Source<'_>,
    recipe: &Recipe,
    texts: &[Vec<u32>],
) -> Result<Vec<u32>, ImportError> {
    if recipe.architecture == Architecture::Bert {
        // Behind a norm the weights bound the stream.
        return Ok(vec![16]);
    }
    let original = Llama::read(source, recipe)?;
    let mut most: Vec<f64> = Vec::new();
    for ids in texts {
        let mut write = 0;
        original.hidden(ids, &mut |_, part, seen| {
            if part == Part::Stream {
                most.resize(most.len().max(write + 1), 0.0);
                most[write] = most[write].max(seen);
                write += 1;
            }
        });
    }
    let mut finest = FINEST;
    Ok(most
        .into_iter()
        .map(|most| {
            finest = finest.min((STREAM_BITS - most.max(1e-9).log2()).floor()).max(0.0);
            finest as u32
        })
        .collect())
}
