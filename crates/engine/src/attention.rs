//! Attention over cached keys and values, a tile of query rows at a time.

use model::constants::{EXP_LAST, SHIFT, SOFTMAX_BITS};
use model::ops::exp::EXP;

use crate::backend::{LANES, TILE_ROWS, average, slot};
use crate::cache::KeyValues;
use crate::product::Workers;

/// Keys whose weighted values add up in 32 bits under a certificate: 64·4096·8191 < 2^31.
const KEYS_NARROW: usize = 64;
/// The same for any values: 8·4096·32768 < 2^31.
const KEYS_WIDE: usize = 8;

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

/// Up to [`TILE_ROWS`] query rows of one run.
pub(crate) struct Tile<'a> {
    pub(crate) queries: &'a [i16],
    pub(crate) cache: &'a KeyValues,
    /// How many positions the first row reaches, and by how many more each next one.
    pub(crate) reach: usize,
    pub(crate) reach_step: usize,
    pub(crate) out: &'a mut [i16],
}

/// Working memory of one tile and head.
struct Scratch {
    /// Scores, one stretch of `stride` per row.
    scores: Vec<i32>,
    /// Weights e, likewise; zero where a row does not reach.
    weights: Vec<i16>,
    stride: usize,
    totals: [i64; TILE_ROWS],
}

impl Heads {
    const fn width(&self) -> usize {
        self.heads * self.head_width
    }
}

impl Workers<'_> {
    /// Computes `tile.out`.
    pub(crate) fn attend(&self, heads: &Heads, tile: &mut Tile<'_>) {
        let rows = tile.out.len() / heads.width();
        let reach_most = tile.reach + (rows - 1) * tile.reach_step;
        let stride = reach_most.next_multiple_of(LANES);
        let mut scratch = Scratch {
            scores: vec![0; stride * rows],
            weights: vec![0; stride * rows],
            stride,
            totals: [0; TILE_ROWS],
        };
        for head in 0..heads.heads {
            let key_head = head / (heads.heads / heads.key_heads);
            if heads.narrow_scores {
                self.weigh(heads, tile, head, key_head, &mut scratch);
            } else {
                weigh_wide(heads, tile, head, key_head, &mut scratch);
            }
            self.average(heads, tile, head, key_head, reach_most, &scratch);
        }
    }

    /// Scores in wrapping i32, then e and Z of each row.
    fn weigh(
        &self,
        heads: &Heads,
        tile: &Tile<'_>,
        head: usize,
        key_head: usize,
        scratch: &mut Scratch,
    ) {
        let rows = tile.queries.len() / heads.width();
        let mut queries: [&[i16]; TILE_ROWS] = [&[]; TILE_ROWS];
        for (row, query) in queries.iter_mut().take(rows).enumerate() {
            *query = head_of(tile.queries, heads, row, head);
        }
        let panels = scratch.stride / LANES;
        for (panel, keys) in tile.cache.key_panels(key_head).take(panels).enumerate() {
            let mut acc = [[0; LANES]; TILE_ROWS];
            self.backend.products_a16(keys, &queries[..rows], &mut acc[..rows]);
            for (row, acc) in acc.iter().take(rows).enumerate() {
                scratch.scores[row * scratch.stride + panel * LANES..][..LANES]
                    .copy_from_slice(acc);
            }
        }
        for row in 0..rows {
            let reach = tile.reach + row * tile.reach_step;
            let stretch = row * scratch.stride..(row + 1) * scratch.stride;
            let scores = &scratch.scores[stretch.clone()][..reach];
            let weights = &mut scratch.weights[stretch];
            scratch.totals[row] =
                self.backend.softmax(scores, heads.multiplier, &mut weights[..reach]);
            weights[reach..].fill(0);
        }
    }

    /// Weighted averages of the values.
    fn average(
        &self,
        heads: &Heads,
        tile: &mut Tile<'_>,
        head: usize,
        key_head: usize,
        reach: usize,
        scratch: &Scratch,
    ) {
        let rows = tile.queries.len() / heads.width();
        let depth = reach.next_multiple_of(2);
        let step = if heads.narrow_averages { KEYS_NARROW } else { KEYS_WIDE };
        for group in 0..heads.head_width.div_ceil(LANES) {
            let values = tile.cache.value_panel(key_head, group);
            let mut sums = [[0_i64; LANES]; TILE_ROWS];
            for from in (0..depth).step_by(step) {
                let to = (from + step).min(depth);
                let mut inputs: [&[i16]; TILE_ROWS] = [&[]; TILE_ROWS];
                for (row, input) in inputs.iter_mut().take(rows).enumerate() {
                    *input = &scratch.weights[row * scratch.stride..][from..to];
                }
                let mut acc = [[0; LANES]; TILE_ROWS];
                let panel = &values[from * LANES..to * LANES];
                self.backend.products_a16(panel, &inputs[..rows], &mut acc[..rows]);
                for (sums, acc) in sums.iter_mut().zip(&acc) {
                    for (sum, acc) in sums.iter_mut().zip(acc) {
                        // Below 2^40: at most 8,192 keys.
                        *sum = sum.wrapping_add(i64::from(*acc));
                    }
                }
            }
            let channels = group * LANES..((group + 1) * LANES).min(heads.head_width);
            for (row, sums) in sums.iter().take(rows).enumerate() {
                let reciprocal = (1_i64 << SOFTMAX_BITS) / scratch.totals[row];
                let start = row * heads.width() + head * heads.head_width;
                let out = &mut tile.out[start..][channels.clone()];
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = average(*sum, reciprocal);
                }
            }
        }
    }
}

fn head_of<'a>(rows: &'a [i16], heads: &Heads, row: usize, head: usize) -> &'a [i16] {
    &rows[row * heads.width() + head * heads.head_width..][..heads.head_width]
}

/// Scores that may leave 32 bits, in i64.
fn weigh_wide(heads: &Heads, tile: &Tile<'_>, head: usize, key_head: usize, scratch: &mut Scratch) {
    let rows = tile.queries.len() / heads.width();
    for row in 0..rows {
        let query = head_of(tile.queries, heads, row, head);
        let reach = tile.reach + row * tile.reach_step;
        let panels = tile.cache.key_panels(key_head);
        let scores: Vec<i64> = panels
            .flat_map(|panel| (0..LANES).map(move |lane| score(query, panel, lane)))
            .take(reach)
            .collect();
        let best = scores.iter().copied().max().unwrap_or(0);
        let weights = &mut scratch.weights[row * scratch.stride..][..scratch.stride];
        weights.fill(0);
        let mut total = 0;
        for (weight, score) in weights.iter_mut().zip(&scores) {
            // Differences are below 2^39 and the multiplier below 2^16.
            let t = ((best - score) * i64::from(heads.multiplier)) >> SHIFT;
            let e = EXP[t.min(EXP_LAST) as usize];
            *weight = e as i16;
            total += i64::from(e);
        }
        scratch.totals[row] = total;
    }
}

fn score(query: &[i16], panel: &[i16], lane: usize) -> i64 {
    let products = query.iter().enumerate();
    products.map(|(k, q)| i64::from(*q) * i64::from(panel[slot(lane, k)])).sum()
}
