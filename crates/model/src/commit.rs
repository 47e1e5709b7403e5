//! Commitments to input, output and trace that stand in requests and receipts.
//!
//! Salted Merkle roots, so that who sees a receipt cannot guess what was asked, and one element can
//! be opened alone: one leaf per token; a row goes in pieces of 1,024 elements.

use crypto::{Digest, Domain, Salt, Tree, hash, merkle};

use crate::constants::PIECE;
use crate::run::Output;

/// Commitment to the input's token ids.
pub fn input_commit(salt: &Salt, ids: &[u32]) -> Digest {
    merkle::root(&input_leaves(salt, ids))
}

/// The leaves under that commitment.
pub fn input_leaves(salt: &Salt, ids: &[u32]) -> Vec<Digest> {
    leaves(salt, Tree::Input, ids.iter().map(|id| id.to_le_bytes()))
}

/// Commitment to the tokens of an answer.
pub fn output_commit_tokens(salt: &Salt, ids: &[u32]) -> Digest {
    merkle::root(&leaves(salt, Tree::Output, ids.iter().map(|id| id.to_le_bytes())))
}

/// Commitment to an output row.
pub fn output_commit_row(salt: &Salt, row: &[i32]) -> Digest {
    merkle::root(&leaves(salt, Tree::Output, pieces(row)))
}

/// Commitment to whatever a run gave.
pub fn output_commit(salt: &Salt, output: &Output) -> Digest {
    merkle::root(&output_leaves(salt, output))
}

/// The leaves under that commitment.
pub fn output_leaves(salt: &Salt, output: &Output) -> Vec<Digest> {
    leaves(salt, Tree::Output, output_bytes(output).into_iter())
}

/// The bytes of each of those leaves, without salt: a token each, or pieces of a row.
pub fn output_bytes(output: &Output) -> Vec<Vec<u8>> {
    match output {
        Output::Tokens(ids) => ids.iter().map(|id| id.to_le_bytes().to_vec()).collect(),
        Output::Row(row) => pieces(row).collect(),
    }
}

/// Commitment to a coarse trace root.
pub fn trace_commit(trace_root: &Digest, salt: &Salt) -> Digest {
    trace_commit_with(trace_root, &trace_salt(salt))
}

/// The salt of a trace commitment. It can be shown without the request's salt, which would let a
/// stranger guess a short input.
pub fn trace_salt(salt: &Salt) -> Digest {
    salt.of_leaf(Tree::Trace, 0)
}

/// Commitment to a coarse trace root under a [`trace_salt`] that was shown.
pub fn trace_commit_with(trace_root: &Digest, trace_salt: &Digest) -> Digest {
    hash(Domain::TraceCommit, &[trace_root.as_bytes(), trace_salt.as_bytes()])
}

fn pieces(row: &[i32]) -> impl Iterator<Item = Vec<u8>> {
    row.chunks(PIECE).map(|piece| piece.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn leaves(salt: &Salt, tree: Tree, bytes: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<Digest> {
    let numbered = (0_u64..).zip(bytes);
    numbered.map(|(index, bytes)| merkle::salted_leaf(salt, tree, index, bytes.as_ref())).collect()
}
