//! Keys and values of the positions so far, laid out as panels.
//!
//! Keys: per key head, panels of [`LANES`] positions over the channels of the head. Values: per key
//! head and group of [`LANES`] channels, one panel that grows with the positions. Both are stored
//! as computed, so prefill, decode and any batch read the same integers.

use crate::backend::{LANES, slot};

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

    /// Appends the next position's key and value rows, all heads side by side.
    pub(crate) fn push(&mut self, key: &[i16], value: &[i16]) {
        let position = self.positions;
        let groups = self.head_width.div_ceil(LANES);
        let panel = self.head_width * LANES;
        let panels = position / LANES + 1;
        for (keys, row) in self.keys.iter_mut().zip(key.chunks_exact(self.head_width)) {
            keys.resize(panels * panel, 0);
            let start = (panels - 1) * panel;
            for (k, element) in row.iter().enumerate() {
                keys[start + slot(position % LANES, k)] = *element;
            }
        }
        let depth = (position / 2 + 1) * 2 * LANES;
        for (head, row) in value.chunks_exact(self.head_width).enumerate() {
            for (group, channels) in row.chunks(LANES).enumerate() {
                let values = &mut self.values[head * groups + group];
                values.resize(depth, 0);
                for (lane, element) in channels.iter().enumerate() {
                    values[slot(lane, position)] = *element;
                }
            }
        }
        self.positions += 1;
    }

    /// The panels of a key head, each [`LANES`] positions.
    pub(crate) fn key_panels(&self, head: usize) -> impl Iterator<Item = &[i16]> {
        self.keys[head].chunks_exact(self.head_width * LANES)
    }

    /// The value panel of a channel group of a key head, over all positions, one more if their
    /// number is odd.
    pub(crate) fn value_panel(&self, head: usize, group: usize) -> &[i16] {
        &self.values[head * self.head_width.div_ceil(LANES) + group]
    }
}
