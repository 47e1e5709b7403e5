//! An auditor's part in audits: finds, commits, reveals, and stands behind what differs.
//!
//! Rules: what is to be done is read from the ledger's seats at every look; a finding is on disk
//! before its commitment is sent. Never here: taking content from strangers.

use super::{
    super::{
        Act, Acts, LookError,
        disputes::{self, Open, Player},
        execution::{Execution, ExecutionError, Order, Side},
    },
    desk::{Desk, gives},
    records::Audit,
};
use crate::faults::Fault;
use client::{
    follow::Follower, keystore::random_bytes, transactions::Sender, wire::audit::PointKey,
};
use crypto::{Digest, ModelId, SealKey, SealSecret, seal};
use engine::Engine;
use ledger::{
    Call,
    disputes::{
        Dispute, Party,
        schema::{Finding, Subject},
    },
    payments::schema::AuditMode,
    verification::{self, Content, DELIVERED, POINTS, Phase, Point, SEALED, SEATS},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::Mutex;
use units::Millis;

/// The auditor at work.
pub(super) struct Work {
    desk: Arc<Desk>,
    follower: Follower,
    sender: Mutex<Sender>,
    engines: BTreeMap<ModelId, Arc<Engine>>,
    fault: Option<Arc<dyn Fault>>,
    commit_window: Millis,
    /// Its points at the last look.
    open: BTreeSet<PointKey>,
    acts: Acts,
    player: Player,
}

impl Work {
    pub(super) fn new(
        desk: Arc<Desk>,
        follower: Follower,
        sender: Sender,
        engines: BTreeMap<ModelId, Arc<Engine>>,
        fault: Option<Arc<dyn Fault>>,
        commit_window: Millis,
    ) -> Self {
        Self {
            desk,
            follower,
            sender: Mutex::new(sender),
            engines,
            fault,
            commit_window,
            open: BTreeSet::new(),
            acts: Acts::default(),
            player: Player::new(Party::Challenger),
        }
    }

    /// Audits for ever.
    pub(super) async fn run(mut self) {
        loop {
            let clock = self.follower.next().await.clock;
            if let Err(error) = self.look(clock).await {
                tracing::warn!(%error, "audits wait");
            }
        }
    }

    async fn look(&mut self, clock: Millis) -> Result<(), LookError> {
        let desk = Arc::clone(&self.desk);
        let mut points = Vec::new();
        for ((_, key), ()) in desk.rpc.records(&SEATS, &desk.account).await? {
            let point = desk.rpc.record(&POINTS, &key).await?;
            points.extend(point.map(|point| (key, point)));
        }
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
                let finding = match self.copied(point) {
                    Some(finding) => Some(finding),
                    None => self.execute(point, &audit.content).await,
                };
                let Some(finding) = finding else {
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
        let late = clock >= point.due.saturating_sub(Millis::new(self.commit_window.get() / 2));
        let Some(subject) = &point.subject else { return Ok(None) };
        if subject.request.message.audit_mode == AuditMode::Sealed {
            return self.sealed(key, point, subject, late).await;
        }
        if let Some(content) = self.desk.rpc.record(&DELIVERED, &key).await? {
            let kept = self.desk.keep(key, content).await?;
            return Ok(if kept { self.desk.records.get(&key)? } else { None });
        }
        if late && !point.demanded && point.phase == Phase::Committing {
            self.demand(key, None).await;
        }
        Ok(None)
    }

    async fn demand(&mut self, key: PointKey, reply: Option<SealKey>) {
        let act = Act::Demand { point: key };
        if self.acts.may(&act) {
            let (operator, epoch, number) = key;
            let call = verification::Tx::Demand { operator, epoch, point: number, reply };
            self.acts.send(act, Call::Verification(call), &self.sender).await;
        }
    }

    /// Content that was brought under our seal; demanded, if we have not done so. What the
    /// operator sealed is either what was committed to, or its fault: the ledger is shown the key.
    async fn sealed(
        &mut self,
        key: PointKey,
        point: &Point,
        subject: &Subject,
        late: bool,
    ) -> Result<Option<Audit>, LookError> {
        let account = self.desk.account;
        let secret = self.desk.records.secret(&key)?;
        if !point.seats.iter().any(|seat| seat.auditor == account && seat.reply.is_some()) {
            // Others that waited have their time once; we must not be the one who missed it.
            if late || point.phase == Phase::Delivering {
                let secret = match secret {
                    Some(secret) => secret,
                    None => {
                        let Ok(bytes) = random_bytes() else { return Ok(None) };
                        let secret = SealSecret::new(*bytes);
                        self.desk.records.put_secret(key, &secret).await?;
                        secret
                    }
                };
                self.demand(key, Some(secret.key())).await;
            }
            return Ok(None);
        }
        let Some(secret) = secret else { return Ok(None) };
        let Some(brought) = self.desk.rpc.record(&SEALED, &(key, account)).await? else {
            return Ok(None);
        };
        let context = verification::seal_context(&key, &account);
        let opened = seal::open(&secret, &context, &brought).ok();
        let content = opened.and_then(|bytes| borsh::from_slice::<Content>(&bytes).ok());
        let (request, receipt) = (&subject.request.message, &subject.receipt.message);
        if let Some(content) = content.filter(|content| gives(content, request, receipt)) {
            self.desk.keep(key, content).await?;
            return Ok(self.desk.records.get(&key)?);
        }
        let act = Act::Complaint { point: key };
        if self.acts.may(&act) {
            let (operator, epoch, number) = key;
            let call = verification::Tx::Complain { operator, epoch, point: number, secret };
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

    /// The finding of an auditor whose fault is to run nothing.
    fn copied(&self, point: &Point) -> Option<Finding> {
        let subject = point.subject.as_ref()?;
        self.fault.as_ref()?.copied(&subject.receipt.message)
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
    // Without randomness a finding could be guessed from its commitment, which harms nobody but
    // this auditor.
    random_bytes().map_or(Digest::ZERO, |bytes| Digest::new(*bytes))
}
