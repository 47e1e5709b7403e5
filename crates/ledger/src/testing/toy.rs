//! A model without weights, for tests of the rules of verified work: its tokens count up from 100,
//! and every element of its trees follows from its place.
//!
//! Rules: a run of any party is a [`ToyRun`], right or with faults at named places; what it shows
//! goes through the same player as everybody's. Never here: the canonical semantics, over which
//! the same games are played where the port is bound.

use super::{account, digest, key, operator_of, public};
use crypto::{Digest, Domain, ModelId, Salt, Tree, hash, hash_bytes, merkle, merkle::RangeProof};
use ledger::{
    ModelFacts,
    bytes::Bytes,
    disputes::{
        moves::{Finding, OutputProof, Subject},
        player::Run,
    },
    payments::messages::{AuditMode, Finish, Receipt, Request, RequestBody, Sampling, Tier, fee},
    verification::{Content, OpenedLeaf},
    verifier::{
        DisputedRun, FineShape, Impossible, OutputPlace, Reach, StepClaim, StepOutcome,
        StepRefused, StepRoots, Task, TraceShape,
    },
};
use std::convert::Infallible;
use units::{List, Millis, Price, Round, WorkUnits};

/// Rows of each position in the trace.
const BOUNDARIES: u64 = 3;
/// Leaves of each fine tree.
pub(crate) const FINE_LEAVES: u64 = 20;
/// Bytes of a fine leaf that is no token.
const LEAF_BYTES: u64 = 8;
/// Tokens of every input.
const INPUT: [u32; 3] = [7, 8, 9];
/// The op that every step names.
pub(crate) const OP: u32 = 4;

/// What the registry knows of it.
pub(crate) fn facts() -> ModelFacts {
    ModelFacts {
        model: ModelId::new(digest("toy")),
        semantics: 1,
        task: Task::Generate,
        graph_root: digest("graph"),
        weight_root: digest("weights"),
        preprocess: digest("preprocess"),
        reach: Reach::Causal,
        per_position: 1 << 20,
        per_output: 1 << 20,
        per_pair: 0,
        blocks: 2,
        max_input: 64,
        max_positions: 128,
        vocabulary: 1_000,
        width: 8,
    }
}

/// The output whose token stands at a coarse leaf.
fn output_at(n_in: u32, leaf: u64) -> Option<u32> {
    let silent = u64::from(n_in - 1) * BOUNDARIES;
    let rest = leaf.checked_sub(silent)?;
    let is_token = rest % (BOUNDARIES + 1) == BOUNDARIES;
    is_token.then(|| u32::try_from(rest / (BOUNDARIES + 1)).unwrap())
}

fn token_leaf(n_in: u32, output: u32) -> u64 {
    (u64::from(n_in) + u64::from(output)) * BOUNDARIES + u64::from(output)
}

fn right_token(output: u32) -> u32 {
    100 + output
}

/// The right bytes of a fine leaf.
fn right(n_in: u32, coarse: u64, leaf: u64) -> Vec<u8> {
    match output_at(n_in, coarse) {
        Some(output) if leaf == FINE_LEAVES - 1 => right_token(output).to_le_bytes().to_vec(),
        _ => (0..LEAF_BYTES).map(|k| (coarse * 31 + leaf * 3 + k * 7) as u8).collect(),
    }
}

fn end(body: &RequestBody, n_out: u32, token: u32) -> Option<Finish> {
    if body.stop.contains(&token) {
        return Some(Finish::Stop);
    }
    (n_out >= body.max_tokens).then_some(Finish::Length)
}

/// What a step opens: the roots under which its operands hang.
fn openings(trace: &Digest, fine: &Digest) -> Vec<u8> {
    [*trace.as_bytes(), *fine.as_bytes()].concat()
}

pub(super) fn trace_shape(run: &DisputedRun<'_>) -> Result<TraceShape, Impossible> {
    if run.n_in == 0 || run.n_in > facts().max_input || run.n_out > run.body.max_tokens {
        return Err(Impossible);
    }
    let positions = u64::from(run.n_in) + u64::from(run.n_out.max(1)) - 1;
    let outputs = u64::from(run.n_out);
    Ok(TraceShape { leaves: positions * BOUNDARIES + outputs, outputs })
}

pub(super) fn fine_shape(run: &DisputedRun<'_>, leaf: u64) -> Result<FineShape, Impossible> {
    let shape = trace_shape(run)?;
    if leaf >= shape.leaves {
        Err(Impossible)
    } else {
        Ok(FineShape { leaves: FINE_LEAVES, outputs: 1 })
    }
}

pub(super) fn output_place(run: &DisputedRun<'_>, index: u64) -> Result<OutputPlace, Impossible> {
    let output = u32::try_from(index).map_err(|_| Impossible)?;
    if output >= run.n_out {
        return Err(Impossible);
    }
    Ok(OutputPlace { leaf: token_leaf(run.n_in, output), piece: 0, pieces: 1 })
}

pub(super) fn finish_after(run: &DisputedRun<'_>, token: u32) -> Option<Finish> {
    end(run.body, run.n_out, token)
}

pub(super) fn check_step(
    run: &DisputedRun<'_>,
    roots: &StepRoots,
    claim: &StepClaim<'_>,
    opened: &[u8],
) -> Result<StepOutcome, StepRefused> {
    if opened != openings(&roots.trace, &roots.fine) {
        return Err(StepRefused::new("the operands hang elsewhere"));
    }
    let right = right(run.n_in, claim.coarse, claim.leaf);
    let element = usize::try_from(claim.element).unwrap_or(usize::MAX);
    let expected = right.get(element).ok_or_else(|| StepRefused::new("no such element"))?;
    let wrong = claim.bytes.len() != right.len() || claim.bytes.get(element) != Some(expected);
    Ok(StepOutcome { wrong, op: OP, weights: claim.leaf % 2 == 1 })
}

/// The run of one party.
#[derive(Debug, Clone)]
pub(crate) struct ToyRun {
    body: RequestBody,
    pub(crate) n_in: u32,
    pub(crate) tokens: Vec<u32>,
    pub(crate) finish: Finish,
    /// Fine leaves that differ from the right ones, by coarse leaf and leaf; a coarse leaf's last
    /// one changes it as well.
    pub(crate) faults: Vec<(u64, u64)>,
    /// Output leaves that are not those of the trace.
    pub(crate) false_outputs: Vec<u64>,
    salt: Salt,
}

impl ToyRun {
    /// The right run of a request.
    pub(crate) fn right(body: &RequestBody) -> Self {
        let mut tokens = Vec::new();
        let finish = loop {
            let output = u32::try_from(tokens.len()).unwrap();
            tokens.push(right_token(output));
            if let Some(finish) = end(body, output + 1, right_token(output)) {
                break finish;
            }
        };
        let (faults, false_outputs) = (Vec::new(), Vec::new());
        let n_in = u32::try_from(INPUT.len()).unwrap();
        Self { body: body.clone(), n_in, tokens, finish, faults, false_outputs, salt: salt() }
    }

    pub(crate) fn n_out(&self) -> u32 {
        u32::try_from(self.tokens.len()).unwrap()
    }

    /// Coarse leaves.
    pub(crate) fn leaves(&self) -> u64 {
        let positions = u64::from(self.n_in) + u64::from(self.n_out().max(1)) - 1;
        positions * BOUNDARIES + u64::from(self.n_out())
    }

    /// The coarse leaf of a token.
    pub(crate) fn token_leaf(&self, output: u32) -> u64 {
        token_leaf(self.n_in, output)
    }

    fn bytes(&self, coarse: u64, leaf: u64) -> Vec<u8> {
        let mut bytes = match output_at(self.n_in, coarse) {
            Some(output) if leaf == FINE_LEAVES - 1 => {
                self.tokens[usize::try_from(output).unwrap()].to_le_bytes().to_vec()
            }
            _ => right(self.n_in, coarse, leaf),
        };
        if self.faults.contains(&(coarse, leaf)) {
            bytes[2] ^= 1;
        }
        bytes
    }

    fn digests(&self, coarse: u64) -> Vec<Digest> {
        let leaf = |leaf| hash_bytes(Domain::TraceLeaf, &self.bytes(coarse, leaf));
        (0..FINE_LEAVES).map(leaf).collect()
    }

    fn coarse(&self) -> Vec<Digest> {
        let leaf = |coarse| merkle::root(&self.digests(coarse)[FINE_LEAVES as usize - 1..]);
        (0..self.leaves()).map(leaf).collect()
    }

    pub(crate) fn trace_root(&self) -> Digest {
        merkle::root(&self.coarse())
    }

    fn output_leaves(&self) -> Vec<Digest> {
        let leaf = |(index, token): (u64, &u32)| {
            let lie = u32::from(self.false_outputs.contains(&index));
            merkle::salted_leaf(&self.salt, Tree::Output, index, &(token + lie).to_le_bytes())
        };
        (0..).zip(&self.tokens).map(leaf).collect()
    }

    pub(crate) fn output_commit(&self) -> Digest {
        merkle::root(&self.output_leaves())
    }

    /// What whoever ran this has found.
    pub(crate) fn finding(&self) -> Finding {
        let (trace_root, output_commit) = (self.trace_root(), self.output_commit());
        Finding { trace_root, output_commit, n_out: self.n_out(), finish: self.finish }
    }
}

impl Run for ToyRun {
    type Error = Infallible;

    fn trace(&mut self) -> Result<Vec<Digest>, Infallible> {
        Ok(self.coarse())
    }

    fn outputs(&mut self) -> Result<Vec<Digest>, Infallible> {
        Ok(self.output_leaves())
    }

    fn trace_salt(&mut self) -> Result<Digest, Infallible> {
        Ok(trace_salt())
    }

    fn fine(&mut self, coarse: u64) -> Result<(Vec<Digest>, u64), Infallible> {
        Ok((self.digests(coarse), 1))
    }

    fn leaf(&mut self, coarse: u64, leaf: u64) -> Result<Vec<u8>, Infallible> {
        Ok(self.bytes(coarse, leaf))
    }

    fn refute(
        &mut self,
        coarse: u64,
        leaf: u64,
        bytes: &[u8],
    ) -> Result<Option<(u64, Vec<u8>)>, Infallible> {
        let own = self.bytes(coarse, leaf);
        let element = own.iter().zip(bytes).position(|(own, other)| own != other);
        let element = element.or_else(|| (own.len() != bytes.len()).then_some(0));
        let fine = merkle::root(&self.digests(coarse));
        Ok(element.map(|element| (element as u64, openings(&self.trace_root(), &fine))))
    }

    fn token(&mut self, output: u32) -> Result<(u32, u64), Infallible> {
        Ok((self.tokens[usize::try_from(output).unwrap()], self.token_leaf(output)))
    }

    fn output(&mut self, index: u64) -> Result<OutputProof, Infallible> {
        let output = u32::try_from(index).unwrap();
        let place = self.token_leaf(output);
        let token = self.tokens[usize::try_from(index).unwrap()].to_le_bytes();
        let piece = hash_bytes(Domain::TraceLeaf, &token);
        Ok(OutputProof {
            salt: self.salt,
            first: INPUT[0],
            input: RangeProof::new(&input_leaves(), 0..1).unwrap(),
            bytes: Bytes::new(token.to_vec()).unwrap(),
            leaf: merkle::root(&[piece]),
            pieces: RangeProof::new(&[piece], 0..1).unwrap(),
            trace: RangeProof::new(&self.coarse(), place..place + 1).unwrap(),
        })
    }
}

/// What an auditor of a run is sent.
pub(crate) fn content(run: &ToyRun) -> Content {
    let (input, output) = (List::new(INPUT.to_vec()), List::new(run.tokens.clone()));
    Content { salt: salt(), input: input.unwrap(), output: output.unwrap() }
}

/// The output leaf of a token as the operator committed it, opened without the request's salt.
pub(crate) fn opened_leaf(run: &ToyRun, index: u64) -> OpenedLeaf {
    let lie = u32::from(run.false_outputs.contains(&index));
    let token = run.tokens[usize::try_from(index).unwrap()] + lie;
    OpenedLeaf {
        salt: salt().of_leaf(Tree::Output, index),
        data: Bytes::new(token.to_le_bytes().to_vec()).unwrap(),
        path: RangeProof::new(&run.output_leaves(), index..index + 1).unwrap(),
    }
}

fn salt() -> Salt {
    Salt::new([3; 32])
}

/// The salt of every trace commitment.
pub(crate) fn trace_salt() -> Digest {
    digest("trace salt")
}

pub(crate) fn input_leaves() -> Vec<Digest> {
    let leaf = |(index, id): (u64, &u32)| {
        merkle::salted_leaf(&salt(), Tree::Input, index, &id.to_le_bytes())
    };
    (0..).zip(&INPUT).map(leaf).collect()
}

/// A request of the payer `gateway` to olga's operator 0, for at most `max_tokens` tokens or up
/// to the token `stop`.
pub(crate) fn request(
    chain: crypto::ChainId,
    sequence: u64,
    max_tokens: u32,
    stop: Option<u32>,
    freshness: Round,
) -> Request {
    let body = RequestBody {
        chain,
        model: facts().model,
        semantics: 1,
        input_commit: merkle::root(&input_leaves()),
        sampling: Sampling { temperature_milli: 0, top_p_milli: 1_000, top_k: 0 },
        seed: 5,
        max_tokens,
        stop: List::new(stop.into_iter().collect()).unwrap(),
    };
    Request {
        body,
        payer: account("gateway"),
        session_key: public("gateway"),
        operator: operator_of("olga", 0),
        lane: 0,
        sequence,
        price: Price::new(1_000_000),
        deadline: Millis::new(5_000),
        tier: Tier::Audit,
        audit_mode: AuditMode::Open,
        freshness,
    }
}

/// What the operator states about a run.
pub(crate) fn receipt(request: &Request, run: &ToyRun) -> Receipt {
    let work = WorkUnits::new(u64::from(run.n_in) + u64::from(run.n_out()) * 2 - 1);
    Receipt {
        operator: request.operator,
        key_epoch: 0,
        request: request.hash(),
        output_commit: run.output_commit(),
        trace_commit: hash(
            Domain::TraceCommit,
            &[run.trace_root().as_bytes(), trace_salt().as_bytes()],
        ),
        n_in: run.n_in,
        n_out: run.n_out(),
        finish: run.finish,
        work_units: work,
        fee: fee(request.price, work).unwrap(),
        sequence: request.sequence,
        previous: Digest::ZERO,
        t_received: Millis::new(1),
        t_first: Millis::new(2),
        t_done: Millis::new(3),
    }
}

/// Both, signed by the gateway's key and the box key of that name.
pub(crate) fn subject(request: Request, receipt: Receipt, box_name: &str) -> Subject {
    let receipt = receipt.sign(&key(box_name));
    Subject { request: request.sign(&key("gateway")), receipt, claimed: None }
}
