//! The ops that are no matrix products, on all rows of a pass.

use model::certificate::Certificate;
use model::constants::{HALF, NORM_BITS, RES_MAX, RES_MIN, SHIFT, TABLE_ROWS};
use model::layout::size;
use model::ops::{gate, unit};
use model::{Op, OpWeights, Reach};

use super::Cpu;
use super::attention::{Heads, Tile, attend};
use super::kernels::{NormRow, TILE_ROWS};
use super::linear::Inputs;
use super::memory::{Grid, each_row};
use crate::plan::Step;

/// Most elements whose squares add up inside 64 bits.
const NORM_SUMS: usize = 1_024;

/// What an element of a row-wise op costs, in multiply-adds.
const ELEMENT: usize = 8;

impl Cpu {
    pub(super) fn embed(&self, step: &Step, out: &mut [i32]) {
        let weights = &self.model.weights().ops[0];
        each_row(&self.pool, out, step.width, step.width * ELEMENT, |row, out| {
            let id = size(self.pass.ids[row]);
            match (&step.op, weights) {
                (Op::EmbeddingSum { .. }, OpWeights::Rows { words, positions }) => {
                    let position = positions.row(self.pass.positions[row]);
                    for (out, (w, p)) in out.iter_mut().zip(words.row(id).iter().zip(position)) {
                        *out = i32::from(*w) + i32::from(*p);
                    }
                }
                (Op::EmbeddingScaled { factor, .. }, OpWeights::Channels(channels)) => {
                    let channel = channels.channel(id);
                    // Below 2^56; times a weight below 2^63.
                    let scale = i64::from(channel.multiplier) * i64::from(*factor);
                    for (out, w) in out.iter_mut().zip(channel.weights) {
                        let v = (i64::from(*w) * scale + HALF) >> SHIFT;
                        *out = v.clamp(RES_MIN, RES_MAX) as i32;
                    }
                }
                _ => unreachable!("weights fit their op: `Model::new` checked it"),
            }
        });
    }

    pub(super) fn norm(
        &self,
        index: usize,
        input: &[i32],
        centred: bool,
        offset: u64,
        out: &mut [i16],
    ) {
        let OpWeights::Norm { gains, biases } = &self.model.weights().ops[index] else {
            unreachable!("weights fit their op: `Model::new` checked it")
        };
        let width = gains.len();
        each_row(&self.pool, out, width, width * ELEMENT, |row, out| {
            let x = &input[row * width..(row + 1) * width];
            let (mut sum, mut squares) = (0_i128, 0_i128);
            for x in x.chunks(NORM_SUMS) {
                let sums = self.kernels.norm_sums(x);
                sum += i128::from(sums.0);
                squares += i128::from(sums.1);
            }
            let count = width as i128;
            let mean = if centred { (2 * sum + count).div_euclid(2 * count) } else { 0 };
            // Σ(x − μ)² = Σx² − 2μS + Nμ².
            let square = squares - 2 * mean * sum + count * mean * mean + i128::from(offset);
            let r = square.isqrt() + 1;
            // r ≥ 2, because the offset is at least 1.
            let reciprocal = ((1_i128 << NORM_BITS) / r) as u32;
            let row = NormRow { mean: mean as i32, reciprocal, gains, biases };
            self.kernels.norm_apply(&row, x, out);
        });
    }

    pub(super) fn table(&self, input: Inputs<'_>, table: usize, out: &mut [i16]) {
        let entries = &self.model.weights().tables[table];
        let entries: &[i16; TABLE_ROWS] =
            entries.first_chunk().expect("tables are whole: `Model::new` checked it");
        let width = input.width;
        each_row(&self.pool, out, width, width * ELEMENT, |row, out| {
            self.kernels.table(entries, &input.data[row * width..(row + 1) * width], out);
        });
    }

    pub(super) fn rotate(&self, input: Inputs<'_>, heads: usize, out: &mut [i16]) {
        let tables = &self.model.weights().rope;
        let (width, head_width) = (input.width, input.width / heads);
        each_row(&self.pool, out, width, width * ELEMENT, |row, out| {
            let position = self.pass.positions[row];
            let (cos, sin) = (tables.cos.row(position), tables.sin.row(position));
            let heads = input.data[row * width..(row + 1) * width].chunks_exact(head_width);
            for (head, out) in heads.zip(out.chunks_exact_mut(head_width)) {
                self.kernels.rope(head, cos, sin, out);
            }
        });
    }

    /// Upper and lower halves of the gate products, in turn by row.
    pub(super) fn split_products(&self, gate: Inputs<'_>, up: Inputs<'_>, halves: &mut Vec<i16>) {
        let width = gate.width;
        halves.resize(2 * gate.data.len(), 0);
        each_row(&self.pool, halves, 2 * width, width * ELEMENT, |row, out| {
            let (high, low) = out.split_at_mut(width);
            let row = row * width..(row + 1) * width;
            self.kernels.gate_products(&gate.data[row.clone()], &up.data[row], high, low);
        });
    }

    /// The gated residual of the reference, for weights without a certificate.
    pub(super) fn gate_exact(
        &self,
        index: usize,
        left: Inputs<'_>,
        up: Inputs<'_>,
        stream: &[i32],
        out: &mut [i32],
    ) {
        let OpWeights::Channels(channels) = &self.model.weights().ops[index] else {
            unreachable!("weights fit their op: `Model::new` checked it")
        };
        let (width, inputs) = (self.plan.steps[index].width, left.width);
        each_row(&self.pool, out, width, width * inputs, |row, out| {
            let operands = row * inputs..(row + 1) * inputs;
            let stream = &stream[row * width..][..width];
            let (left, up) = (&left.data[operands.clone()], &up.data[operands]);
            out.copy_from_slice(&gate::gate(channels, left, up, stream));
        });
    }

    /// Appends keys and values to the runs' caches.
    pub(super) fn store(&mut self, attention: usize, keys: u32, values: u32) {
        let mut caches = std::mem::take(&mut self.caches);
        let (keys, values) = (self.a16(keys), self.a16(values));
        let mut first = 0;
        for span in &self.pass.spans {
            let rows = first * keys.width..(first + span.count) * keys.width;
            let cache = &mut caches[span.cache.0][attention];
            cache.extend(&self.pool, &keys.data[rows.clone()], &values.data[rows]);
            first += span.count;
        }
        self.caches = caches;
    }

    pub(super) fn attend(&self, step: &Step, input: Inputs<'_>, out: &mut [i16]) {
        let Op::Attention { heads, key_heads, multiplier, .. } = step.op else {
            unreachable!("only called for attention")
        };
        let Certificate::Attention { scores, averages } = step.certificate else {
            unreachable!("certificates follow the ops")
        };
        let heads = Heads {
            heads: size(heads),
            key_heads: size(key_heads),
            head_width: step.width / size(heads),
            multiplier,
            narrow_scores: scores,
            narrow_averages: averages,
        };
        let causal = self.model.graph().reach == Reach::Causal;
        let grid = Grid::new(out, step.width);
        let tiles = &self.pass.tiles;
        let longest = self.pass.positions.iter().max().map_or(0, |position| position + 1);
        let work = TILE_ROWS * heads.columns(0).len() * longest;
        self.pool.ranges(tiles.len() * heads.key_heads, work, |parts| {
            for part in parts {
                let (tile, key_head) = (&tiles[part / heads.key_heads], part % heads.key_heads);
                let cache = &self.caches[self.pass.spans[tile.span].cache.0][step.attention];
                let (reach, reach_step) =
                    if causal { (tile.start + 1, 1) } else { (cache.positions(), 0) };
                let queries = tile.rows.start * step.width..tile.rows.end * step.width;
                // SAFETY: each part has its own rows and key head.
                let mut out = unsafe { grid.window(tile.rows.clone(), heads.columns(key_head)) };
                let queries = &input.data[queries];
                let tile = Tile { queries, cache, key_head, reach, reach_step };
                attend(self.kernels, &heads, &tile, &mut out);
            }
        });
    }

    /// Sum of each run's rows; below 2^28, because a run has at most 8,192 positions.
    pub(super) fn sum_pool(&self, input: Inputs<'_>, out: &mut [i32]) {
        out.fill(0);
        let mut rows = input.data.chunks_exact(input.width);
        for (span, out) in self.pass.spans.iter().zip(out.chunks_exact_mut(input.width)) {
            for row in rows.by_ref().take(span.count) {
                for (out, value) in out.iter_mut().zip(row) {
                    *out += i32::from(*value);
                }
            }
        }
    }

    pub(super) fn unit(&self, input: &[i32], width: usize, out: &mut [i32]) {
        for (row, out) in input.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(&unit::unit(row));
        }
    }
}
