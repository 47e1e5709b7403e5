//! Keys and values of the positions so far, laid out as panels.
//!
//! Keys: per key head, panels of [`LANES`] positions over the channels of the head. Values: per key
//! head and group of [`LANES`] channels, one panel that grows with the positions. Both are stored
//! as computed, so prefill, decode and any batch read the same integers.

use std::ops::Range;

use super::kernels::{LANES, slot};

/// Positions for which memory is taken at once.
const STEP: usize = 128;

/// Keys and values of one attention op in one run.
#[derive(Clone, Debug)]
pub(crate) struct KeyValues {
    head_width: usize,
    positions: usize,
    /// One per key head.
    keys: Vec<Vec<i16>>,
    /// One per key head and channel group.
    values: Vec<Vec<i16>>,
}

impl KeyValues {
    pub(crate) fn new(key_heads: usize, head_width: usize) -> Self {
        let groups = head_width.div_ceil(LANES);
        Self {
            head_width,
            positions: 0,
            keys: vec![Vec::new(); key_heads],
            values: vec![Vec::new(); key_heads * groups],
        }
    }

    pub(crate) const fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes taken.
    pub(crate) fn bytes(&self) -> usize {
        let all = self.keys.iter().chain(&self.values);
        all.map(|values| values.capacity() * size_of::<i16>()).sum()
    }

    /// Forgets all positions and gives their memory back.
    pub(crate) fn clear(&mut self) {
        self.positions = 0;
        self.keys.iter_mut().chain(&mut self.values).for_each(|values| *values = Vec::new());
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

    /// Appends the next position's key and value rows, all heads side by side.
    pub(crate) fn push(&mut self, key: &[i16], value: &[i16]) {
        let position = self.positions;
        let groups = self.head_width.div_ceil(LANES);
        let panel = self.key_depth() * LANES;
        let panels = position / LANES + 1;
        for (keys, row) in self.keys.iter_mut().zip(key.chunks_exact(self.head_width)) {
            grow(keys, panels * panel, STEP / LANES * panel);
            let (keys, _) = keys[(panels - 1) * panel..].as_chunks_mut::<{ 2 * LANES }>();
            let place = slot(position % LANES, 0);
            let (pairs, odd) = row.as_chunks::<2>();
            for (keys, pair) in keys.iter_mut().zip(pairs) {
                keys[place..place + 2].copy_from_slice(pair);
            }
            if let (Some(keys), [last]) = (keys.last_mut(), odd) {
                keys[place] = *last;
            }
        }
        let depth = (position / 2 + 1) * 2 * LANES;
        for (head, row) in value.chunks_exact(self.head_width).enumerate() {
            for (group, channels) in row.chunks(LANES).enumerate() {
                let values = &mut self.values[head * groups + group];
                grow(values, depth, STEP * LANES);
                let values = &mut values[slot(0, position)..];
                for (place, element) in values.iter_mut().step_by(2).zip(channels) {
                    *place = *element;
                }
            }
        }
        self.positions += 1;
    }

    /// The panels of a key head, each [`LANES`] positions, one behind the other.
    pub(crate) fn keys(&self, head: usize) -> &[i16] {
        &self.keys[head]
    }

    /// The value panels of some channel groups of a key head, each over all positions, one more if
    /// their number is odd.
    pub(crate) fn value_panels(&self, head: usize, groups: Range<usize>) -> &[Vec<i16>] {
        let first = head * self.head_width.div_ceil(LANES);
        &self.values[first + groups.start..first + groups.end]
    }
}

/// Lengthens with zeros; takes memory in steps, not by doubling.
fn grow(values: &mut Vec<i16>, length: usize, step: usize) {
    if values.capacity() < length {
        values.reserve_exact(length.next_multiple_of(step) - values.len());
    }
    values.resize(length, 0);
}
