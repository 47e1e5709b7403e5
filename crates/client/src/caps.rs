//! What an operator may still serve: the ledger's value cap, computed by the ledger's own code from
//! records read from a node.
//!
//! Rules: a claim above the cap would be refused, so work that is claimed and not verified, what
//! was ordered since and the next task together stay below it.
//! Never here: a formula of its own.

use crate::rpc::{Rpc, RpcError};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::OperatorId;
use ledger::{
    Params, Read, Table,
    credits::PRICE,
    payments::UNVERIFIED,
    staking::{DISCIPLINE, OPERATORS},
    store::Key,
    tables::PARAMS,
    verification::{Cap, STANDINGS, value_cap},
};
use std::{collections::BTreeMap, ops::Bound};
use units::{Credit, Millis};

/// What an operator had left under its cap when that was read.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Under the cap; `None` where this network has no audits.
    left: Option<Credit>,
    /// Of the fees that the reader counts, what was claimed by then.
    claimed: Credit,
}

impl Room {
    /// Reads what is left. `claimed` is what the ledger had claimed, of the fees that the reader
    /// counts, before: a claim that comes in between then counts twice, and not as none.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn read(
        rpc: &Rpc,
        params: &Params,
        operator: &OperatorId,
        clock: Millis,
        claimed: Credit,
    ) -> Result<Self, RpcError> {
        let cap = cap(rpc, params, operator, clock).await?;
        let left = cap.and_then(|cap| {
            let barred = cap.tombstoned || cap.jailed_until > clock;
            let left = cap.value?.saturating_sub(cap.unverified);
            Some(if barred { Credit::ZERO } else { left })
        });
        Ok(Self { left, claimed })
    }

    /// What it is to whoever takes work that nobody may see: a claim that may hold such work counts
    /// twice, with all else in it (`ledger::payments`, R16).
    #[must_use]
    pub fn halved(self) -> Self {
        Self { left: self.left.map(|left| Credit::new(left.get() / 2)), ..self }
    }

    /// Whether a task that costs at most `most` fits beside all fees so far and all that running
    /// tasks can cost; else what is left under the cap for all that is not claimed.
    ///
    /// # Errors
    /// What is left.
    pub fn admits(&self, ordered: Credit, most: Credit) -> Result<(), Credit> {
        let Some(left) = self.left else { return Ok(()) };
        let unclaimed = ordered.saturating_sub(self.claimed);
        let fits = unclaimed.checked_add(most).is_ok_and(|sum| sum <= left);
        if fits { Ok(()) } else { Err(left) }
    }
}

/// The cap of an operator; `None` if it is not registered.
///
/// # Errors
/// [`RpcError`], also for records that contradict each other.
pub async fn cap(
    rpc: &Rpc,
    params: &Params,
    operator: &OperatorId,
    clock: Millis,
) -> Result<Option<Cap>, RpcError> {
    let mut known = Known::default();
    known.insert(&PARAMS, &(), params)?;
    known.fetch(rpc, &OPERATORS, operator).await?;
    known.fetch(rpc, &DISCIPLINE, operator).await?;
    known.fetch(rpc, &STANDINGS, operator).await?;
    known.fetch(rpc, &UNVERIFIED, operator).await?;
    known.fetch(rpc, &PRICE, &()).await?;
    value_cap(&known, operator, clock).map_err(RpcError::answer)
}

/// A few records of a state.
#[derive(Debug, Default)]
struct Known(BTreeMap<Vec<u8>, Vec<u8>>);

impl Known {
    fn insert<K, V>(&mut self, table: &Table<K, V>, key: &K, value: &V) -> Result<(), RpcError>
    where
        K: Key,
        V: BorshSerialize + BorshDeserialize,
    {
        self.0.insert(table.key_bytes(key), table.encode(value)?);
        Ok(())
    }

    async fn fetch<K, V>(&mut self, rpc: &Rpc, table: &Table<K, V>, key: &K) -> Result<(), RpcError>
    where
        K: Key,
        V: BorshSerialize + BorshDeserialize,
    {
        match rpc.record(table, key).await? {
            Some(value) => self.insert(table, key, &value),
            None => Ok(()),
        }
    }
}

impl Read for Known {
    fn raw(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    fn first(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        let mut range = self.0.range::<[u8], _>((low, high));
        range.next().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    fn last(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        let mut range = self.0.range::<[u8], _>((low, high));
        range.next_back().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}
