//! The witness columns of `docs/spec/cir.md` as a checker over the proof's field: what a proof of
//! each op will commit to, and the constraints that decide it.
//!
//! Rules: operands are given; a witness is what an honest prover commits to, results included.
//! Every honest witness is accepted, and every change of a single number refused.

use model::constants::{BIAS_MAX, RES_MAX, RES_MIN};
use model::int::Int;
use model::ops::attention::{average, exponential, reciprocal, weight};
use model::ops::exp::EXP;
use model::ops::logits::argmax;
use model::ops::norm::{element, mean, scale, square};
use model::ops::unit::unit;

use crate::field::{F, joined, limbs};
use crate::support::Random;

/// Constraints over the columns of one row or element.
trait Gadget {
    /// What an honest prover commits to.
    fn honest(&self) -> Vec<F>;
    fn accepts(&self, witness: &[F]) -> bool;
}

/// Accepts the honest witness, refuses each change of one of its numbers.
fn decides(gadget: &dyn Gadget, random: &mut Random) {
    let honest = gadget.honest();
    let head = &honest[..honest.len().min(12)];
    assert!(gadget.accepts(&honest), "{head:?}");
    let steps = [1_i128, 1 << 16, 1 << 32].into_iter().flat_map(|step| [step, -step]);
    let mut changes: Vec<F> = steps.map(F::of).collect();
    changes.push(F::of(i128::from(random.next() | 1)));
    for column in 0..honest.len() {
        for change in &changes {
            let mut witness = honest.clone();
            witness[column] = witness[column] + *change;
            assert!(!gadget.accepts(&witness), "column {column} of {head:?}, {change:?} more");
        }
    }
}

/// `y = clamp(v >> 16·shift)` into `bits` + 1 bits. Columns: y; f unless certified; limbs.
#[derive(Clone, Copy, Debug)]
struct Requantise {
    v: i128,
    shift: usize,
    bits: u32,
    /// No input reaches the clamp.
    certified: bool,
}

impl Requantise {
    fn offset(&self) -> i128 {
        1 << (self.bits as usize + 16 * self.shift)
    }

    /// Limbs in use where nothing is clamped, and the bits of the top one.
    fn used(&self) -> (usize, u32) {
        let total = self.bits as usize + 1 + 16 * self.shift;
        (total.div_ceil(16), (total - 1) as u32 % 16 + 1)
    }

    fn flag(&self) -> i128 {
        i128::from(self.v >= self.offset()) - i128::from(self.v < -self.offset())
    }

    /// What the limbs add up to under each flag.
    fn joined(&self, flag: i128) -> i128 {
        match flag {
            0 => self.v + self.offset(),
            1 => self.v - self.offset(),
            _ => -self.offset() - 1 - self.v,
        }
    }

    fn in_range(&self, limbs: &[F]) -> bool {
        let (used, top) = self.used();
        limbs[..used - 1].iter().all(|limb| limb.below(1 << 16))
            && limbs[used - 1].below(1 << top)
            && limbs[used..].iter().all(|limb| *limb == F::ZERO)
    }

    fn result(&self) -> i128 {
        (self.v >> (16 * self.shift)).clamp(-(1 << self.bits), (1 << self.bits) - 1)
    }
}

impl Gadget for Requantise {
    fn honest(&self) -> Vec<F> {
        let flag = if self.certified { 0 } else { self.flag() };
        let count = if self.certified { self.used().0 } else { 4 };
        let mut columns = vec![F::of(self.result())];
        if !self.certified {
            columns.push(F::of(flag));
        }
        columns.extend(limbs(self.joined(flag), count));
        columns
    }

    fn accepts(&self, witness: &[F]) -> bool {
        let (y, witness) = (witness[0], &witness[1..]);
        let (flag, limbs) =
            if self.certified { (F::ZERO, witness) } else { (witness[0], &witness[1..]) };
        let minus = F::ZERO - F::ONE;
        let flags = [(F::ZERO, 0), (F::ONE, 1), (minus, -1)];
        let Some((_, case)) = flags.into_iter().find(|(value, _)| *value == flag) else {
            return false;
        };
        let half = F::power_of_two(self.bits);
        let (in_range, expected) = match case {
            0 => (self.in_range(limbs), joined(&limbs[self.shift..]) - half),
            _ => {
                let fits = limbs[..3].iter().all(|limb| limb.below(1 << 16));
                let clamped = if case == 1 { half - F::ONE } else { F::ZERO - half };
                (fits && limbs[3].below(1 << 15), clamped)
            }
        };
        in_range && joined(limbs) == F::of(self.joined(case)) && y == expected
    }
}

/// r and R of a norm. Columns: μ, ρ, q, a, b, R, ρ'.
struct NormRow<'a> {
    x: &'a [i32],
    centred: bool,
    offset: u64,
}

impl NormRow<'_> {
    fn total(&self) -> i128 {
        let total = model::int::sum(self.x.iter().map(|x| Int::from(*x))).get();
        if self.centred { total } else { 0 }
    }

    fn mean(&self) -> Int {
        if self.centred {
            mean(Int::from(self.total()), Int::from(self.x.len()))
        } else {
            Int::ZERO
        }
    }

    fn variance(&self) -> Int {
        let mean = self.mean();
        let squares = model::int::sum(self.x.iter().map(|x| square(*x, mean)));
        squares + Int::from(self.offset)
    }
}

impl Gadget for NormRow<'_> {
    fn honest(&self) -> Vec<F> {
        let (mean, variance) = (self.mean().get(), self.variance());
        let scale = scale(variance);
        let (v, q, r) = (variance.get(), scale.root.get() - 1, scale.reciprocal.get());
        let count = self.x.len() as i128;
        let rest = if self.centred { 2 * self.total() + count - 2 * count * mean } else { count };
        let columns = [mean, rest, q, v - q * q, q * q + 2 * q - v, r, (1 << 32) - r * (q + 1)];
        columns.map(F::of).to_vec()
    }

    fn accepts(&self, witness: &[F]) -> bool {
        let [mean, rest, q, a, b, r, remainder] = *witness else { return false };
        let count = F::of(self.x.len() as i128);
        let two = F::of(2);
        let v = self.x.iter().fold(F::of(i128::from(self.offset)), |sum, x| {
            let d = F::of(i128::from(*x)) - mean;
            sum + d * d
        });
        let centre = two * F::of(self.total()) + count == two * count * mean + rest;
        centre
            && (self.centred || mean == F::ZERO)
            && (mean + F::power_of_two(26)).below(1 << 27)
            && rest.below(2 * self.x.len() as u64)
            && q.below(3 << 30)
            && a.below(1 << 34)
            && b.below(1 << 34)
            && v == q * q + a
            && q * q + two * q == v + b
            && r.below((1 << 31) + 1)
            && r * (q + F::ONE) + remainder == F::power_of_two(32)
            && remainder.below(1 << 32)
            && (q - remainder).below(1 << 32)
    }
}

/// Weights and R of one query and head. Columns: M, R, ρ; per key f, t, u, h, e.
struct Softmax<'a> {
    scores: &'a [i128],
    multiplier: u32,
}

impl Softmax<'_> {
    /// From here on a key counts as 0 without a look-up.
    fn far(&self) -> i128 {
        Int::power_of_two(26).div_ceil(Int::from(self.multiplier)).get()
    }
}

impl Gadget for Softmax<'_> {
    fn honest(&self) -> Vec<F> {
        let best = *self.scores.iter().max().unwrap();
        let weigh = |s: &i128| weight(Int::from(best), Int::from(*s), self.multiplier).get();
        let total = model::int::sum(self.scores.iter().map(|s| Int::from(weigh(s))));
        let r = reciprocal(total).get();
        let mut columns = vec![best, r, (1 << 34) - r * total.get()];
        for score in self.scores {
            let d = best - score;
            let scaled = d * i128::from(self.multiplier);
            if scaled < 1 << 26 {
                columns.extend([0, scaled >> 16, scaled & 0xffff, 0, weigh(score)]);
            } else {
                let rest = d - self.far();
                columns.extend([1, rest & 0xffff, rest >> 16 & 0xffff, rest >> 32, 0]);
            }
        }
        columns.into_iter().map(F::of).collect()
    }

    fn accepts(&self, witness: &[F]) -> bool {
        let (row, keys) = witness.split_at(3);
        let (best, r, remainder) = (row[0], row[1], row[2]);
        let limb = F::power_of_two(16);
        let (mut product, mut total) = (F::ONE, F::ZERO);
        for (key, score) in keys.chunks(5).zip(self.scores) {
            let [far, t, u, h, e] = *key else { return false };
            let d = best - F::of(*score);
            product = product * d;
            total = total + e;
            let small = [t, u, h].iter().all(|limb| limb.below(1 << 16));
            let holds = if far == F::ZERO {
                let row = EXP.get(t.get() as usize).map(|entry| F::of(i128::from(*entry)));
                let scaled = d * F::of(i128::from(self.multiplier));
                row == Some(e) && h == F::ZERO && scaled == t * limb + u
            } else {
                let rest = d - F::of(self.far());
                far == F::ONE && e == F::ZERO && rest == joined(&[t, u, h])
            };
            if !(small && holds) {
                return false;
            }
        }
        product == F::ZERO
            && r.below((1 << 22) + 1)
            && r * total + remainder == F::power_of_two(34)
            && remainder.below(1 << 32)
            && (total - F::ONE - remainder).below(1 << 32)
    }
}

/// The best of some logits. Columns: a; per entry four limbs.
struct Best<'a>(&'a [i64]);

impl Best<'_> {
    fn lead(&self, best: usize, entry: usize) -> i128 {
        i128::from(self.0[best]) - i128::from(self.0[entry]) - i128::from(entry < best)
    }
}

impl Gadget for Best<'_> {
    fn honest(&self) -> Vec<F> {
        let best = argmax(self.0);
        let mut columns = vec![F::of(i128::from(best))];
        for entry in 0..self.0.len() {
            columns.extend(limbs(self.lead(best as usize, entry), 4));
        }
        columns
    }

    fn accepts(&self, witness: &[F]) -> bool {
        let best = witness[0].get() as usize;
        best < self.0.len()
            && witness[1..].chunks(4).enumerate().all(|(entry, limbs)| {
                limbs[..3].iter().all(|limb| limb.below(1 << 16))
                    && limbs[3].below(1 << 14)
                    && joined(limbs) == F::of(self.lead(best, entry))
            })
    }
}

/// A unit row. Columns: q, a, b, h, bit; per element q_i, ρ_i.
struct Unit<'a>(&'a [i32]);

impl Gadget for Unit<'_> {
    fn honest(&self) -> Vec<F> {
        let v = self.0.iter().fold(0, |sum, v| sum + i128::from(*v) * i128::from(*v));
        let q = Int::from(v).sqrt_floor().get();
        let r = q + 1;
        let mut columns = vec![q, v - q * q, q * q + 2 * q - v, r / 2, r % 2];
        for (v, y) in self.0.iter().zip(unit(self.0)) {
            let y = i128::from(y);
            columns.extend([y, (i128::from(*v) << 24) + r / 2 - y * r]);
        }
        columns.into_iter().map(F::of).collect()
    }

    fn accepts(&self, witness: &[F]) -> bool {
        let (row, elements) = witness.split_at(5);
        let [q, a, b, half, bit] = *row else { return false };
        let two = F::of(2);
        let r = q + F::ONE;
        let of = |v: &i32| F::of(i128::from(*v));
        let v = self.0.iter().fold(F::ZERO, |sum, v| sum + of(v) * of(v));
        let root = q.below(1 << 31) && a.below(1 << 34) && b.below(1 << 34);
        let halved = two * half + bit == r && bit * bit == bit && half.below(1 << 31);
        let all = elements.chunks(2).zip(self.0).all(|(element, v)| {
            let (y, rest) = (element[0], element[1]);
            (y + F::power_of_two(24)).below((1 << 25) + 1)
                && of(v) * F::power_of_two(24) + half == y * r + rest
                && rest.below(1 << 32)
                && (q - rest).below(1 << 32)
        });
        root && v == q * q + a && q * q + two * q == v + b && halved && all
    }
}

/// Extremes and drawn numbers of at most `bits` bits.
fn numbers(random: &mut Random, bits: u32) -> Vec<i128> {
    let edge = 1_i128 << bits;
    let mut out = vec![0, 1, -1, edge - 1, 1 - edge];
    for power in (15..bits).step_by(1) {
        for near in [-1, 0, 1] {
            out.extend([(1 << power) + near, -(1 << power) + near]);
        }
    }
    for _ in 0..300 {
        let bits = random.within(1, i64::from(bits)) as u32;
        let magnitude = i128::from(random.next()) & ((1 << bits) - 1);
        out.push(if random.next() & 1 == 0 { magnitude } else { -magnitude });
    }
    out
}

/// (limbs shifted off, bits kept, bits of v): linear, rotation; residual; norm, average; gate.
const REQUANTISES: [(usize, u32, u32); 4] = [(1, 15, 62), (1, 26, 62), (2, 15, 61), (2, 26, 61)];

#[test]
fn requantise_is_decided_by_its_columns() {
    let mut random = Random::new(31);
    for (shift, bits, size) in REQUANTISES {
        for v in numbers(&mut random, size) {
            let gadget = Requantise { v, shift, bits, certified: false };
            decides(&gadget, &mut random);
            if gadget.flag() == 0 {
                decides(&Requantise { certified: true, ..gadget }, &mut random);
            }
        }
    }
}

/// A prover that lies about the clamp has to find limbs for a number outside its range.
#[test]
fn no_other_flag_can_be_made_to_fit() {
    let mut random = Random::new(32);
    for (shift, bits, size) in REQUANTISES {
        for v in numbers(&mut random, size) {
            let gadget = Requantise { v, shift, bits, certified: false };
            for flag in [-1, 0, 1, 2] {
                if flag == gadget.flag() {
                    continue;
                }
                let value = F::of(gadget.joined(flag)).get();
                let mut witness = vec![F::ZERO, F::of(flag)];
                witness.extend(limbs(i128::from(value), 4));
                for y in [-(1 << bits), (1 << bits) - 1, gadget.result()] {
                    witness[0] = F::of(y);
                    assert!(!gadget.accepts(&witness), "{gadget:?} with flag {flag}");
                }
                let used = gadget.used().0;
                witness[0] = joined(&witness[2 + shift..2 + used]) - F::power_of_two(bits);
                assert!(!gadget.accepts(&witness), "{gadget:?} with flag {flag}");
            }
        }
    }
}

fn rows(random: &mut Random) -> Vec<Vec<i32>> {
    let (low, high) = (RES_MIN as i32, RES_MAX as i32);
    let mut rows = vec![
        vec![0; 8],
        vec![5; 8],
        vec![low; 1_024],
        [low, high].repeat(512),
        vec![high, low],
        vec![-1, 0],
        vec![3, 4, 0, 0],
    ];
    for _ in 0..60 {
        let bits = random.within(1, 26);
        let width = 2 * random.within(1, 40) as usize;
        rows.push((0..width).map(|_| random.within(-1 << bits, (1 << bits) - 1) as i32).collect());
    }
    rows
}

#[test]
fn norms_are_decided_by_their_columns() {
    let mut random = Random::new(33);
    for x in rows(&mut random) {
        for (centred, offset) in [(true, 1), (false, 1), (true, 1 << 62), (false, 977)] {
            let row = NormRow { x: &x, centred, offset };
            decides(&row, &mut random);
            let (mean, scale) = (row.mean(), scale(row.variance()));
            for x in x.iter().take(3) {
                let gain = random.within(-32_767, 32_767) as i32;
                let bias = random.within(-BIAS_MAX, BIAS_MAX) >> random.within(0, 24);
                let product = (Int::from(*x) - mean) * scale.reciprocal * Int::from(gain);
                let v = product.get() + i128::from(bias);
                let gadget = Requantise { v, shift: 2, bits: 15, certified: false };
                assert_eq!(gadget.result(), element(*x, mean, scale, gain, bias).into());
                decides(&gadget, &mut random);
            }
        }
    }
}

/// With a root below 2^32 alone, q = 2^32 − 1 would pass for the root of 1: its square and what is
/// left over wrap around the field.
#[test]
fn a_root_that_wraps_around_the_field_is_refused() {
    let row = NormRow { x: &[0, 0], centred: false, offset: 1 };
    let q = (1_i128 << 32) - 1;
    let mut witness = row.honest();
    witness[2] = F::of(q);
    witness[3] = F::of(1 - q * q);
    witness[4] = F::of(q * q + 2 * q - 1);
    assert!(witness[3].below(1 << 34) && witness[4].below(1 << 34), "the wrap is there");
    witness[5] = F::ONE;
    witness[6] = F::ZERO;
    assert!(!row.accepts(&witness));
}

#[test]
fn attention_is_decided_by_its_columns() {
    let mut random = Random::new(34);
    for round in 0..120 {
        let bits = random.within(1, 38);
        let count = random.within(1, 24);
        let mut scores: Vec<i128> =
            (0..count).map(|_| i128::from(random.within(-1 << bits, 1 << bits))).collect();
        if round % 4 == 0 {
            scores.fill(7);
        }
        let multiplier = (random.next() as u32 & 0xffff).max(1) >> random.within(0, 12);
        let gadget = Softmax { scores: &scores, multiplier: multiplier.max(1) };
        // Keys on both sides of the last row of the table.
        let (best, far) = (*scores.iter().max().unwrap(), gadget.far());
        let mut scores = scores.clone();
        scores.extend([best - far, best - far + 1, best - far - 1]);
        let gadget = Softmax { scores: &scores, ..gadget };
        decides(&gadget, &mut random);
        let z = scores.iter().map(|s| weight(Int::from(best), Int::from(*s), gadget.multiplier));
        let r = reciprocal(model::int::sum(z));
        let sum = Int::from(random.within(-4_096 * 32_768, 4_096 * 32_768));
        let v = (sum * r).get() + (1 << 31);
        let gadget = Requantise { v, shift: 2, bits: 15, certified: false };
        assert_eq!(gadget.result(), average(sum, r).into());
        decides(&gadget, &mut random);
    }
    assert_eq!(exponential(Int::from(1_023_u32)), Int::ZERO, "so a far key weighs nothing");
}

#[test]
fn the_best_logit_is_decided_by_its_columns() {
    let mut random = Random::new(35);
    for round in 0..200 {
        let bits = random.within(1, 61);
        let count = random.within(1, 12);
        let mut logits: Vec<i64> = (0..count)
            .map(|_| random.within(-1 << bits, 1 << bits).clamp(1 - (1 << 61), (1 << 61) - 1))
            .collect();
        if round % 3 == 0 {
            let best = logits[argmax(&logits) as usize];
            logits.extend([best, best]);
        }
        decides(&Best(&logits), &mut random);
    }
}

#[test]
fn a_unit_row_is_decided_by_its_columns() {
    let mut random = Random::new(36);
    for row in rows(&mut random) {
        let square = row.iter().fold(0, |sum, v| sum + i128::from(*v) * i128::from(*v));
        if square < 1 << 62 {
            decides(&Unit(&row), &mut random);
        }
    }
}
