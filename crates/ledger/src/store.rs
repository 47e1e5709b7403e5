//! The state as an ordered map of bytes, read through typed tables and written through an
//! overlay.
//!
//! Rules:
//! - A table declares its prefix, key type and value type once. Prefixes are two bytes, module
//!   then table, and no two tables share one.
//! - Keys are fixed-width and big-endian, so that byte order is the order of the keys and a
//!   queue is read from its front. Values are canonical borsh.
//! - An [`Overlay`] holds the writes of one block and can undo those of one transaction.
//!
//! Never here: I/O, a cache that outlives a block, a meaning of any record.

pub use crate::key::Key;
use borsh::{BorshDeserialize, BorshSerialize};
use core::marker::PhantomData;
use core::ops::Bound;
use std::collections::BTreeMap;

/// Ordered changes of a block: the new value of a key, or `None` where it is removed.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A stored record that does not decode as its table says. No sender can cause it: the node
/// that meets it must stop rather than sign what follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a record of table {table} does not decode; the state is damaged, restore a snapshot")]
pub struct Corrupt {
    /// The table's name.
    pub table: &'static str,
}

/// A typed part of the state, declared once as a constant.
pub struct Table<K, V> {
    prefix: [u8; 2],
    name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

/// What the list of all tables knows of each: enough to name, to find and to check a record.
#[derive(Clone, Copy)]
pub struct TableInfo {
    /// Module, then table.
    pub prefix: [u8; 2],
    /// `module.table`.
    pub name: &'static str,
    /// Whether key (without prefix) and value decode, and encode back to the same bytes.
    pub holds: fn(&[u8], &[u8]) -> bool,
}

fn holds<K: Key, V: BorshSerialize + BorshDeserialize>(mut key: &[u8], value: &[u8]) -> bool {
    let whole_key = key;
    let Some(read) = K::read(&mut key) else { return false };
    let mut again = Vec::with_capacity(whole_key.len());
    read.write(&mut again);
    let Ok(record) = V::try_from_slice(value) else { return false };
    key.is_empty() && again == whole_key && borsh::to_vec(&record).is_ok_and(|v| v == value)
}

impl<K: Key, V: BorshSerialize + BorshDeserialize> Table<K, V> {
    /// Declares a table; `name` is `module.table` and only for people.
    #[must_use]
    pub const fn new(prefix: [u8; 2], name: &'static str) -> Self {
        Self { prefix, name, types: PhantomData }
    }

    /// The row of this table in the list of all tables.
    #[must_use]
    pub const fn info(&self) -> TableInfo {
        TableInfo { prefix: self.prefix, name: self.name, holds: holds::<K, V> }
    }

    /// The key as it stands in the state and, hashed, in the authenticated tree.
    #[must_use]
    pub fn key_bytes(&self, key: &K) -> Vec<u8> {
        self.part(key)
    }

    /// The bytes all keys that start with `part` share.
    #[must_use]
    pub fn part(&self, part: &impl Key) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(70);
        bytes.extend_from_slice(&self.prefix);
        part.write(&mut bytes);
        bytes
    }

    /// A value as it stands in the state.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes are not exactly one record of this table.
    pub fn decode(&self, bytes: &[u8]) -> Result<V, Corrupt> {
        V::try_from_slice(bytes).map_err(|_| self.corrupt())
    }

    /// A whole key, prefix included.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes are not exactly one key of this table.
    pub fn decode_key(&self, bytes: &[u8]) -> Result<K, Corrupt> {
        let mut rest = bytes.strip_prefix(&self.prefix).ok_or_else(|| self.corrupt())?;
        let key = K::read(&mut rest).ok_or_else(|| self.corrupt())?;
        if rest.is_empty() { Ok(key) } else { Err(self.corrupt()) }
    }

    /// The record's canonical bytes.
    ///
    /// # Errors
    /// [`Corrupt`] only for a record no decoder would accept, such as a list above 2^32.
    pub fn encode(&self, value: &V) -> Result<Vec<u8>, Corrupt> {
        borsh::to_vec(value).map_err(|_| self.corrupt())
    }

    const fn corrupt(&self) -> Corrupt {
        Corrupt { table: self.name }
    }
}

/// Anything records can be read from: the state, a view of pending blocks, an overlay.
pub trait Read {
    /// The value under a key.
    fn raw(&self, key: &[u8]) -> Option<&[u8]>;

    /// The first entry within the bounds.
    fn first(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])>;

    /// The last entry within the bounds.
    fn last(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])>;

    /// The record under a key.
    ///
    /// # Errors
    /// [`Corrupt`] if it does not decode.
    fn get<K: Key, V: BorshSerialize + BorshDeserialize>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, Corrupt> {
        self.raw(&table.key_bytes(key)).map(|bytes| table.decode(bytes)).transpose()
    }

    /// Whether a key has a record.
    fn has<K: Key, V: BorshSerialize + BorshDeserialize>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> bool {
        self.raw(&table.key_bytes(key)).is_some()
    }

    /// At most `limit` records whose keys start with `part`, in order.
    ///
    /// # Errors
    /// [`Corrupt`] if one does not decode.
    fn scan<K: Key, V: BorshSerialize + BorshDeserialize>(
        &self,
        table: &Table<K, V>,
        part: &impl Key,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Corrupt> {
        let prefix = table.part(part);
        let mut found = Vec::new();
        let mut low = Bound::Included(prefix.clone());
        while found.len() < limit {
            let Some((key, value)) = self.first(as_slice(&low), Bound::Unbounded) else { break };
            if !key.starts_with(&prefix) {
                break;
            }
            found.push((table.decode_key(key)?, table.decode(value)?));
            low = Bound::Excluded(key.to_vec());
        }
        Ok(found)
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(bytes) => Bound::Included(bytes),
        Bound::Excluded(bytes) => Bound::Excluded(bytes),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Whether some key can lie within the bounds; `BTreeMap::range` panics where none can.
fn possible(low: Bound<&[u8]>, high: Bound<&[u8]>) -> bool {
    match (low, high) {
        (Bound::Included(a), Bound::Included(b)) => a <= b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b))
        | (Bound::Excluded(a), Bound::Included(b)) => a < b,
        _ => true,
    }
}

/// The whole state after a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl State {
    /// A state of these entries, which the caller has held against the tables.
    pub(crate) const fn from_checked(entries: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        Self { entries }
    }

    /// Every entry, in key order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// At most `limit` entries under a key prefix, after `after` if it is given: what the
    /// range query of the RPC serves.
    pub fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let low = match after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        };
        self.entries
            .range::<[u8], _>((low, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Takes over the writes of a finalized block.
    pub fn commit(&mut self, writes: &Writes) {
        for (key, value) in writes {
            match value {
                Some(value) => self.entries.insert(key.clone(), value.clone()),
                None => self.entries.remove(key),
            };
        }
    }
}

impl Read for State {
    fn raw(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(Vec::as_slice)
    }

    fn first(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        let mut range = possible(low, high).then(|| self.entries.range::<[u8], _>((low, high)))?;
        range.next().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    fn last(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        let mut range = possible(low, high).then(|| self.entries.range::<[u8], _>((low, high)))?;
        range.next_back().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

/// A state seen through the writes of blocks that are not finalized yet, oldest first.
#[derive(Clone, Debug)]
pub struct View<'a> {
    state: &'a State,
    layers: Vec<&'a Writes>,
}

impl<'a> View<'a> {
    /// The state as it is after also applying `writes`.
    #[must_use]
    pub fn over(mut self, writes: &'a Writes) -> Self {
        self.layers.push(writes);
        self
    }
}

impl<'a> From<&'a State> for View<'a> {
    fn from(state: &'a State) -> Self {
        Self { state, layers: Vec::new() }
    }
}

impl Read for View<'_> {
    fn raw(&self, key: &[u8]) -> Option<&[u8]> {
        for layer in self.layers.iter().rev() {
            if let Some(value) = layer.get(key) {
                return value.as_deref();
            }
        }
        self.state.raw(key)
    }

    fn first(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        first_present(self, low, high, |low, high| {
            let layered = self.layers.iter().filter_map(|layer| first_of(layer, low, high));
            layered.chain(self.state.first(low, high).map(|(key, _)| key)).min()
        })
    }

    fn last(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        last_present(self, low, high, |low, high| {
            let layered = self.layers.iter().filter_map(|layer| last_of(layer, low, high));
            layered.chain(self.state.last(low, high).map(|(key, _)| key)).max()
        })
    }
}

fn first_of<'w>(writes: &'w Writes, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<&'w [u8]> {
    writes.range::<[u8], _>((low, high)).next().map(|(key, _)| key.as_slice())
}

fn last_of<'w>(writes: &'w Writes, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<&'w [u8]> {
    writes.range::<[u8], _>((low, high)).next_back().map(|(key, _)| key.as_slice())
}

/// The first entry within the bounds that is not removed, given the first key of any layer.
fn first_present<'r: 'l, 'l>(
    reader: &'r impl Read,
    mut low: Bound<&'l [u8]>,
    high: Bound<&'l [u8]>,
    first: impl Fn(Bound<&[u8]>, Bound<&[u8]>) -> Option<&'r [u8]>,
) -> Option<(&'r [u8], &'r [u8])> {
    while possible(low, high) {
        let key = first(low, high)?;
        if let Some(value) = reader.raw(key) {
            return Some((key, value));
        }
        low = Bound::Excluded(key); // Removed by a later layer: look on behind it.
    }
    None
}

/// The last entry within the bounds that is not removed, given the last key of any layer.
fn last_present<'r: 'l, 'l>(
    reader: &'r impl Read,
    low: Bound<&'l [u8]>,
    mut high: Bound<&'l [u8]>,
    last: impl Fn(Bound<&[u8]>, Bound<&[u8]>) -> Option<&'r [u8]>,
) -> Option<(&'r [u8], &'r [u8])> {
    while possible(low, high) {
        let key = last(low, high)?;
        if let Some(value) = reader.raw(key) {
            return Some((key, value));
        }
        high = Bound::Excluded(key);
    }
    None
}

/// What a key held in the overlay before a transaction wrote it: nothing, a removal, a value.
type Before = Option<Option<Vec<u8>>>;

/// The writes of the block being applied, above a view.
pub struct Overlay<'a> {
    view: View<'a>,
    writes: Writes,
    undo: Vec<(Vec<u8>, Before)>,
}

impl<'a> Overlay<'a> {
    /// No writes yet.
    #[must_use]
    pub const fn new(view: View<'a>) -> Self {
        Self { view, writes: Writes::new(), undo: Vec::new() }
    }

    /// Stores a record.
    ///
    /// # Errors
    /// [`Corrupt`] if the record has no encoding.
    pub fn put<K: Key, V: BorshSerialize + BorshDeserialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), Corrupt> {
        self.write(table.key_bytes(key), Some(table.encode(value)?));
        Ok(())
    }

    /// Removes a record, if it is there.
    pub fn remove<K: Key, V: BorshSerialize + BorshDeserialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) {
        self.write(table.key_bytes(key), None);
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let before = self.writes.insert(key.clone(), value);
        self.undo.push((key, before));
    }

    /// Keeps everything written so far: [`Self::revert`] will stop here.
    pub fn keep(&mut self) {
        self.undo.clear();
    }

    /// Undoes everything written since the last [`Self::keep`].
    pub fn revert(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.writes.insert(key, value),
                None => self.writes.remove(&key),
            };
        }
    }

    /// The writes, in key order.
    #[must_use]
    pub fn into_writes(self) -> Writes {
        let Self { view, mut writes, .. } = self;
        // What was made and removed in the same block never was.
        writes.retain(|key, value| value.is_some() || view.raw(key).is_some());
        writes
    }
}

impl Read for Overlay<'_> {
    fn raw(&self, key: &[u8]) -> Option<&[u8]> {
        match self.writes.get(key) {
            Some(value) => value.as_deref(),
            None => self.view.raw(key),
        }
    }

    fn first(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        first_present(self, low, high, |low, high| {
            let above = first_of(&self.writes, low, high).into_iter();
            above.chain(self.view.first(low, high).map(|(key, _)| key)).min()
        })
    }

    fn last(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        last_present(self, low, high, |low, high| {
            let above = last_of(&self.writes, low, high).into_iter();
            above.chain(self.view.last(low, high).map(|(key, _)| key)).max()
        })
    }
}
