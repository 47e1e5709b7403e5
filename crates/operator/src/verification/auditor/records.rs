//! What an auditor keeps on disk: the content of its points, what it found, and the secrets under
//! which it demanded sealed content.
//!
//! Rules: a finding is on disk before its commitment is sent, and a secret before its demand,
//! because neither could be used otherwise after a restart; what belongs to no open point is
//! pruned. Never here: decisions.

use crate::records::{Table, bytes, definition, get, put};
use borsh::{BorshDeserialize, BorshSerialize};
use client::{
    store::{Store, StoreError},
    wire::audit::PointKey,
};
use crypto::{Digest, SealSecret};
use ledger::{disputes::schema::Finding, verification::schema::Content};
use std::{collections::BTreeSet, path::Path};

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
        self.write(AUDITS, point, audit).await
    }

    pub(super) fn get(&self, point: &PointKey) -> Result<Option<Audit>, StoreError> {
        get(&self.0, AUDITS, &bytes(point))
    }

    pub(super) async fn put_secret(
        &self,
        point: PointKey,
        secret: &SealSecret,
    ) -> Result<(), StoreError> {
        self.write(SECRETS, point, secret).await
    }

    pub(super) fn secret(&self, point: &PointKey) -> Result<Option<SealSecret>, StoreError> {
        get(&self.0, SECRETS, &bytes(point))
    }

    async fn write(
        &self,
        table: Table,
        point: PointKey,
        value: &impl BorshSerialize,
    ) -> Result<(), StoreError> {
        let (key, value) = (bytes(&point), bytes(value));
        self.0.write(move |transaction| put(transaction, table, &key, &value)).await
    }

    /// Forgets all but these.
    pub(super) async fn keep(&self, points: BTreeSet<PointKey>) -> Result<(), StoreError> {
        let keep: BTreeSet<Vec<u8>> = points.iter().map(bytes).collect();
        self.0
            .write(move |transaction| {
                for table in [AUDITS, SECRETS] {
                    transaction
                        .open_table(definition(table))?
                        .retain(|key: &[u8], _: &[u8]| keep.contains(key))?;
                }
                Ok(())
            })
            .await
    }
}
