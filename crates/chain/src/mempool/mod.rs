//! Transactions that wait for a block.
//!
//! Rules:
//! - Everything kept was checked: size, encoding, chain, expiry, nonce, cover for the fee and,
//!   last because dearest, the signature, whose result stays with the entry.
//! - Bounds: bytes in all, transactions and bytes per sender, nonces ahead of the next one. A
//!   full pool makes room at the cost of the sender that holds most bytes, newest nonce first.
//! - An entry leaves when a block with it (or with another of its nonce) is final, when it
//!   expires, or to make room; never because a proposal has taken it, since that proposal may
//!   come to nothing.
//! - Whoever waits for an entry is told in each case.
//!
//! Never here: fees as a rank (they are fixed and burned), the choice for a block.

use commonware_utils::sync::Mutex;
use crypto::{AccountId, Digest, PublicKey};
use ledger::{Authorized, SignedTransaction, Transaction};
use light::rpc::{MempoolStatus, TransactionResult};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::{Notify, oneshot};
use units::{Height, Nonce};

/// Bounds of a mempool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes in all.
    pub(crate) bytes: usize,
    /// Bytes of one sender.
    pub(crate) sender_bytes: usize,
    /// Transactions of one sender.
    pub(crate) sender_transactions: usize,
    /// How far a nonce may be ahead of the sender's next one.
    pub(crate) nonces_ahead: u64,
    /// Callers that wait for one transaction.
    pub(crate) waiters: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            sender_bytes: 8 << 20,
            sender_transactions: 16_384,
            nonces_ahead: 16_384,
            waiters: 8,
        }
    }
}

/// Why a transaction does not wait (any longer).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unpooled {
    /// Its nonce is too far ahead.
    #[error("nonce {given} is too far ahead: the next one is {next}, at most {ahead} beyond it")]
    NonceTooFar {
        /// In the transaction.
        given: Nonce,
        /// The sender's next one.
        next: Nonce,
        /// The limit.
        ahead: u64,
    },
    /// Another transaction of the sender waits under this nonce.
    #[error("another transaction of this sender waits under nonce {nonce}: {id}")]
    NonceTaken {
        /// The nonce.
        nonce: Nonce,
        /// The one that waits.
        id: Digest,
    },
    /// The sender has too much waiting.
    #[error("{transactions} transactions ({bytes} bytes) of this sender wait already")]
    SenderFull {
        /// How many.
        transactions: usize,
        /// How large.
        bytes: usize,
    },
    /// The pool is full, and no other sender holds more than this one.
    #[error("the mempool is full: {bytes} bytes wait")]
    Full {
        /// How large.
        bytes: usize,
    },
    /// It had to make room for others.
    #[error("the transaction was dropped to make room: its sender held the most bytes")]
    Evicted,
    /// A final block made it impossible.
    #[error("the transaction can no longer be applied: {reason}")]
    Overtaken {
        /// The ledger's reason.
        reason: String,
    },
    /// Too many callers wait for it.
    #[error("too many callers wait for this transaction; ask for its result instead")]
    TooManyWaiters,
    /// The node stops.
    #[error("the node is shutting down")]
    Closed,
}

/// What a waiting caller is told.
pub(crate) type Answer = Result<TransactionResult, Unpooled>;

/// A checked transaction with the bytes that go into a block.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As it travels.
    pub(crate) signed: SignedTransaction,
    /// Its signature was checked.
    pub(crate) authorized: Authorized<Transaction>,
}

impl Entry {
    fn sender(&self) -> Sender {
        sender(self.authorized.get())
    }

    fn nonce(&self) -> Nonce {
        self.authorized.get().nonce
    }
}

type Sender = (AccountId, PublicKey);

const fn sender(transaction: &Transaction) -> Sender {
    (transaction.account, transaction.signer)
}

/// The mempool; clones share it.
#[derive(Clone)]
pub(crate) struct Mempool(Arc<Inner>);

struct Inner {
    limits: Limits,
    pool: Mutex<Pool>,
    arrived: Notify,
}

#[derive(Default)]
struct Pool {
    slots: BTreeMap<Digest, Slot>,
    senders: BTreeMap<Sender, Queue>,
    /// Senders by the bytes that they hold, to find the largest.
    by_bytes: BTreeSet<(usize, Sender)>,
    /// Ids by arrival.
    order: BTreeMap<u64, Digest>,
    arrivals: u64,
    bytes: usize,
}

struct Slot {
    entry: Arc<Entry>,
    arrival: u64,
    waiters: Vec<oneshot::Sender<Answer>>,
}

#[derive(Default)]
struct Queue {
    by_nonce: BTreeMap<Nonce, Digest>,
    bytes: usize,
}

impl Mempool {
    /// An empty mempool.
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, pool: Mutex::default(), arrived: Notify::new() }))
    }

    /// Keeps a transaction until its block is final; `next` is the sender's next nonce. The
    /// answer comes over the returned channel. The same transaction again joins the first.
    ///
    /// # Errors
    /// [`Unpooled`]; the pool is unchanged then.
    pub(crate) fn insert(
        &self,
        entry: Entry,
        next: Nonce,
    ) -> Result<oneshot::Receiver<Answer>, Unpooled> {
        let (sender, receiver) = oneshot::channel();
        let mut pool = self.0.pool.lock();
        if let Some(slot) = pool.slots.get_mut(&entry.authorized.id()) {
            if slot.waiters.len() >= self.0.limits.waiters {
                slot.waiters.retain(|waiter| !waiter.is_closed());
            }
            if slot.waiters.len() >= self.0.limits.waiters {
                return Err(Unpooled::TooManyWaiters);
            }
            slot.waiters.push(sender);
            return Ok(receiver);
        }
        pool.check(&entry, next, &self.0.limits)?;
        pool.make_room(&entry, &self.0.limits)?;
        pool.add(entry, sender);
        drop(pool);
        self.0.arrived.notify_waiters();
        Ok(receiver)
    }

    /// Joins the callers that wait for a transaction; `None` if it does not wait here.
    pub(crate) fn find(&self, id: &Digest) -> Option<Arc<Entry>> {
        self.0.pool.lock().slots.get(id).map(|slot| Arc::clone(&slot.entry))
    }

    /// All that wait, in order of arrival.
    pub(crate) fn waiting(&self) -> Vec<Arc<Entry>> {
        let pool = self.0.pool.lock();
        let slots = pool.order.values().filter_map(|id| pool.slots.get(id));
        slots.map(|slot| Arc::clone(&slot.entry)).collect()
    }

    /// Resolves once something waits.
    pub(crate) async fn waits(&self) {
        loop {
            // Registered before looking, so that an arrival in between is not missed.
            let arrived = self.0.arrived.notified();
            if !self.0.pool.lock().slots.is_empty() {
                return;
            }
            arrived.await;
        }
    }

    /// Takes out what the final block `height` holds and answers those who wait for it; then
    /// drops what can no longer be applied, as `dead` tells with its reason: what expired, and
    /// what shares a sender with the block, whose transactions need not have waited here.
    pub(crate) fn settle(
        &self,
        height: Height,
        transactions: &[SignedTransaction],
        results: &[TransactionResult],
        dead: impl Fn(&Transaction) -> Option<String>,
    ) {
        let mut pool = self.0.pool.lock();
        for result in results {
            if let Some(slot) = pool.remove(&result.id) {
                answer(slot, &Ok(result.clone()));
            }
        }
        let touched: BTreeSet<Sender> =
            transactions.iter().map(|signed| sender(&signed.transaction)).collect();
        let late = |slot: &&Slot| {
            let transaction = slot.entry.authorized.get();
            transaction.valid_until <= height || touched.contains(&slot.entry.sender())
        };
        let doubtful: Vec<_> = pool.slots.values().filter(late).map(|s| s.entry.clone()).collect();
        for entry in doubtful {
            let transaction = entry.authorized.get();
            if let Some(reason) = dead(transaction)
                && let Some(slot) = pool.remove(&entry.authorized.id())
            {
                answer(slot, &Err(Unpooled::Overtaken { reason }));
            }
        }
    }

    /// Number and bytes of what waits.
    pub(crate) fn status(&self) -> MempoolStatus {
        let pool = self.0.pool.lock();
        MempoolStatus { transactions: pool.slots.len(), bytes: pool.bytes }
    }
}

impl Pool {
    fn check(&self, entry: &Entry, next: Nonce, limits: &Limits) -> Result<(), Unpooled> {
        let given = entry.nonce();
        let ahead = limits.nonces_ahead;
        if given.get().saturating_sub(next.get()) > ahead {
            return Err(Unpooled::NonceTooFar { given, next, ahead });
        }
        let Some(queue) = self.senders.get(&entry.sender()) else { return Ok(()) };
        if let Some(id) = queue.by_nonce.get(&given) {
            return Err(Unpooled::NonceTaken { nonce: given, id: *id });
        }
        let (transactions, bytes) = (queue.by_nonce.len(), queue.bytes);
        let fits = transactions < limits.sender_transactions
            && bytes + entry.authorized.bytes() <= limits.sender_bytes;
        if fits { Ok(()) } else { Err(Unpooled::SenderFull { transactions, bytes }) }
    }

    /// Drops entries of the largest sender until `entry` fits, but never so that its own sender
    /// would become the largest.
    fn make_room(&mut self, entry: &Entry, limits: &Limits) -> Result<(), Unpooled> {
        let size = entry.authorized.bytes();
        let own = self.senders.get(&entry.sender()).map_or(0, |queue| queue.bytes) + size;
        while self.bytes + size > limits.bytes {
            let full = Unpooled::Full { bytes: self.bytes };
            let Some(&(most, sender)) = self.by_bytes.last() else { return Err(full) };
            if most <= own || sender == entry.sender() {
                return Err(full);
            }
            let newest =
                self.senders.get(&sender).and_then(|queue| queue.by_nonce.last_key_value());
            let Some(slot) = newest.map(|(_, id)| *id).and_then(|id| self.remove(&id)) else {
                return Err(full);
            };
            answer(slot, &Err(Unpooled::Evicted));
        }
        Ok(())
    }

    fn add(&mut self, entry: Entry, waiter: oneshot::Sender<Answer>) {
        let (id, sender, size) = (entry.authorized.id(), entry.sender(), entry.authorized.bytes());
        let queue = self.senders.entry(sender).or_default();
        self.by_bytes.remove(&(queue.bytes, sender));
        queue.by_nonce.insert(entry.nonce(), id);
        queue.bytes += size;
        self.by_bytes.insert((queue.bytes, sender));
        self.bytes += size;
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.order.insert(arrival, id);
        self.slots.insert(id, Slot { entry: Arc::new(entry), arrival, waiters: vec![waiter] });
    }

    fn remove(&mut self, id: &Digest) -> Option<Slot> {
        let slot = self.slots.remove(id)?;
        self.order.remove(&slot.arrival);
        let (sender, size) = (slot.entry.sender(), slot.entry.authorized.bytes());
        self.bytes -= size;
        if let Some(queue) = self.senders.get_mut(&sender) {
            self.by_bytes.remove(&(queue.bytes, sender));
            queue.by_nonce.remove(&slot.entry.nonce());
            queue.bytes -= size;
            if queue.by_nonce.is_empty() {
                self.senders.remove(&sender);
            } else {
                self.by_bytes.insert((queue.bytes, sender));
            }
        }
        Some(slot)
    }
}

fn answer(slot: Slot, with: &Answer) {
    for waiter in slot.waiters {
        // A caller that has gone away needs no answer.
        drop(waiter.send(with.clone()));
    }
}

#[cfg(test)]
mod tests;
