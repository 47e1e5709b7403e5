//! The journal: finalized blocks and their effects on disk, so that a restart knows them all.
//!
//! ```text
//! blocks-00000000000000000001.log   records of blocks 1, 2, … (frames, appended, synced)
//! blocks-00000000000000004711.log   the next segment
//! state-00000000000000004710.snap   the whole state after block 4710
//! ```
//!
//! Rules:
//! - A block's record is durable before the authenticated tree takes the block over and before
//!   anybody is told of it. The journal is therefore never behind the tree, and consensus
//!   replays to the tree what it lacks from the journal's own writes.
//! - One sync per block. A full segment is followed by a snapshot and a new segment; old
//!   segments go once the rest exceeds [`RETAINED_BYTES`].
//! - A torn tail is cut off (see [`frame`]); any other damage stops the node with an error.
//!
//! Never here: a second writer; blocks that are not final.

mod frame;
mod record;
#[cfg(test)]
mod tests;

pub(crate) use record::Record;

use borsh::BorshDeserialize as _;
use frame::Found;
use ledger::State;
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};
use units::Height;

/// A segment this long is closed: about one state snapshot per so many bytes of blocks.
const SEGMENT_BYTES: u64 = 32 << 20;

/// Closed segments beyond this many bytes are deleted, oldest first: how far back events and
/// transactions can be asked for. At 1 kB for an empty block, about 250,000 of them.
const RETAINED_BYTES: u64 = 256 << 20;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// Bytes that were synced once have changed.
    #[error(
        "{path} is damaged at byte {offset}: restore the folder from a copy, or remove it to \
         start over"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged frame starts.
        offset: u64,
    },
    /// A snapshot that the ledger does not take over.
    #[error("{path}: {source}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ledger::snapshot::SnapshotError,
    },
    /// A segment or a snapshot is missing.
    #[error(
        "{dir} has no record of block {height}: restore the folder from a copy, or remove it to \
         start over"
    )]
    Gap {
        /// The journal's folder.
        dir: PathBuf,
        /// The first block that is missing.
        height: u64,
    },
}

/// The journal of one chain.
pub(crate) struct Journal {
    dir: PathBuf,
    /// Oldest first; the last one is written to. Never empty.
    segments: VecDeque<Segment>,
    file: File,
}

/// One file of records.
struct Segment {
    path: PathBuf,
    /// Height of its first record.
    first: u64,
    /// Where each frame starts.
    offsets: Vec<u64>,
    bytes: u64,
}

/// The state after a block, from which the records go on.
#[derive(Debug)]
pub(crate) struct Base {
    /// Height of that block.
    pub(crate) height: Height,
    /// The state; `None` means genesis, of which no snapshot is kept.
    pub(crate) state: Option<State>,
}

impl Segment {
    fn last(&self) -> u64 {
        self.first + self.offsets.len() as u64 - 1
    }

    fn next(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }
}

impl Journal {
    /// Opens the journal in `dir` and finds the newest snapshot.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn open(dir: &Path) -> Result<(Self, Base), JournalError> {
        fs::create_dir_all(dir).map_err(|source| io_at(dir, source))?;
        let (mut logs, mut snapshots) = list(dir)?;
        let base = match snapshots.pop() {
            Some((height, path)) => {
                Base { height: Height::new(height), state: Some(read_snapshot(&path)?) }
            }
            None => Base { height: Height::ZERO, state: None },
        };
        if logs.is_empty() {
            let first = base.height.get() + 1;
            create(dir, first)?;
            logs.push((first, segment_path(dir, first)));
        }
        let mut segments = VecDeque::new();
        let count = logs.len();
        for (index, (first, path)) in logs.into_iter().enumerate() {
            let last = index + 1 == count;
            if let Some(expected) = segments.back().map(Segment::next)
                && expected != first
            {
                return Err(JournalError::Gap { dir: dir.into(), height: expected });
            }
            segments.push_back(scan(path, first, last)?);
        }
        let (front, back) = (segments[0].first, segments[segments.len() - 1].next());
        if front > base.height.get() + 1 || back <= base.height.get() {
            return Err(JournalError::Gap { dir: dir.into(), height: base.height.get() + 1 });
        }
        let path = segments[segments.len() - 1].path.clone();
        let file =
            OpenOptions::new().append(true).open(&path).map_err(|source| io_at(&path, source))?;
        Ok((Self { dir: dir.into(), segments, file }, base))
    }

    /// Height of the oldest record kept, and one past the newest.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        self.segments[0].first..self.segments[self.segments.len() - 1].next()
    }

    /// Appends the record of the next block. It is durable when this returns.
    ///
    /// # Errors
    /// [`JournalError::Io`]: the node must stop, since it cannot know what reached the disk.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let payload = borsh::to_vec(record).expect("a record within its bounds has an encoding");
        let mut bytes = Vec::with_capacity(payload.len() + 16);
        let segment = self.segments.back_mut().expect("there is always a segment");
        let written = frame::write(&mut bytes, &payload)
            .and_then(|()| self.file.write_all(&bytes))
            .and_then(|()| self.file.sync_data());
        written.map_err(|source| io_at(&segment.path, source))?;
        segment.offsets.push(segment.bytes);
        segment.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Whether the current segment is long enough for [`Self::roll`].
    pub(crate) fn is_full(&self) -> bool {
        self.segments.back().is_some_and(|segment| segment.bytes >= SEGMENT_BYTES)
    }

    /// Writes a snapshot of `state`, which must be the one after the newest record, starts a
    /// new segment and removes what is no longer kept.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub(crate) fn roll(&mut self, state: &State) -> Result<(), JournalError> {
        let next = self.range().end;
        write_snapshot(&self.dir, next - 1, state)?;
        self.file = create(&self.dir, next)?;
        let path = segment_path(&self.dir, next);
        self.segments.push_back(Segment { path, first: next, offsets: Vec::new(), bytes: 0 });
        self.remove_old(next - 1)
    }

    /// The record of a block; `None` if it is not kept (any more, or yet).
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn read(&self, height: Height) -> Result<Option<Record>, JournalError> {
        let height = height.get();
        let holds = |segment: &&Segment| (segment.first..segment.next()).contains(&height);
        let Some(segment) = self.segments.iter().find(holds) else { return Ok(None) };
        let offset = segment.offsets[usize::try_from(height - segment.first).unwrap_or(0)];
        let mut file = File::open(&segment.path).map_err(|source| io_at(&segment.path, source))?;
        let found = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| frame::read(&mut file, offset, segment.bytes))
            .map_err(|source| io_at(&segment.path, source))?;
        let Found::Frame(payload) = found else { return Err(damaged(&segment.path, offset)) };
        Record::try_from_slice(&payload).map(Some).map_err(|_| damaged(&segment.path, offset))
    }

    fn remove_old(&mut self, snapshot: u64) -> Result<(), JournalError> {
        let (_, snapshots) = list(&self.dir)?;
        for (height, path) in snapshots {
            if height < snapshot {
                fs::remove_file(&path).map_err(|source| io_at(&path, source))?;
            }
        }
        let mut total: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        while total > RETAINED_BYTES
            && self.segments.len() > 1
            && self.segments[0].last() <= snapshot
        {
            let Some(old) = self.segments.pop_front() else { break };
            total -= old.bytes;
            fs::remove_file(&old.path).map_err(|source| io_at(&old.path, source))?;
        }
        sync_dir(&self.dir)
    }
}

fn io_at(path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { path: path.into(), source }
}

fn damaged(path: &Path, offset: u64) -> JournalError {
    JournalError::Damaged { path: path.into(), offset }
}

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("blocks-{first:020}.log"))
}

/// The segments and snapshots in `dir`, each in height order.
type Listing = (Vec<(u64, PathBuf)>, Vec<(u64, PathBuf)>);

fn list(dir: &Path) -> Result<Listing, JournalError> {
    let (mut logs, mut snapshots) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(|source| io_at(dir, source))? {
        let path = entry.map_err(|source| io_at(dir, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = |prefix: &str, suffix: &str| {
            name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse::<u64>().ok()
        };
        if let Some(first) = number("blocks-", ".log") {
            logs.push((first, path));
        } else if let Some(height) = number("state-", ".snap") {
            snapshots.push((height, path));
        }
    }
    logs.sort();
    snapshots.sort();
    Ok((logs, snapshots))
}

/// Finds the frames of a segment; only the last one may have a torn tail.
fn scan(path: PathBuf, first: u64, last: bool) -> Result<Segment, JournalError> {
    let at = |source| io_at(&path, source);
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(at)?;
    let total = file.metadata().map_err(at)?.len();
    let mut reader = BufReader::new(&file);
    let (mut offsets, mut bytes) = (Vec::new(), 0);
    loop {
        match frame::read(&mut reader, bytes, total).map_err(at)? {
            Found::Frame(payload) => {
                offsets.push(bytes);
                bytes += frame::HEADER_BYTES + payload.len() as u64;
            }
            Found::End => break,
            Found::Torn if last => {
                tracing::warn!(path = %path.display(), bytes, "cut off a torn last record");
                frame::cut(&file, bytes).map_err(at)?;
                break;
            }
            Found::Torn | Found::Damaged => return Err(damaged(&path, bytes)),
        }
    }
    Ok(Segment { path, first, offsets, bytes })
}

fn create(dir: &Path, first: u64) -> Result<File, JournalError> {
    let path = segment_path(dir, first);
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|source| io_at(&path, source))?;
    sync_dir(dir)?;
    Ok(file)
}

/// A snapshot appears under its name only once it is whole and durable.
fn write_snapshot(dir: &Path, height: u64, state: &State) -> Result<(), JournalError> {
    let path = dir.join(format!("state-{height:020}.snap"));
    let draft = dir.join("state.draft");
    File::create(&draft)
        .and_then(|mut file| {
            file.write_all(&ledger::snapshot::export(state))?;
            file.sync_all()
        })
        .map_err(|source| io_at(&draft, source))?;
    fs::rename(&draft, &path).map_err(|source| io_at(&path, source))?;
    sync_dir(dir)
}

fn read_snapshot(path: &Path) -> Result<State, JournalError> {
    let bytes = fs::read(path).map_err(|source| io_at(path, source))?;
    ledger::snapshot::import(&bytes)
        .map_err(|source| JournalError::Snapshot { path: path.into(), source })
}

/// Makes created, renamed and removed names durable.
fn sync_dir(dir: &Path) -> Result<(), JournalError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_at(dir, source))
}
