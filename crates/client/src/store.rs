//! A small database on disk whose writes are grouped: many callers, one sync.
//!
//! A box syncs each receipt before the last byte of its answer, a gateway each voucher before
//! it is sent. One sync costs milliseconds, so writes that wait at the same time share one.
//!
//! Rules: when a write has returned, it is on disk; writes apply in the order in which they
//! were queued; after the first failure of the disk nothing more is written, because what a
//! failed sync left behind is unknown, and whoever runs the process must look.
//! Never here: what is written, checks that could refuse a write.

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot};

/// Writes that share one sync at most; more wait for the next.
const GROUP_WRITES: usize = 256;
/// Writes that may wait; who comes later waits to be queued.
const QUEUED_WRITES: usize = 4_096;

/// Why the database cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be opened; another process may hold it.
    #[error("cannot open {path}: {reason}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The database's words.
        reason: String,
    },
    /// The disk or the database failed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// An earlier write failed; the process must be restarted.
    #[error("the store has stopped after an earlier failure: {0}")]
    Stopped(String),
    /// A record on disk is not one of ours.
    #[error("a record in {table} cannot be read: {reason}")]
    Record {
        /// Where it lies.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// A record of `table` that does not decode.
    pub fn record(table: &'static str, reason: impl ToString) -> Self {
        Self::Record { table, reason: reason.to_string() }
    }
}

/// Everything the database reports is a failure of the disk or of the file.
macro_rules! failed {
    ($($source:ty),+) => {$(
        impl From<$source> for StoreError {
            fn from(error: $source) -> Self {
                Self::Failed(error.to_string())
            }
        }
    )+};
}
failed!(
    redb::Error,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError
);

/// One write: puts records into the transaction it is given.
type Work = Box<dyn FnOnce(&WriteTransaction) -> Result<(), StoreError> + Send>;

struct Job {
    work: Work,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// The database; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    database: Arc<Database>,
    jobs: mpsc::Sender<Job>,
    writer: Arc<Writer>,
}

/// The writing thread; waited for when the last handle goes.
#[derive(Debug)]
struct Writer(Option<JoinHandle<()>>);

impl Store {
    /// Opens or creates the database at `path` and starts its writing thread.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: &dyn ToString| StoreError::Open {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let database = Arc::new(Database::create(path).map_err(|error| failed(&error))?);
        let (jobs, queue) = mpsc::channel(QUEUED_WRITES);
        let shared = Arc::clone(&database);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || write_groups(&shared, queue))
            .map_err(|error| failed(&error))?;
        Ok(Self { database, jobs, writer: Arc::new(Writer(Some(thread))) })
    }

    /// Runs `work` in a transaction and returns once it is on disk.
    ///
    /// # Errors
    /// [`StoreError`]: the disk failed, now or earlier.
    pub async fn write(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (done, result) = oneshot::channel();
        let job = Job { work: Box::new(work), done };
        self.jobs.send(job).await.map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())?
    }

    /// As [`Store::write`], for a thread that may wait.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_waiting(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (done, result) = oneshot::channel();
        let job = Job { work: Box::new(work), done };
        self.jobs.blocking_send(job).map_err(|_| stopped())?;
        result.blocking_recv().map_err(|_| stopped())?
    }

    /// A view of what is on disk now.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database.begin_read()?)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The last handle: close the queue, then wait until what it held is on disk.
        if let Some(Writer(thread)) = Arc::get_mut(&mut self.writer) {
            let (closed, _) = mpsc::channel(1);
            self.jobs = closed;
            if let Some(thread) = thread.take() {
                // A panic there has been reported by the thread itself.
                thread.join().ok();
            }
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Stopped("its thread has ended".into())
}

/// The writing thread: takes what waits, commits it once, tells everybody.
fn write_groups(database: &Database, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(GROUP_WRITES);
    let mut broken: Option<String> = None;
    while queue.blocking_recv_many(&mut jobs, GROUP_WRITES) > 0 {
        let (works, waiting): (Vec<Work>, Vec<_>) =
            jobs.drain(..).map(|job| (job.work, job.done)).unzip();
        let result = match &broken {
            Some(reason) => Err(StoreError::Stopped(reason.clone())),
            None => commit(database, works),
        };
        if let (Err(error), None) = (&result, &broken) {
            broken = Some(error.to_string());
        }
        for done in waiting {
            // A caller that no longer waits needs no answer.
            done.send(result.clone()).ok();
        }
    }
}

fn commit(database: &Database, works: Vec<Work>) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    for work in works {
        work(&transaction)?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{ReadableTableMetadata, TableDefinition};

    const COUNTS: TableDefinition<'_, u64, u64> = TableDefinition::new("counts");

    fn put(key: u64) -> impl FnOnce(&WriteTransaction) -> Result<(), StoreError> {
        move |transaction| {
            transaction.open_table(COUNTS)?.insert(key, key)?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let store = Store::open(&path).unwrap();
        let writes = (0..500).map(|key| {
            let store = store.clone();
            tokio::spawn(async move { store.write(put(key)).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap().unwrap();
        }
        drop(store);
        let store = Store::open(&path).unwrap();
        let table = store.read().unwrap().open_table(COUNTS).unwrap();
        assert_eq!(table.len().unwrap(), 500);
    }

    #[tokio::test]
    async fn after_a_failure_nothing_more_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.redb")).unwrap();
        store.write(put(1)).await.unwrap();
        let failed = store.write(|_| Err(StoreError::Failed("disk full".into()))).await;
        assert!(matches!(failed, Err(StoreError::Failed(_))));
        let refused = store.write(put(2)).await;
        assert!(matches!(refused, Err(StoreError::Stopped(reason)) if reason.contains("disk")));
        let table = store.read().unwrap().open_table(COUNTS).unwrap();
        assert_eq!(table.len().unwrap(), 1);
    }

    #[test]
    fn a_second_opening_of_one_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let _store = Store::open(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Open { .. })));
    }
}
