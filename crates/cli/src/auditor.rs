//! `selvedge auditor run`: runs drawn receipts of others again, without serving.
//!
//! Rules: the account's own key signs once, to appoint the hot key and to enlist; from then on the
//! hot key alone is used. Never here: what is found, what is paid.

use crate::{
    home::Home,
    output::{Failure, Output},
};
use anyhow::{Context as _, anyhow};
use client::{keystore::Keystore, rpc::Rpc, transactions::Sender};
use crypto::{AccountId, SecretKey};
use engine::{Engine, store::Store};
use ledger::{
    Call,
    accounts::{self, SESSIONS},
};
use operator::{Auditor, AuditorConfig};
use serde_json::json;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use units::{Coin, Credit, Millis, NANO};

/// Most that the hot key may spend on fees.
const FEE_CAP: Coin = Coin::new(100 * NANO);
/// How long the hot key lives, on the ledger's clock.
const SESSION_LIFE: Millis = Millis::new(365 * 86_400_000);

/// Of `selvedge auditor`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Enlist, and audit until Ctrl-C.
    Run(Run),
}

/// Of `selvedge auditor run`.
#[derive(clap::Args)]
pub(crate) struct Run {
    /// The models it can run.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// The key of the account that audits: it holds coin and puts up the bond.
    #[arg(long, value_name = "NAME")]
    owner: String,
    /// The hot key that signs findings; made and appointed if it is not there.
    #[arg(long, default_value = "auditor", value_name = "NAME")]
    key: String,
    /// Folder of both keys [default: `keys` in the home folder].
    #[arg(long, value_name = "FOLDER")]
    keys: Option<PathBuf>,
    /// Coin that stands behind its findings.
    #[arg(long, default_value_t = 2_000)]
    bond: u64,
    /// Where operators bring it content.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Nobody can reach this machine: content is demanded on the ledger, for a fee.
    #[arg(long, conflicts_with = "listen")]
    unreachable: bool,
    /// The node's address [default: the last devnet].
    #[arg(long, value_name = "URL")]
    rpc_url: Option<String>,
}

/// Enlists and waits.
pub(crate) async fn run(command: Command, home: &Home, output: &Output) -> Result<(), Failure> {
    let Command::Run(arguments) = command;
    let keystore = Keystore::open(arguments.keys.clone().unwrap_or_else(|| home.keys()))?;
    let owner = keystore.load(&arguments.owner)?;
    let key = keystore.load_or_create(&arguments.key)?;
    let rpc_url = home.node(arguments.rpc_url.as_ref())?;
    let account = AccountId::new(owner.public());
    let rpc = Rpc::new(&rpc_url)?;
    let mut sender = Sender::new(rpc.clone(), rpc.status().await?.chain_id, account, owner);
    appoint(&rpc, &mut sender, &key).await?;

    let config = AuditorConfig {
        data_dir: home.auditor(&account),
        account,
        key,
        rpc_url,
        listen: (!arguments.unreachable).then_some(arguments.listen),
        engines: engines(home, &arguments.models)?,
        fault: None,
    };
    let auditor: Auditor = operator::start_auditor(config).await?;
    let bond = Coin::whole(arguments.bond.into()).context("the bond is too large")?;
    auditor.enlist(&mut sender, bond).await?;
    let (address, models) = (auditor.address(), &arguments.models);
    let text = format!("{account} audits {}; Ctrl-C stops it", models.join(", "));
    let object = json!({ "account": account, "address": address, "models": models });
    output.result(&text, &object)?;
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// Appoints the hot key, if the ledger does not know it as a live one.
async fn appoint(rpc: &Rpc, owner: &mut Sender, key: &SecretKey) -> Result<(), Failure> {
    let clock = rpc.status().await?.clock;
    let known = rpc.record(&SESSIONS, &(owner.account(), key.public())).await?;
    if known.is_some_and(|session| session.is_live(clock)) {
        return Ok(());
    }
    let expires = clock.checked_add(SESSION_LIFE).map_err(|error| anyhow!("{error}"))?;
    let grant = accounts::Tx::GrantSession {
        key: key.public(),
        fee_cap: FEE_CAP,
        spend_cap: Credit::ZERO,
        expires,
    };
    owner.send(Call::Accounts(grant)).await?;
    Ok(())
}

fn engines(home: &Home, names: &[String]) -> Result<Vec<Arc<Engine>>, Failure> {
    let store = Store::open(home.models())?;
    let load = |name: &String| -> Result<Arc<Engine>, Failure> {
        let loaded = store.load(name)?;
        Ok(Arc::new(Engine::load(loaded.model, engine::Options::default())?))
    };
    names.iter().map(load).collect()
}
