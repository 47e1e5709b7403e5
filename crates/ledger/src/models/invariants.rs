//! Models: what always holds. All violations are returned, not the first.

use super::schema::{FullName, GRAPHS, MANIFESTS, MODELS, NAMES, PUBLISHERS, WEIGHTS};
use crate::{
    accounts::{self, Pot},
    error::Broken,
    invariants::{Findings, all},
    store::{Read, State},
};
use units::Coin;

/// Holds the whole state against the rules of this module.
pub(crate) fn check(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let models = all(state, &MODELS)?;
    let deposits = Coin::total(models.iter().map(|(_, model)| model.deposit));
    let pot = accounts::pot(state, Pot::ModelDeposits)?;
    findings.require(deposits == Ok(pot), || {
        format!("R5 models: deposits are {deposits:?}, the pot holds {pot}")
    });
    let indexed =
        all(state, &NAMES)?.len() == models.len() && all(state, &WEIGHTS)?.len() == models.len();
    findings.require(indexed, || "R3, R4 models: an index has other entries".to_owned());
    for (id, model) in models {
        findings.require(model.facts.model == id, || {
            format!("R1 models: the facts of {id} name another model")
        });
        findings.require(state.has(&MANIFESTS, &id) && state.has(&GRAPHS, &id), || {
            format!("R7 models: manifest or graph of {id} is missing")
        });
        let full = FullName::new(format!("{}/{}", &*model.publisher, &*model.name));
        let name = full.map(|full| state.get(&NAMES, &full)).unwrap_or(Ok(None))?;
        let publisher = state.get(&PUBLISHERS, &model.publisher)?;
        findings.require(name == Some(id) && publisher == Some(model.owner), || {
            format!("R4 models: the name of {id} stands for something else")
        });
        let weights = state.get(&WEIGHTS, &model.facts.weight_root)?;
        findings.require(weights == Some(id), || {
            format!("R3 models: the weights of {id} stand for another model")
        });
    }
    Ok(())
}
