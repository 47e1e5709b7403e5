//! What an auditor keeps on disk: the content of its points, what it found, and the secrets under
//! which it demanded sealed content.
//!
//! Rules: a finding is on disk before its commitment is sent, and a secret before its demand,
//! because neither could be used otherwise after a restart; what belongs to no open point is
//! pruned. Never here: decisions.

use borsh::{BorshDeserialize, BorshSerialize};
use client::{
    store::{Store, StoreError},
    wire::audit::PointKey,
};
use crypto::{Digest, SealSecret};
use ledger::{disputes::schema::Finding, verification::schema::Content};
use redb::{TableDefinition, TableError};
use std::{collections::BTreeSet, path::Path};

/// A table by its name.
type Table = &'static str;

const AUDITS: Table = "audits";
const SECRETS: Table = "secrets";

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
        self.put_into(AUDITS, point, bytes(audit)).await
    }

    pub(super) fn get(&self, point: &PointKey) -> Result<Option<Audit>, StoreError> {
        self.get_from(AUDITS, point)
    }

    pub(super) async fn put_secret(
        &self,
        point: PointKey,
        secret: &SealSecret,
    ) -> Result<(), StoreError> {
        self.put_into(SECRETS, point, bytes(secret)).await
    }

    pub(super) fn secret(&self, point: &PointKey) -> Result<Option<SealSecret>, StoreError> {
        self.get_from(SECRETS, point)
    }

    async fn put_into(
        &self,
        table: Table,
        point: PointKey,
        value: Vec<u8>,
    ) -> Result<(), StoreError> {
        let key = bytes(&point);
        self.0
            .write(move |transaction| {
                transaction.open_table(opened(table))?.insert(key.as_slice(), value.as_slice())?;
                Ok(())
            })
            .await
    }

    fn get_from<T: BorshDeserialize>(
        &self,
        table: Table,
        point: &PointKey,
    ) -> Result<Option<T>, StoreError> {
        let records = match self.0.read()?.open_table(opened(table)) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            other => other?,
        };
        let Some(found) = records.get(bytes(point).as_slice())? else { return Ok(None) };
        let decoded = borsh::from_slice(found.value());
        decoded.map(Some).map_err(|error| StoreError::record(table, error))
    }

    /// Forgets all but these.
    pub(super) async fn keep(&self, points: BTreeSet<PointKey>) -> Result<(), StoreError> {
        let keep: BTreeSet<Vec<u8>> = points.iter().map(bytes).collect();
        self.0
            .write(move |transaction| {
                for table in [AUDITS, SECRETS] {
                    transaction
                        .open_table(opened(table))?
                        .retain(|key: &[u8], _: &[u8]| keep.contains(key))?;
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

const fn opened(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table)
}
