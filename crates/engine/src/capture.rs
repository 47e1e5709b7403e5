//! Rows copied out of passes: those from which the fine tree of one coarse leaf is built.
//!
//! Only what that tree holds or reads is kept, so the memory is that of one block's keys and values
//! and not of the run.

use std::collections::BTreeMap;
use std::ops::Range;

use model::ValueId;
use model::layout::size;

use crate::backend::HostRows;

/// Rows of some values, taken while passes make them.
#[derive(Debug)]
pub(crate) struct Capture {
    /// The position of which more values are kept than of the others.
    position: usize,
    kept: BTreeMap<usize, Kept>,
    /// Whether the position gives an output whose rows are wanted.
    output: bool,
}

/// Rows of one value.
#[derive(Debug)]
struct Kept {
    /// Of every position, or of the one alone.
    everywhere: bool,
    /// Bytes of a row.
    width: usize,
    /// Row after row, little-endian.
    bytes: Vec<u8>,
}

impl Kept {
    fn push<T: Copy, const N: usize>(
        &mut self,
        width: usize,
        elements: &[T],
        encode: impl Fn(T) -> [u8; N],
    ) {
        self.width = width * N;
        self.bytes.extend(elements.iter().flat_map(|element| encode(*element)));
    }
}

impl Capture {
    /// Will keep the rows of `everywhere` at every position and of `once` at `position`.
    /// `output` says that `position` is one whose output is wanted too.
    pub(crate) fn new(
        position: u32,
        output: bool,
        everywhere: impl Iterator<Item = ValueId>,
        once: impl Iterator<Item = ValueId>,
    ) -> Self {
        let kept = |everywhere| Kept { everywhere, width: 0, bytes: Vec::new() };
        let once = once.map(|value| (size(value), kept(false)));
        let everywhere = everywhere.map(|value| (size(value), kept(true)));
        Self { position: size(position), kept: once.chain(everywhere).collect(), output }
    }

    /// How many ops have to be evaluated for it.
    pub(crate) fn end(&self) -> usize {
        self.kept.last_key_value().map_or(0, |(value, _)| value + 1)
    }

    /// Whether ops behind the last boundary of a causal graph are among what it keeps.
    pub(crate) const fn has_output(&self) -> bool {
        self.output
    }

    pub(crate) fn wants(&self, value: usize) -> bool {
        self.kept.contains_key(&value)
    }

    /// Takes what it wants from `rows` of `value`, which are `width` elements each: `range` are
    /// those of its run, the first at position `first`. Positions come in order.
    pub(crate) fn take(
        &mut self,
        value: usize,
        first: usize,
        rows: HostRows<'_>,
        width: usize,
        range: Range<usize>,
    ) {
        let Some(kept) = self.kept.get_mut(&value) else { return };
        let range = match self.position.checked_sub(first) {
            _ if kept.everywhere => range,
            Some(row) if row < range.len() => range.start + row..range.start + row + 1,
            _ => return,
        };
        let elements = range.start * width..range.end * width;
        match rows {
            HostRows::A16(data) => kept.push(width, &data[elements], |x| x.to_le_bytes()),
            HostRows::Res(data) => kept.push(width, &data[elements], |x| x.to_le_bytes()),
            HostRows::Logits(_) => unreachable!("only rows of streams and activations are wanted"),
        }
    }

    /// The row of `value` at `position`, if it is kept.
    pub(crate) fn row(&self, value: ValueId, position: u32) -> Option<&[u8]> {
        let kept = self.kept.get(&size(value))?;
        let row = match kept.everywhere {
            true => size(position),
            false => (size(position) == self.position).then_some(0)?,
        };
        kept.bytes.get(row * kept.width..(row + 1) * kept.width).filter(|row| !row.is_empty())
    }
}
