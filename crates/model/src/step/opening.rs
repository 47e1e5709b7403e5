//! Openings: operands with paths to the roots that bind them, and the verdict on one element.
//!
//! Who checks brings all counts and lengths from the shape. The roots are: of the input from the
//! request, of weights and tables from the manifest, of the coarse trace and the fine tree from the
//! party that is accused. Both agree on all leaves before the disputed one, so it does not matter
//! who opens them.

use borsh::{BorshDeserialize, BorshSerialize};
use crypto::merkle::{BadProof, RangeProof};
use crypto::{Digest, Domain, Salt, Tree, hash, hash_bytes, merkle};
use units::List;

use super::fine::{Fine, integer};
use super::tree::{Executed, FineTree, operand_bytes};
use super::{Operand, Source, StepError};
use crate::commit::input_leaves;
use crate::constants::{STEP_BYTES_MAX, STEP_RANGES_MAX};
use crate::model::Model;

/// How opened bytes hang under their root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Path {
    /// Leaves of a tree, next to each other.
    Leaves(RangeProof),
    /// A token of the input, under its own salt.
    Salted {
        /// The leaf's salt.
        salt: Digest,
        /// From the leaf to the input commitment.
        proof: RangeProof,
    },
    /// Pieces of a row, and the row's leaf in the coarse trace.
    Row {
        /// Digest of the coarse leaf.
        leaf: Digest,
        /// From the pieces to that digest.
        pieces: RangeProof,
        /// From that digest to the root of the trace.
        proof: RangeProof,
    },
}

/// An operand that a party opens.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Opening {
    /// Which leaves.
    pub operand: Operand,
    /// Their bytes, one after the other.
    pub bytes: List<u8, STEP_BYTES_MAX>,
    /// How they hang under their root.
    pub path: Path,
}

/// What binds the operands of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The request's input commitment.
    pub input: Digest,
    /// Root of the accused party's coarse trace.
    pub trace: Digest,
    /// Root of its fine tree.
    pub fine: Digest,
    /// The manifest's weight root.
    pub weights: Digest,
    /// The manifest's table root.
    pub tables: Digest,
}

/// The element in dispute.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Index of the fine leaf.
    pub leaf: u64,
    /// The leaf's bytes, as the accused party opened them.
    pub bytes: &'a [u8],
    /// Which of its elements is said to be wrong.
    pub element: u64,
}

/// Whether a claimed element is what its operands give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Right,
    /// It is not, or the leaf does not have the length that it must have.
    Wrong,
}

/// Executes a step: recomputes the claimed element from `openings`, which are the operands in the
/// order in which the step reads them. That the claimed bytes hang under the fine root is checked
/// before, in the round that opens them.
///
/// # Errors
/// Openings that are missing, left over, too large, or whose path does not hold: whoever sent them
/// has not made a move. An element that does not exist.
pub fn check_step(
    fine: &Fine<'_>,
    roots: &Roots,
    claim: &Claim<'_>,
    openings: &[Opening],
) -> Result<Verdict, StepError> {
    let address = fine.address(claim.leaf)?;
    let geometry = fine.geometry(&address).ok_or(StepError::Graph)?;
    let elements = geometry.elements(address.leaf);
    let expected = elements.saturating_mul(geometry.bytes);
    if u64::try_from(claim.bytes.len()) != Ok(expected) {
        return Ok(Verdict::Wrong);
    }
    let mut opened = Opened { fine, roots, before: claim.leaf, openings: openings.iter() };
    let computed = fine.element(&address, claim.element, &mut opened)?;
    let left = opened.openings.len();
    if left > 0 {
        return Err(StepError::Unused { left });
    }
    let bytes = usize::try_from(geometry.bytes).map_err(|_| StepError::Graph)?;
    let element = usize::try_from(claim.element).map_err(|_| StepError::Graph)?;
    let claimed = claim.bytes.chunks_exact(bytes.max(1)).nth(element).map(integer);
    Ok(if claimed == Some(computed) { Verdict::Right } else { Verdict::Wrong })
}

struct Opened<'a> {
    fine: &'a Fine<'a>,
    roots: &'a Roots,
    /// Operands lie before this leaf of the fine tree.
    before: u64,
    openings: std::slice::Iter<'a, Opening>,
}

impl Source for Opened<'_> {
    fn open(&mut self, needed: Operand) -> Result<Vec<u8>, StepError> {
        let opening = self.openings.next().filter(|opening| opening.operand == needed);
        let opening = opening.ok_or(StepError::Missing { needed })?;
        self.check(opening)?;
        Ok(opening.bytes.to_vec())
    }
}

impl Opened<'_> {
    fn check(&self, opening: &Opening) -> Result<(), StepError> {
        let operand = opening.operand;
        let fails = |reason| StepError::Path { operand, reason };
        let (fine, roots) = (self.fine, self.roots);
        let digests = |domain| leaf_digests(fine, opening, domain);
        let leaves = |proof: &RangeProof, root, count, start, domain| {
            proof.verify(root, count, start, &digests(domain)?).map_err(fails)
        };
        match (operand, &opening.path) {
            (Operand::Fine { first, count }, Path::Leaves(proof)) => {
                if first.saturating_add(count) > self.before {
                    return Err(fails(BadProof::Range));
                }
                leaves(proof, &roots.fine, fine.leaves(), first, Domain::TraceLeaf)
            }
            (Operand::Weights { leaf }, Path::Leaves(proof)) => {
                let count = fine.plan().weight_leaves();
                leaves(proof, &roots.weights, count, leaf, Domain::WeightLeaf)
            }
            (Operand::Table { leaf }, Path::Leaves(proof)) => {
                let count = fine.plan().table_leaves();
                leaves(proof, &roots.tables, count, leaf, Domain::TableLeaf)
            }
            (Operand::Input { position }, Path::Salted { salt, proof }) => {
                let leaf = hash(Domain::SaltedLeaf, &[salt.as_bytes(), &opening.bytes]);
                let n_in = u64::from(fine.shape().run().n_in);
                proof.verify(&roots.input, n_in, u64::from(position), &[leaf]).map_err(fails)
            }
            (Operand::Trace { leaf: index, first, .. }, Path::Row { leaf, pieces, proof }) => {
                let count = fine.shape().pieces(fine.shape().leaf(index)?);
                leaves(pieces, leaf, count, first, Domain::TraceLeaf)?;
                let count = fine.shape().leaves();
                proof.verify(&roots.trace, count, index, &[*leaf]).map_err(fails)
            }
            _ => Err(fails(BadProof::Length)),
        }
    }
}

/// Digest of each leaf of an opening.
fn leaf_digests(
    fine: &Fine<'_>,
    opening: &Opening,
    domain: Domain,
) -> Result<Vec<Digest>, StepError> {
    let mut rest: &[u8] = &opening.bytes;
    let mut digests = Vec::new();
    for length in fine.lengths(&opening.operand).ok_or(StepError::Graph)? {
        let length = usize::try_from(length).map_err(|_| StepError::Graph)?;
        let (leaf, after) = rest.split_at_checked(length).ok_or(StepError::Graph)?;
        digests.push(hash_bytes(domain, leaf));
        rest = after;
    }
    Ok(digests)
}

/// What a party needs to open the operands of a step.
pub struct Evidence<'a> {
    /// The model.
    pub model: &'a Model,
    /// The run.
    pub run: &'a dyn Executed,
    /// The fine tree in dispute.
    pub tree: &'a FineTree,
    /// All leaves of the coarse trace.
    pub trace: &'a [Digest],
    /// All leaves of the weight root.
    pub weights: &'a [Digest],
    /// All leaves of the table root.
    pub tables: &'a [Digest],
    /// The request's salt.
    pub salt: &'a Salt,
}

/// Opens the operands of one element, in the order in which its step reads them.
///
/// # Errors
/// An element that does not exist, or one whose operands exceed what a step may open: never for a
/// model that the gate accepts.
pub fn open(
    fine: &Fine<'_>,
    evidence: &Evidence<'_>,
    leaf: u64,
    element: u64,
) -> Result<Vec<Opening>, StepError> {
    let mut opener = Opener { fine, evidence, openings: Vec::new() };
    fine.element(&fine.address(leaf)?, element, &mut opener)?;
    Ok(opener.openings)
}

struct Opener<'a> {
    fine: &'a Fine<'a>,
    evidence: &'a Evidence<'a>,
    openings: Vec<Opening>,
}

impl Source for Opener<'_> {
    fn open(&mut self, operand: Operand) -> Result<Vec<u8>, StepError> {
        let evidence = self.evidence;
        let bytes = match operand {
            Operand::Fine { first, count } => {
                let end = first.saturating_add(count);
                (first..end).flat_map(|leaf| evidence.tree.leaf(leaf)).copied().collect()
            }
            _ => operand_bytes(self.fine, evidence.model, evidence.run, operand)?,
        };
        let path = self.path(operand)?;
        let too_long = |_| StepError::Missing { needed: operand };
        let opened = List::new(bytes.clone()).map_err(too_long)?;
        if self.openings.len() >= STEP_RANGES_MAX {
            return Err(StepError::Missing { needed: operand });
        }
        self.openings.push(Opening { operand, bytes: opened, path });
        Ok(bytes)
    }
}

impl Opener<'_> {
    fn path(&self, operand: Operand) -> Result<Path, StepError> {
        let evidence = self.evidence;
        let fails = |reason| StepError::Path { operand, reason };
        let prove = |leaves: &[Digest], first: u64, count: u64| {
            RangeProof::new(leaves, first..first.saturating_add(count)).map_err(fails)
        };
        Ok(match operand {
            Operand::Fine { first, count } => {
                Path::Leaves(prove(evidence.tree.digests(), first, count)?)
            }
            Operand::Weights { leaf } => Path::Leaves(prove(evidence.weights, leaf, 1)?),
            Operand::Table { leaf } => Path::Leaves(prove(evidence.tables, leaf, 1)?),
            Operand::Input { position } => {
                let leaves = self.input_leaves();
                let index = u64::from(position);
                let salt = evidence.salt.of_leaf(Tree::Input, index);
                Path::Salted { salt, proof: prove(&leaves, index, 1)? }
            }
            Operand::Trace { leaf, first, count } => {
                let shape = self.fine.shape();
                let whole = shape.pieces(shape.leaf(leaf)?);
                let row = Operand::Trace { leaf, first: 0, count: whole };
                let bytes = operand_bytes(self.fine, evidence.model, evidence.run, row)?;
                let lengths = self.fine.lengths(&row).ok_or(StepError::Graph)?;
                let pieces = row_digests(&bytes, &lengths);
                let proof = prove(evidence.trace, leaf, 1)?;
                let leaf = merkle::root(&pieces);
                Path::Row { leaf, pieces: prove(&pieces, first, count)?, proof }
            }
        })
    }

    fn input_leaves(&self) -> Vec<Digest> {
        let run = self.evidence.run;
        let ids = (0..self.fine.shape().run().n_in).map_while(|position| run.input(position));
        input_leaves(self.evidence.salt, &ids.collect::<Vec<u32>>())
    }
}

fn row_digests(bytes: &[u8], lengths: &[u64]) -> Vec<Digest> {
    let mut rest = bytes;
    let mut digests = Vec::new();
    for length in lengths {
        let length = usize::try_from(*length).unwrap_or(usize::MAX).min(rest.len());
        let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        digests.push(hash_bytes(Domain::TraceLeaf, piece));
        rest = after;
    }
    digests
}
