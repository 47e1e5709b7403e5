//! Which models a devnet serves, and their registration on its chain.
//!
//! Rules: the test models are always there; a real one is fetched through the machine's package
//! client if it is not in the store, and its absence is an event, not a failure. Never here: a
//! model that the catalogue does not pin.

use crate::{Error, Event};
use client::{rpc::Rpc, transactions::Sender};
use engine::store::{Loaded, Store};
use ledger::{Call, models, tables};
use units::{Price, Text};

/// The models' publisher on a devnet's chain.
const PUBLISHER: &str = "selvedge";
/// Asked per unit of work, in billionths of a credit.
pub(crate) const PRICE: Price = Price::new(10);

/// A model that a devnet serves.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its name in requests.
    pub name: String,
    /// Whether its answers mean nothing.
    pub test: bool,
}

/// Loads every model of the catalogue that can be had.
pub(crate) fn load(
    store: &Store,
    offline: bool,
    report: &mut dyn FnMut(Event),
) -> Result<Vec<Loaded>, Error> {
    let mut loaded = Vec::new();
    for entry in store.catalog().entries.clone() {
        if entry.package.is_none() || store.has(&entry) {
            loaded.push(store.load(&entry.name)?);
            continue;
        }
        if offline {
            report(Event::Without { name: entry.name, reason: "offline".to_owned() });
            continue;
        }
        let name = entry.name.clone();
        let mut progress = |step| report(Event::Pulling { name: name.clone(), step });
        match store.pull(&entry.name, &mut progress) {
            Ok(model) => loaded.push(model),
            Err(error) => {
                report(Event::Without { name: entry.name, reason: error.to_string() });
            }
        }
    }
    Ok(loaded)
}

/// Registers those models that the chain does not know yet.
pub(crate) async fn publish(
    rpc: &Rpc,
    publisher: &mut Sender,
    loaded: &[Loaded],
) -> Result<(), Error> {
    for Loaded { entry, model, .. } in loaded {
        if rpc.record(&tables::MODELS, &model.id()).await?.is_some() {
            continue;
        }
        let refused = |reason: String| Error::Publish { name: entry.name.clone(), reason };
        let publication = publication(&entry.name, model).map_err(refused)?;
        let call = Call::Models(models::Tx::Publish(publication));
        let sent = publisher.send(call).await;
        sent.map_err(|source| Error::Send { what: "publish a model", source })?;
    }
    Ok(())
}

fn publication(name: &str, model: &model::Model) -> Result<models::Publication, String> {
    let text = |error: units::TooLong| error.to_string();
    let encoded = |error: std::io::Error| error.to_string();
    let manifest = borsh::to_vec(model.manifest()).map_err(encoded)?;
    let graph = borsh::to_vec(model.graph()).map_err(encoded)?;
    Ok(models::Publication {
        publisher: Text::new(PUBLISHER).map_err(text)?,
        name: Text::new(name).map_err(text)?,
        manifest: models::schema::Manifest::new(manifest).map_err(text)?,
        graph: models::schema::Graph::new(graph).map_err(text)?,
    })
}
