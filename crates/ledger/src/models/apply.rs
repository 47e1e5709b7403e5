//! Models: the transactions.

use super::{
    math::is_name,
    schema::{
        Error, Event, FullName, GRAPHS, MANIFESTS, MODELS, NAMES, PUBLISHERS, Publication, Tx,
        WEIGHTS,
    },
    state::Model,
};
use crate::{
    accounts::{
        Pot,
        apply::{Purse, move_coin},
    },
    context::{Context, Sender},
    credits::{self, math::coin_for_usd},
    error::{Broken, Failure},
    store::Read,
};

/// Applies one transaction of this module.
pub(crate) fn apply(ctx: &mut Context<'_>, sender: &Sender, tx: &Tx) -> Result<(), Failure> {
    let Tx::Publish(publication) = tx;
    publish(ctx, sender, publication)
}

/// Also called by genesis.
pub(crate) fn publish(
    ctx: &mut Context<'_>,
    sender: &Sender,
    publication: &Publication,
) -> Result<(), Failure> {
    let Publication { publisher, name, manifest, graph } = publication;
    let owner = sender.account;
    // R4: the cheap checks come before the gate.
    for name in [publisher, name] {
        if !is_name(name) {
            return Err(Error::BadName { name: name.clone() }.into());
        }
    }
    if ctx.get(&PUBLISHERS, publisher)?.is_some_and(|first| first != owner) {
        return Err(Error::NotThePublisher { publisher: publisher.clone() }.into());
    }
    let full = FullName::new(format!("{}/{}", &**publisher, &**name));
    let full = full.map_err(|_| Broken::Rule("two names are longer than a full name"))?;
    if let Some(model) = ctx.get(&NAMES, &full)? {
        return Err(Error::NameTaken { name: full, model }.into());
    }
    // R2
    let facts = ctx
        .ports()
        .verifier
        .inspect_model(manifest, graph)
        .map_err(|rejected| Error::Rejected { reason: rejected.reason })?;
    let (model, weights) = (facts.model, facts.weight_root);
    if ctx.has(&MODELS, &model) {
        return Err(Error::AlreadyRegistered { model }.into()); // R1
    }
    if let Some(model) = ctx.get(&WEIGHTS, &weights)? {
        return Err(Error::DuplicateWeights { model }.into()); // R3
    }
    let deposit = coin_for_usd(ctx.params().models.deposit, credits::price(ctx)?)?;
    let record = Model {
        facts,
        publisher: publisher.clone(),
        name: name.clone(),
        owner,
        deposit,
        published: ctx.clock(),
    };

    move_coin(ctx, Purse::Account(owner), Purse::Pot(Pot::ModelDeposits), deposit)?; // R5
    ctx.put(&MODELS, &model, &record)?;
    ctx.put(&MANIFESTS, &model, manifest)?;
    ctx.put(&GRAPHS, &model, graph)?;
    ctx.put(&NAMES, &full, &model)?;
    ctx.put(&PUBLISHERS, publisher, &owner)?;
    ctx.put(&WEIGHTS, &weights, &model)?;
    ctx.emit(Event::Published { model, name: full, owner });
    Ok(())
}
