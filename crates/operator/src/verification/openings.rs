//! What an operator owes to audits: it opens drawn receipts, brings auditors their content, shows
//! its trace root and answers conflicts.
//!
//! ```text
//!   drawn ─▶ Open ─▶ content to each auditor (or Deliver, on demand) ─▶ RevealTrace
//!   conflict ─▶ Answer
//! ```
//! Rules: a missing answer is a fault, so what is owed is read from the ledger at every look and
//! done at once. Never here: judging one's own receipts; a wrong one is shown as it is.

use super::{Act, Acts, Duty, LookError};
use crate::{
    node::Node,
    paths::ClaimTree,
    records::{Answered, Opening},
};
use client::{
    keystore::random_bytes,
    store::StoreError,
    wire::{
        self,
        audit::{FromAuditor, PointKey, ToAuditor},
    },
};
use crypto::{AccountId, PublicKey, SealKey, seal};
use ledger::{
    Call,
    payments::{
        CLAIMS,
        schema::{AuditMode, Request},
    },
    verification::{
        self, AUDITORS, CONFLICTS, Content, Delivery, POINTS, Phase as PointPhase, PlacedLeaf,
        Point, SEALED, Sealed,
    },
};
use link::{Dialer, TlsDialer};
use model::commit;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::timeout;
use units::{Epoch, List};

/// How long an auditor may take to take what it is brought.
const DELIVERY: Duration = Duration::from_secs(5);
/// Deliveries remembered.
const MAX_DELIVERED: usize = 4_096;

/// An operator's part in audits.
pub(crate) struct Openings {
    node: Arc<Node>,
    dialer: TlsDialer,
    acts: Acts,
    delivered: BTreeSet<(Epoch, u8, AccountId)>,
}

impl Openings {
    pub(crate) fn new(node: Arc<Node>, dialer: TlsDialer) -> Self {
        Self { node, dialer, acts: Acts::default(), delivered: BTreeSet::new() }
    }
}

impl Duty for Openings {
    const WHAT: &'static str = "audits of this operator";

    async fn look(&mut self) -> Result<(), LookError> {
        let operator = self.node.operator;
        for ((_, epoch, number), point) in self.node.rpc.records(&POINTS, &operator).await? {
            self.serve(epoch, number, &point).await?;
        }
        for (id, conflict) in self.node.rpc.records(&CONFLICTS, &()).await? {
            for side in conflict.sides.iter().filter(|side| side.trace_root.is_none()) {
                let receipt = &side.subject.receipt.message;
                if receipt.operator != operator {
                    continue;
                }
                let request = &side.subject.request.message;
                let Some((_, opening)) = self.kept(request)? else { continue };
                let (receipt, trace_root) = (receipt.hash(), opening.trace_root);
                let salt = commit::trace_salt(&opening.salt);
                let call = verification::Tx::Answer { receipt, trace_root, salt };
                self.send(Act::Answer { conflict: id, receipt }, call).await;
            }
        }
        Ok(())
    }
}

impl Openings {
    async fn serve(&mut self, epoch: Epoch, number: u8, point: &Point) -> Result<(), LookError> {
        let operator = self.node.operator;
        let act = Act::Point { point: (operator, epoch, number), phase: point.phase };
        match point.phase {
            PointPhase::Drawn => {
                if let Some(opening) = self.opening(epoch, point).await? {
                    self.send(act, verification::Tx::Open(Box::new(opening))).await;
                }
            }
            PointPhase::Committing => self.deliver(epoch, number, point).await?,
            PointPhase::Delivering => self.answer_demands(epoch, number, point).await?,
            PointPhase::Revealing if point.trace_root.is_none() => {
                let Some(subject) = &point.subject else { return Ok(()) };
                let Some((_, opening)) = self.kept(&subject.request.message)? else {
                    return Ok(());
                };
                let call = verification::Tx::RevealTrace {
                    operator,
                    epoch,
                    point: number,
                    trace_root: opening.trace_root,
                    salt: commit::trace_salt(&opening.salt),
                };
                self.send(act, call).await;
            }
            PointPhase::Revealing | PointPhase::Disputed | PointPhase::Ended => {}
        }
        Ok(())
    }

    async fn send(&mut self, act: Act, call: verification::Tx) {
        if self.acts.may(&act) {
            self.acts.send(act, Call::Verification(call), &self.node.sender).await;
        }
    }

    /// The drawn receipt with its path.
    async fn opening(
        &self,
        epoch: Epoch,
        point: &Point,
    ) -> Result<Option<verification::Opening>, LookError> {
        let node = &self.node;
        let claim = node.rpc.record(&CLAIMS, &(node.operator, epoch)).await?;
        let Some(claim) = claim else { return Ok(None) };
        let Some(tree) = ClaimTree::read(node, epoch, claim.root)? else {
            tracing::error!(%epoch, "a drawn claim cannot be rebuilt");
            return Ok(None);
        };
        let Some(PlacedLeaf { leaf, path }) = tree.at(point.at) else { return Ok(None) };
        let key = leaf.key;
        let lane = ledger::payments::schema::LaneId {
            payer: key.payer,
            operator: node.operator,
            index: key.lane,
        };
        let answered = node.records.answers(lane, key.sequence..=key.sequence)?.pop();
        Ok(answered.map(|Answered { request, receipt, .. }| verification::Opening {
            epoch,
            request,
            receipt,
            path,
        }))
    }

    /// What stands behind one of our receipts.
    fn kept(&self, request: &Request) -> Result<Option<(Answered, Opening)>, StoreError> {
        let (lane, sequence) = (request.lane_id(), request.sequence);
        let answered = self.node.records.answers(lane, sequence..=sequence)?.pop();
        Ok(answered.zip(self.node.records.opening(lane, sequence)?))
    }

    fn content(&self, point: &Point) -> Result<Option<Content>, StoreError> {
        let Some(subject) = &point.subject else { return Ok(None) };
        let kept = self.kept(&subject.request.message)?;
        let content = kept.and_then(|(_, opening)| {
            Some(Content {
                salt: opening.salt,
                input: List::new(opening.ids.into_vec()).ok()?,
                output: List::new(opening.tokens.into_vec()).ok()?,
            })
        });
        Ok(match &self.node.fault {
            Some(fault) => content.map(|content| fault.brought(content)),
            None => content,
        })
    }

    /// Brings to the ledger what auditors demanded there: for all to see, or under each one's seal.
    async fn answer_demands(
        &mut self,
        epoch: Epoch,
        number: u8,
        point: &Point,
    ) -> Result<(), LookError> {
        let operator = self.node.operator;
        let key = (operator, epoch, number);
        let Some(content) = self.content(point)? else { return Ok(()) };
        let sealed = point
            .subject
            .as_ref()
            .is_some_and(|subject| subject.request.message.audit_mode == AuditMode::Sealed);
        if !sealed {
            let delivery = Delivery::Open(content);
            let call = verification::Tx::Deliver { operator, epoch, point: number, delivery };
            self.send(Act::Delivery { point: key, auditor: None }, call).await;
            return Ok(());
        }
        for seat in point.seats.iter().filter(|seat| seat.commitment.is_none()) {
            let auditor = seat.auditor;
            let Some(reply) = seat.reply else { continue };
            if self.node.rpc.record(&SEALED, &(key, auditor)).await?.is_some() {
                continue;
            }
            let Some(content) = seal_for(&content, &reply, &key, &auditor) else {
                tracing::error!(%epoch, %auditor, "content cannot be sealed");
                continue;
            };
            let delivery = Delivery::Sealed { auditor, content };
            let call = verification::Tx::Deliver { operator, epoch, point: number, delivery };
            self.send(Act::Delivery { point: key, auditor: Some(auditor) }, call).await;
        }
        Ok(())
    }

    /// Brings the content to each auditor that has not had it.
    async fn deliver(&mut self, epoch: Epoch, number: u8, point: &Point) -> Result<(), LookError> {
        for seat in point.seats.iter().filter(|seat| seat.commitment.is_none()) {
            let key = (epoch, number, seat.auditor);
            if self.delivered.contains(&key) {
                continue;
            }
            let Some(auditor) = self.node.rpc.record(&AUDITORS, &seat.auditor).await? else {
                continue;
            };
            let Some(content) = self.content(point)? else { continue };
            if self.delivered.len() >= MAX_DELIVERED {
                self.delivered.pop_first();
            }
            self.delivered.insert(key);
            if auditor.endpoint.is_empty() {
                continue; // It demands on the ledger.
            }
            let message =
                ToAuditor::Content { point: (self.node.operator, epoch, number), content };
            let (dialer, endpoint) = (self.dialer.clone(), auditor.endpoint.to_string());
            tokio::spawn(async move {
                let bringing = bring(&dialer, &endpoint, auditor.key, &message);
                match timeout(DELIVERY, bringing).await {
                    Ok(Some(FromAuditor::Kept { .. })) => {}
                    _ => tracing::info!(endpoint, "an auditor did not take its content"),
                }
            });
        }
        Ok(())
    }
}

/// Content under an auditor's seal. None without randomness, or for a key that the ledger refuses.
fn seal_for(
    content: &Content,
    reply: &SealKey,
    point: &PointKey,
    auditor: &AccountId,
) -> Option<Sealed> {
    let context = verification::seal_context(point, auditor);
    let bytes = borsh::to_vec(content).ok()?;
    let sealed = seal::seal(reply, &context, &bytes, *random_bytes().ok()?).ok()?;
    Sealed::new(sealed).ok()
}

/// Dials an auditor and hands it a message.
async fn bring(
    dialer: &TlsDialer,
    endpoint: &str,
    key: PublicKey,
    message: &ToAuditor,
) -> Option<FromAuditor> {
    let connection = dialer.dial(endpoint, key).await.ok()?;
    let (sender, mut receiver) = connection.split();
    sender.send(wire::encode(message)).await.ok()?;
    let frame = receiver.next().await.ok()??;
    wire::decode(&frame).ok()
}
