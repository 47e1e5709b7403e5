//! Starting and stopping a box.
//!
//! Rules: a box starts only if the chain knows it with this very key; it stops within ten
//! seconds, with what was running finished, cancelled and billed, or refused. Dropping it
//! stops it at once; nothing that was acknowledged is lost by that.
//! Never here: what happens in between.

use crate::{
    Config, StartError,
    allocations::Allocations,
    caps, claims, dial,
    lanes::Lanes,
    node::{Clock, MAX_ACTIVE, Node, Phase, Served},
    records::{Records, holds_unseen},
    runner::Runner,
    verification::{
        self,
        auditor::{self, Auditor, AuditorConfig},
        defence::Defence,
        openings::Openings,
    },
};
use client::{follow::Follower, rpc::Rpc, transactions::Sender};
use crypto::{ChainId, ModelId, OperatorId};
use ledger::{
    Call,
    payments::{
        LANES,
        schema::{Ask, AuditMode},
    },
    staking::{self, BOX_KEYS, OPERATORS, Profile},
    tables::PARAMS,
};
use link::{Limits, TlsDialer};
use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use units::List;

/// How long running tasks may go on after the box was told to stop.
const FINISH: Duration = Duration::from_secs(5);
/// How long cancelled ones may take to end.
const CANCEL: Duration = Duration::from_secs(2);
/// How long each of connections, threads and records may take to close.
const CLOSE: Duration = Duration::from_secs(1);
/// Pause between two looks at who still holds the records.
const LOOK: Duration = Duration::from_millis(5);

// What `Operator::shutdown` promises.
const _: () = assert!(FINISH.as_secs() + CANCEL.as_secs() + 3 * CLOSE.as_secs() <= 10);
/// Name of the file of records.
const RECORDS: &str = "operator.redb";

/// A running box.
#[derive(Debug)]
pub struct Operator {
    node: Arc<Node>,
    claims: JoinHandle<()>,
    /// What it owes to audits and disputes, and the look at its value cap.
    duties: Vec<JoinHandle<()>>,
    gateways: Vec<JoinHandle<()>>,
    auditor: Option<Auditor>,
}

/// Starts a box. Returns once it knows itself on the chain and its models are loaded; gateways
/// are dialled from then on, for ever.
///
/// # Errors
/// [`StartError`].
pub async fn start(config: Config) -> Result<Operator, StartError> {
    config.check()?;
    let rpc = Rpc::new(&config.rpc_url)?;
    let follower = Follower::start(rpc.clone()).await?;
    let chain = rpc.status().await?.chain_id;
    let operator = OperatorId::derive(&config.owner, config.index);
    let key_epoch = key_epoch(&rpc, operator, &config).await?;
    let params = rpc.record(&PARAMS, &()).await?;
    let params = params.ok_or(StartError::Missing { what: "parameters" })?;
    let records = open(&config, chain, operator).await?;
    let allocations = Allocations::new(rpc.clone(), operator);
    let limit = config.credit_limit;
    let lanes = Lanes::restore(chain, key_epoch, limit, records.clone(), allocations)?;
    // Also for as long as a claim may hold what was taken before the settings changed.
    let mut unseen = !config.refuses.contains(&AuditMode::CanaryOnly);
    for voucher in lanes.vouchers().await {
        let lane = voucher.message.lane_id();
        let claimed = rpc.record(&LANES, &lane).await?.unwrap_or_default();
        if !unseen {
            let left = records.answers(lane, claimed.sequence.saturating_add(1)..=u64::MAX)?;
            unseen = holds_unseen(&left);
        }
        lanes.allocations.claimed(&lane, claimed);
    }
    let (clock, claimed) = (follower.seen().clock, lanes.allocations.claimed_in_all());
    let room = caps::read(&rpc, &params, operator, clock, claimed, unseen).await?;
    lanes.allocations.limit(room);
    let auditor = audit(&config).await?;
    let asks = Asks { chain, operator, key_epoch };
    let sender = Sender::new(rpc.clone(), chain, config.owner, config.box_key.clone());
    let node = Arc::new(Node {
        chain,
        operator,
        key_epoch,
        models: serve(&config, asks, &records).await?,
        windows: params.windows,
        rpc,
        follower,
        records,
        lanes,
        active: Arc::new(Semaphore::new(usize::try_from(MAX_ACTIVE).unwrap_or(usize::MAX))),
        phase: watch::Sender::new(Phase::Running),
        filed: watch::Sender::new(0),
        clock: Clock::start(),
        key: config.box_key,
        sender: Mutex::new(sender),
        refuses: config.refuses,
        unseen,
        fault: config.fault,
    });
    profile(&node).await;
    let dialer = TlsDialer::new(&node.key, Limits::default())?;
    let claims = tokio::spawn(claims::run(Arc::clone(&node)));
    let mut duties = vec![tokio::spawn(caps::run(Arc::clone(&node), params))];
    if node.fault.as_ref().is_none_or(|fault| fault.answers()) {
        let openings = Openings::new(Arc::clone(&node), dialer.clone());
        duties.push(tokio::spawn(verification::run(openings, Arc::clone(&node))));
        let defence = Defence::new(Arc::clone(&node));
        duties.push(tokio::spawn(verification::run(defence, Arc::clone(&node))));
    }
    let dial = |gateway| tokio::spawn(dial::run(Arc::clone(&node), dialer.clone(), gateway));
    let gateways = config.gateways.into_iter().map(dial).collect();
    Ok(Operator { node, claims, duties, gateways, auditor })
}

/// The number of the box key, if the chain knows it as the current one.
async fn key_epoch(rpc: &Rpc, operator: OperatorId, config: &Config) -> Result<u32, StartError> {
    let record = rpc.record(&OPERATORS, &operator).await?;
    let epoch = record.ok_or(StartError::NotRegistered { operator })?.key_epoch;
    let registered = rpc.record(&BOX_KEYS, &(operator, epoch)).await?;
    let registered = registered.ok_or(StartError::Missing { what: "record of the box key" })?.key;
    let held = config.box_key.public();
    if registered == held {
        Ok(epoch)
    } else {
        Err(StartError::BoxKey { operator, registered, held })
    }
}

/// Says on the chain which models are served: a model is audited only if enough owners say so of
/// it.
async fn profile(node: &Node) {
    let models: Vec<_> = node.models.keys().copied().collect();
    let operator = match node.rpc.record(&OPERATORS, &node.operator).await {
        Ok(Some(record)) if record.profile.models.to_vec() != models => record,
        Ok(_) => return,
        Err(error) => return tracing::warn!(%error, "the profile was not looked up"),
    };
    let models = List::new(models).unwrap_or_default();
    let profile = Profile { models, ..operator.profile };
    let call = staking::Tx::SetProfile { operator: node.operator, profile };
    if let Err(error) = node.sender.lock().await.send(Call::Staking(call)).await {
        tracing::warn!(%error, "the profile was not changed");
    }
}

async fn open(
    config: &Config,
    chain: ChainId,
    operator: OperatorId,
) -> Result<Records, StartError> {
    let path = config.data_dir.clone();
    fs::create_dir_all(&path).map_err(|source| StartError::Io { path: path.clone(), source })?;
    let records = Records::open(&path.join(RECORDS))?;
    let found = records.claim_folder(chain, operator).await?;
    if found == (chain, operator) {
        return Ok(records);
    }
    Err(StartError::OtherBox { path, chain: found.0, operator: found.1 })
}

/// What all asks have in common.
#[derive(Clone, Copy)]
struct Asks {
    chain: ChainId,
    operator: OperatorId,
    key_epoch: u32,
}

/// Starts the models' runners and signs their asks.
async fn serve(
    config: &Config,
    asks: Asks,
    records: &Records,
) -> Result<BTreeMap<ModelId, Served>, StartError> {
    let Asks { chain, operator, key_epoch } = asks;
    let mut models = BTreeMap::new();
    for served in &config.models {
        let (model, price) = (served.engine.model().id(), served.price);
        let model = config.fault.as_ref().map_or(model, |fault| fault.poses_as(model));
        let serial = records.ask_serial(model, price).await?;
        let ask = Ask { chain, operator, key_epoch, model, price, serial };
        let runner = Runner::start(&served.engine, config.at_once, config.queue);
        let runner = runner.map_err(|source| StartError::Threads { model, source })?;
        let ask = ask.sign(&config.box_key);
        let engine = Arc::clone(&served.engine);
        models.insert(model, Served { engine, price, ask, runner });
    }
    Ok(models)
}

/// Starts the box's auditor, if it is to have one. Its fault is the box's.
async fn audit(config: &Config) -> Result<Option<Auditor>, StartError> {
    let Some(auditing) = &config.audit else { return Ok(None) };
    let started = auditor::start(AuditorConfig {
        data_dir: config.data_dir.clone(),
        account: config.owner,
        key: auditing.key.clone(),
        rpc_url: config.rpc_url.clone(),
        listen: auditing.listen,
        engines: config.models.iter().map(|served| Arc::clone(&served.engine)).collect(),
        fault: config.fault.clone(),
    });
    started.await.map(Some)
}

impl Operator {
    /// Who it is on the chain.
    #[must_use]
    pub fn id(&self) -> OperatorId {
        self.node.operator
    }

    /// Its auditor, if it audits others.
    #[must_use]
    pub const fn auditor(&self) -> Option<&Auditor> {
        self.auditor.as_ref()
    }

    /// Stops: takes nothing new, lets running tasks end, and closes the records, so that the
    /// box can be started again. At most ten seconds.
    pub async fn shutdown(mut self) {
        let node = Arc::clone(&self.node);
        node.phase.send_replace(Phase::Stopping);
        let idle = || node.active.acquire_many(MAX_ACTIVE);
        if timeout(FINISH, idle()).await.is_err() {
            node.lanes.cancel_all().await;
            if timeout(CANCEL, idle()).await.is_err() {
                tracing::warn!("tasks still run; they are left without a receipt");
            }
        }
        node.phase.send_replace(Phase::Closing);
        // A claim on its way is found on the ledger after the next start.
        self.claims.abort();
        self.duties.iter().for_each(JoinHandle::abort);
        if let Some(auditor) = self.auditor.take() {
            auditor.shutdown().await;
        }
        let gateways = std::mem::take(&mut self.gateways);
        let aborts: Vec<_> = gateways.iter().map(JoinHandle::abort_handle).collect();
        let ended = async {
            for gateway in gateways {
                // A panic there has been reported by the task itself.
                gateway.await.ok();
            }
        };
        if timeout(CLOSE, ended).await.is_err() {
            tracing::warn!("a connection did not close in time");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
        drop(self);
        close(node).await;
    }
}

/// Ends the engines' threads and lets go of the records.
async fn close(node: Arc<Node>) {
    let threads = Arc::clone(&node);
    let joined = tokio::task::spawn_blocking(move || {
        threads.models.values().for_each(|served| served.runner.join());
    });
    if timeout(CLOSE, joined).await.is_err() {
        tracing::warn!("an engine still runs");
    }
    let alone = async {
        while Arc::strong_count(&node) > 1 {
            tokio::time::sleep(LOOK).await;
        }
    };
    if timeout(CLOSE, alone).await.is_err() {
        tracing::warn!("the records are still held");
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.node.phase.send_replace(Phase::Closing);
        for served in self.node.models.values() {
            served.runner.close();
        }
        self.claims.abort();
        self.duties.iter().for_each(JoinHandle::abort);
        self.gateways.iter().for_each(JoinHandle::abort);
    }
}
