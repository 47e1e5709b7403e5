//! The state as one canonical byte string, to start a chain or a node from.
//!
//! ```text
//!   "selvedge.snapshot" ‖ version: u32 ‖ height: u64 ‖ entries: u64
//!   ‖ (key length: u32 ‖ key ‖ value length: u32 ‖ value)* ‖ BLAKE3 of all before
//! ```
//! Rules: entries are in key order without repeats, so that one state has one snapshot; every
//! entry belongs to a known table, decodes, and encodes back to itself; after reading, all
//! invariants hold. Never here: proofs (they belong to the authenticated tree), files.

use crate::{clock, invariants, store::State, tables};
use crypto::{Digest, Domain, hash_bytes};
use std::collections::BTreeMap;
use units::Height;

const MAGIC: &[u8] = b"selvedge.snapshot";
/// The format that is written, and the only one that is read.
pub const VERSION: u32 = 1;
const DIGEST_BYTES: usize = 32;

/// Why a snapshot is not taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot, or cut short.
    #[error("the bytes are not a whole snapshot; fetch it again")]
    Malformed,
    /// Written by another release.
    #[error("the snapshot has format {found}, this release reads {VERSION}")]
    Version {
        /// In the snapshot.
        found: u32,
    },
    /// The digest at its end is of other bytes.
    #[error("the snapshot was altered: its digest does not match; take another source")]
    Altered,
    /// Keys repeat or are out of order.
    #[error("entry {index} is not in key order")]
    Order {
        /// Its place, from 0.
        index: u64,
    },
    /// No table knows the key, or the record does not decode.
    #[error("entry {index} belongs to no table or does not decode as its table says")]
    Entry {
        /// Its place, from 0.
        index: u64,
    },
    /// The state contradicts itself.
    #[error("the snapshot's state breaks {count} rules, first: {first}")]
    Invariants {
        /// How many.
        count: usize,
        /// The first.
        first: String,
    },
}

/// Writes a state.
#[must_use]
pub fn export(state: &State) -> Vec<u8> {
    let height = clock::now(state).map_or(Height::ZERO, |now| now.height);
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&height.get().to_le_bytes());
    let count = u64::try_from(state.entries().count()).unwrap_or(u64::MAX);
    bytes.extend_from_slice(&count.to_le_bytes());
    for (key, value) in state.entries() {
        for part in [key, value] {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    let digest = hash_bytes(Domain::Snapshot, &bytes);
    bytes.extend_from_slice(digest.as_bytes());
    bytes
}

/// Reads a state and holds it against every rule. Allocates no more than the bytes given.
///
/// # Errors
/// [`SnapshotError`], which says what is wrong.
pub fn import(bytes: &[u8]) -> Result<State, SnapshotError> {
    let end = bytes.len().checked_sub(DIGEST_BYTES).ok_or(SnapshotError::Malformed)?;
    let (body, digest) = bytes.split_at_checked(end).ok_or(SnapshotError::Malformed)?;
    let mut rest = body.strip_prefix(MAGIC).ok_or(SnapshotError::Malformed)?;
    let found = u32::from_le_bytes(take(&mut rest)?);
    if found != VERSION {
        return Err(SnapshotError::Version { found });
    }
    if hash_bytes(Domain::Snapshot, body).as_bytes().as_slice() != digest {
        return Err(SnapshotError::Altered);
    }
    let height = Height::new(u64::from_le_bytes(take(&mut rest)?));
    let count = u64::from_le_bytes(take(&mut rest)?);
    let state = State::from_checked(entries(rest, count)?);
    match clock::now(&state) {
        Ok(now) if now.height == height => check(state),
        _ => Err(SnapshotError::Malformed),
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], SnapshotError> {
    let (head, tail) = bytes.split_first_chunk::<N>().ok_or(SnapshotError::Malformed)?;
    *bytes = tail;
    Ok(*head)
}

fn take_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], SnapshotError> {
    let length = u32::from_le_bytes(take(bytes)?);
    let length = usize::try_from(length).map_err(|_| SnapshotError::Malformed)?;
    let (head, tail) = bytes.split_at_checked(length).ok_or(SnapshotError::Malformed)?;
    *bytes = tail;
    Ok(head)
}

fn entries(mut rest: &[u8], count: u64) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, SnapshotError> {
    let mut entries = BTreeMap::new();
    let mut previous: Option<&[u8]> = None;
    for index in 0..count {
        let (key, value) = (take_part(&mut rest)?, take_part(&mut rest)?);
        if previous.is_some_and(|earlier| earlier >= key) {
            return Err(SnapshotError::Order { index });
        }
        check_entry(index, key, value)?;
        entries.insert(key.to_vec(), value.to_vec());
        previous = Some(key);
    }
    if rest.is_empty() { Ok(entries) } else { Err(SnapshotError::Malformed) }
}

/// The entry belongs to a known table, decodes, and encodes back to itself.
fn check_entry(index: u64, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
    let table = tables::of_key(key).ok_or(SnapshotError::Entry { index })?;
    let suffix = key.strip_prefix(&table.prefix).unwrap_or_default();
    if (table.holds)(suffix, value) { Ok(()) } else { Err(SnapshotError::Entry { index }) }
}

impl State {
    /// A state from its entries in any order, as a node's store holds them.
    ///
    /// # Errors
    /// [`SnapshotError::Entry`] for one that no table accepts.
    pub fn from_entries(
        entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, SnapshotError> {
        let mut checked = BTreeMap::new();
        for (index, (key, value)) in (0..).zip(entries) {
            check_entry(index, &key, &value)?;
            checked.insert(key, value);
        }
        Ok(Self::from_checked(checked))
    }
}

fn check(state: State) -> Result<State, SnapshotError> {
    let findings = match invariants::check(&state) {
        Ok(findings) => findings,
        Err(broken) => {
            return Err(SnapshotError::Invariants { count: 1, first: broken.to_string() });
        }
    };
    match findings.violations() {
        [] => Ok(state),
        all => Err(SnapshotError::Invariants {
            count: all.len(),
            first: all.first().cloned().unwrap_or_default(),
        }),
    }
}

/// The digest that ends a snapshot: a short name for exactly this state.
#[must_use]
pub fn digest(snapshot: &[u8]) -> Option<Digest> {
    snapshot.last_chunk::<DIGEST_BYTES>().map(|bytes| Digest::new(*bytes))
}
