//! Where operators bring an auditor the content of its points.
//!
//! Rules: content counts only if it belongs to one of its points and gives the commitments of
//! request and receipt; what a stranger brings costs one bounded frame. Never here: running a
//! model.

use super::{
    super::LookError,
    records::{Audit, Records},
};
use client::{
    rpc::Rpc,
    wire::{
        self,
        audit::{FromAuditor, PointKey, ToAuditor},
    },
};
use crypto::AccountId;
use ledger::{
    payments::schema::{Receipt, Request},
    verification::{Content, POINTS},
};
use link::{Connection, Listener, TlsListener};
use model::commit;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};

/// Connections at one time.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection may take to bring its content.
const BRINGING: Duration = Duration::from_secs(10);

/// What work and deliveries share.
pub(super) struct Desk {
    pub(super) rpc: Rpc,
    pub(super) account: AccountId,
    pub(super) records: Records,
    /// One content is checked and written at a time.
    taking: Mutex<()>,
}

impl Desk {
    pub(super) fn new(rpc: Rpc, account: AccountId, records: Records) -> Self {
        Self { rpc, account, records, taking: Mutex::new(()) }
    }

    /// Keeps content that belongs to one of our points.
    pub(super) async fn keep(&self, point: PointKey, content: Content) -> Result<bool, LookError> {
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

/// Takes content from whoever brings it.
pub(super) async fn take(desk: Arc<Desk>, mut listener: TlsListener) {
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

/// Whether content gives the commitments of request and receipt.
pub(super) fn gives(content: &Content, request: &Request, receipt: &Receipt) -> bool {
    let Content { salt, input, output } = content;
    commit::input_commit(salt, input) == request.body.input_commit
        && (output.is_empty()
            || commit::output_commit_tokens(salt, output) == receipt.output_commit)
}
