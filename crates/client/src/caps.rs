//! What an operator may still serve: the ledger's value cap, computed by the ledger's own code from
//! records read from a node.
//!
//! Never here: a rule of its own.

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
use units::Millis;

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
