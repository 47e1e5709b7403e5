//! Silent at audit: serves and claims, and answers nobody who looks closer.

use super::Fault;

/// Never opens, reveals or moves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Fault for Silent {
    fn answers(&self) -> bool {
        false
    }
}
