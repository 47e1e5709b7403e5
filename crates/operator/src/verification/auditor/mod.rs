//! An auditor: re-executes drawn receipts of other operators and says what it found.
//!
//! ```text
//!   drawn ─▶ content (brought over a link, or demanded) ─▶ run ─▶ Commit ─▶ Reveal
//!                                                    finding differs ─▶ dispute, played to its end
//! ```
//! Rules: it is shown input and output, never the trace root, and so proves by its finding that it
//! ran the model; content counts only if it gives the commitments of request and receipt; a
//! finding is on disk before its commitment is sent; a finding that differs is stood behind.
//! Never here: what its pay is; that does not depend on what it finds.

mod desk;
mod records;
mod work;

use self::{
    desk::{Desk, take},
    records::Records,
    work::Work,
};
use crate::{StartError, faults::Fault};
use client::{
    follow::Follower,
    rpc::Rpc,
    transactions::{SendError, Sender},
};
use crypto::{AccountId, ModelId, PublicKey, SecretKey};
use engine::Engine;
use ledger::{
    Call,
    tables::PARAMS,
    verification::{self, AUDITORS, schema::AUDITOR_MODELS_MAX},
};
use link::{Limits, Listener, TlsListener};
use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::task::JoinHandle;
use units::{Coin, List, Text};

/// Name of the file of records.
const RECORDS: &str = "auditor.redb";

/// Settings of an auditor. Its account enlists with its own, cold key; see
/// [`ledger::verification::Tx::Enlist`].
#[derive(Debug, Clone)]
pub struct AuditorConfig {
    /// Folder of its records; created if missing.
    pub data_dir: PathBuf,
    /// Who is enlisted.
    pub account: AccountId,
    /// The hot key it enlisted with, a session key of the account; proves it to operators.
    pub key: SecretKey,
    /// The node it asks, for instance `http://127.0.0.1:7700`.
    pub rpc_url: String,
    /// Where operators bring it content; port 0 takes any free port. None where nobody can reach
    /// it: then it demands all content on the ledger.
    pub listen: Option<SocketAddr>,
    /// The models it can run.
    pub engines: Vec<Arc<Engine>>,
    /// What it does wrong: nothing, but in devnets and tests of what it costs.
    pub fault: Option<Arc<dyn Fault>>,
}

/// A running auditor; stops when dropped.
#[derive(Debug)]
pub struct Auditor {
    rpc: Rpc,
    account: AccountId,
    key: PublicKey,
    models: List<ModelId, AUDITOR_MODELS_MAX>,
    address: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Auditor {
    /// Where operators bring it content, if anywhere.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Enlists it with its models and present address, if the ledger does not know them yet.
    /// `owner` signs with its account's own key and brings what `bond` is more than it has.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn enlist(&self, owner: &mut Sender, bond: Coin) -> Result<(), SendError> {
        let known = self.rpc.record(&AUDITORS, &self.account).await?;
        let address = self.address.map(|address| address.to_string()).unwrap_or_default();
        let endpoint = Text::new(address).unwrap_or_default();
        let amount = known.as_ref().map_or(bond, |known| bond.saturating_sub(known.bond));
        let same = known.is_some_and(|known| {
            (known.key, known.endpoint, known.models)
                == (self.key, endpoint.clone(), self.models.clone())
        });
        if same && amount.is_zero() {
            return Ok(());
        }
        let (key, models) = (self.key, self.models.clone());
        let call = verification::Tx::Enlist { key, amount, models, endpoint };
        owner.send(Call::Verification(call)).await.map(|_| ())
    }

    /// Stops it, and waits until it has let go of its records.
    pub async fn shutdown(mut self) {
        for task in &mut self.tasks {
            task.abort();
            // It ends as aborted.
            task.await.ok();
        }
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Starts an auditor. It audits from the moment its account is enlisted.
///
/// # Errors
/// [`StartError`].
pub async fn start(config: AuditorConfig) -> Result<Auditor, StartError> {
    let rpc = Rpc::new(&config.rpc_url)?;
    let follower = Follower::start(rpc.clone()).await?;
    let chain = rpc.status().await?.chain_id;
    let params = rpc.record(&PARAMS, &()).await?;
    let params = params.ok_or(StartError::Missing { what: "parameters" })?;
    let path = config.data_dir.clone();
    fs::create_dir_all(&path).map_err(|source| StartError::Io { path: path.clone(), source })?;
    let records = Records::open(&path.join(RECORDS))?;
    let listener = match config.listen {
        Some(listen) => Some(TlsListener::bind(listen, &config.key, Limits::default()).await?),
        None => None,
    };
    let address = listener.as_ref().map(Listener::address);
    let (account, key) = (config.account, config.key.public());
    let sender = Sender::new(rpc.clone(), chain, account, config.key);
    let engines: BTreeMap<_, _> =
        config.engines.into_iter().map(|engine| (engine.model().id(), engine)).collect();
    let models = engines.keys().copied().take(AUDITOR_MODELS_MAX).collect();
    let models = List::new(models).unwrap_or_default();
    let desk = Arc::new(Desk::new(rpc.clone(), account, records));
    let window = params.windows.commit;
    let work = Work::new(Arc::clone(&desk), follower, sender, engines, config.fault, window);
    let mut tasks = vec![tokio::spawn(work.run())];
    tasks.extend(listener.map(|listener| tokio::spawn(take(desk, listener))));
    Ok(Auditor { rpc, account, key, models, address, tasks })
}
