//! What can be asked of the past: blocks, events, and what became of a transaction.
//!
//! Rules: the journal holds the facts; memory holds only where to find a transaction's, for the
//! newest [`MAX_INDEXED`] of them.
//! Never here: the present state.

use crate::journal::{Journal, JournalError, Record};
use commonware_utils::sync::{Mutex, RwLock};
use crypto::Digest;
use ledger::State;
use light::rpc::TransactionResult;
use std::collections::{BTreeMap, VecDeque};
use units::Height;

/// Transactions that can be found by id: about 25 MB of memory.
const MAX_INDEXED: usize = 262_144;

/// The past of one chain.
pub(crate) struct Archive {
    journal: RwLock<Journal>,
    index: Mutex<Index>,
}

#[derive(Default)]
struct Index {
    places: BTreeMap<Digest, (Height, u32)>,
    order: VecDeque<Digest>,
}

impl Index {
    fn add(&mut self, results: &[TransactionResult]) {
        for result in results {
            if self.places.insert(result.id, (result.height, result.index)).is_none() {
                self.order.push_back(result.id);
            }
            if self.order.len() > MAX_INDEXED
                && let Some(oldest) = self.order.pop_front()
            {
                self.places.remove(&oldest);
            }
        }
    }
}

impl Archive {
    /// Takes over an open journal and reads through it. `each` sees every record, oldest first.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn new(
        journal: Journal,
        mut each: impl FnMut(Height, &Record),
    ) -> Result<Self, JournalError> {
        let mut index = Index::default();
        for height in journal.range().map(Height::new) {
            if let Some(record) = journal.read(height)? {
                index.add(&record.results);
                each(height, &record);
            }
        }
        Ok(Self { journal: RwLock::new(journal), index: Mutex::new(index) })
    }

    /// Adds the next block. It is durable when this returns.
    ///
    /// # Errors
    /// [`JournalError`]: the node must stop.
    pub(crate) fn append(&self, record: &Record) -> Result<(), JournalError> {
        self.journal.write().append(record)?;
        self.index.lock().add(&record.results);
        Ok(())
    }

    /// Closes a full segment with a snapshot of the state after the newest record.
    ///
    /// # Errors
    /// [`JournalError`]: the node must stop.
    pub(crate) fn roll_if_full(&self, state: &State) -> Result<(), JournalError> {
        let mut journal = self.journal.write();
        if journal.is_full() { journal.roll(state) } else { Ok(()) }
    }

    /// The oldest height that can be read.
    pub(crate) fn oldest(&self) -> Height {
        Height::new(self.journal.read().range().start)
    }

    /// A block with its effects; `None` if it is not kept.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn read(&self, height: Height) -> Result<Option<Record>, JournalError> {
        self.journal.read().read(height)
    }

    /// What became of a transaction; `None` if it is unknown or too long ago.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn result(&self, id: &Digest) -> Result<Option<TransactionResult>, JournalError> {
        let place = self.index.lock().places.get(id).copied();
        let Some((height, index)) = place else { return Ok(None) };
        let record = self.read(height)?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        Ok(record.and_then(|record| record.results.into_iter().nth(index)))
    }
}
