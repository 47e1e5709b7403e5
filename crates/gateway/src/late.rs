//! A task that nobody waits for any more: its receipt is still taken, kept and paid for.
//!
//! Rules: the lane stays with the task until its box has said how it ended, or its deadline is
//! over; a lane whose end is not known is resumed before it is used again.
//! Never here: the caller; it has had its answer.

use crate::{
    boxes::{BoxHandle, SentTask, TaskMessage},
    lanes::Lease,
    run::DEADLINE,
};
use client::lanes::Times;
use crypto::Signed;
use ledger::payments::schema::Request;
use std::time::Duration;
use tokio::time::timeout;

/// Waits for the end of a task that nobody wants any more.
pub(crate) async fn wind_down(
    mut lease: Lease,
    handle: &BoxHandle,
    request: &Signed<Request>,
    sent: &mut SentTask,
    times: Times,
) {
    let ended = async {
        loop {
            match sent.next().await {
                Some(TaskMessage::Tokens(_)) => {}
                other => return other,
            }
        }
    };
    match timeout(Duration::from_millis(DEADLINE.get()), ended).await {
        Ok(Some(TaskMessage::Done(done))) => {
            match lease.payer().accept(&done.0, &handle.box_key, times) {
                Ok(()) => lease.keep(request, &done.0),
                Err(error) => {
                    tracing::warn!(%error, "a late receipt does not hold");
                    lease.distrust();
                }
            }
        }
        Ok(Some(TaskMessage::Refused(_))) => lease.payer().withdraw(),
        _ => lease.distrust(),
    }
    lease.give_back();
}
