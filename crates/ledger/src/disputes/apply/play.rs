//! Disputes: the moves.
//!
//! Rules: R5 to R11. A move changes nothing unless everything it shows holds; what ends a line
//! against the operator is a proof, never a claim.

use super::{
    super::{
        math::{ends_wrongly, first_difference},
        schema::{Error, LEVELS, Move, OutputProof, Outputs, Parts},
        state::{Cause, Coarse, Dispute, Line, Node, Party, Phase, Tops, Tree, dispute, line},
    },
    lines::{self, run},
};
use crate::{
    context::{Context, Sender},
    error::{Broken, Failure},
    payments::messages::Finish,
    verifier::{Impossible, StepClaim, StepRoots, TraceShape},
};
use crypto::{Digest, Domain, Tree as Salted, hash, hash_bytes, merkle, merkle::PrefixProof};
use units::List;

/// What a move leads to.
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
enum Next {
    Phase(Phase),
    Decided(Party, Cause),
}

/// A move with all it is judged by.
struct Judge<'a> {
    ctx: &'a Context<'a>,
    sender: &'a Sender,
    record: &'a Dispute,
    line: &'a Line,
}

/// Makes a move.
pub(super) fn play(
    ctx: &mut Context<'_>,
    sender: &Sender,
    receipt: Digest,
    number: u32,
    play: &Move,
) -> Result<(), Failure> {
    let unknown = Error::UnknownLine { receipt, line: number };
    let record = dispute(ctx, &receipt)?.ok_or_else(|| unknown.clone())?;
    let line = line(ctx, &receipt, number)?.ok_or(unknown)?;
    if record.proven.is_some() {
        return Err(Error::AlreadyProven.into()); // R14
    }
    let ended = lines::ends(ctx, &record, &line)?;
    if ctx.clock() >= ended {
        return Err(Error::TooLate { ended }.into()); // R11
    }
    let next = Judge { ctx, sender, record: &record, line: &line }.judge(play)?;
    match next {
        Next::Phase(phase) => lines::advance(ctx, (receipt, number), record, line, phase),
        Next::Decided(loser, cause) => {
            lines::decide(ctx, (receipt, number), record, &line, loser, cause)
        }
    }
}

impl Judge<'_> {
    fn judge(&self, play: &Move) -> Result<Next, Failure> {
        match (&self.line.phase, play) {
            (Phase::Answer { common }, Move::Answer { salt, parts }) => {
                self.answer(*common, salt, parts)
            }
            (Phase::Split(node), Move::Split { parts }) => self.split(node, parts),
            (Phase::Refine { node, tops }, Move::Refine { parts }) => {
                self.refine(node, tops, parts)
            }
            (Phase::Open { coarse, leaf, digest }, Move::Open { bytes }) => {
                if hash_bytes(Domain::TraceLeaf, bytes) != *digest {
                    return Err(Error::WrongLeaf.into()); // R8
                }
                let (coarse, leaf, bytes) = (*coarse, *leaf, bytes.clone());
                Ok(Next::Phase(Phase::Execute { coarse, leaf, bytes }))
            }
            (Phase::Execute { coarse, leaf, bytes }, Move::Execute { element, openings }) => {
                let claim =
                    StepClaim { coarse: coarse.leaf, leaf: *leaf, bytes, element: *element };
                self.execute(coarse.root, &claim, openings)
            }
            (Phase::End, Move::End { token, proof }) => self.end(*token, proof),
            (Phase::Output { index, digest }, Move::Output(proof)) => {
                self.output(*index, digest, proof)
            }
            _ => Err(Error::OutOfTurn.into()),
        }
    }

    fn shape(&self, n_out: u32) -> Result<TraceShape, Failure> {
        let run = run(self.ctx, self.record, n_out)?;
        let shape = self.ctx.ports().verifier.trace_shape(&run);
        Ok(shape.map_err(|_| Broken::Rule("a disputed run has no shape"))?)
    }

    /// Outputs that both runs have.
    fn shorter(&self) -> u32 {
        self.line.finding.n_out.min(self.record.receipt.n_out)
    }

    /// R5: the trace behind the receipt. Its root is that of the salted commitment, and the parts
    /// that are shown hash to it.
    fn answer(&self, common: u64, salt: &Digest, parts: &Parts) -> Result<Next, Failure> {
        let (receipt, finding) = (&self.record.receipt, &self.line.finding);
        no_outputs(parts)?;
        let top = joined(common, parts)?;
        let leaves = self.shape(receipt.n_out)?.leaves;
        let root = extended(parts.prefix.as_ref(), &top, common, leaves)?;
        let commit = hash(Domain::TraceCommit, &[root.as_bytes(), salt.as_bytes()]);
        if commit != receipt.trace_commit {
            return Err(Error::WrongTrace.into());
        }
        let same = merkle::bind(common, &top) == finding.trace_root;
        if finding.n_out <= receipt.n_out && same {
            return self.beyond_the_trace();
        }
        let node = Node::whole(Tree::Trace, common);
        Ok(Next::Phase(Phase::Refine { node, tops: parts.tops.clone() }))
    }

    /// What is left once both runs have the same trace as far as both go (R9, R10).
    fn beyond_the_trace(&self) -> Result<Next, Failure> {
        let (receipt, finding) = (&self.record.receipt, &self.line.finding);
        let judged = receipt.finish != Finish::Cancelled;
        if finding.n_out != receipt.n_out || (judged && finding.finish != receipt.finish) {
            return Ok(Next::Phase(Phase::End));
        }
        if finding.output_commit == receipt.output_commit {
            return Ok(Next::Decided(Party::Challenger, Cause::SameFinding));
        }
        let outputs = self.shape(receipt.n_out)?.outputs;
        Ok(Next::Phase(Phase::Split(Node::whole(Tree::Output, outputs))))
    }

    /// R6, R7: the operator's half of a round.
    fn split(&self, node: &Node, parts: &Parts) -> Result<Next, Failure> {
        no_prefix(parts)?;
        let top = joined(node.count, parts)?;
        match (&node.tops, &node.tree) {
            (Some(tops), _) => {
                no_outputs(parts)?;
                same(top, tops.defender)?;
            }
            (None, Tree::Output) => {
                no_outputs(parts)?;
                same(merkle::bind(node.count, &top), self.record.receipt.output_commit)?;
            }
            (None, Tree::Fine(coarse)) => {
                self.party(lines::operator(self.ctx, self.record)?.owner)?;
                let root = merkle::bind(node.count, &top);
                self.outputs(coarse.leaf, &root, node.count, parts, &coarse.defender)?;
            }
            (None, Tree::Trace) => {
                return Err(Broken::Rule("a trace is split before its answer").into());
            }
        }
        Ok(Next::Phase(Phase::Refine { node: *node, tops: parts.tops.clone() }))
    }

    /// R6, R7: the challenger's half of a round. The ledger itself picks the first part that
    /// differs.
    fn refine(
        &self,
        node: &Node,
        ours: &List<Digest, { super::super::schema::PARTS_MAX }>,
        parts: &Parts,
    ) -> Result<Next, Failure> {
        let finding = &self.line.finding;
        let top = joined(node.count, parts)?;
        let mut tree = node.tree;
        match (&node.tops, &mut tree) {
            (Some(Tops { challenger, .. }), _) => {
                no_outputs(parts)?;
                no_prefix(parts)?;
                same(top, *challenger)?;
            }
            (None, Tree::Trace) => {
                no_outputs(parts)?;
                let leaves = self.shape(finding.n_out)?.leaves;
                let root = extended(parts.prefix.as_ref(), &top, node.count, leaves)?;
                same(root, finding.trace_root)?;
            }
            (None, Tree::Output) => {
                no_outputs(parts)?;
                no_prefix(parts)?;
                same(merkle::bind(node.count, &top), finding.output_commit)?;
            }
            (None, Tree::Fine(coarse)) => {
                no_prefix(parts)?;
                let first = self.line.backers.first();
                self.party(first.ok_or(Broken::Rule("a line has no challenger"))?.account)?;
                coarse.root = merkle::bind(node.count, &top);
                let Coarse { leaf, challenger, root, .. } = *coarse;
                self.outputs(leaf, &root, node.count, parts, &challenger)?;
            }
        }
        match first_difference(node, tree, ours, &parts.tops) {
            Some(found) => self.descend(found),
            None if node.tops.is_none() && tree == Tree::Trace => self.beyond_the_trace(),
            None => Err(Error::NoDifference.into()),
        }
    }

    /// Into a node in which the parties differ; a single leaf ends the tree.
    fn descend(&self, node: Node) -> Result<Next, Failure> {
        if node.count > 1 {
            return Ok(Next::Phase(Phase::Split(node)));
        }
        let tops = node.tops.ok_or(Broken::Rule("a leaf that differs has no digests"))?;
        let Tops { defender, challenger } = tops;
        Ok(Next::Phase(match node.tree {
            Tree::Trace => {
                let coarse = Coarse { leaf: node.first, defender, challenger, root: Digest::ZERO };
                lines::fine(self.ctx, self.record, &self.line.finding, coarse)?
            }
            Tree::Output => Phase::Output { index: node.first, digest: defender },
            Tree::Fine(coarse) => Phase::Open { coarse, leaf: node.first, digest: defender },
        }))
    }

    /// R8: the step, executed from what the challenger opens under its own roots: all that lies
    /// before the leaf is the same under both.
    fn execute(
        &self,
        fine: Digest,
        claim: &StepClaim<'_>,
        openings: &[u8],
    ) -> Result<Next, Failure> {
        let finding = &self.line.finding;
        let roots = StepRoots { trace: finding.trace_root, fine };
        let run = run(self.ctx, self.record, finding.n_out)?;
        let outcome = self.ctx.ports().verifier.check_step(&run, &roots, claim, openings);
        let outcome = outcome.map_err(|refused| Error::BadStep { reason: refused.reason })?;
        if !outcome.wrong {
            return Err(Error::NothingWrong.into());
        }
        let cause = Cause::WrongStep { op: outcome.op, weights: outcome.weights };
        Ok(Next::Decided(Party::Defender, cause))
    }

    /// R9: the finish rule at the last token that both runs have.
    fn end(&self, token: u32, proof: &merkle::RangeProof) -> Result<Next, Failure> {
        let (receipt, finding) = (&self.record.receipt, &self.line.finding);
        let verifier = self.ctx.ports().verifier;
        let shorter = self.shorter();
        let last = shorter.checked_sub(1).ok_or(Broken::Rule("an end without a token"))?;
        let run = |n_out| run(self.ctx, self.record, n_out);
        let bad = |_: Impossible| Error::BadPath;
        let place = verifier.output_place(&run(finding.n_out)?, last.into()).map_err(bad)?;
        let leaf = merkle::root(&[hash_bytes(Domain::TraceLeaf, &token.to_le_bytes())]);
        let leaves = self.shape(finding.n_out)?.leaves;
        let shown = proof.verify(&finding.trace_root, leaves, place.leaf, &[leaf]);
        shown.map_err(|_| Error::BadPath)?;
        let after = verifier.finish_after(&run(shorter)?, token).map_err(bad)?;
        if !ends_wrongly(receipt, finding.n_out, after) {
            return Err(Error::NothingWrong.into());
        }
        Ok(Next::Decided(Party::Defender, Cause::WrongFinish))
    }

    /// R10: what the output leaf has to be, from the trace and the request's salt.
    fn output(&self, index: u64, digest: &Digest, proof: &OutputProof) -> Result<Next, Failure> {
        let (record, finding) = (self.record, &self.line.finding);
        let bad = |_| Error::BadPath;
        let first = merkle::salted_leaf(&proof.salt, Salted::Input, 0, &proof.first.to_le_bytes());
        let commit = &record.request.body.input_commit;
        proof.input.verify(commit, record.receipt.n_in.into(), 0, &[first]).map_err(bad)?;

        let run = run(self.ctx, record, finding.n_out)?;
        let place = self.ctx.ports().verifier.output_place(&run, index);
        let place = place.map_err(|_| Error::BadPath)?;
        let piece = hash_bytes(Domain::TraceLeaf, &proof.bytes);
        proof.pieces.verify(&proof.leaf, place.pieces, place.piece, &[piece]).map_err(bad)?;
        let leaves = self.shape(finding.n_out)?.leaves;
        let trace = &finding.trace_root;
        proof.trace.verify(trace, leaves, place.leaf, &[proof.leaf]).map_err(bad)?;

        let right = merkle::salted_leaf(&proof.salt, Salted::Output, index, &proof.bytes);
        if right == *digest {
            return Err(Error::NothingWrong.into());
        }
        Ok(Next::Decided(Party::Defender, Cause::WrongOutput))
    }

    /// R7: a fine tree is not committed to beforehand, so only its party may give it.
    fn party(&self, account: crypto::AccountId) -> Result<(), Error> {
        let key = self.sender.signer;
        if self.sender.account == account { Ok(()) } else { Err(Error::NotTheParty { key }) }
    }

    /// R7: the last leaves of a fine tree make the coarse leaf.
    fn outputs(
        &self,
        leaf: u64,
        root: &Digest,
        count: u64,
        parts: &Parts,
        coarse: &Digest,
    ) -> Result<(), Failure> {
        let Some(Outputs { pieces, proof }) = &parts.outputs else {
            return Err(Error::WrongOutputs.into());
        };
        let run = run(self.ctx, self.record, self.line.finding.n_out)?;
        let shape = self.ctx.ports().verifier.fine_shape(&run, leaf);
        let outputs = shape.map_err(|_| Broken::Rule("a coarse leaf has no fine tree"))?.outputs;
        let whole = u64::try_from(pieces.len()) == Ok(outputs) && merkle::root(pieces) == *coarse;
        let shown = proof.verify(root, count, count.saturating_sub(outputs), pieces);
        if whole && shown.is_ok() { Ok(()) } else { Err(Error::WrongOutputs.into()) }
    }
}

fn joined(count: u64, parts: &Parts) -> Result<Digest, Error> {
    merkle::join(count, LEVELS, &parts.tops).map_err(|_| Error::WrongParts)
}

fn same(given: Digest, expected: Digest) -> Result<(), Error> {
    if given == expected { Ok(()) } else { Err(Error::WrongParts) }
}

fn no_prefix(parts: &Parts) -> Result<(), Error> {
    if parts.prefix.is_none() { Ok(()) } else { Err(Error::WrongPrefix) }
}

fn no_outputs(parts: &Parts) -> Result<(), Error> {
    if parts.outputs.is_none() { Ok(()) } else { Err(Error::WrongOutputs) }
}

/// The root of a run of `leaves`, whose first `common` have `top`.
fn extended(
    prefix: Option<&PrefixProof>,
    top: &Digest,
    common: u64,
    leaves: u64,
) -> Result<Digest, Error> {
    let top = match prefix {
        None if common == leaves => *top,
        Some(prefix) if common < leaves => {
            prefix.verify(top, common, leaves).map_err(|_| Error::WrongPrefix)?
        }
        _ => return Err(Error::WrongPrefix),
    };
    Ok(merkle::bind(leaves, &top))
}
