//! The state machine as the node runs it: the final state in memory, and the effects of blocks
//! that are not final yet as overlays above it.
//!
//! ```text
//! final state ◀─ effects of block 8 ◀─ effects of block 9
//!            ◀─ effects of block 8′            (a competitor; forgotten once 8 is final)
//! ```
//!
//! Rules: a block's effects are computed once and kept until the block or a competitor is
//! final; committing is durable before anything else learns of it, and doing it again after a
//! crash changes nothing. A state that contradicts itself or a disk that fails stops the node
//! before it signs: safety over liveness.
//! Never here: consensus types, the authenticated tree.

use crate::{
    archive::Archive,
    block::Block,
    journal::{JournalError, Record},
    mempool::{Entry, Mempool},
    ports::Models,
};
use commonware_utils::sync::RwLock;
use crypto::{Digest, PublicKey};
use ledger::{
    Authorized, BlockError, Ed25519, Env, Failure, Ports, Rejection, SignedTransaction, State,
    Status, Transaction, View, Writes, accounts, apply_block, clock, next_deadline, triage,
};
use light::{
    Certificate, ChainAnchor, Header,
    rpc::{Outcome, Rejected, TransactionResult},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;
use units::{Height, Millis, Nonce};

/// The newest final block.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Its header.
    pub(crate) header: Header,
    /// Its digest.
    pub(crate) id: Digest,
    /// That it is final, unless only a descendant was certified.
    pub(crate) certificate: Option<Certificate>,
    /// The ledger's clock after it.
    pub(crate) clock: Millis,
}

/// What a block does to its parent's state.
#[derive(Debug)]
pub(crate) struct Effects {
    parent: Digest,
    height: Height,
    /// Everything that it writes; block 1 also brings the entries of genesis into the tree.
    pub(crate) writes: Writes,
    clock: Millis,
    results: Vec<TransactionResult>,
    events: Vec<ledger::Event>,
}

/// Why a block has no effects.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecutionError {
    /// Its parent is neither final nor known.
    #[error("the parent {0} is not known")]
    UnknownParent(Digest),
    /// The ledger refuses it.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A signature is wrong.
    #[error(transparent)]
    Transaction(#[from] ledger::transaction::Error),
    /// The past cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The ledger's state machine with its past.
pub(crate) struct Machine {
    anchor: ChainAnchor,
    archive: Archive,
    mempool: Mempool,
    models: Models,
    inner: RwLock<Inner>,
    /// Height up to which effects can be seen everywhere, the tree included.
    published: watch::Sender<Height>,
}

struct Inner {
    state: State,
    head: Arc<Head>,
    pending: BTreeMap<Digest, Arc<Effects>>,
}

impl Inner {
    /// The state after block `id`, if that is known.
    fn view(&self, id: Digest) -> Option<View<'_>> {
        let mut path = Vec::new();
        let mut at = id;
        while at != self.head.id {
            let effects = self.pending.get(&at)?;
            path.push(&effects.writes);
            at = effects.parent;
        }
        Some(path.into_iter().rev().fold(View::from(&self.state), View::over))
    }
}

impl Machine {
    /// A machine whose final state is the one after `head`.
    pub(crate) fn new(
        anchor: ChainAnchor,
        archive: Archive,
        mempool: Mempool,
        state: State,
        head: Head,
    ) -> Self {
        let published = watch::Sender::new(head.header.height);
        let inner = Inner { state, head: Arc::new(head), pending: BTreeMap::new() };
        Self {
            anchor,
            archive,
            mempool,
            models: Models::default(),
            inner: RwLock::new(inner),
            published,
        }
    }

    pub(crate) const fn anchor(&self) -> &ChainAnchor {
        &self.anchor
    }

    pub(crate) const fn archive(&self) -> &Archive {
        &self.archive
    }

    pub(crate) const fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// The newest final block.
    pub(crate) fn head(&self) -> Arc<Head> {
        Arc::clone(&self.inner.read().head)
    }

    /// Looks at the newest final state together with its block.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State, &Head) -> T) -> T {
        let inner = self.inner.read();
        look(&inner.state, &inner.head)
    }

    /// The height up to which effects are final and visible, as it grows.
    pub(crate) fn heights(&self) -> watch::Receiver<Height> {
        self.published.subscribe()
    }

    /// Whether the ledger has to do something by itself within `span` of its clock.
    pub(crate) fn has_deadline_within(&self, span: Millis) -> bool {
        self.read(|state, head| {
            let horizon = head.clock.get().saturating_add(span.get());
            let next = next_deadline(state).ok().flatten();
            next.is_some_and(|deadline| deadline.get() <= horizon)
        })
    }

    /// Whether a transaction can wait for a block, and its sender's next nonce.
    ///
    /// # Errors
    /// The ledger's reason against it.
    pub(crate) fn triage(&self, transaction: &Transaction) -> Result<Nonce, Rejection> {
        self.read(|state, _| {
            triage(state, transaction).map_err(rejection)?;
            Ok(next_nonce(state, transaction))
        })
    }

    /// Transactions for the block that follows `parent`, in their order.
    ///
    /// # Errors
    /// [`ExecutionError::UnknownParent`].
    pub(crate) fn select(&self, parent: Digest) -> Result<Vec<Arc<Entry>>, ExecutionError> {
        let waiting = self.mempool.waiting();
        let candidates: Vec<_> = waiting.iter().map(|entry| &entry.authorized).collect();
        let inner = self.inner.read();
        let view = inner.view(parent).ok_or(ExecutionError::UnknownParent(parent))?;
        let chosen = ledger::select(view, &candidates).map_err(BlockError::from)?;
        Ok(chosen.into_iter().filter_map(|index| waiting.get(index).cloned()).collect())
    }

    /// The effects of the block that follows `parent`.
    ///
    /// # Errors
    /// [`ExecutionError`]; a state that contradicts itself stops the node.
    pub(crate) fn execute(
        &self,
        parent: Digest,
        env: &Env,
        transactions: &[Authorized<Transaction>],
    ) -> Result<Effects, ExecutionError> {
        let inner = self.inner.read();
        let view = inner.view(parent).ok_or(ExecutionError::UnknownParent(parent))?;
        let ports = Ports { verifier: &self.models, signatures: &Ed25519 };
        let applied = match apply_block(view.clone(), env, transactions, &ports) {
            Err(BlockError::Broken(broken)) => panic!("the ledger's state is broken: {broken}"),
            other => other?,
        };
        let after = clock::now(&view.over(&applied.writes)).map_err(BlockError::from)?;
        let mut writes = applied.writes;
        if env.height == Height::new(1) {
            let entries = inner.state.entries();
            let genesis = entries.map(|(key, value)| (key.to_vec(), Some(value.to_vec())));
            let own = std::mem::replace(&mut writes, genesis.collect());
            writes.extend(own);
        }
        let results = applied.outcomes.into_iter().zip(0..);
        let results = results.map(|(outcome, index)| result(env.height, index, outcome));
        Ok(Effects {
            parent,
            height: env.height,
            writes,
            clock: after.clock,
            results: results.collect(),
            events: applied.events,
        })
    }

    /// The checked transactions of a block; a signature that was checked when its transaction
    /// came into the mempool is not checked again.
    ///
    /// # Errors
    /// The first bad signature.
    pub(crate) fn authorize(
        &self,
        transactions: &[SignedTransaction],
    ) -> Result<Vec<Authorized<Transaction>>, ExecutionError> {
        let check = |signed: &SignedTransaction| {
            let known = self.mempool.find(&signed.transaction.id());
            match known.filter(|entry| entry.signed == *signed) {
                Some(entry) => Ok(entry.authorized.clone()),
                None => Ok(signed.clone().authorize(&Ed25519)?),
            }
        };
        transactions.iter().map(check).collect()
    }

    /// Keeps the effects of a block until it or a competitor is final.
    pub(crate) fn keep(&self, id: Digest, effects: Effects) {
        let mut inner = self.inner.write();
        if effects.height > inner.head.header.height {
            inner.pending.insert(id, Arc::new(effects));
        }
    }

    /// The writes of a block that is final already; `None` if it is not, or is no part of the
    /// chain.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn final_writes(&self, block: &Block) -> Result<Option<Writes>, JournalError> {
        let record = self.archive.read(block.header().height)?;
        Ok(record.filter(|record| record.block == block.bytes()[..]).map(|record| record.writes))
    }

    /// Makes a final block's effects durable and the state's own. `false` if they were before.
    ///
    /// # Panics
    /// If the disk fails, if the block was not executed, or if another block is final at its
    /// height: the node must stop.
    pub(crate) fn commit(&self, block: &Block, certificate: Option<Certificate>) -> bool {
        let head = self.head();
        if block.header().height <= head.header.height {
            let writes = self.final_writes(block).expect("the journal can be read");
            assert!(writes.is_some(), "another block is final at {}", block.header().height);
            return false;
        }
        assert_eq!(block.header().parent, head.id, "a final block does not follow the last one");
        let effects = self.inner.read().pending.get(&block.id()).cloned();
        let effects = effects.expect("a final block was executed");
        let record = Record {
            block: block.bytes().to_vec(),
            certificate: certificate.clone(),
            clock: effects.clock,
            writes: effects.writes.clone(),
            results: effects.results.clone(),
            events: effects.events.clone(),
        };
        self.archive.append(&record).expect("the journal can be written");
        let mut inner = self.inner.write();
        inner.state.commit(&effects.writes);
        inner.head = Arc::new(Head {
            header: block.header().clone(),
            id: block.id(),
            certificate,
            clock: effects.clock,
        });
        inner.pending.retain(|_, pending| pending.height > effects.height);
        self.archive.roll_if_full(&inner.state).expect("the journal can be written");
        true
    }

    /// Tells everybody of a final block.
    ///
    /// # Panics
    /// If the disk fails: the node must stop.
    pub(crate) fn publish(&self, block: &Block) {
        let height = block.header().height;
        let record = self.archive.read(height).expect("the journal can be read");
        let results = record.map(|record| record.results).unwrap_or_default();
        let dead = |transaction: &Transaction| {
            self.triage(transaction).err().map(|reason| reason.to_string())
        };
        self.mempool.settle(height, block.transactions(), &results, dead);
        self.published.send_if_modified(|published| {
            let grows = height > *published;
            *published = height.max(*published);
            grows
        });
    }
}

/// The next nonce of a transaction's sender.
fn next_nonce(state: &State, transaction: &Transaction) -> Nonce {
    let Transaction { account, signer, .. } = transaction;
    let key: &PublicKey = account.get();
    let nonce = if signer == key {
        accounts::account(state, account).ok().flatten().map(|account| account.nonce)
    } else {
        accounts::session(state, account, signer).ok().flatten().map(|session| session.nonce)
    };
    nonce.unwrap_or_default()
}

fn rejection(failure: Failure) -> Rejection {
    match failure {
        Failure::Rejected(rejection) => rejection,
        Failure::Broken(broken) => panic!("the ledger's state is broken: {broken}"),
    }
}

fn result(height: Height, index: u32, outcome: ledger::Outcome) -> TransactionResult {
    let reason = |why: &Rejection| Rejected { code: why.code(), message: why.to_string() };
    let status = match &outcome.status {
        Status::Applied => Outcome::Applied,
        Status::Rejected(why) => Outcome::Rejected(reason(why)),
        Status::Refused(why) => Outcome::Refused(reason(why)),
    };
    TransactionResult { id: outcome.id, height, index, outcome: status, fee: outcome.fee }
}
