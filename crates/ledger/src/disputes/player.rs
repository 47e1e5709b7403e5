//! Disputes: the next move of an honest party, from the ledger's record and its own run.
//!
//! Rules: a pure function, so that operator, auditor and any challenger play alike; it gives no
//! move where the party is not on turn, and none where an honest run has nothing to show. Never
//! here: a key, a clock, a network.

use super::{
    math::first_difference,
    schema::{LEVELS, Move, OutputProof, Outputs, Parts},
    state::{Coarse, Dispute, Line, Node, Party, Phase, Tree},
};
use crypto::{
    Digest, merkle,
    merkle::{BadProof, PrefixProof, RangeProof},
};
use units::List;

/// What a party has at hand: its own run of the disputed request.
pub trait Run {
    /// Why something is not at hand.
    type Error;

    /// Leaves of the coarse trace, all of them.
    ///
    /// # Errors
    /// The run is not at hand.
    fn trace(&mut self) -> Result<Vec<Digest>, Self::Error>;

    /// Leaves of the output commitment.
    ///
    /// # Errors
    /// The run is not at hand.
    fn outputs(&mut self) -> Result<Vec<Digest>, Self::Error>;

    /// The salt of the trace commitment; asked of the operator only.
    ///
    /// # Errors
    /// The run is not at hand.
    fn trace_salt(&mut self) -> Result<Digest, Self::Error>;

    /// Leaves of the fine tree of coarse leaf `coarse`, all of them, and how many at its end make
    /// that leaf.
    ///
    /// # Errors
    /// The run is not at hand.
    fn fine(&mut self, coarse: u64) -> Result<(Vec<Digest>, u64), Self::Error>;

    /// Bytes of a leaf of that tree; asked of the operator only.
    ///
    /// # Errors
    /// The run is not at hand.
    fn leaf(&mut self, coarse: u64, leaf: u64) -> Result<Vec<u8>, Self::Error>;

    /// An element of a leaf that differs from `bytes`, and the openings of its step as `model`
    /// encodes them; `None` if none differs.
    ///
    /// # Errors
    /// The run is not at hand.
    fn refute(
        &mut self,
        coarse: u64,
        leaf: u64,
        bytes: &[u8],
    ) -> Result<Option<(u64, Vec<u8>)>, Self::Error>;

    /// The last token that both runs have, and its coarse leaf.
    ///
    /// # Errors
    /// The run is not at hand.
    fn token(&mut self, output: u32) -> Result<(u32, u64), Self::Error>;

    /// What output leaf `index` has to be.
    ///
    /// # Errors
    /// The run is not at hand.
    fn output(&mut self, index: u64) -> Result<OutputProof, Self::Error>;
}

/// Why there is no move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stuck<E> {
    /// Another party is on turn.
    #[error("another party is on turn")]
    NotOnTurn,
    /// The run shows nothing against the other side.
    #[error("the run shows nothing against the other side")]
    NothingToShow,
    /// The run does not have the shape that the ledger takes it to have.
    #[error("the run has another shape than the record: {0}")]
    Shape(#[from] BadProof),
    /// The run is not at hand.
    #[error("the run is not at hand: {0}")]
    Run(E),
}

/// The next move of `party` in a line.
///
/// # Errors
/// [`Stuck`] says why there is none.
pub fn next_move<R: Run>(
    dispute: &Dispute,
    line: &Line,
    party: Party,
    run: &mut R,
) -> Result<Move, Stuck<R::Error>> {
    if line.phase.turn() != party {
        return Err(Stuck::NotOnTurn);
    }
    match &line.phase {
        Phase::Answer { common } => {
            let salt = run.trace_salt().map_err(Stuck::Run)?;
            let node = Node::whole(Tree::Trace, *common);
            Ok(Move::Answer { salt, parts: parts(&node, run)? })
        }
        Phase::Split(node) => Ok(Move::Split { parts: parts(node, run)? }),
        Phase::Refine { node, tops } => {
            let parts = parts(node, run)?;
            let differs = first_difference(node, node.tree, tops, &parts.tops).is_some();
            // The whole trace may be equal as far as both go: then the ends decide.
            let whole = node.tree == Tree::Trace && node.tops.is_none();
            if differs || whole { Ok(Move::Refine { parts }) } else { Err(Stuck::NothingToShow) }
        }
        Phase::Open { coarse, leaf, .. } => {
            let bytes = run.leaf(coarse.leaf, *leaf).map_err(Stuck::Run)?;
            let bytes = crate::bytes::Bytes::new(bytes).map_err(|_| BadProof::Length)?;
            Ok(Move::Open { bytes })
        }
        Phase::Execute { coarse, leaf, bytes } => {
            let found = run.refute(coarse.leaf, *leaf, bytes).map_err(Stuck::Run)?;
            let (element, openings) = found.ok_or(Stuck::NothingToShow)?;
            let openings = crate::bytes::Bytes::new(openings).map_err(|_| BadProof::Length)?;
            Ok(Move::Execute { element, openings })
        }
        Phase::End => {
            let shorter = line.finding.n_out.min(dispute.receipt.n_out);
            let last = shorter.checked_sub(1).ok_or(BadProof::Range)?;
            let (token, leaf) = run.token(last).map_err(Stuck::Run)?;
            let end = leaf.checked_add(1).ok_or(BadProof::Range)?;
            let proof = RangeProof::new(&run.trace().map_err(Stuck::Run)?, leaf..end)?;
            Ok(Move::End { token, proof })
        }
        Phase::Output { index, .. } => run.output(*index).map(Move::Output).map_err(Stuck::Run),
    }
}

/// A party's parts of a node.
fn parts<R: Run>(node: &Node, run: &mut R) -> Result<Parts, Stuck<R::Error>> {
    let (leaves, outputs) = match node.tree {
        Tree::Trace => (run.trace().map_err(Stuck::Run)?, 0),
        Tree::Output => (run.outputs().map_err(Stuck::Run)?, 0),
        Tree::Fine(Coarse { leaf, .. }) => run.fine(leaf).map_err(Stuck::Run)?,
    };
    let all = u64::try_from(leaves.len()).map_err(|_| BadProof::Range)?;
    let end = node.first.checked_add(node.count).ok_or(BadProof::Range)?;
    let index = |leaf: u64| usize::try_from(leaf).map_err(|_| BadProof::Range);
    let own = leaves.get(index(node.first)?..index(end)?).ok_or(BadProof::Range)?;
    let tops = List::new(merkle::tops(own, LEVELS)).map_err(|_| BadProof::Length)?;
    let whole = node.tops.is_none();
    let longer = whole && node.tree == Tree::Trace && node.count < all;
    let prefix = if longer { Some(PrefixProof::new(&leaves, node.count)?) } else { None };
    let outputs = if whole && outputs > 0 {
        let first = all.checked_sub(outputs).ok_or(BadProof::Range)?;
        let pieces = leaves.get(index(first)?..).ok_or(BadProof::Range)?.to_vec();
        let pieces = List::new(pieces).map_err(|_| BadProof::Length)?;
        Some(Outputs { pieces, proof: RangeProof::new(&leaves, first..all)? })
    } else {
        None
    };
    Ok(Parts { tops, prefix, outputs })
}
