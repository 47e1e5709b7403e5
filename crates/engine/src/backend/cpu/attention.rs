//! Attention over cached keys and values. A tile holds some query rows of one run and all query
//! heads that read one key head, so that each key and value is loaded once for all of them.

use std::cell::RefCell;
use std::ops::Range;

use model::constants::{EXP_LAST, HALF_WIDE, SHIFT, SHIFT_WIDE, SOFTMAX_BITS};
use model::ops::exp::EXP;

use super::cache::KeyValues;
use super::kernels::{Kernels, LANES, Lanes, TILE_ROWS, slot};
use super::memory::Window;
use super::rowwise::clamp_a16;

/// Keys whose weighted values add up in 32 bits under a certificate: 64·4096·8191 < 2^31.
const KEYS_NARROW: usize = 64;
/// The same for any values: 8·4096·32768 < 2^31.
const KEYS_WIDE: usize = 8;
/// Largest value under the certificate, and without it.
const VALUE_NARROW: i64 = 8_191;
const VALUE_WIDE: i64 = 32_768;

/// Attributes and certificate of one attention op.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) heads: usize,
    pub(crate) key_heads: usize,
    pub(crate) head_width: usize,
    pub(crate) multiplier: u32,
    pub(crate) narrow_scores: bool,
    pub(crate) narrow_averages: bool,
}

impl Heads {
    /// Elements of a query row.
    pub(crate) const fn width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Query heads per key head.
    const fn group(&self) -> usize {
        self.heads / self.key_heads
    }

    /// Channels that the query heads of a key head take.
    pub(crate) const fn columns(&self, key_head: usize) -> Range<usize> {
        let width = self.group() * self.head_width;
        key_head * width..(key_head + 1) * width
    }
}

/// Some query rows of one run, and a key head.
pub(crate) struct Tile<'a> {
    /// Whole query rows.
    pub(crate) queries: &'a [i16],
    pub(crate) cache: &'a KeyValues,
    pub(crate) key_head: usize,
    /// How many positions the first row reaches, and by how many more each next one.
    pub(crate) reach: usize,
    pub(crate) reach_step: usize,
}

impl Tile<'_> {
    /// How many positions a row reaches.
    const fn reach_of(&self, row: usize) -> usize {
        self.reach + row * self.reach_step
    }
}

/// Working memory of a thread. Rows are ordered by query row, then by head.
#[derive(Default)]
struct Scratch {
    /// Queries with their depth made even, only where it is odd.
    queries: Vec<i16>,
    /// Scores, `stride` per row.
    scores: Vec<i32>,
    /// Weights e, likewise; zero where a row does not reach.
    weights: Vec<i16>,
    /// Z of each row.
    totals: Vec<i64>,
    stride: usize,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Computes the tile's rows into `out`, whose columns are those of the key head.
pub(crate) fn attend(
    kernels: &dyn Kernels,
    heads: &Heads,
    tile: &Tile<'_>,
    out: &mut Window<'_, i16>,
) {
    SCRATCH.with_borrow_mut(|scratch| {
        let most = tile.reach_of(out.rows() - 1);
        scratch.prepare(heads, tile, out.rows() * heads.group(), most);
        if heads.narrow_scores {
            scratch.weigh(kernels, heads, tile, most);
        } else {
            scratch.weigh_wide(heads, tile);
        }
        scratch.average(kernels, heads, tile, most, out);
    });
}

impl Scratch {
    fn prepare(&mut self, heads: &Heads, tile: &Tile<'_>, rows: usize, most: usize) {
        self.stride = most.next_multiple_of(LANES);
        self.scores.resize(rows * self.stride, 0);
        self.weights.clear();
        self.weights.resize(rows * self.stride, 0);
        self.totals.resize(rows, 0);
        self.queries.clear();
        let depth = tile.cache.key_depth();
        if depth != heads.head_width {
            for row in 0..rows {
                self.queries.extend_from_slice(query(heads, tile, row));
                self.queries.resize((row + 1) * depth, 0);
            }
        }
    }

    /// Scores in wrapping i32, then e and Z of each row.
    fn weigh(&mut self, kernels: &dyn Kernels, heads: &Heads, tile: &Tile<'_>, most: usize) {
        let (count, depth) = (self.totals.len(), tile.cache.key_depth());
        for first in (0..count).step_by(TILE_ROWS) {
            let mut queries: [&[i16]; TILE_ROWS] = [&[]; TILE_ROWS];
            let rows = (count - first).min(TILE_ROWS);
            for (row, slot) in (first..).zip(&mut queries[..rows]) {
                *slot = match self.queries.get(row * depth..(row + 1) * depth) {
                    Some(even) => even,
                    None => query(heads, tile, row),
                };
            }
            let scores = &mut self.scores[first * self.stride..(first + rows) * self.stride];
            let (queries, panel) = (&queries[..rows], depth * LANES);
            let keys = &tile.cache.keys(tile.key_head)[..most.div_ceil(LANES) * panel];
            for (two, keys) in keys.chunks(2 * panel).enumerate() {
                let out = &mut scores[two * 2 * LANES..];
                if keys.len() > panel {
                    let keys = keys.split_at(panel);
                    kernels.products_a16_pair([keys.0, keys.1], queries, out, self.stride);
                } else {
                    kernels.products_a16(keys, queries, out, self.stride);
                }
            }
        }
        for row in 0..count {
            let reach = tile.reach_of(row / heads.group());
            let scores = &self.scores[row * self.stride..][..reach];
            let weights = &mut self.weights[row * self.stride..][..reach];
            self.totals[row] = kernels.softmax(scores, heads.multiplier, weights);
        }
    }

    /// Scores that may leave 32 bits, in i64.
    fn weigh_wide(&mut self, heads: &Heads, tile: &Tile<'_>) {
        for row in 0..self.totals.len() {
            let query = query(heads, tile, row);
            let panels =
                tile.cache.keys(tile.key_head).chunks_exact(tile.cache.key_depth() * LANES);
            let scores: Vec<i64> = panels
                .flat_map(|panel| (0..LANES).map(move |lane| score(query, panel, lane)))
                .take(tile.reach_of(row / heads.group()))
                .collect();
            let best = scores.iter().copied().max().unwrap_or(0);
            let mut total = 0;
            for (weight, score) in self.weights[row * self.stride..].iter_mut().zip(&scores) {
                // Differences are below 2^39 and the multiplier below 2^16.
                let t = ((best - score) * i64::from(heads.multiplier)) >> SHIFT;
                let e = EXP[t.min(EXP_LAST) as usize];
                *weight = e as i16;
                total += i64::from(e);
            }
            self.totals[row] = total;
        }
    }

    /// Weighted averages of the values.
    fn average(
        &self,
        kernels: &dyn Kernels,
        heads: &Heads,
        tile: &Tile<'_>,
        most: usize,
        out: &mut Window<'_, i16>,
    ) {
        let (count, depth) = (self.totals.len(), most.next_multiple_of(2));
        let value_most = if heads.narrow_averages { VALUE_NARROW } else { VALUE_WIDE };
        for first in (0..count).step_by(TILE_ROWS) {
            let rows = first..(first + TILE_ROWS).min(count);
            // No sum exceeds Z times the largest value.
            let most_total = self.totals[rows.clone()].iter().copied().max().unwrap_or(0);
            let narrow = most_total * value_most <= i64::from(i32::MAX);
            for first in (0..heads.head_width).step_by(2 * LANES) {
                let channels = first..(first + 2 * LANES).min(heads.head_width);
                let groups = first / LANES..channels.end.div_ceil(LANES);
                let values = (rows.clone(), tile.cache.value_panels(tile.key_head, groups));
                let mut place = |row: usize, average: &dyn Fn(i64, &mut [i16])| {
                    let head = row % heads.group() * heads.head_width;
                    let out = &mut out.row(row / heads.group())[head..][channels.clone()];
                    average((1_i64 << SOFTMAX_BITS) / self.totals[row], out);
                };
                if narrow {
                    let sums = self.sums(kernels, values, 0..depth);
                    for (row, sums) in rows.clone().zip(&sums) {
                        let sums = sums.as_flattened();
                        place(row, &|reciprocal, out| {
                            kernels.average(sums, reciprocal as i32, out);
                        });
                    }
                    continue;
                }
                let sums = self.long_sums(kernels, values, depth, heads);
                for (row, sums) in rows.clone().zip(&sums) {
                    place(row, &|reciprocal, out| {
                        for (out, sum) in out.iter_mut().zip(sums) {
                            let v = (sum * reciprocal + HALF_WIDE) >> SHIFT_WIDE;
                            *out = clamp_a16(v as i32);
                        }
                    });
                }
            }
        }
    }

    /// Σ e·v over the keys `keys`, in wrapping i32.
    fn sums(
        &self,
        kernels: &dyn Kernels,
        (rows, values): (Range<usize>, &[Vec<i16>]),
        keys: Range<usize>,
    ) -> [[Lanes; 2]; TILE_ROWS] {
        let mut inputs: [&[i16]; TILE_ROWS] = [&[]; TILE_ROWS];
        for (row, input) in rows.clone().zip(&mut inputs) {
            *input = &self.weights[row * self.stride..][keys.clone()];
        }
        let inputs = &inputs[..rows.len()];
        let mut sums = [[[0; LANES]; 2]; TILE_ROWS];
        let out = sums.as_flattened_mut().as_flattened_mut();
        let part = keys.start * LANES..keys.end * LANES;
        match values {
            [first, second] => {
                let panels = [&first[part.clone()], &second[part]];
                kernels.products_a16_pair(panels, inputs, out, 2 * LANES);
            }
            [one, ..] => kernels.products_a16(&one[part], inputs, out, 2 * LANES),
            [] => unreachable!("a head has channels"),
        }
        sums
    }

    /// Σ e·v where it may leave 32 bits: blocks of keys that cannot, added in 64.
    fn long_sums(
        &self,
        kernels: &dyn Kernels,
        values: (Range<usize>, &[Vec<i16>]),
        depth: usize,
        heads: &Heads,
    ) -> [[i64; 2 * LANES]; TILE_ROWS] {
        let step = if heads.narrow_averages { KEYS_NARROW } else { KEYS_WIDE };
        let mut totals = [[0_i64; 2 * LANES]; TILE_ROWS];
        for from in (0..depth).step_by(step) {
            let keys = from..(from + step).min(depth);
            let sums = self.sums(kernels, values.clone(), keys);
            let totals = totals.as_flattened_mut().iter_mut();
            for (total, sum) in totals.zip(sums.as_flattened().as_flattened()) {
                // Below 2^40: at most 8,192 keys.
                *total = total.wrapping_add(i64::from(*sum));
            }
        }
        totals
    }
}

/// The query of a scratch row.
fn query<'a>(heads: &Heads, tile: &Tile<'a>, row: usize) -> &'a [i16] {
    let head = tile.key_head * heads.group() + row % heads.group();
    let start = row / heads.group() * heads.width() + head * heads.head_width;
    &tile.queries[start..][..heads.head_width]
}

fn score(query: &[i16], panel: &[i16], lane: usize) -> i64 {
    let products = query.iter().enumerate();
    products.map(|(k, q)| i64::from(*q) * i64::from(panel[slot(lane, k)])).sum()
}
