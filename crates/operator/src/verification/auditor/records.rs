//! What an auditor keeps on disk: the content of its points and what it found.
//!
//! Rules: a finding is on disk before its commitment is sent, because it could not be revealed
//! otherwise after a restart; what belongs to no open point is pruned. Never here: decisions.

use borsh::{BorshDeserialize, BorshSerialize};
use client::{
    store::{Store, StoreError},
    wire::audit::PointKey,
};
use crypto::Digest;
use ledger::{disputes::schema::Finding, verification::schema::Content};
use redb::{ReadableTable, TableDefinition, TableError};
use std::{collections::BTreeSet, path::Path};

const AUDITS: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("audits");

/// One point's audit.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Audit {
    pub(super) content: Content,
    /// What was found, and the auditor's own salt.
    pub(super) found: Option<(Finding, Digest)>,
}

/// The records; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Records(Store);

impl Records {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Store::open(path).map(Self)
    }

    pub(super) async fn put(&self, point: PointKey, audit: &Audit) -> Result<(), StoreError> {
        let (key, value) = (bytes(&point), bytes(audit));
        self.0
            .write(move |transaction| {
                transaction.open_table(AUDITS)?.insert(key.as_slice(), value.as_slice())?;
                Ok(())
            })
            .await
    }

    pub(super) fn get(&self, point: &PointKey) -> Result<Option<Audit>, StoreError> {
        let records = match self.0.read()?.open_table(AUDITS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            other => other?,
        };
        let found = records.get(bytes(point).as_slice())?;
        found.map(|value| decode(value.value())).transpose()
    }

    /// Forgets all but these.
    pub(super) async fn keep(&self, points: BTreeSet<PointKey>) -> Result<(), StoreError> {
        let keep: BTreeSet<Vec<u8>> = points.iter().map(bytes).collect();
        self.0
            .write(move |transaction| {
                let mut table = transaction.open_table(AUDITS)?;
                let mut gone = Vec::new();
                for entry in table.iter()? {
                    let key = entry?.0.value().to_vec();
                    if !keep.contains(&key) {
                        gone.push(key);
                    }
                }
                for key in gone {
                    table.remove(key.as_slice())?;
                }
                Ok(())
            })
            .await
    }
}

/// Writing to memory does not fail.
fn bytes(value: &impl BorshSerialize) -> Vec<u8> {
    borsh::to_vec(value).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Result<Audit, StoreError> {
    borsh::from_slice(bytes).map_err(|error| StoreError::record("audits", error))
}
