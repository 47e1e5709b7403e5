//! A party's own re-execution of a receipt's run: all that its findings and moves are made of.
//!
//! Rules: it is computed from input, parameters and one's own model, with the claimed output as
//! no more than a guess of what to compute in one pass; a fine tree is built when a dispute comes
//! to it, and the last one is kept. An operator shows the trace that it has computed and the
//! output that it has served: an honest one's are of one run.
//! Never here: what others say; whose turn it is.

use crypto::{Digest, Domain, Salt, hash_bytes, merkle};
use engine::{Engine, EngineError, LeafRows, Rerun};
use ledger::{
    bytes::Bytes,
    disputes::{
        player::Run,
        schema::{Finding, OutputProof},
    },
    payments::schema::{Finish, Receipt, RequestBody},
};
use model::{
    Job, Output, Sampling, commit,
    step::{self, Evidence, FineTree, OutputLeaf, Plan, StepError, TraceShape},
};
use std::{ops::Range, sync::Arc};

/// Why a run cannot be re-executed, or a part of it not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// The engine does not run it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model has no such run.
    #[error(transparent)]
    Model(#[from] model::ModelError),
    /// A leaf or step that the run does not have.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A part of a tree that the tree does not have.
    #[error("the tree has no such part: {0}")]
    Proof(#[from] merkle::BadProof),
    /// A list above its bound.
    #[error("a move does not fit: {0}")]
    TooLong(#[from] units::TooLong),
    /// The receipt stands for another run.
    #[error("the re-execution is not the run that the receipt commits to")]
    OtherRun,
}

/// On which side of a dispute a re-execution stands.
#[derive(Debug, Clone)]
pub enum Side {
    /// Who signed the receipt: what it has served, and its commitment to the trace.
    Defender {
        /// What was served.
        served: Output,
        /// The receipt's.
        trace_commit: Digest,
    },
    /// Who says that it is wrong.
    Challenger,
}

/// What is run anew.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What was asked.
    pub body: &'a RequestBody,
    /// What the operator states.
    pub receipt: &'a Receipt,
    /// The input.
    pub ids: &'a [u32],
    /// The request's salt.
    pub salt: Salt,
    /// The claimed output, if it is tokens: computed in one pass as far as it is right.
    pub guess: &'a [u32],
}

/// A coarse leaf's fine tree, and the rows that it is made of.
struct FineLeaf {
    leaf: u64,
    rows: LeafRows,
    tree: FineTree,
}

/// A run with everything behind it.
pub struct Execution {
    engine: Arc<Engine>,
    plan: Plan,
    rerun: Rerun,
    finish: Finish,
    salt: Salt,
    side: Side,
    fine: Option<FineLeaf>,
}

impl Execution {
    /// Runs what was ordered anew.
    ///
    /// # Errors
    /// [`ExecutionError`].
    pub fn new(engine: Arc<Engine>, order: &Order<'_>, side: Side) -> Result<Self, ExecutionError> {
        let Order { body, receipt, ids, salt, guess } = *order;
        let sampling = Sampling {
            temperature_milli: body.sampling.temperature_milli,
            top_p_milli: body.sampling.top_p_milli,
            top_k: body.sampling.top_k,
        };
        let cancelled = receipt.finish == Finish::Cancelled;
        // What was cut off is compared as far as it goes.
        let max_tokens = if cancelled { receipt.n_out } else { body.max_tokens };
        let job = Job { ids, sampling, seed: body.seed, max_tokens, stop: &body.stop };
        let rerun = engine.rerun(&job, guess)?;
        let run = rerun.run();
        let finish = match run.finish {
            _ if cancelled && run.n_out == receipt.n_out => Finish::Cancelled,
            model::Finish::Stop => Finish::Stop,
            model::Finish::Length | model::Finish::Cancelled => Finish::Length,
        };
        let plan = Plan::of(engine.model())?;
        Ok(Self { engine, plan, rerun, finish, salt, side, fine: None })
    }

    /// What was found.
    pub fn finding(&self) -> Finding {
        let run = self.rerun.run();
        Finding {
            trace_root: run.trace_root,
            output_commit: commit::output_commit(&self.salt, &run.output),
            n_out: run.n_out,
            finish: self.finish,
        }
    }

    fn shape(&self) -> Result<TraceShape<'_>, StepError> {
        TraceShape::new(&self.plan, self.rerun.shape())
    }

    /// Where an output leaf stands in the trace.
    fn place(&self, index: u64) -> Result<OutputLeaf, StepError> {
        self.shape()?.output_leaf(index).ok_or(StepError::Graph)
    }

    /// The fine tree of a coarse leaf.
    fn tree(&mut self, leaf: u64) -> Result<&FineLeaf, ExecutionError> {
        let known = self.fine.take().filter(|known| known.leaf == leaf);
        let fine = match known {
            Some(known) => known,
            None => {
                let rows = self.engine.rows(&self.rerun, leaf)?;
                let fine = self.shape()?.fine(leaf)?;
                let tree = FineTree::new(&fine, self.engine.model(), &rows)?;
                FineLeaf { leaf, rows, tree }
            }
        };
        Ok(self.fine.insert(fine))
    }

    /// The first element in which our leaf differs from `bytes`, with what shows it; nothing if
    /// none does.
    fn difference(
        &self,
        fine: &FineLeaf,
        leaf: u64,
        bytes: &[u8],
    ) -> Result<Option<(u64, Vec<step::Opening>)>, ExecutionError> {
        let ours = fine.tree.leaf(leaf);
        if ours.len() != bytes.len() {
            // A leaf of another length shows by itself that it is wrong.
            return Ok(Some((0, Vec::new())));
        }
        let shape = self.shape()?.fine(fine.leaf)?;
        let geometry = shape.geometry(&shape.address(leaf)?).ok_or(StepError::Graph)?;
        let width = usize::try_from(geometry.bytes).unwrap_or(1).max(1);
        let element = ours.chunks(width).zip(bytes.chunks(width)).position(|(a, b)| a != b);
        let Some(element) = element else { return Ok(None) };
        let element = u64::try_from(element).unwrap_or(u64::MAX);
        let weights = self.engine.model().weights();
        let evidence = Evidence {
            model: self.engine.model(),
            run: &fine.rows,
            tree: &fine.tree,
            trace: self.rerun.leaves(),
            weights: &weights.leaves(self.plan.tensors()),
            tables: &weights.table_leaves(),
            salt: &self.salt,
        };
        Ok(Some((element, step::open(&shape, &evidence, leaf, element)?)))
    }
}

impl Run for Execution {
    type Error = ExecutionError;

    fn trace(&mut self) -> Result<Vec<Digest>, ExecutionError> {
        Ok(self.rerun.leaves().to_vec())
    }

    fn outputs(&mut self) -> Result<Vec<Digest>, ExecutionError> {
        let output = match &self.side {
            Side::Defender { served, .. } => served,
            Side::Challenger => &self.rerun.run().output,
        };
        Ok(commit::output_leaves(&self.salt, output))
    }

    fn trace_salt(&mut self) -> Result<Digest, ExecutionError> {
        let salt = commit::trace_salt(&self.salt);
        let own = commit::trace_commit_with(&self.rerun.run().trace_root, &salt);
        match &self.side {
            Side::Defender { trace_commit, .. } if *trace_commit != own => {
                Err(ExecutionError::OtherRun)
            }
            _ => Ok(salt),
        }
    }

    fn fine(&mut self, coarse: u64) -> Result<(Vec<Digest>, u64), ExecutionError> {
        let output = self.shape()?.fine(coarse)?.output();
        let digests = self.tree(coarse)?.tree.digests().to_vec();
        Ok((digests, output.end.saturating_sub(output.start)))
    }

    fn leaf(&mut self, coarse: u64, leaf: u64) -> Result<Vec<u8>, ExecutionError> {
        Ok(self.tree(coarse)?.tree.leaf(leaf).to_vec())
    }

    fn refute(
        &mut self,
        coarse: u64,
        leaf: u64,
        bytes: &[u8],
    ) -> Result<Option<(u64, Vec<u8>)>, ExecutionError> {
        self.tree(coarse)?;
        let Some(fine) = &self.fine else { return Ok(None) };
        let Some((element, openings)) = self.difference(fine, leaf, bytes)? else {
            return Ok(None);
        };
        // Writing to memory does not fail.
        Ok(Some((element, borsh::to_vec(&openings).unwrap_or_default())))
    }

    fn token(&mut self, output: u32) -> Result<(u32, u64), ExecutionError> {
        let Output::Tokens(tokens) = &self.rerun.run().output else {
            return Err(merkle::BadProof::Range.into());
        };
        let token = tokens.get(one(output.into())).and_then(<[u32]>::first);
        Ok((*token.ok_or(merkle::BadProof::Range)?, self.place(output.into())?.leaf))
    }

    fn output(&mut self, index: u64) -> Result<OutputProof, ExecutionError> {
        let place = self.place(index)?;
        let all = commit::output_bytes(&self.rerun.run().output);
        let pieces = match &self.rerun.run().output {
            // A token is a coarse leaf of its own.
            Output::Tokens(_) => all.get(one(index)).unwrap_or_default(),
            Output::Row(_) => &all,
        };
        let digests: Vec<Digest> =
            pieces.iter().map(|piece| hash_bytes(Domain::TraceLeaf, piece)).collect();
        let bytes = pieces.get(one(place.piece)).and_then(<[Vec<u8>]>::first).cloned();
        let leaf = self.rerun.leaves().get(one(place.leaf)).and_then(<[Digest]>::first).copied();
        Ok(OutputProof {
            salt: self.salt,
            first: *self.rerun.ids().first().ok_or(merkle::BadProof::Range)?,
            input: proof(&commit::input_leaves(&self.salt, self.rerun.ids()), 0)?,
            bytes: Bytes::new(bytes.ok_or(merkle::BadProof::Range)?)?,
            leaf: leaf.ok_or(merkle::BadProof::Range)?,
            pieces: proof(&digests, place.piece)?,
            trace: proof(self.rerun.leaves(), place.leaf)?,
        })
    }
}

fn proof(leaves: &[Digest], index: u64) -> Result<merkle::RangeProof, merkle::BadProof> {
    merkle::RangeProof::new(leaves, index..index.saturating_add(1))
}

fn one(index: u64) -> Range<usize> {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    index..index.saturating_add(1)
}
