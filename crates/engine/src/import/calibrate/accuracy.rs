//! How close a model in integers comes to its float original.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{Model, Op};

use super::float::{Bert, Llama};
use crate::import::builder::STEPS_PER_NAT;
use crate::import::quantise::SCALE_WIDE;
use crate::{Engine, EngineError, Job, Options, Output};

/// Rows whose logits are held at once.
const ROWS: usize = 64;

/// A decoder beside its original, told the same texts token by token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DecoderAccuracy {
    /// Positions compared.
    pub tokens: usize,
    /// Mean Kullback–Leibler divergence of the integers' next-token distribution, in nats.
    pub divergence: f64,
    /// Share of positions at which both find the same token most likely.
    pub same_best: f64,
    /// Perplexity of the original.
    pub perplexity: f64,
    /// By what share of it the integers' perplexity is larger.
    pub perplexity_change: f64,
}

/// An encoder beside its original.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EncoderAccuracy {
    /// Texts compared.
    pub texts: usize,
    /// Mean cosine between both rows of a text.
    pub cosine_mean: f64,
    /// Its least value.
    pub cosine_least: f64,
    /// Share of texts whose nearest other text is the same in both.
    pub same_neighbour: f64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accuracy {
    /// Of a decoder.
    Decoder(DecoderAccuracy),
    /// Of an encoder.
    Encoder(EncoderAccuracy),
}

/// Compares a decoder with its original on texts of at least two tokens.
///
/// # Errors
/// A text that the model cannot take, or options that the machine cannot meet.
pub fn decoder(
    model: &Arc<Model>,
    original: &Llama,
    texts: &[Vec<u32>],
    options: Options,
) -> Result<DecoderAccuracy, EngineError> {
    let engine = Engine::load(Arc::clone(model), options)?;
    let multiplier = match model.graph().ops.last() {
        Some(Op::Logits { multiplier, .. }) => f64::from(*multiplier),
        _ => 0.0,
    };
    // The real value of one step of a logit.
    let unit = multiplier / (STEPS_PER_NAT * SCALE_WIDE);
    let (mut tokens, mut divergence, mut same) = (0, 0.0, 0);
    let (mut told, mut original_loss, mut loss) = (0, 0.0, 0.0);
    for ids in texts {
        let hidden = original.hidden(ids, &mut |_, _, _| {});
        let mut floats = None;
        engine.score(ids, &mut |position, logits| {
            let (at, first) = (position % ROWS, position - position % ROWS);
            if at == 0 {
                floats = Some(original.logits(&hidden.slice(first, ROWS)));
            }
            let Some(row) = floats.as_ref().and_then(|rows| rows.iter().nth(at)) else { return };
            let expected = log_softmax(row.iter().copied().map(f64::from));
            let found = log_softmax(logits.iter().map(|logit| *logit as f64 * unit));
            let both = expected.iter().zip(&found);
            tokens += 1;
            divergence += both.map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            same += usize::from(best(&expected) == best(&found));
            if let Some(next) = ids.get(position + 1) {
                told += 1;
                original_loss -= expected[*next as usize];
                loss -= found[*next as usize];
            }
        })?;
    }
    let (count, told) = (tokens.max(1) as f64, f64::from(told.max(1)));
    Ok(DecoderAccuracy {
        tokens,
        divergence: divergence / count,
        same_best: same as f64 / count,
        perplexity: (original_loss / told).exp(),
        perplexity_change: ((loss - original_loss) / told).exp() - 1.0,
    })
}

fn log_softmax(logits: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let most = logits.clone().fold(f64::MIN, f64::max);
    let total = logits.clone().map(|logit| (logit - most).exp()).sum::<f64>().ln();
    logits.map(|logit| logit - most - total).collect()
}

fn best(values: &[f64]) -> Option<usize> {
    let order = |a: &(usize, &f64), b: &(usize, &f64)| a.1.total_cmp(b.1);
    values.iter().enumerate().max_by(order).map(|(index, _)| index)
}

/// Compares an encoder with its original.
///
/// # Errors
/// A text that the model cannot take, or options that the machine cannot meet.
pub fn encoder(
    model: &Arc<Model>,
    original: &Bert,
    texts: &[Vec<u32>],
    options: Options,
) -> Result<EncoderAccuracy, EngineError> {
    let engine = Engine::load(Arc::clone(model), options)?;
    let mut integers = Vec::new();
    for ids in texts {
        let run = engine.generate(&Job::embed(ids), &mut |_| ControlFlow::Continue(()))?;
        if let Output::Row(row) = run.output {
            integers.push(row.into_iter().map(f64::from).collect::<Vec<f64>>());
        }
    }
    let float = |ids: &Vec<u32>| -> Vec<f64> {
        original.embed(ids, &mut |_, _, _| {}).into_iter().map(f64::from).collect()
    };
    let floats: Vec<Vec<f64>> = texts.iter().map(float).collect();
    let cosines: Vec<f64> = integers.iter().zip(&floats).map(|(a, b)| cosine(a, b)).collect();
    let same = |index: &usize| nearest(&integers, *index) == nearest(&floats, *index);
    let count = cosines.len().max(1) as f64;
    Ok(EncoderAccuracy {
        texts: cosines.len(),
        cosine_mean: cosines.iter().sum::<f64>() / count,
        cosine_least: cosines.iter().copied().fold(1.0, f64::min),
        same_neighbour: (0..cosines.len()).filter(same).count() as f64 / count,
    })
}

fn cosine(left: &[f64], right: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

fn nearest(rows: &[Vec<f64>], index: usize) -> Option<usize> {
    let others = (0..rows.len()).filter(|other| *other != index);
    let of = |other: usize| cosine(&rows[index], &rows[other]);
    others.max_by(|left, right| of(*left).total_cmp(&of(*right)))
}
