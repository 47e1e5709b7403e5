//! Operators' claims over this account's lanes: a void one is reclaimed.
//!
//! Rules: what is to be done is read from the ledger at every look, so a restart loses nothing; the
//! lanes of a claim come from a node and are held against the root that the ledger keeps, so that
//! a silent operator is not needed; a refusal costs a fee, so it is not repeated.
//! Never here: whether a claim is void.

use crate::{funds::Funds, lanes::Lanes};
use client::{
    rpc::{Rpc, RpcError},
    transactions::SendError,
};
use crypto::{AccountId, OperatorId, merkle};
use ledger::{
    Call, Params,
    payments::{self, CLAIMS, ClaimRecord, LaneRange, RECLAIMS, Reclaim, Stage, schema::Claim},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::sleep;
use units::Epoch;

/// Looks within one challenge window: what is found in it is filed in it.
const LOOKS_PER_WINDOW: u64 = 8;
/// Shortest and longest pause between two looks, in ms.
const PAUSE_MS: (u64, u64) = (1_000, 60_000);
/// Claims remembered as dealt with; forgotten ones are looked at again.
const MAX_DONE: usize = 65_536;

type ClaimKey = (OperatorId, Epoch);

/// Why a look ended early; the next one begins anew.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Looks after the claims over the lanes of an account.
#[derive(Debug)]
pub(crate) struct Claims {
    rpc: Rpc,
    account: AccountId,
    lanes: Arc<Lanes>,
    funds: Arc<Funds>,
    pause: Duration,
    done: BTreeSet<ClaimKey>,
}

impl Claims {
    pub(crate) fn new(
        rpc: Rpc,
        account: AccountId,
        params: &Params,
        lanes: Arc<Lanes>,
        funds: Arc<Funds>,
    ) -> Self {
        let pause = params.windows.challenge.get() / LOOKS_PER_WINDOW;
        let pause = Duration::from_millis(pause.clamp(PAUSE_MS.0, PAUSE_MS.1));
        Self { rpc, account, lanes, funds, pause, done: BTreeSet::new() }
    }

    /// Looks again and again, for ever.
    pub(crate) async fn keep(mut self) {
        loop {
            for operator in self.lanes.operators() {
                if let Err(error) = self.look(operator).await {
                    tracing::warn!(%operator, %error, "the claims of an operator wait");
                }
            }
            sleep(self.pause).await;
        }
    }

    async fn look(&mut self, operator: OperatorId) -> Result<(), LookError> {
        for (key, record) in self.rpc.records(&CLAIMS, &operator).await? {
            if self.done.contains(&key) {
                continue;
            }
            let over = match record.stage {
                Stage::Void => self.reclaim(key, &record).await?,
                Stage::Settled => true,
                Stage::Filed | Stage::Drawn | Stage::BasePaid => false,
            };
            if over {
                if self.done.len() >= MAX_DONE {
                    self.done.pop_first();
                }
                self.done.insert(key);
            }
        }
        Ok(())
    }

    /// Takes back the lanes of a void claim; whether that is all.
    async fn reclaim(&self, key: ClaimKey, record: &ClaimRecord) -> Result<bool, LookError> {
        let Some(claim) = self.filed(key, record).await? else { return Ok(true) };
        let Some(reclaims) = self.rpc.record(&RECLAIMS, &key).await? else { return Ok(true) };
        for (index, lane) in (0..).zip(claim.lanes.iter()) {
            if lane.voucher.message.payer != self.account || reclaims.has(index) {
                continue;
            }
            let Some(reclaim) = Reclaim::of(&claim, index) else { continue };
            let call = payments::Tx::Reclaim(Box::new(reclaim));
            match self.funds.send(Call::Payments(call)).await {
                Ok(()) => tracing::info!(operator = %key.0, epoch = %key.1, index, "reclaimed"),
                Err(SendError::Rejected(why)) => {
                    let reason = why.message;
                    tracing::warn!(operator = %key.0, epoch = %key.1, reason, "not reclaimed");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// A claim with its lanes, if a node has them and they are what the ledger holds.
    async fn filed(
        &self,
        key: ClaimKey,
        record: &ClaimRecord,
    ) -> Result<Option<Claim>, RpcError> {
        let claim = self.rpc.claim(&key.0, key.1).await?;
        let leaf = |lane| LaneRange::of(lane).leaf();
        let holds = |claim: &Claim| {
            let leaves: Vec<_> = claim.lanes.iter().map(leaf).collect();
            merkle::root(&leaves) == record.ranges_root
        };
        if claim.as_ref().is_some_and(holds) {
            return Ok(claim);
        }
        tracing::error!(operator = %key.0, epoch = %key.1, "the node does not know a claim's lanes");
        Ok(None)
    }
}
