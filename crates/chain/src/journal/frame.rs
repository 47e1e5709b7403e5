//! Frames: a length, a checksum, a payload.
//!
//! Rules: a frame is read whole or not at all. A file may end within a frame, which is what a
//! crash in the middle of a write leaves; such a tail was never synced, so nothing in it was
//! ever acknowledged, and it is cut off. A damaged frame anywhere else is an error, because it
//! was synced once: the disk or somebody else has changed it.
//! Never here: what payloads mean.

use std::{
    fs::File,
    io::{self, Read, Write},
};

/// Bytes before the payload: its length and a checksum.
pub(super) const HEADER_BYTES: u64 = 4 + 8;

/// Bound of a payload. The largest is a block with everything that it wrote.
pub(super) const MAX_PAYLOAD_BYTES: u32 = 256 << 20;

/// What reading a frame found.
pub(super) enum Found {
    /// A whole frame.
    Frame(Vec<u8>),
    /// The end of the file, exactly after a frame.
    End,
    /// The file ends within a frame.
    Torn,
    /// A whole frame whose bytes are not what was written.
    Damaged,
}

/// Appends one frame to `out`.
pub(super) fn write(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|length| *length <= MAX_PAYLOAD_BYTES)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "frame too long"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&checksum(payload))?;
    out.write_all(payload)
}

/// Reads the frame that starts at `offset` in a source of `total` bytes.
pub(super) fn read(source: &mut impl Read, offset: u64, total: u64) -> io::Result<Found> {
    let left = total.saturating_sub(offset);
    if left == 0 {
        return Ok(Found::End);
    }
    if left < HEADER_BYTES {
        return Ok(Found::Torn);
    }
    let (mut length, mut sum) = ([0; 4], [0; 8]);
    source.read_exact(&mut length)?;
    source.read_exact(&mut sum)?;
    let length = u32::from_le_bytes(length);
    if left - HEADER_BYTES < u64::from(length) {
        return Ok(Found::Torn);
    }
    if length > MAX_PAYLOAD_BYTES {
        return Ok(Found::Damaged);
    }
    let mut payload = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    source.read_exact(&mut payload)?;
    if checksum(&payload) == sum {
        return Ok(Found::Frame(payload));
    }
    // A file system may have lengthened the file before it wrote the last pages.
    let last = left - HEADER_BYTES == u64::from(length);
    Ok(if last { Found::Torn } else { Found::Damaged })
}

/// Cuts `file` off after `length` bytes and makes that durable.
pub(super) fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.sync_all()
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(payload).as_bytes()[..8]);
    sum
}
