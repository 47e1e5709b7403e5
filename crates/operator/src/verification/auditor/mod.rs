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

mod records;

use self::records::{Audit, Records};
use super::{
    Act, Acts, LookError,
    disputes::{self, Open, Player},
    execution::{Execution, ExecutionError, Order, Side},
};
use crate::StartError;
use client::{
    follow::Follower,
    rpc::Rpc,
    transactions::{SendError, Sender},
    wire::{
        self,
        audit::{FromAuditor, PointKey, ToAuditor},
    },
};
use crypto::{AccountId, Digest, ModelId, PublicKey, SecretKey};
use engine::Engine;
use ledger::{
    Call,
    disputes::{Dispute, Party, schema::Finding},
    payments::schema::{Receipt, Request},
    tables::PARAMS,
    verification::{
        self, AUDITORS, Content, DELIVERED, POINTS, Phase, Point, schema::AUDITOR_MODELS_MAX,
    },
};
use link::{Connection, Limits, Listener, TlsListener};
use model::commit;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, Semaphore},
    task::JoinHandle,
    time::timeout,
};
use units::{Coin, List, Millis, Text};

/// Connections at one time.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection may take to bring its content.
const BRINGING: Duration = Duration::from_secs(10);
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
    /// Where operators bring it content; port 0 takes any free port.
    pub listen: SocketAddr,
    /// The models it can run.
    pub engines: Vec<Arc<Engine>>,
}

/// A running auditor; stops when dropped.
#[derive(Debug)]
pub struct Auditor {
    rpc: Rpc,
    account: AccountId,
    key: PublicKey,
    models: List<ModelId, AUDITOR_MODELS_MAX>,
    address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Auditor {
    /// Where operators bring it content.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Enlists it with its models and present address, if the ledger does not know them yet.
    /// `owner` signs with its account's own key and brings what `bond` is more than it has.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn enlist(&self, owner: &mut Sender, bond: Coin) -> Result<(), SendError> {
        let known = self.rpc.record(&AUDITORS, &self.account).await?;
        let endpoint = Text::new(self.address.to_string()).unwrap_or_default();
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
    let listener = TlsListener::bind(config.listen, &config.key, Limits::default()).await?;
    let address = listener.address();
    let (account, key) = (config.account, config.key.public());
    let sender = Sender::new(rpc.clone(), chain, account, config.key);
    let engines: BTreeMap<_, _> =
        config.engines.into_iter().map(|engine| (engine.model().id(), engine)).collect();
    let models = engines.keys().copied().take(AUDITOR_MODELS_MAX).collect();
    let models = List::new(models).unwrap_or_default();
    let desk = Arc::new(Desk { rpc: rpc.clone(), account, records, taking: Mutex::new(()) });
    let work = Work {
        desk: Arc::clone(&desk),
        follower,
        sender: Mutex::new(sender),
        engines,
        commit_window: params.windows.commit,
        open: BTreeSet::new(),
        acts: Acts::default(),
        player: Player::new(Party::Challenger),
    };
    let tasks = [tokio::spawn(work.run()), tokio::spawn(take(desk, listener))];
    Ok(Auditor { rpc, account, key, models, address, tasks })
}

/// What work and deliveries share.
struct Desk {
    rpc: Rpc,
    account: AccountId,
    records: Records,
    /// One content is checked and written at a time.
    taking: Mutex<()>,
}

/// Takes content from whoever brings it.
async fn take(desk: Arc<Desk>, mut listener: TlsListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(connection) = listener.accept().await {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            timeout(BRINGING, take_one(&desk, connection)).await.ok();
            drop(place);
        });
    }
}

async fn take_one(desk: &Desk, connection: Connection) {
    let (sender, mut receiver) = connection.split();
    let Ok(Some(frame)) = receiver.next().await else { return };
    let Ok(ToAuditor::Content { point, content }) = wire::decode(&frame) else { return };
    let answer = match desk.keep(point, content).await {
        Ok(true) => FromAuditor::Kept { point },
        Ok(false) => FromAuditor::NotKept { point },
        Err(error) => {
            tracing::warn!(%error, "content could not be kept");
            return;
        }
    };
    sender.send(wire::encode(&answer)).await.ok();
    // The other side closes once it has read.
    receiver.next().await.ok();
}

impl Desk {
    /// Keeps content that belongs to one of our points.
    async fn keep(&self, point: PointKey, content: Content) -> Result<bool, LookError> {
        let _one = self.taking.lock().await;
        if self.records.get(&point)?.is_some() {
            return Ok(true);
        }
        let Some(record) = self.rpc.record(&POINTS, &point).await? else { return Ok(false) };
        let ours = record.seats.iter().any(|seat| seat.auditor == self.account);
        let Some(subject) = record.subject.filter(|_| ours) else { return Ok(false) };
        if !gives(&content, &subject.request.message, &subject.receipt.message) {
            return Ok(false);
        }
        self.records.put(point, &Audit { content, found: None }).await?;
        Ok(true)
    }
}

/// Whether content gives the commitments of request and receipt.
fn gives(content: &Content, request: &Request, receipt: &Receipt) -> bool {
    let Content { salt, input, output } = content;
    commit::input_commit(salt, input) == request.body.input_commit
        && (output.is_empty()
            || commit::output_commit_tokens(salt, output) == receipt.output_commit)
}

struct Work {
    desk: Arc<Desk>,
    follower: Follower,
    sender: Mutex<Sender>,
    engines: BTreeMap<ModelId, Arc<Engine>>,
    commit_window: Millis,
    /// Its points at the last look.
    open: BTreeSet<PointKey>,
    acts: Acts,
    player: Player,
}

impl Work {
    async fn run(mut self) {
        loop {
            let clock = self.follower.next().await.clock;
            if let Err(error) = self.look(clock).await {
                tracing::warn!(%error, "audits wait");
            }
        }
    }

    async fn look(&mut self, clock: Millis) -> Result<(), LookError> {
        let desk = Arc::clone(&self.desk);
        let enlisted = desk.rpc.record(&AUDITORS, &desk.account).await?;
        if enlisted.is_none_or(|auditor| auditor.seats == 0) {
            return Ok(());
        }
        let mut points = desk.rpc.records(&POINTS, &()).await?;
        points.retain(|(_, point)| {
            let ours = point.seats.iter().any(|seat| seat.auditor == desk.account);
            ours && point.phase != Phase::Ended
        });
        let open: BTreeSet<PointKey> = points.iter().map(|(key, _)| *key).collect();
        if !open.is_superset(&self.open) {
            desk.records.keep(open.clone()).await?;
        }
        self.open = open;
        for (key, point) in &points {
            match point.phase {
                Phase::Committing | Phase::Delivering => self.find(*key, point, clock).await?,
                Phase::Revealing => self.reveal(*key, point).await?,
                Phase::Drawn | Phase::Disputed | Phase::Ended => {}
            }
        }
        let disputed: Vec<_> =
            points.into_iter().filter(|(_, point)| point.phase == Phase::Disputed).collect();
        if disputed.is_empty() { Ok(()) } else { self.challenge(disputed).await }
    }

    /// Re-executes a drawn receipt and commits to what comes out.
    async fn find(&mut self, key: PointKey, point: &Point, clock: Millis) -> Result<(), LookError> {
        let account = self.desk.account;
        let mut seats = point.seats.iter().filter(|seat| seat.auditor == account);
        if seats.all(|seat| seat.commitment.is_some()) {
            return Ok(());
        }
        let act = Act::Point { point: key, phase: Phase::Committing };
        if !self.acts.may(&act) {
            return Ok(());
        }
        let Some(mut audit) = self.content(key, point, clock).await? else { return Ok(()) };
        let (finding, salt) = match audit.found {
            Some(found) => found,
            None => {
                if self.convict(point, &audit.content).await {
                    return Ok(());
                }
                let Some(finding) = self.execute(point, &audit.content).await else {
                    self.acts.failed(act);
                    return Ok(());
                };
                let found = (finding, own_salt());
                audit.found = Some(found);
                self.desk.records.put(key, &audit).await?;
                found
            }
        };
        let (operator, epoch, number) = key;
        let commitment = verification::commitment(&finding, &account, &salt);
        let call = verification::Tx::Commit { operator, epoch, point: number, commitment };
        self.acts.send(act, Call::Verification(call), &self.sender).await;
        Ok(())
    }

    /// The content of a point, if it was brought; if it was not by half of the time, it is
    /// demanded on the ledger.
    async fn content(
        &mut self,
        key: PointKey,
        point: &Point,
        clock: Millis,
    ) -> Result<Option<Audit>, LookError> {
        if let Some(audit) = self.desk.records.get(&key)? {
            return Ok(Some(audit));
        }
        if let Some(content) = self.desk.rpc.record(&DELIVERED, &key).await? {
            let kept = self.desk.keep(key, content).await?;
            return Ok(if kept { self.desk.records.get(&key)? } else { None });
        }
        let act = Act::Demand { point: key };
        let late = clock >= point.due.saturating_sub(Millis::new(self.commit_window.get() / 2));
        if late && !point.demanded && point.phase == Phase::Committing && self.acts.may(&act) {
            let (operator, epoch, number) = key;
            let call = verification::Tx::Demand { operator, epoch, point: number };
            self.acts.send(act, Call::Verification(call), &self.sender).await;
        }
        Ok(None)
    }

    /// Shows the ledger an input that no run can have had. Says whether there is one.
    async fn convict(&mut self, point: &Point, content: &Content) -> bool {
        let Some(subject) = &point.subject else { return false };
        let engine = self.engines.get(&subject.request.message.body.model);
        let foreign = engine.and_then(|engine| {
            let vocabulary = engine.model().facts().vocabulary;
            disputes::foreign(subject, &content.salt, &content.input, vocabulary)
        });
        let Some(foreign) = foreign else { return false };
        let act = Act::Foreign { receipt: subject.receipt.message.hash() };
        if self.acts.may(&act) {
            self.acts.send(act, Call::Disputes(foreign), &self.sender).await;
        }
        true
    }

    async fn execute(&self, point: &Point, content: &Content) -> Option<Finding> {
        let execute = self.execution(point, content.clone())?;
        let work = move || execute().map(|execution| execution.finding());
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(finding)) => Some(finding),
            Ok(Err(error)) => {
                tracing::error!(%error, "a drawn receipt cannot be re-executed");
                None
            }
            Err(_) => None,
        }
    }

    /// How to re-execute what a point has drawn, if its model is at hand.
    fn execution(
        &self,
        point: &Point,
        content: Content,
    ) -> Option<impl FnOnce() -> Result<Execution, ExecutionError> + Send + 'static> {
        let subject = point.subject.clone()?;
        let engine = self.engines.get(&subject.request.message.body.model).cloned()?;
        Some(move || {
            let order = Order {
                body: &subject.request.message.body,
                receipt: &subject.receipt.message,
                ids: &content.input,
                salt: content.salt,
                guess: &content.output,
            };
            Execution::new(engine, &order, Side::Challenger)
        })
    }

    async fn reveal(&mut self, key: PointKey, point: &Point) -> Result<(), LookError> {
        let account = self.desk.account;
        let act = Act::Point { point: key, phase: Phase::Revealing };
        let waits = point.seats.iter().any(|seat| {
            seat.auditor == account && seat.commitment.is_some() && seat.finding.is_none()
        });
        let found = self.desk.records.get(&key)?.and_then(|audit| audit.found);
        let Some((finding, salt)) = found.filter(|_| waits && self.acts.may(&act)) else {
            return Ok(());
        };
        let (operator, epoch, number) = key;
        let call = verification::Tx::Reveal { operator, epoch, point: number, finding, salt };
        self.acts.send(act, Call::Verification(call), &self.sender).await;
        Ok(())
    }

    /// Moves in the disputes that our findings opened.
    async fn challenge(&mut self, disputed: Vec<(PointKey, Point)>) -> Result<(), LookError> {
        let account = self.desk.account;
        let point_of = |receipt: &Digest| {
            disputed.iter().find(|(_, point)| {
                let subject = point.subject.as_ref();
                subject.is_some_and(|subject| subject.receipt.message.hash() == *receipt)
            })
        };
        let ours = |dispute: &Dispute| point_of(&dispute.receipt.hash()).is_some();
        for open in disputes::open_lines(&self.desk.rpc, Party::Challenger, ours).await? {
            let Open { receipt, line, .. } = &open;
            if !line.backers.iter().any(|backer| backer.account == account) {
                continue;
            }
            let Some((key, point)) = point_of(receipt) else { continue };
            let Some(audit) = self.desk.records.get(key)? else { continue };
            let Some(execute) = self.execution(point, audit.content) else { continue };
            self.player.play(open, execute, &mut self.acts, &self.sender).await;
        }
        Ok(())
    }
}

/// A salt that nobody can guess.
fn own_salt() -> Digest {
    let mut bytes = [0; 32];
    // Without randomness a finding could be guessed from its commitment, which harms nobody but
    // this auditor.
    getrandom::fill(&mut bytes).ok();
    Digest::new(bytes)
}
