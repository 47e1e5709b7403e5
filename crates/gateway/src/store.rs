//! What a gateway must not forget: lanes, keys' spending, tasks, bundles, receipts, paths.
//!
//! Rules: a lane is here before its voucher or request is sent; a finished task, its bundles and
//! its charge enter in one write, so that a task is billed once or not at all; API keys are kept
//! as hashes. Never here: decisions.

use borsh::{BorshDeserialize, BorshSerialize};
use client::{
    bundle::Bundle,
    lanes::Payer,
    store::{Store, StoreError},
};
use crypto::{Digest, OperatorId};
use ledger::{
    payments::schema::LaneId,
    verification::{Exhibit, PlacedLeaf},
};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use std::{ops::RangeInclusive, path::Path};
use units::{Credit, Epoch};

type Bytes = &'static [u8];

/// The paying end of each lane.
const LANES: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("lanes");
/// What each API key has spent, by the key's hash.
const SPENT: TableDefinition<'_, Bytes, u128> = TableDefinition::new("spent");
/// Finished tasks by id.
const TASKS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("tasks");
/// Finished tasks by time and id: the order in which they are forgotten as answers.
const TASK_TIMES: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("task_times");
/// Bundles by task and item.
const BUNDLES: TableDefinition<'_, (&str, u32), Bytes> = TableDefinition::new("bundles");
/// What stands in claims in the place of receipts, by lane and sequence.
const PATHS: TableDefinition<'_, (Bytes, u64), Bytes> = TableDefinition::new("paths");
/// Receipts with their requests, by lane and sequence, until their claims are final.
const RECEIPTS: TableDefinition<'_, (Bytes, u64), Bytes> = TableDefinition::new("receipts");
/// Up to which period all claims of an operator are dealt with.
const LOOKED: TableDefinition<'_, Bytes, u64> = TableDefinition::new("looked");

/// Records that one write forgets.
const FORGOTTEN_AT_ONCE: usize = 1_024;

/// A finished task.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct TaskRecord {
    /// Its id.
    pub(crate) id: String,
    /// Hash of the API key that asked.
    pub(crate) key: Digest,
    /// Hash of path and body, by which a retry is known.
    pub(crate) body: Digest,
    /// The caller's own idempotency key, hashed.
    pub(crate) idempotency: Option<Digest>,
    /// Milliseconds since 1970.
    pub(crate) created: u64,
    /// Name of the model.
    pub(crate) model: String,
    /// What was billed.
    pub(crate) cost: Credit,
    /// Number of bundles.
    pub(crate) bundles: u32,
    /// What was answered.
    pub(crate) answer: Answer,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Answer {
    /// A chat's text.
    Chat { text: String, finish: String, tokens_in: u64, tokens_out: u64 },
    /// Rows, in the order of the items.
    Rows { rows: Vec<Vec<i32>>, tokens_in: u64 },
}

/// What stands in a claim in the place of a receipt, as the operator says.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct StoredPath {
    pub(crate) epoch: Epoch,
    pub(crate) root: Digest,
    pub(crate) placed: PlacedLeaf,
}

/// The gateway's database.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    store: Store,
}

impl Records {
    /// Opens or creates the database with all its tables.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Store::open(path)?;
        let create = |transaction: &WriteTransaction| {
            transaction.open_table(LANES)?;
            transaction.open_table(SPENT)?;
            transaction.open_table(TASKS)?;
            transaction.open_table(TASK_TIMES)?;
            transaction.open_table(BUNDLES)?;
            transaction.open_table(PATHS)?;
            transaction.open_table(RECEIPTS)?;
            transaction.open_table(LOOKED)?;
            Ok(())
        };
        store.write(create).await?;
        Ok(Self { store })
    }

    /// All lanes as they were written last.
    pub(crate) fn lanes(&self) -> Result<Vec<Payer>, StoreError> {
        let table = self.store.read()?.open_table(LANES)?;
        let mut lanes = Vec::new();
        for entry in table.iter()? {
            lanes.push(decode("lanes", entry?.1.value())?);
        }
        Ok(lanes)
    }

    pub(crate) async fn put_lane(&self, lane: &Payer) -> Result<(), StoreError> {
        let (key, value) = (encode(&lane.lane()), encode(lane));
        let put = move |transaction: &WriteTransaction| {
            transaction.open_table(LANES)?.insert(key.as_slice(), value.as_slice())?;
            Ok(())
        };
        self.store.write(put).await
    }

    /// What a key has spent.
    pub(crate) fn spent(&self, key: &Digest) -> Result<Credit, StoreError> {
        let table = self.store.read()?.open_table(SPENT)?;
        let spent = table.get(key.as_bytes().as_slice())?;
        Ok(spent.map_or(Credit::ZERO, |spent| Credit::new(spent.value())))
    }

    /// Writes a finished task, its bundles and its charge, all or nothing.
    pub(crate) async fn finish_task(
        &self,
        task: &TaskRecord,
        bundles: &[Bundle],
    ) -> Result<(), StoreError> {
        let (id, key, cost, created) = (task.id.clone(), task.key, task.cost, task.created);
        let record = encode(task);
        let json = |bundle| serde_json::to_vec(bundle);
        let bundles: Vec<Vec<u8>> = bundles
            .iter()
            .map(json)
            .collect::<Result<_, _>>()
            .map_err(|error| StoreError::record("bundles", error))?;
        let put = move |transaction: &WriteTransaction| {
            transaction.open_table(TASKS)?.insert(id.as_str(), record.as_slice())?;
            transaction.open_table(TASK_TIMES)?.insert((created, id.as_str()), ())?;
            let mut table = transaction.open_table(BUNDLES)?;
            for (item, bundle) in (0..).zip(&bundles) {
                table.insert((id.as_str(), item), bundle.as_slice())?;
            }
            let mut table = transaction.open_table(SPENT)?;
            let key = key.as_bytes().as_slice();
            let before = table.get(key)?.map_or(0, |spent| spent.value());
            table.insert(key, before.saturating_add(cost.get()))?;
            Ok(())
        };
        self.store.write(put).await
    }

    /// A finished task.
    pub(crate) fn task(&self, id: &str) -> Result<Option<TaskRecord>, StoreError> {
        let table = self.store.read()?.open_table(TASKS)?;
        table.get(id)?.map(|bytes| decode("tasks", bytes.value())).transpose()
    }

    /// Tasks finished since a time, newest first, at most `limit`.
    pub(crate) fn tasks_since(
        &self,
        created: u64,
        limit: usize,
    ) -> Result<Vec<TaskRecord>, StoreError> {
        let transaction = self.store.read()?;
        let times = transaction.open_table(TASK_TIMES)?;
        let tasks = transaction.open_table(TASKS)?;
        let mut found = Vec::new();
        for entry in times.range((created, "")..)?.rev().take(limit) {
            let (key, _) = entry?;
            if let Some(bytes) = tasks.get(key.value().1)? {
                found.push(decode("tasks", bytes.value())?);
            }
        }
        Ok(found)
    }

    /// The bundles of a task, in the order of its items.
    pub(crate) fn bundles(&self, task: &str) -> Result<Vec<Bundle>, StoreError> {
        let table = self.store.read()?.open_table(BUNDLES)?;
        let mut bundles = Vec::new();
        for entry in table.range((task, 0)..=(task, u32::MAX))? {
            let (_, bytes) = entry?;
            let bundle = serde_json::from_slice(bytes.value());
            bundles.push(bundle.map_err(|error| StoreError::record("bundles", error))?);
        }
        Ok(bundles)
    }

    /// Replaces a bundle, because its settlement is known for good.
    pub(crate) async fn put_bundle(
        &self,
        task: &str,
        item: u32,
        bundle: &Bundle,
    ) -> Result<(), StoreError> {
        let (task, bytes) = (task.to_owned(), serde_json::to_vec(bundle));
        let bytes = bytes.map_err(|error| StoreError::record("bundles", error))?;
        let put = move |transaction: &WriteTransaction| {
            transaction.open_table(BUNDLES)?.insert((task.as_str(), item), bytes.as_slice())?;
            Ok(())
        };
        self.store.write(put).await
    }

    /// Where a receipt stands in a claim, if its operator has said so.
    pub(crate) fn path(
        &self,
        lane: &LaneId,
        sequence: u64,
    ) -> Result<Option<StoredPath>, StoreError> {
        let table = self.store.read()?.open_table(PATHS)?;
        let lane = encode(lane);
        table
            .get((lane.as_slice(), sequence))?
            .map(|bytes| decode("paths", bytes.value()))
            .transpose()
    }

    pub(crate) async fn put_paths(
        &self,
        paths: Vec<(LaneId, u64, StoredPath)>,
    ) -> Result<(), StoreError> {
        let encoded: Vec<_> = paths
            .iter()
            .map(|(lane, sequence, path)| (encode(lane), *sequence, encode(path)))
            .collect();
        let put = move |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(PATHS)?;
            for (lane, sequence, path) in &encoded {
                table.insert((lane.as_slice(), *sequence), path.as_slice())?;
            }
            Ok(())
        };
        self.store.write(put).await
    }
}

/// What shows that a claim leaves a receipt out.
impl Records {
    /// Up to which period all claims of an operator are dealt with.
    pub(crate) fn looked(&self, operator: &OperatorId) -> Result<Option<Epoch>, StoreError> {
        let table = self.store.read()?.open_table(LOOKED)?;
        let epoch = table.get(operator.as_bytes().as_slice())?;
        Ok(epoch.map(|epoch| Epoch::new(epoch.value())))
    }

    pub(crate) async fn put_looked(
        &self,
        operator: OperatorId,
        epoch: Epoch,
    ) -> Result<(), StoreError> {
        let put = move |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(LOOKED)?;
            table.insert(operator.as_bytes().as_slice(), epoch.get())?;
            Ok(())
        };
        self.store.write(put).await
    }

    pub(crate) async fn put_receipt(&self, exhibit: &Exhibit) -> Result<(), StoreError> {
        let lane = encode(&exhibit.request.message.lane_id());
        let (sequence, value) = (exhibit.receipt.message.sequence, encode(exhibit));
        let put = move |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(RECEIPTS)?;
            table.insert((lane.as_slice(), sequence), value.as_slice())?;
            Ok(())
        };
        self.store.write(put).await
    }

    /// The receipts of a part of a lane, in order.
    pub(crate) fn receipts(
        &self,
        lane: &LaneId,
        range: RangeInclusive<u64>,
    ) -> Result<Vec<Exhibit>, StoreError> {
        self.part(RECEIPTS, "receipts", lane, range)
    }

    /// What stands in the places of a part of a lane, in order.
    pub(crate) fn paths(
        &self,
        lane: &LaneId,
        range: RangeInclusive<u64>,
    ) -> Result<Vec<StoredPath>, StoreError> {
        self.part(PATHS, "paths", lane, range)
    }

    /// A part of a lane in a table, in order.
    fn part<T: BorshDeserialize>(
        &self,
        table: TableDefinition<'_, (Bytes, u64), Bytes>,
        name: &'static str,
        lane: &LaneId,
        range: RangeInclusive<u64>,
    ) -> Result<Vec<T>, StoreError> {
        let table = self.store.read()?.open_table(table)?;
        let (lane, (first, last)) = (encode(lane), range.into_inner());
        let entries = table.range((lane.as_slice(), first)..=(lane.as_slice(), last))?;
        entries.map(|entry| decode(name, entry?.1.value())).collect()
    }

    /// Forgets some of the receipts of a lane up to `last`; whether those were all.
    pub(crate) async fn forget_receipts(
        &self,
        lane: &LaneId,
        last: u64,
    ) -> Result<bool, StoreError> {
        let table = self.store.read()?.open_table(RECEIPTS)?;
        let lane = encode(lane);
        let mut gone = Vec::new();
        for entry in table.range((lane.as_slice(), 0)..=(lane.as_slice(), last))? {
            if gone.len() >= FORGOTTEN_AT_ONCE {
                break;
            }
            gone.push(entry?.0.value().1);
        }
        if gone.is_empty() {
            return Ok(true);
        }
        let all = gone.len() < FORGOTTEN_AT_ONCE;
        let forget = move |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(RECEIPTS)?;
            for sequence in gone {
                table.remove((lane.as_slice(), sequence))?;
            }
            Ok(())
        };
        self.store.write(forget).await?;
        Ok(all)
    }
}

fn encode<T: BorshSerialize>(value: &T) -> Vec<u8> {
    // Writing to memory does not fail.
    borsh::to_vec(value).unwrap_or_default()
}

fn decode<T: BorshDeserialize>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(bytes).map_err(|error| StoreError::record(table, error))
}
