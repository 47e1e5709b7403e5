//! Runs of a request, right ones and false ones, as parties of a dispute have them.
//!
//! Rules: a run of the reference is right; a false one is a run of other weights, over other
//! tokens, or a right one with faults in named leaves; whatever a party shows is consistent with
//! itself as far as its lie allows. Never here: whose turn it is.

use super::{graphs, random::Random};
use crypto::{
    Digest, Domain, Salt, Tree, hash_bytes, merkle,
    merkle::{BadProof, RangeProof},
};
use ledger::{
    bytes::Bytes,
    disputes::{
        moves::{Finding, OutputProof},
        player::Run,
    },
    payments::messages::{self, RequestBody},
};
use model::{
    Job, Model, Output, Sampling, commit,
    constants::PIECE,
    reference::{Evaluated, evaluate, run},
    step::{CoarseLeaf, Evidence, Executed as _, Fine, FineTree, Opening, Operand, Path, Plan},
    step::{RunShape, TraceShape, open},
};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

/// The salt of every request.
pub(crate) const SALT: Salt = Salt::new([5; 32]);

/// A model with what openings need of it.
pub(crate) struct AtHand {
    pub(crate) model: Model,
    plan: Plan,
    weights: Vec<Digest>,
    tables: Vec<Digest>,
}

impl AtHand {
    pub(crate) fn new(model: Model) -> Self {
        let plan = Plan::of(&model).unwrap();
        let weights = model.weights().leaves(plan.tensors());
        let tables = model.weights().table_leaves();
        Self { model, plan, weights, tables }
    }
}

/// One run of a request on some model, whole.
pub(crate) struct Execution {
    at_hand: Arc<AtHand>,
    body: RequestBody,
    ids: Vec<u32>,
    pub(crate) output: Output,
    pub(crate) finish: messages::Finish,
    evaluated: Evaluated,
    trees: Mutex<BTreeMap<u64, Arc<FineTree>>>,
}

fn sampling(body: &RequestBody) -> Sampling {
    let messages::Sampling { temperature_milli, top_p_milli, top_k } = body.sampling;
    Sampling { temperature_milli, top_p_milli, top_k }
}

impl Execution {
    /// What the model gives.
    pub(crate) fn of(at_hand: &Arc<AtHand>, body: &RequestBody, ids: &[u32]) -> Self {
        let (sampling, stop) = (sampling(body), body.stop.to_vec());
        let (seed, max_tokens) = (body.seed, body.max_tokens);
        let job = Job { ids, sampling, seed, max_tokens, stop: &stop };
        let given = run(&at_hand.model, &job, &mut |_| ControlFlow::Continue(())).unwrap();
        let finish = match given.finish {
            model::Finish::Length => messages::Finish::Length,
            _ => messages::Finish::Stop,
        };
        let made = Self::forced(at_hand, body, ids, given.output, finish);
        assert_eq!(merkle::root(made.evaluated.trace()), given.trace_root);
        made
    }

    /// A run that is made to give an output: consistent, and right up to its first wrong token.
    pub(crate) fn forced(
        at_hand: &Arc<AtHand>,
        body: &RequestBody,
        ids: &[u32],
        output: Output,
        finish: messages::Finish,
    ) -> Self {
        let tokens = match &output {
            Output::Tokens(tokens) => tokens.as_slice(),
            Output::Row(_) => &[],
        };
        let evaluated = evaluate(&at_hand.model, ids, tokens);
        let (at_hand, body, ids) = (Arc::clone(at_hand), body.clone(), ids.to_vec());
        let trees = Mutex::default();
        Self { at_hand, body, ids, output, finish, evaluated, trees }
    }

    /// The same over other tokens.
    pub(crate) fn with_tokens(&self, tokens: Vec<u32>, finish: messages::Finish) -> Self {
        Self::forced(&self.at_hand, &self.body, &self.ids, Output::Tokens(tokens), finish)
    }

    pub(crate) fn tokens(&self) -> &[u32] {
        match &self.output {
            Output::Tokens(tokens) => tokens,
            Output::Row(_) => &[],
        }
    }

    pub(crate) fn n_in(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap()
    }

    pub(crate) fn n_out(&self) -> u32 {
        match &self.output {
            Output::Tokens(tokens) => u32::try_from(tokens.len()).unwrap(),
            Output::Row(_) => 1,
        }
    }

    fn shape(&self) -> TraceShape<'_> {
        let (n_in, n_out) = (self.n_in(), self.n_out());
        let run = RunShape { n_in, n_out, sampling: sampling(&self.body), seed: self.body.seed };
        TraceShape::new(&self.at_hand.plan, run).unwrap()
    }

    fn tree(&self, coarse: u64) -> Arc<FineTree> {
        let mut trees = self.trees.lock().unwrap();
        let made = trees.entry(coarse).or_insert_with(|| {
            let fine = self.shape().fine(coarse).unwrap();
            Arc::new(FineTree::new(&fine, &self.at_hand.model, &self.evaluated).unwrap())
        });
        Arc::clone(made)
    }

    /// Bytes of each leaf of the output commitment.
    fn outputs(&self) -> Vec<Vec<u8>> {
        match &self.output {
            Output::Tokens(tokens) => tokens.iter().map(|id| id.to_le_bytes().to_vec()).collect(),
            Output::Row(row) => {
                let bytes = |piece: &[i32]| piece.iter().flat_map(|q| q.to_le_bytes()).collect();
                row.chunks(PIECE).map(bytes).collect()
            }
        }
    }

    /// Coarse leaves.
    pub(crate) fn leaves(&self) -> u64 {
        self.shape().leaves()
    }

    /// Leaves of a fine tree, and those of them that make the coarse leaf.
    pub(crate) fn fine_leaves(&self, coarse: u64) -> (u64, std::ops::Range<u64>) {
        let fine = self.shape().fine(coarse).unwrap();
        (fine.leaves(), fine.output())
    }
}

/// A fine leaf with a flipped bit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) coarse: u64,
    pub(crate) leaf: u64,
    pub(crate) byte: u64,
}

/// A run as a party tells it.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) execution: Arc<Execution>,
    pub(crate) faults: Vec<Fault>,
    /// The coarse leaf from which on all that have no fault are noise.
    pub(crate) noise: Option<u64>,
    /// Output leaves that are not those of the trace.
    pub(crate) false_outputs: Vec<u64>,
    pub(crate) finish: messages::Finish,
}

impl Told {
    /// As it was.
    pub(crate) fn truly(execution: &Arc<Execution>) -> Self {
        let (faults, false_outputs) = (Vec::new(), Vec::new());
        let (execution, finish) = (Arc::clone(execution), execution.finish);
        Self { execution, faults, noise: None, false_outputs, finish }
    }

    fn bytes(&self, coarse: u64, leaf: u64) -> Vec<u8> {
        let mut bytes = self.execution.tree(coarse).leaf(leaf).to_vec();
        for fault in &self.faults {
            if (fault.coarse, fault.leaf) == (coarse, leaf) && !bytes.is_empty() {
                let at = fault.byte as usize % bytes.len();
                bytes[at] ^= 1;
            }
        }
        bytes
    }

    fn digests(&self, coarse: u64) -> Vec<Digest> {
        let mut digests = self.execution.tree(coarse).digests().to_vec();
        for fault in self.faults.iter().filter(|fault| fault.coarse == coarse) {
            let bytes = self.bytes(coarse, fault.leaf);
            digests[fault.leaf as usize] = hash_bytes(Domain::TraceLeaf, &bytes);
        }
        digests
    }

    fn trace_leaves(&self) -> Vec<Digest> {
        let mut leaves = self.execution.evaluated.trace().to_vec();
        if let Some(noise) = self.noise {
            for (index, leaf) in leaves.iter_mut().enumerate().skip(noise as usize) {
                *leaf = merkle::leaf(&index.to_le_bytes());
            }
        }
        for coarse in self.faults.iter().map(|fault| fault.coarse) {
            let output = self.execution.fine_leaves(coarse).1;
            let pieces = &self.digests(coarse)[output.start as usize..output.end as usize];
            leaves[coarse as usize] = merkle::root(pieces);
        }
        leaves
    }

    fn output_leaves(&self) -> Vec<Digest> {
        let leaf = |(index, mut bytes): (u64, Vec<u8>)| {
            if self.false_outputs.contains(&index) {
                bytes[0] ^= 1;
            }
            merkle::salted_leaf(&SALT, Tree::Output, index, &bytes)
        };
        (0..).zip(self.execution.outputs()).map(leaf).collect()
    }

    /// What its teller says it has found.
    pub(crate) fn finding(&self) -> Finding {
        Finding {
            trace_root: merkle::root(&self.trace_leaves()),
            output_commit: merkle::root(&self.output_leaves()),
            n_out: self.execution.n_out(),
            finish: self.finish,
        }
    }

    /// Openings of a step under the roots of this party.
    fn openings(&self, fine: &Fine<'_>, coarse: u64, leaf: u64, element: u64) -> Vec<Opening> {
        let AtHand { model, weights, tables, .. } = &*self.execution.at_hand;
        let (tree, run) = (self.execution.tree(coarse), &self.execution.evaluated);
        let trace = self.trace_leaves();
        let evidence =
            Evidence { model, run, tree: &tree, trace: &trace, weights, tables, salt: &SALT };
        let mut openings = open(fine, &evidence, leaf, element).unwrap_or_default();
        let digests = self.digests(coarse);
        for Opening { operand, path, .. } in &mut openings {
            if let (Operand::Fine { first, count }, Path::Leaves(proof)) = (operand, path) {
                *proof = RangeProof::new(&digests, *first..*first + *count).unwrap();
            }
        }
        openings
    }
}

impl Run for Told {
    type Error = BadProof;

    fn trace(&mut self) -> Result<Vec<Digest>, BadProof> {
        Ok(self.trace_leaves())
    }

    fn outputs(&mut self) -> Result<Vec<Digest>, BadProof> {
        Ok(self.output_leaves())
    }

    fn trace_salt(&mut self) -> Result<Digest, BadProof> {
        Ok(commit::trace_salt(&SALT))
    }

    fn fine(&mut self, coarse: u64) -> Result<(Vec<Digest>, u64), BadProof> {
        let output = self.execution.fine_leaves(coarse).1;
        Ok((self.digests(coarse), output.end - output.start))
    }

    fn leaf(&mut self, coarse: u64, leaf: u64) -> Result<Vec<u8>, BadProof> {
        Ok(self.bytes(coarse, leaf))
    }

    fn refute(
        &mut self,
        coarse: u64,
        leaf: u64,
        bytes: &[u8],
    ) -> Result<Option<(u64, Vec<u8>)>, BadProof> {
        let own = self.bytes(coarse, leaf);
        let shape = self.execution.shape();
        let fine = shape.fine(coarse).map_err(|_| BadProof::Range)?;
        let address = fine.address(leaf).map_err(|_| BadProof::Range)?;
        let size = fine.geometry(&address).ok_or(BadProof::Range)?.bytes as usize;
        let differs = own.chunks(size).zip(bytes.chunks(size)).position(|(own, it)| own != it);
        let element = differs.or_else(|| (own.len() != bytes.len()).then_some(0));
        Ok(element.map(|element| {
            let openings = self.openings(&fine, coarse, leaf, element as u64);
            (element as u64, borsh::to_vec(&openings).unwrap())
        }))
    }

    fn token(&mut self, output: u32) -> Result<(u32, u64), BadProof> {
        let token = self.execution.evaluated.token(output).ok_or(BadProof::Range)?;
        let leaf = self.execution.shape().index(CoarseLeaf::Token { output });
        Ok((token, leaf.ok_or(BadProof::Range)?))
    }

    fn output(&mut self, index: u64) -> Result<OutputProof, BadProof> {
        let place = self.execution.shape().output_leaf(index).ok_or(BadProof::Range)?;
        let all = self.execution.outputs();
        let bytes = all[index as usize].clone();
        let pieces: Vec<Digest> = match &self.execution.output {
            Output::Tokens(_) => vec![hash_bytes(Domain::TraceLeaf, &bytes)],
            Output::Row(_) => all.iter().map(|it| hash_bytes(Domain::TraceLeaf, it)).collect(),
        };
        let trace = self.trace_leaves();
        let input = input_leaves(&self.execution.ids);
        Ok(OutputProof {
            salt: SALT,
            first: self.execution.ids[0],
            input: RangeProof::new(&input, 0..1)?,
            bytes: Bytes::new(bytes).map_err(|_| BadProof::Length)?,
            leaf: trace[place.leaf as usize],
            pieces: RangeProof::new(&pieces, place.piece..place.piece + 1)?,
            trace: RangeProof::new(&trace, place.leaf..place.leaf + 1)?,
        })
    }
}

/// Salted leaves of an input.
pub(crate) fn input_leaves(ids: &[u32]) -> Vec<Digest> {
    let leaf = |(index, id): (u64, &u32)| {
        merkle::salted_leaf(&SALT, Tree::Input, index, &id.to_le_bytes())
    };
    (0..).zip(ids).map(leaf).collect()
}

/// A lie about a right run, of one of the kinds that a cheat or a flipped bit can bring about.
pub(crate) fn lie(right: &Arc<Execution>, random: &mut Random) -> Told {
    let mut told = Told::truly(right);
    let generates = !right.tokens().is_empty();
    match random.below(if generates { 8 } else { 4 }) {
        0 => one_leaf(&mut told, random, None),
        1 => {
            one_leaf(&mut told, random, None);
            told.noise = Some(told.faults[0].coarse + 1);
        }
        2 => wrong_weights(&mut told, random),
        3 => told.false_outputs.push(random.below(right.outputs().len() as u64)),
        4 => wrong_token(&mut told, random),
        5 => wrong_length(&mut told, random),
        6 => told.finish = other(right.finish),
        _ => {
            wrong_token(&mut told, random);
            let last = told.execution.leaves() - 1;
            one_leaf(&mut told, random, Some(last));
        }
    }
    told
}

const fn other(finish: messages::Finish) -> messages::Finish {
    match finish {
        messages::Finish::Stop => messages::Finish::Length,
        _ => messages::Finish::Stop,
    }
}

/// A leaf of the trace is wrong by one leaf of its fine tree, often an earlier one too.
fn one_leaf(told: &mut Told, random: &mut Random, coarse: Option<u64>) {
    let coarse = coarse.unwrap_or_else(|| random.below(told.execution.leaves()));
    let (leaves, output) = told.execution.fine_leaves(coarse);
    let last = output.start + random.below(output.end - output.start);
    let byte = random.next();
    told.faults.push(Fault { coarse, leaf: last, byte });
    let earlier = random.below(leaves);
    if earlier != last && random.chance(1, 2) {
        told.faults.push(Fault { coarse, leaf: earlier, byte });
    }
}

/// Another model, over the same tokens or over its own.
fn wrong_weights(told: &mut Told, random: &mut Random) {
    let right = Arc::clone(&told.execution);
    let wrong = graphs::with_wrong_weights(&right.at_hand.model, random);
    let at_hand = Arc::new(AtHand::new(wrong));
    let run = if random.chance(1, 2) {
        Execution::of(&at_hand, &right.body, &right.ids)
    } else {
        let output = match &right.output {
            Output::Tokens(tokens) => Output::Tokens(tokens.clone()),
            Output::Row(_) => Execution::of(&at_hand, &right.body, &right.ids).output,
        };
        Execution::forced(&at_hand, &right.body, &right.ids, output, right.finish)
    };
    *told = Told::truly(&Arc::new(run));
}

/// A token that was not drawn, and what follows from it.
fn wrong_token(told: &mut Told, random: &mut Random) {
    let right = &told.execution;
    let mut tokens = right.tokens().to_vec();
    let at = random.below(tokens.len() as u64) as usize;
    let vocabulary = right.at_hand.model.graph().vocabulary;
    tokens[at] = (tokens[at] + 1 + random.below(u64::from(vocabulary) - 1) as u32) % vocabulary;
    *told = Told::truly(&Arc::new(right.with_tokens(tokens, right.finish)));
}

/// An answer that goes on after its end, or ends before it.
fn wrong_length(told: &mut Told, random: &mut Random) {
    let right = &told.execution;
    let mut tokens = right.tokens().to_vec();
    let room = right.at_hand.plan.positions() - right.n_in();
    if tokens.len() > 1 && random.chance(1, 2) {
        tokens.truncate(1 + random.below(tokens.len() as u64 - 1) as usize);
    } else if (tokens.len() as u32) < room.min(right.body.max_tokens) {
        tokens.push(random.below(right.at_hand.model.graph().vocabulary.into()) as u32);
    }
    let finish = *random.pick(&[messages::Finish::Stop, messages::Finish::Length]);
    *told = Told::truly(&Arc::new(right.with_tokens(tokens, finish)));
}
