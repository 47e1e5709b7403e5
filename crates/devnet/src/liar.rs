//! A further operator with a fault, to see it caught.
//!
//! Rules: it registers, bonds and serves like any other; nobody is told. Never here: what the
//! fault does; that is `operator::faults`.

use crate::Error;
use engine::Engine;
use operator::{
    ServedModel,
    faults::{Fault, FlippedOutput, Lazy, Silent, SwappedWeights},
};
use std::sync::Arc;

/// What the operator does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liar {
    /// It runs another model than it says: a weight row is swapped.
    Weights,
    /// It says something else than it has computed.
    Output,
    /// It gives its first answer to everybody.
    Lazy,
    /// It serves, and answers no audit.
    Silent,
}

/// A fault with the models of an operator that has it.
type Faulty = (Arc<dyn Fault>, Vec<ServedModel>);

/// The fault, and the models of an operator that has it.
pub(crate) fn make(kind: Liar, models: Vec<ServedModel>) -> Result<Faulty, Error> {
    Ok(match kind {
        Liar::Output => (Arc::new(FlippedOutput), models),
        Liar::Lazy => (Arc::new(Lazy::default()), models),
        Liar::Silent => (Arc::new(Silent), models),
        Liar::Weights => {
            let mut fault = SwappedWeights::default();
            let mut swapped = Vec::new();
            for ServedModel { engine, price } in models {
                let model = Arc::new(fault.swap(engine.model())?);
                let engine = Arc::new(Engine::load(model, engine::Options::default())?);
                swapped.push(ServedModel { engine, price });
            }
            (Arc::new(fault), swapped)
        }
    })
}
