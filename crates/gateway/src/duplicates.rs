//! Duplicates: a share of all requests is asked of a second operator as well, and two answers that
//! contradict each other go to the ledger as a conflict certificate.
//!
//! Rules: which requests, chance decides, after the answer, so that no box can tell; the second
//! box gets the same body under the same salt; the gateway bears the fee and no caller waits. A
//! duplicate that cannot be had is left out: there are more to come.
//! Never here: whose answer is wrong; the ledger finds out.

use crate::{
    funds::Funds,
    run::{Ran, Runner, Work},
};
use client::{
    conflict::{Answer, certificate},
    keystore::random_bytes,
};
use crypto::Salt;
use ledger::{Call, verification};
use std::{ops::ControlFlow, sync::Arc};
use tokio::sync::{Semaphore, watch};
use units::BasisPoints;

/// Duplicates under way at one time.
const AT_ONCE: usize = 4;

/// Asks a share of all requests again.
#[derive(Debug)]
pub(crate) struct Duplicates {
    share: BasisPoints,
    runner: Arc<Runner>,
    funds: Arc<Funds>,
    places: Arc<Semaphore>,
}

impl Duplicates {
    pub(crate) fn new(share: BasisPoints, runner: Arc<Runner>, funds: Arc<Funds>) -> Self {
        Self { share, runner, funds, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Draws whether an answered request is asked again, and does it in the background.
    pub(crate) fn consider(self: &Arc<Self>, work: &Work, ran: &Ran) {
        if !self.draws() {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let (duplicates, work, ran) = (Arc::clone(self), work.clone(), ran.clone());
        tokio::spawn(async move {
            duplicates.ask_again(&work, &ran).await;
            drop(place);
        });
    }

    fn draws(&self) -> bool {
        let Ok(bytes) = random_bytes() else { return false };
        let draw = bytes.first_chunk::<8>().copied().map_or(u64::MAX, u64::from_le_bytes);
        draw % u64::from(BasisPoints::WHOLE.get()) < u64::from(self.share.get())
    }

    async fn ask_again(&self, work: &Work, first: &Ran) {
        let operator = first.receipt.message.operator;
        let (_keep, cancel) = watch::channel(false);
        let mut no_tokens = |_: &[u32]| ControlFlow::Continue(());
        let second = self.runner.run_elsewhere(work, operator, cancel, &mut no_tokens).await;
        match second {
            Ok(second) => self.compare(&work.salt, first, &second).await,
            Err(error) => tracing::debug!(reason = error.message, "no duplicate"),
        }
    }

    async fn compare(&self, salt: &Salt, first: &Ran, second: &Ran) {
        let Some(certificate) = certificate(salt, answer(first), answer(second)) else { return };
        let operators = [first, second].map(|ran| ran.receipt.message.operator);
        tracing::warn!(first = %operators[0], second = %operators[1], "two answers contradict");
        let call = Call::Verification(verification::Tx::Conflict(Box::new(certificate)));
        if let Err(error) = self.funds.send(call).await {
            tracing::error!(%error, "a conflict certificate could not be filed");
        }
    }
}

const fn answer(ran: &Ran) -> Answer<'_> {
    Answer { request: &ran.request, receipt: &ran.receipt, output: &ran.output }
}
