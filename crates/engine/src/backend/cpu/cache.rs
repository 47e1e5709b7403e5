//! Keys and values of the positions so far, laid out as panels.
//!
//! Keys: per key head, panels of [`LANES`] positions over the channels of the head. Values: per key
//! head and group of [`LANES`] channels, one panel that grows with the positions. Both are stored
//! as computed, so prefill, decode and any batch read the same integers.

use std::ops::Range;

use super::kernels::{LANES, slot};
use super::memory::each_row;
use crate::pool::Pool;

/// Positions for which memory is taken at once.
const STEP: usize = 128;

/// What storing an element costs, in multiply-adds.
const ELEMENT: usize = 16;

/// Keys and values of one attention op in one run.
#[derive(Clone, Debug)]
pub(crate) struct KeyValues {
    head_width: usize,
    positions: usize,
    heads: Vec<Head>,
}

/// Those of one key head.
#[derive(Clone, Debug, Default)]
struct Head {
    keys: Vec<i16>,
    /// One per channel group.
    values: Vec<Vec<i16>>,
}

impl KeyValues {
    pub(crate) fn new(key_heads: usize, head_width: usize) -> Self {
        let values = vec![Vec::new(); head_width.div_ceil(LANES)];
        let heads = vec![Head { keys: Vec::new(), values }; key_heads];
        Self { head_width, positions: 0, heads }
    }

    pub(crate) const fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes taken.
    pub(crate) fn bytes(&self) -> usize {
        let all = self.heads.iter().flat_map(|head| head.values.iter().chain([&head.keys]));
        all.map(|values| values.capacity() * size_of::<i16>()).sum()
    }

    /// Forgets all positions and gives their memory back.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.heads.len(), self.head_width);
    }

    /// Forgets the positions from `positions` on. Their integers stay until others take their
    /// place: nothing reads further than a row reaches.
    pub(crate) fn truncate(&mut self, positions: usize) {
        self.positions = self.positions.min(positions);
    }

    /// Inputs of a key panel: the channels of a head, one more if their number is odd.
    pub(crate) const fn key_depth(&self) -> usize {
        self.head_width.next_multiple_of(2)
    }

    /// Appends the key and value rows of the next positions, in each row all heads side by side.
    pub(crate) fn extend(&mut self, pool: &Pool, keys: &[i16], values: &[i16]) {
        let (width, first) = (self.head_width, self.positions);
        let row = width * self.heads.len();
        let count = keys.len() / row;
        each_row(pool, &mut self.heads, 1, count * width * ELEMENT, |index, head| {
            let channels = index * width..(index + 1) * width;
            let rows = keys.chunks_exact(row).zip(values.chunks_exact(row));
            for (position, (key, value)) in (first..).zip(rows) {
                head[0].push(position, &key[channels.clone()], &value[channels.clone()]);
            }
        });
        self.positions += count;
    }

    /// The panels of a key head, each [`LANES`] positions, one behind the other.
    pub(crate) fn keys(&self, head: usize) -> &[i16] {
        &self.heads[head].keys
    }

    /// The value panels of some channel groups of a key head, each over all positions, one more if
    /// their number is odd.
    pub(crate) fn value_panels(&self, head: usize, groups: Range<usize>) -> &[Vec<i16>] {
        &self.heads[head].values[groups]
    }
}

impl Head {
    /// Stores key and value of a position, the first one or one behind those that are stored.
    fn push(&mut self, position: usize, key: &[i16], value: &[i16]) {
        let panel = key.len().next_multiple_of(2) * LANES;
        let panels = position / LANES + 1;
        grow(&mut self.keys, panels * panel, STEP / LANES * panel);
        let (keys, _) = self.keys[(panels - 1) * panel..].as_chunks_mut::<{ 2 * LANES }>();
        let place = slot(position % LANES, 0);
        let (pairs, odd) = key.as_chunks::<2>();
        for (keys, pair) in keys.iter_mut().zip(pairs) {
            keys[place..place + 2].copy_from_slice(pair);
        }
        if let (Some(keys), [last]) = (keys.get_mut(pairs.len()), odd) {
            keys[place] = *last;
        }
        let depth = (position / 2 + 1) * 2 * LANES;
        for (values, channels) in self.values.iter_mut().zip(value.chunks(LANES)) {
            grow(values, depth, STEP * LANES);
            let values = &mut values[slot(0, position)..];
            for (place, element) in values.iter_mut().step_by(2).zip(channels) {
                *place = *element;
            }
        }
    }
}

/// Lengthens with zeros; takes memory in steps, not by doubling.
fn grow(values: &mut Vec<i16>, length: usize, step: usize) {
    if values.capacity() < length {
        values.reserve_exact(length.next_multiple_of(step) - values.len());
    }
    // Never shorter: what lies behind a cut is written over before it is read.
    values.resize(length.max(values.len()), 0);
}
