//! Further parties with a fault, to see it caught.
//!
//! Rules: they register, bond and serve like any other; nobody is told. Never here: what the
//! fault does; that is `operator::faults`.

use crate::Error;
use engine::Engine;
use operator::{
    ServedModel,
    faults::{ColludingAuditor, Fault, FlippedOutput, Lazy, LeakedRoot, Silent, SwappedWeights},
};
use std::sync::Arc;

/// What somebody does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liar {
    /// An operator runs another model than it says: a weight row is swapped.
    Weights,
    /// An operator says something else than it has computed.
    Output,
    /// An operator gives its first answer to everybody.
    Lazy,
    /// An operator serves, and answers no audit.
    Silent,
    /// An auditor copies instead of running the model, from an operator that answers rightly and
    /// leaks false trace roots as bait.
    LeakedRoot,
    /// An operator says something else than it has computed, and an auditor vouches for it.
    ColludingAuditor,
    /// An account challenges right receipts of honest operators again and again.
    GriefingChallenger,
}

/// Who is added to a devnet for a fault.
#[derive(Debug, Default)]
pub(crate) struct Parties {
    /// The fault of a further operator, and what it serves.
    pub(crate) operator: Option<(Arc<dyn Fault>, Vec<ServedModel>)>,
    /// The fault of a further auditor.
    pub(crate) auditor: Option<Arc<dyn Fault>>,
    /// Whether a further account challenges.
    pub(crate) challenges: bool,
}

impl Parties {
    /// Those that a fault takes.
    pub(crate) fn of(kind: Liar, models: Vec<ServedModel>) -> Result<Self, Error> {
        Ok(match kind {
            Liar::Weights => swapped(models)?,
            Liar::Output => Self::operator(Arc::new(FlippedOutput), models),
            Liar::Lazy => Self::operator(Arc::new(Lazy::default()), models),
            Liar::Silent => Self::operator(Arc::new(Silent), models),
            Liar::LeakedRoot => Self::both(Arc::new(LeakedRoot::default()), models),
            Liar::ColludingAuditor => Self::both(Arc::new(ColludingAuditor::default()), models),
            Liar::GriefingChallenger => Self { challenges: true, ..Self::default() },
        })
    }

    fn operator(fault: Arc<dyn Fault>, models: Vec<ServedModel>) -> Self {
        Self { operator: Some((fault, models)), ..Self::default() }
    }

    fn both(fault: Arc<dyn Fault>, models: Vec<ServedModel>) -> Self {
        Self { auditor: Some(Arc::clone(&fault)), ..Self::operator(fault, models) }
    }
}

/// An operator with other weights in its models.
fn swapped(models: Vec<ServedModel>) -> Result<Parties, Error> {
    let mut fault = SwappedWeights::default();
    let mut swapped = Vec::new();
    for ServedModel { engine, price } in models {
        let model = Arc::new(fault.swap(engine.model())?);
        let engine = Arc::new(Engine::load(model, engine::Options::default())?);
        swapped.push(ServedModel { engine, price });
    }
    Ok(Parties::operator(Arc::new(fault), swapped))
}
