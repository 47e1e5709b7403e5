//! `GET /v1/receipts/{id}`: a task's bundles, with proof that they were claimed once they were.
//!
//! Rules: only the key that asked may read them; a settlement is put in only if it proves what it
//! should, and is kept for good once the claim is settled, after which the bundle needs nobody.
//! Never here: judging an answer; that is the reader's, with `client::bundle`.

use crate::{
    error::{ApiError, Code},
    openai::credits,
    store::{Records, StoredPath},
};
use client::{
    bundle::{Bundle, Settlement},
    rpc::{Rpc, RpcError},
};
use crypto::{Digest, OperatorId};
use ledger::payments::{CLAIMS, ClaimRecord, Stage, schema::LaneId};
use light::rpc::StateEvidence;
use serde_json::{Value, json};
use std::collections::{BTreeMap, btree_map::Entry};
use units::Epoch;

/// Reads finished tasks.
#[derive(Debug)]
pub(crate) struct Receipts {
    pub(crate) records: Records,
    pub(crate) rpc: Rpc,
}

/// Claims looked up for one answer: the items of a call mostly share one.
type Claims = BTreeMap<(OperatorId, Epoch), Option<(ClaimRecord, StateEvidence)>>;

impl Receipts {
    /// A task's receipts, for the key that asked for it.
    pub(crate) async fn get(&self, key: &Digest, id: &str) -> Result<Value, ApiError> {
        let task = self.records.task(id).map_err(ApiError::internal)?.ok_or_else(|| {
            let hint = "take the id from the header x-receipt-id, once the answer is complete";
            ApiError::new(Code::ReceiptNotFound, "there is no receipt of this id", hint)
        })?;
        if task.key != *key {
            let hint = "use the key that asked";
            return Err(ApiError::new(Code::Forbidden, "the receipt is another key's", hint));
        }
        let mut claims = Claims::new();
        let mut bundles = self.records.bundles(id).map_err(ApiError::internal)?;
        for (item, bundle) in (0..).zip(&mut bundles) {
            if let Err(error) = self.settle(id, item, bundle, &mut claims).await {
                // The bundle is good without; the chain may be reached the next time.
                tracing::warn!(%error, "a settlement cannot be looked up");
            }
        }
        Ok(json!({
            "id": task.id,
            "object": "receipt",
            "created": task.created / 1_000,
            "model": task.model,
            "cost": credits(task.cost),
            "bundles": bundles,
        }))
    }

    /// Puts the proof of the claim into a bundle.
    async fn settle(
        &self,
        task: &str,
        item: u32,
        bundle: &mut Bundle,
        claims: &mut Claims,
    ) -> Result<(), RpcError> {
        let settled = |known: &Settlement| known.claim.stage == Stage::Settled;
        if bundle.settlement.as_ref().is_some_and(settled) {
            return Ok(());
        }
        let lane = bundle.request.message.lane_id();
        let sequence = bundle.receipt.message.sequence;
        let Ok(Some(stored)) = self.records.path(&lane, sequence) else { return Ok(()) };
        let key = (lane.operator, stored.epoch);
        if let Entry::Vacant(place) = claims.entry(key) {
            place.insert(self.claim(&key).await?);
        }
        let Some(Some((claim, evidence))) = claims.get(&key) else { return Ok(()) };
        if !holds(bundle, &lane, &stored, claim) {
            tracing::error!(operator = %lane.operator, epoch = %stored.epoch, "a path is wrong");
            return Ok(());
        }
        let (claim, evidence) = (*claim, evidence.clone());
        bundle.settlement = Some(Settlement { path: stored.placed.path, claim, evidence });
        if claim.stage == Stage::Settled
            && let Err(error) = self.records.put_bundle(task, item, bundle).await
        {
            tracing::error!(%error, "a settled bundle could not be kept");
        }
        Ok(())
    }

    async fn claim(
        &self,
        key: &(OperatorId, Epoch),
    ) -> Result<Option<(ClaimRecord, StateEvidence)>, RpcError> {
        let answer = self.rpc.evidence(&CLAIMS.key_bytes(key)).await?;
        let record = answer.value.map(|value| CLAIMS.decode(&value.0)).transpose()?;
        Ok(record.zip(answer.evidence))
    }
}

/// Whether a path leads from the receipt to the claim.
fn holds(bundle: &Bundle, lane: &LaneId, stored: &StoredPath, claim: &ClaimRecord) -> bool {
    let leaf = bundle.receipt.message.leaf(lane.payer, lane.index);
    let path = &stored.placed.path;
    stored.root == claim.root && path.verify(&claim.root, &claim.totals, &leaf).is_ok()
}
