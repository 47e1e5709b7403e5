//! The ledger's port to models, bound to their canonical semantics.
//!
//! Rules: what the ledger learns of a model is computed from its manifest and graph, never
//! taken from its publisher; a model that the semantics refuses is refused with its reason; a
//! disputed run has the shape that the semantics gives it, and its last step is executed by them.
//! Answers depend on the arguments alone: what is kept between questions saves time only.
//! Never here: weights, economic rules.

use crypto::ModelId;
use ledger::{
    ModelFacts, ModelRejected, Verifier,
    payments::messages::{self, Finish},
    verifier::{
        DisputedRun, FineShape, Impossible, OutputPlace, Reach, StepClaim, StepOutcome,
        StepRefused, StepRoots, Task, TraceShape,
    },
};
use model::{
    Facts, Graph, Manifest, Sampling,
    step::{self, Claim, Opening, Operand, Plan, Roots, RunShape, Verdict},
};
use std::sync::{Arc, Mutex, PoisonError};

/// Most models whose plans are kept.
const PLANS_MAX: usize = 16;

/// Knowledge of models.
#[derive(Debug, Default)]
pub struct Models {
    /// The models that were asked about last, newest at the end.
    known: Mutex<Vec<Arc<Known>>>,
}

/// What the questions about a disputed run need of its model.
#[derive(Debug)]
struct Known {
    id: ModelId,
    manifest: Manifest,
    facts: Facts,
    plan: Plan,
}

impl Known {
    fn new(run: &DisputedRun<'_>) -> Result<Self, Impossible> {
        let facts = model::inspect_bytes(run.manifest, run.graph).map_err(|_| Impossible)?;
        let manifest: Manifest = borsh::from_slice(run.manifest).map_err(|_| Impossible)?;
        let graph: Graph = borsh::from_slice(run.graph).map_err(|_| Impossible)?;
        let plan = Plan::new(&manifest, &graph).map_err(|_| Impossible)?;
        Ok(Self { id: run.body.model, manifest, facts, plan })
    }

    /// The shape of a run that the model admits and the request allows.
    fn shape(&self, run: &DisputedRun<'_>) -> Result<step::TraceShape<'_>, Impossible> {
        let body = run.body;
        let messages::Sampling { temperature_milli, top_p_milli, top_k } = body.sampling;
        let allowed = match self.facts.task {
            model::Task::Embed => true,
            model::Task::Generate => run.n_out <= body.max_tokens && top_p_milli <= 1_000,
        };
        if !allowed || run.n_in > self.facts.max_input {
            return Err(Impossible);
        }
        let sampling = Sampling { temperature_milli, top_p_milli, top_k };
        let shape = RunShape { n_in: run.n_in, n_out: run.n_out, sampling, seed: body.seed };
        step::TraceShape::new(&self.plan, shape).map_err(|_| Impossible)
    }
}

impl Models {
    /// The model of a run; its plan is computed once.
    fn known(&self, run: &DisputedRun<'_>) -> Result<Arc<Known>, Impossible> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match known.iter().position(|known| known.id == run.body.model) {
            Some(index) => known.remove(index),
            None => Arc::new(Known::new(run)?),
        };
        if known.len() >= PLANS_MAX {
            known.remove(0);
        }
        known.push(Arc::clone(&found));
        Ok(found)
    }
}

impl Verifier for Models {
    fn inspect_model(&self, manifest: &[u8], graph: &[u8]) -> Result<ModelFacts, ModelRejected> {
        let reject = |reason: &dyn std::fmt::Display| ModelRejected::new(&reason.to_string());
        let facts = model::inspect_bytes(manifest, graph).map_err(|error| reject(&error))?;
        let manifest: Manifest = borsh::from_slice(manifest).map_err(|error| reject(&error))?;
        let task = match facts.task {
            model::Task::Generate => Task::Generate,
            model::Task::Embed => Task::Embed,
        };
        let reach = match facts.reach {
            model::Reach::Causal => Reach::Causal,
            model::Reach::Full => Reach::Full,
        };
        Ok(ModelFacts {
            model: manifest.id(),
            semantics: manifest.semantics,
            task,
            graph_root: manifest.graph_root,
            weight_root: manifest.weight_root,
            preprocess: manifest.preprocess_hash,
            reach,
            per_position: facts.per_position,
            per_output: facts.per_output,
            per_pair: facts.per_pair,
            blocks: facts.blocks,
            max_input: facts.max_input,
            max_positions: facts.max_positions,
            vocabulary: facts.vocabulary,
            width: facts.width,
        })
    }

    fn trace_shape(&self, run: &DisputedRun<'_>) -> Result<TraceShape, Impossible> {
        let known = self.known(run)?;
        let shape = known.shape(run)?;
        let outputs = match known.facts.task {
            model::Task::Generate => u64::from(run.n_out),
            model::Task::Embed => shape.pieces(step::CoarseLeaf::Row),
        };
        Ok(TraceShape { leaves: shape.leaves(), outputs })
    }

    fn fine_shape(&self, run: &DisputedRun<'_>, leaf: u64) -> Result<FineShape, Impossible> {
        let known = self.known(run)?;
        let fine = known.shape(run)?.fine(leaf).map_err(|_| Impossible)?;
        let output = fine.output();
        Ok(FineShape { leaves: fine.leaves(), outputs: output.end.saturating_sub(output.start) })
    }

    fn output_place(&self, run: &DisputedRun<'_>, index: u64) -> Result<OutputPlace, Impossible> {
        let known = self.known(run)?;
        let place = known.shape(run)?.output_leaf(index).ok_or(Impossible)?;
        Ok(OutputPlace { leaf: place.leaf, piece: place.piece, pieces: place.pieces })
    }

    fn finish_after(
        &self,
        run: &DisputedRun<'_>,
        token: u32,
    ) -> Result<Option<Finish>, Impossible> {
        let known = self.known(run)?;
        if known.facts.task != model::Task::Generate || run.n_out == 0 {
            return Err(Impossible);
        }
        let body = run.body;
        if known.manifest.stop_ids.contains(&token) || body.stop.contains(&token) {
            return Ok(Some(Finish::Stop));
        }
        let full = model::is_full(&known.facts, run.n_in, body.max_tokens, run.n_out);
        Ok(full.then_some(Finish::Length))
    }

    fn check_step(
        &self,
        run: &DisputedRun<'_>,
        roots: &StepRoots,
        claim: &StepClaim<'_>,
        openings: &[u8],
    ) -> Result<StepOutcome, StepRefused> {
        let refuse = |reason: &dyn std::fmt::Display| StepRefused::new(&reason.to_string());
        let known = self.known(run).map_err(|error| refuse(&error))?;
        let shape = known.shape(run).map_err(|error| refuse(&error))?;
        let fine = shape.fine(claim.coarse).map_err(|error| refuse(&error))?;
        let openings: Vec<Opening> = borsh::from_slice(openings).map_err(|error| refuse(&error))?;
        let op = fine.address(claim.leaf).map_err(|error| refuse(&error))?.op;
        let roots = Roots {
            input: run.body.input_commit,
            trace: roots.trace,
            fine: roots.fine,
            weights: known.manifest.weight_root,
            tables: known.manifest.table_root,
        };
        let weights =
            openings.iter().any(|opening| matches!(opening.operand, Operand::Weights { .. }));
        let StepClaim { leaf, bytes, element, .. } = *claim;
        let claim = Claim { leaf, bytes, element };
        let verdict = step::check_step(&fine, &roots, &claim, &openings);
        let wrong = verdict.map_err(|error| refuse(&error))? == Verdict::Wrong;
        Ok(StepOutcome { wrong, op, weights })
    }
}
