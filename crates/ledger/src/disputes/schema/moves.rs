//! What the parties of a dispute send: subject, finding, moves.
//!
//! Rules: a move carries digests and proofs only; every count, index and length comes from the
//! ledger's record and the model's shape. Never here: whose turn it is.

use crate::{
    bytes::Bytes,
    payments::messages::{Finish, Receipt, Request},
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{
    Digest, Salt, Signed,
    merkle::{PrefixProof, RangeProof},
    merkle_sum::SumPath,
};
use serde::{Deserialize, Serialize};
use units::{Epoch, List};

/// Binary levels that one round descends.
pub const LEVELS: u32 = 4;
/// Most parts that one round tells apart: 2^[`LEVELS`].
pub const PARTS_MAX: usize = 16;
/// Most bytes of a fine leaf.
pub const LEAF_BYTES_MAX: usize = 8 << 10;
/// Most bytes of a step's openings, paths included.
pub const OPENINGS_BYTES_MAX: usize = 24 << 10;
/// Most bytes of a piece of an output row.
pub const PIECE_BYTES_MAX: usize = 4 << 10;

/// The receipt that is disputed, with the request it names.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Signed by the payer's session key.
    pub request: Signed<Request>,
    /// Signed by the operator's box key.
    pub receipt: Signed<Receipt>,
    /// Where it was claimed: the window then starts at the claim (R2).
    pub claimed: Option<ClaimedIn>,
}

/// That a claim holds a receipt.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedIn {
    /// The operator's claim of this period.
    pub epoch: Epoch,
    /// From the receipt's leaf to the claim's root.
    pub path: SumPath,
}

/// What one re-execution of a request found.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Root of the coarse trace.
    pub trace_root: Digest,
    /// Salted root over the output.
    pub output_commit: Digest,
    /// Tokens given, or 1 for a row; of a cancelled answer at most as many as its receipt has.
    pub n_out: u32,
    /// Why it ended; of a cancelled answer of equal length also `cancelled`.
    pub finish: Finish,
}

/// One party's part of a round: the tops some levels below a node that both differ in.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The tops, from left to right.
    pub tops: List<Digest, PARTS_MAX>,
    /// At the top of the trace, from the party whose run is the longer one: that the part which
    /// both runs have is its beginning.
    #[serde(default)]
    pub prefix: Option<PrefixProof>,
    /// At the top of a fine tree: that its last leaves make the coarse leaf.
    #[serde(default)]
    pub outputs: Option<Outputs>,
}

/// The last leaves of a fine tree.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    /// Their digests: the pieces of the coarse leaf's row.
    pub pieces: List<Digest, PARTS_MAX>,
    /// From them to the root of the fine tree.
    pub proof: RangeProof,
}

/// A move. Numbers are on the wire: never reuse one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Move {
    /// 0: The operator shows the trace behind its receipt, and its first parts (R5).
    Answer {
        /// The salt of `trace_commit`.
        salt: Digest,
        /// Below the top of the part that both runs have.
        parts: Parts,
    } = 0,
    /// 1: The operator's parts of a node (R6).
    Split {
        /// Below the node.
        parts: Parts,
    } = 1,
    /// 2: The challenger's parts of the same node (R6).
    Refine {
        /// Below the node.
        parts: Parts,
    } = 2,
    /// 3: The operator's fine leaf, whole (R8).
    Open {
        /// Its bytes.
        bytes: Bytes<LEAF_BYTES_MAX>,
    } = 3,
    /// 4: The challenger shows that an element of that leaf is wrong (R8).
    Execute {
        /// Which.
        element: u64,
        /// The operands of its step in the order in which it reads them, as `model` encodes them.
        openings: Bytes<OPENINGS_BYTES_MAX>,
    } = 4,
    /// 5: The challenger shows that the answer ends elsewhere or otherwise (R9).
    End {
        /// The last token that both runs have.
        token: u32,
        /// From its coarse leaf to the root of the challenger's trace.
        proof: RangeProof,
    } = 5,
    /// 6: The challenger shows that the receipt's output is not what the trace says (R10).
    Output(OutputProof) = 6,
}

/// What the right leaf of an output commitment is. It shows the request's salt to everybody.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputProof {
    /// The request's salt.
    pub salt: Salt,
    /// The first token of the input: it binds the salt to the input commitment.
    pub first: u32,
    /// From that token's salted leaf to the input commitment.
    pub input: RangeProof,
    /// The token, or the piece of the row, as the trace has it.
    pub bytes: Bytes<PIECE_BYTES_MAX>,
    /// Digest of the coarse leaf.
    pub leaf: Digest,
    /// From the piece to its coarse leaf.
    pub pieces: RangeProof,
    /// From the coarse leaf to the root of the challenger's trace.
    pub trace: RangeProof,
}

/// Which length of a receipt is not that of its tree.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Length {
    /// 0: `n_in`, of the request's input commitment.
    Input = 0,
    /// 1: `n_out`, of the receipt's output commitment.
    Output = 1,
}
