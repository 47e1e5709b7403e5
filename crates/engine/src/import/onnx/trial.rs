//! An attention, run on made-up rows.
//!
//! What is checked, for each block: that a position mixes the values of all positions, in a decoder
//! of itself and of those before it and of no other, that heads share key heads in the order of the
//! architecture, that scores are over the root of a head's width, that in a decoder each pair of a
//! head's halves turns by position times base^(−i / pairs), and at last that rows of random numbers
//! come out as the architecture mixes them. What else an attention might read of the stream is not
//! zero, so it would show.
//!
//! What is not: positions behind the first few, and masks of absent positions. Numbers that make
//! windows are refused while the attention runs. Calibration holds the model against plain floats
//! with a mask and rotation of their own, not against the graph's.

use std::rc::Rc;

use model::Reach;

use super::attention::{Attention, MASK, Part, head_counts};
use super::evaluate::{Given, Machine};
use super::ops::softmax;
use super::pattern::close;
use super::value::{Value, elements};
use super::window::Origin;
use crate::import::ImportError;

/// What the stream holds.
const STREAM: f64 = 0.75;
/// Widest head.
const WIDTH_MAX: usize = 1 << 10;
/// Positions of the run on random numbers.
const POSITIONS: usize = 5;
/// By what share frequencies may differ, in tables of 32 bits, 16 bits, and 16 bits of which 8 are
/// digits; how many digits the base may have so that it is still certain; and by how much mixed
/// rows may differ.
const PRECISIONS: [(f64, usize, f64); 3] = [(2e-5, 6, 1e-3), (1e-3, 2, 1e-2), (6e-3, 1, 5e-2)];

const FEW: &str = "rows of an attention that are not too many for a run";
const GROUPS: &str = "query heads that share key heads, neighbours first";
const SCALE: &str = "scores over the root of a head's width";
const TURNED: &str = "a rotation of each head's first half against its second by position";
const FREQUENCIES: &str = "rotation frequencies base^(-i / pairs), without scaling";
const MIXED: &str = "the attention of the architecture over its rows and nothing else";
/// Of a position of an encoder, in a refusal.
const ALL: &str = "a mask by which a position sees all that are there";

/// What an attention turned out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) heads: usize,
    pub(super) key_heads: usize,
    pub(super) width: usize,
    /// Of the frequencies by which heads turn; an encoder's do not.
    pub(super) base: Option<f64>,
}

impl<'a> Attention<'a> {
    /// Runs the attention and tells what it is, where it is that of the architecture of this reach.
    pub(super) fn check(
        &self,
        machine: &mut Machine<'_, 'a>,
        rows: &[&'a str],
        stream: usize,
        reach: Reach,
    ) -> Result<Kind, ImportError> {
        let search = machine.search;
        let node = search.graph.maker(self.core);
        let fused = node.filter(|node| node.op != "Softmax").and_then(head_counts);
        let [queries, keys, values] = self.parts.map(|part| part.count);
        // Shapes may claim any number of rows.
        let all = queries.checked_add(keys).and_then(|rows| rows.checked_add(values));
        let few = |rows: usize| elements(&[POSITIONS, rows]).is_some();
        if !all.is_some_and(few) || !few(stream) {
            return search.refuse(self.core, FEW);
        }
        let (heads, key_heads, width) = (1, 1, 1);
        let attention = self;
        let mut trial = Trial { machine, attention, rows, stream, reach, heads, key_heads, width };
        let heads = match fused {
            Some([heads, _]) => heads,
            None => trial.count_heads()?,
        };
        let width = queries.checked_div(heads).unwrap_or(0);
        let key_heads = keys.checked_div(width).unwrap_or(0);
        let whole = heads * width == queries && key_heads * width == keys && keys == values;
        let even = width.is_multiple_of(2) || reach == Reach::Full;
        let even = even && (1..=WIDTH_MAX).contains(&width);
        if !whole || !even || key_heads == 0 || !heads.is_multiple_of(key_heads) {
            return search.refuse(self.core, GROUPS);
        }
        (trial.heads, trial.key_heads, trial.width) = (heads, key_heads, width);
        trial.check_mask()?;
        trial.check_scale()?;
        if reach == Reach::Full {
            trial.check_mixed(None, PRECISIONS[0].2)?;
            return Ok(Kind { heads, key_heads, width, base: None });
        }
        let (base, tolerance) = trial.base()?;
        trial.check_mixed(Some(base), tolerance)?;
        Ok(Kind { heads, key_heads, width, base: Some(base) })
    }
}

/// A number for each position, head and element.
type Numbers<'n> = &'n dyn Fn(usize, usize, usize) -> f64;

/// An attention under trial.
struct Trial<'t, 'g, 'a> {
    machine: &'t mut Machine<'g, 'a>,
    attention: &'t Attention<'a>,
    /// Values whose rows stand for the stream.
    rows: &'t [&'a str],
    /// How wide the stream is.
    stream: usize,
    reach: Reach,
    heads: usize,
    key_heads: usize,
    width: usize,
}

impl<'a> Trial<'_, '_, 'a> {
    fn refuse<T>(&self, expected: &'static str) -> Result<T, ImportError> {
        self.machine.search.refuse(self.attention.core, expected)
    }

    /// Counts the steps in which this many rows of everything are made.
    fn spend(&mut self, positions: usize) -> Result<(), ImportError> {
        let parts: usize = self.attention.parts.iter().map(|part| part.count).sum();
        let names = self.rows.len() + self.machine.search.graph.inputs.len();
        let steps = positions * (2 * parts + self.stream) + 16 * names;
        self.machine.spend(steps, self.attention.core)
    }

    /// Everything that is given but queries, keys and values.
    fn given(&self, positions: usize) -> Given<'a> {
        let graph = self.machine.search.graph;
        let mut given = Given::new();
        for name in graph.inputs.iter().copied() {
            if let Some(value) = input(name, positions) {
                given.insert(name, (Rc::new(value), Origin::Positions));
            }
        }
        let rows = vec![STREAM; positions * self.stream];
        let rows = Rc::new(Value::new(&[1, positions, self.stream], rows));
        given.extend(self.rows.iter().map(|name| (*name, (Rc::clone(&rows), Origin::Rows))));
        given
    }

    /// Gives the attention these rows of queries, keys and values.
    fn give(&self, given: &mut Given<'a>, positions: usize, parts: [Vec<f64>; 3]) {
        for (index, part) in self.attention.parts.iter().enumerate() {
            let name = part.linear.output;
            let same = |other: &Part<'_>| other.linear.output == name;
            let together = self.attention.parts.iter().zip(&parts).filter(|(part, _)| same(part));
            let width: usize = together.clone().map(|(part, _)| part.count).sum();
            let mut data = Vec::new();
            for position in 0..positions {
                for (part, rows) in together.clone() {
                    data.extend_from_slice(&rows[position * part.count..][..part.count]);
                }
            }
            if index == 0 || !given.contains_key(name) {
                let rows = Rc::new(Value::new(&[1, positions, width], data));
                given.insert(name, (rows, Origin::Rows));
            }
        }
    }

    /// Heads of the scores.
    fn count_heads(&mut self) -> Result<usize, ImportError> {
        self.spend(2)?;
        let mut given = self.given(2);
        self.give(&mut given, 2, self.attention.parts.map(|part| vec![0.0; 2 * part.count]));
        let shares = self.machine.run(&given, self.attention.core)?;
        match shares.shape[..] {
            [1, heads, 2, 2] if heads > 0 => Ok(heads),
            _ => self.refuse("a softmax over the keys of each head"),
        }
    }

    /// What comes out for rows made of these numbers: `[position][head][element]`.
    fn mixed(
        &mut self,
        positions: usize,
        numbers: [Numbers<'_>; 3],
    ) -> Result<Vec<f64>, ImportError> {
        self.spend(positions)?;
        let mut given = self.given(positions);
        let counts = [self.heads, self.key_heads, self.key_heads];
        let mut parts = [const { Vec::new() }; 3];
        for ((part, number), heads) in parts.iter_mut().zip(numbers).zip(counts) {
            for position in 0..positions {
                for head in 0..heads {
                    part.extend((0..self.width).map(|at| number(position, head, at)));
                }
            }
        }
        self.give(&mut given, positions, parts);
        let mixed = self.machine.run(&given, self.attention.output)?;
        if mixed.data.len() == positions * self.heads * self.width {
            Ok(mixed.data.clone())
        } else {
            self.refuse(MIXED)
        }
    }

    fn at(&self, mixed: &[f64], position: usize, head: usize) -> f64 {
        mixed[(position * self.heads + head) * self.width]
    }

    /// Without queries, a row is the mean of the values that its position sees.
    fn check_mask(&mut self) -> Result<(), ImportError> {
        const STEP: f64 = 65_536.0;
        let value = |position, head, _| STEP * position as f64 + head as f64;
        let mixed = self.mixed(2, [&|_, _, _| 0.0, &|_, _, _| 0.0, &value])?;
        let group = self.heads / self.key_heads;
        for head in 0..self.heads {
            let (first, second) = (self.at(&mixed, 0, head), self.at(&mixed, 1, head));
            // Sums of shares that are a half but for rounding.
            let half = match self.reach {
                Reach::Causal if first.is_finite() && first < STEP / 2.0 => 0.0,
                Reach::Causal => return self.refuse(MASK),
                Reach::Full => STEP / 2.0,
            };
            if !near(second, first + STEP / 2.0 - half, 0.1) {
                return self.refuse(if self.reach == Reach::Full { ALL } else { MASK });
            }
            if !near(first, (head / group) as f64 + half, 0.1) {
                return self.refuse(if self.reach == Reach::Full { ALL } else { GROUPS });
            }
        }
        Ok(())
    }

    /// Scores of the second position with the first, where it has one, for each head.
    fn score(
        &mut self,
        query: Numbers<'_>,
        key: Numbers<'_>,
        seen: usize,
    ) -> Result<Vec<f64>, ImportError> {
        let value = |position, _, _| f64::from(u8::from(position == seen));
        let mixed = self.mixed(2, [query, key, &value])?;
        // The other key is zero, so its score is.
        let share = |head| self.at(&mixed, 1, head);
        Ok((0..self.heads).map(|head| (share(head) / (1.0 - share(head))).ln()).collect())
    }

    /// A position's query and key are turned alike, so their product is as if they were not.
    fn check_scale(&mut self) -> Result<(), ImportError> {
        let root = (self.width as f64).sqrt();
        let unit = |position, _, at| {
            if position == 1 && at == 0 { root.sqrt() } else { 0.0 }
        };
        let scores = self.score(&unit, &unit, 1)?;
        // Sines and cosines of 16 bits do not quite turn.
        if scores.iter().all(|score| near(*score, 1.0, 1e-2)) { Ok(()) } else { self.refuse(SCALE) }
    }

    /// The base of the frequencies, and by how much mixed rows may differ: the query of one element
    /// meets keys that have all of their second halves, so its score is a sine.
    fn base(&mut self) -> Result<(f64, f64), ImportError> {
        let pairs = self.width / 2;
        let root = (self.width as f64).sqrt();
        let mut frequencies = Vec::new();
        while frequencies.len() < pairs {
            let first = frequencies.len();
            let query = |position, head, at| {
                let chosen = position == 1 && at == (first + head) % pairs;
                if chosen { root } else { 0.0 }
            };
            let key = |position, _, at| f64::from(u8::from(position == 0 && at >= pairs));
            let sines = self.score(&query, &key, 0)?;
            frequencies.extend(sines.into_iter().take(pairs - first).map(f64::asin));
        }
        if frequencies.iter().any(|frequency| frequency.is_nan() || *frequency <= 0.0) {
            return self.refuse(TURNED);
        }
        for (precision, digits, tolerance) in PRECISIONS {
            if let Some(base) = base(&frequencies, precision, digits) {
                return Ok((base, tolerance));
            }
        }
        self.refuse(FREQUENCIES)
    }

    /// Rows of random numbers against the architecture's own attention.
    fn check_mixed(&mut self, base: Option<f64>, tolerance: f64) -> Result<(), ImportError> {
        let (width, group) = (self.width, self.heads / self.key_heads);
        let random = |seed: usize| {
            move |position: usize, head: usize, at: usize| {
                let place = ((position * 4096 + head) * 4096 + at) * 4 + seed;
                let mixed = (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                (mixed >> 40) as f64 / f64::from(1 << 23) - 1.0
            }
        };
        let [query, key, value] = [0, 1, 2].map(random);
        let found = self.mixed(POSITIONS, [&query, &key, &value])?;
        // Each score turns its key anew, by a power, a sine and a cosine.
        let turns = POSITIONS * (POSITIONS + 2) * self.heads * width;
        self.machine.spend(8 * turns, self.attention.core)?;
        let turned = |number: Numbers<'_>, position: usize, head: usize| -> Vec<f64> {
            let Some(base) = base else {
                return (0..width).map(|at| number(position, head, at)).collect();
            };
            let pairs = width / 2;
            let turn = |at: usize| {
                let pair = at % pairs;
                let angle = position as f64 * base.powf(-(pair as f64) / pairs as f64);
                let (a, b) = (number(position, head, pair), number(position, head, pair + pairs));
                let (sin, cos) = angle.sin_cos();
                if at < pairs { a * cos - b * sin } else { b * cos + a * sin }
            };
            (0..width).map(turn).collect()
        };
        for (position, head) in (0..POSITIONS).flat_map(|at| (0..self.heads).map(move |h| (at, h)))
        {
            let query = turned(&query, position, head);
            let score = |at: usize| {
                let key = turned(&key, at, head / group);
                query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / (width as f64).sqrt()
            };
            let seen = if self.reach == Reach::Full { POSITIONS } else { position + 1 };
            let mut shares: Vec<f64> = (0..seen).map(score).collect();
            softmax(&mut shares);
            for element in 0..width {
                let terms = shares.iter().enumerate();
                let sum: f64 =
                    terms.map(|(at, share)| share * value(at, head / group, element)).sum();
                let found = found[(position * self.heads + head) * width + element];
                if !near(found, sum, tolerance) {
                    return self.refuse(MIXED);
                }
            }
        }
        Ok(())
    }
}

/// Whether a value is within a distance of another; what is no number never is.
fn near(value: f64, expected: f64, distance: f64) -> bool {
    (value - expected).abs() <= distance
}

/// What an input of the graph holds in a run, as its name tells.
fn input(name: &str, positions: usize) -> Option<Value> {
    let row = |number: fn(usize) -> f64| (0..positions).map(number).collect::<Vec<f64>>();
    let shape = [1, positions];
    if name.contains("position") {
        let shape = if name.contains("cache") { &shape[1..] } else { &shape[..] };
        return Some(Value::of_whole(shape, row(|position| position as f64)));
    }
    if name.contains("mask") {
        return Some(Value::of_whole(&shape, row(|_| 1.0)));
    }
    if name.contains("past") || name.contains("cache") {
        return Some(Value::new(&[1, 1, 0, 1], Vec::new()));
    }
    name.contains("ids").then(|| Value::of_whole(&shape, row(|_| 0.0)))
}

/// The base whose powers are these frequencies: the one of fewest digits.
fn base(frequencies: &[f64], precision: f64, digits: usize) -> Option<f64> {
    let pairs = frequencies.len() as f64;
    let (last, least) = frequencies.iter().enumerate().next_back()?;
    if last == 0 {
        return close(*least, 1.0).then_some(10_000.0);
    }
    let rough = least.powf(-pairs / last as f64);
    let fits = |base: &f64| {
        let expected = (0..).map(|pair| base.powf(-f64::from(pair) / pairs));
        let mut both = frequencies.iter().zip(expected);
        // Sines of 16 bits end at 2^-24.
        both.all(|(found, expected)| (found - expected).abs() <= precision * expected + 6e-8)
    };
    let rounded =
        (0..digits).map(|digits| format!("{rough:.digits$e}").parse().unwrap_or(f64::NAN));
    rounded.into_iter().find(fits)
}
