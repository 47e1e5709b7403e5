//! Commitments to input, output and trace that stand in requests and receipts.
//!
//! Salted Merkle roots, so that who sees a receipt cannot guess what was asked, and one element can
//! be opened alone: one leaf per token; a row goes in pieces of 1,024 elements.

use crypto::{Digest, Domain, Salt, Tree, hash, merkle};

use crate::constants::PIECE;
use crate::run::Output;

/// Commitment to the input's token ids.
pub fn input_commit(salt: &Salt, ids: &[u32]) -> Digest {
    tokens(salt, Tree::Input, ids)
}

/// Commitment to the tokens of an answer.
pub fn output_commit_tokens(salt: &Salt, ids: &[u32]) -> Digest {
    tokens(salt, Tree::Output, ids)
}

/// Commitment to an output row.
pub fn output_commit_row(salt: &Salt, row: &[i32]) -> Digest {
    let leaves: Vec<Digest> = (0_u64..)
        .zip(row.chunks(PIECE))
        .map(|(index, piece)| {
            let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
            merkle::salted_leaf(salt, Tree::Output, index, &bytes)
        })
        .collect();
    merkle::root(&leaves)
}

/// Commitment to whatever a run gave.
pub fn output_commit(salt: &Salt, output: &Output) -> Digest {
    match output {
        Output::Tokens(ids) => output_commit_tokens(salt, ids),
        Output::Row(row) => output_commit_row(salt, row),
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

fn tokens(salt: &Salt, tree: Tree, ids: &[u32]) -> Digest {
    let leaves: Vec<Digest> = (0_u64..)
        .zip(ids)
        .map(|(index, id)| merkle::salted_leaf(salt, tree, index, &id.to_le_bytes()))
        .collect();
    merkle::root(&leaves)
}
