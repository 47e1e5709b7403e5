//! The ports: what the ledger asks of code it does not contain.
//!
//! Rules: a port is a trait object handed to `apply_block`; its answer is a pure function of
//! its arguments, the same on every machine; each question has a declared cost that the fee
//! of its transaction covers. Never here: an implementation that trusts.

use crate::payments::messages::{Finish, RequestBody};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{Digest, ModelId, PublicKey, Signature, verify_batch};
use serde::{Deserialize, Serialize};
use units::Text;

/// What the network needs to know of a model, computed from its manifest and graph and never
/// declared by its publisher.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Hash of the manifest.
    pub model: ModelId,
    /// Version of the arithmetic it is defined in; 0 is the draft.
    pub semantics: u16,
    /// What it maps to what.
    pub task: Task,
    /// Root over the graph's encoding.
    pub graph_root: Digest,
    /// Root over all weights: no two registered models share one.
    pub weight_root: Digest,
    /// Hash of everything between text, image or sound and the input ids.
    pub preprocess: Digest,
    /// Which positions a position attends to.
    pub reach: Reach,
    /// Multiply-adds per position.
    pub per_position: u64,
    /// Multiply-adds per output, beyond its position.
    pub per_output: u64,
    /// Multiply-adds per attended pair of positions.
    pub per_pair: u64,
    /// Blocks between the boundaries of the trace.
    pub blocks: u32,
    /// Most input positions a request may have.
    pub max_input: u32,
    /// Most positions of input and output together.
    pub max_positions: u32,
    /// Number of token ids.
    pub vocabulary: u32,
    /// Elements of the output row (embedding) or of the stream (generation).
    pub width: u32,
}

/// Which positions a position attends to: it decides how many pairs a run has.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Reach {
    /// Itself and those before it.
    Causal = 0,
    /// All.
    Full = 1,
}

/// The kind of answer a model gives.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Task {
    /// Token ids to further token ids.
    Generate = 0,
    /// Token ids to one row.
    Embed = 1,
}

/// The longest reason of the machine gate.
pub const REASON_BYTES_MAX: usize = 200;

/// Why the machine gate refuses a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ModelRejected {
    /// What is wrong and where, for the publisher.
    pub reason: Text<REASON_BYTES_MAX>,
}

impl ModelRejected {
    /// From a text of any length; what exceeds the bound is cut at a character.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        let mut end = reason.len().min(REASON_BYTES_MAX);
        while !reason.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        let reason = reason.get(..end).unwrap_or_default();
        Self { reason: Text::new(reason).unwrap_or_default() }
    }
}

/// Knowledge of models. Bound to the canonical semantics by the node.
pub trait Verifier: Sync {
    /// The machine gate: decodes, checks op set, shapes and limits, and computes the facts.
    ///
    /// Cost: linear in the bytes, which the registry bounds and charges for.
    ///
    /// # Errors
    /// [`ModelRejected`] with the reason; never a panic, whatever the bytes.
    fn inspect_model(&self, manifest: &[u8], graph: &[u8]) -> Result<ModelFacts, ModelRejected>;

    /// The shape of a run's trace and output, by arithmetic from graph and lengths: no party has a
    /// say in it.
    ///
    /// Cost: constant for a model that was asked about lately, else linear in its graph.
    ///
    /// # Errors
    /// [`Impossible`] for lengths that the model does not admit.
    fn trace_shape(&self, run: &DisputedRun<'_>) -> Result<TraceShape, Impossible>;

    /// The shape of the fine tree of coarse leaf `leaf`. Cost: linear in the ops of a block.
    ///
    /// # Errors
    /// [`Impossible`] for a leaf that the run does not have.
    fn fine_shape(&self, run: &DisputedRun<'_>, leaf: u64) -> Result<FineShape, Impossible>;

    /// Where leaf `index` of the output commitment stands in the trace. Cost: constant.
    ///
    /// # Errors
    /// [`Impossible`] for an output that the run does not have.
    fn output_place(&self, run: &DisputedRun<'_>, index: u64) -> Result<OutputPlace, Impossible>;

    /// Why a run ends after its last token, which is `token`; `None` if it goes on. Cost: constant.
    ///
    /// # Errors
    /// [`Impossible`] for a run that gives no tokens.
    fn finish_after(&self, run: &DisputedRun<'_>, token: u32)
    -> Result<Option<Finish>, Impossible>;

    /// Executes a step: recomputes one element of a fine leaf from opened operands, whose paths
    /// lead to `roots`, the input commitment and the manifest's roots.
    ///
    /// Cost: at most 1 ms.
    ///
    /// # Errors
    /// [`StepRefused`] for openings that do not belong to the step: no move was made.
    fn check_step(
        &self,
        run: &DisputedRun<'_>,
        roots: &StepRoots,
        claim: &StepClaim<'_>,
        openings: &[u8],
    ) -> Result<StepOutcome, StepRefused>;
}

/// A run that is disputed: all that decides the shape of its trace and the draws of its tokens.
#[derive(Debug, Clone, Copy)]
pub struct DisputedRun<'a> {
    /// The model's manifest, as registered.
    pub manifest: &'a [u8],
    /// The model's graph, as registered.
    pub graph: &'a [u8],
    /// What was asked.
    pub body: &'a RequestBody,
    /// Tokens of the input.
    pub n_in: u32,
    /// Tokens given, or 1 for a row.
    pub n_out: u32,
}

/// How many leaves a run's trees have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceShape {
    /// Of the coarse trace.
    pub leaves: u64,
    /// Of the output commitment.
    pub outputs: u64,
}

/// How many leaves a fine tree has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FineShape {
    /// All of them.
    pub leaves: u64,
    /// The last ones, over whose digests the coarse leaf is the Merkle root; 1 to 16.
    pub outputs: u64,
}

/// Where an output leaf stands in the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputPlace {
    /// Index of the coarse leaf.
    pub leaf: u64,
    /// Piece of its row.
    pub piece: u64,
    /// Pieces of its row.
    pub pieces: u64,
}

/// What the opened operands of a step hang under, as the party has it that opens them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepRoots {
    /// Root of the coarse trace.
    pub trace: Digest,
    /// Root of the fine tree.
    pub fine: Digest,
}

/// The element in dispute.
#[derive(Debug, Clone, Copy)]
pub struct StepClaim<'a> {
    /// The coarse leaf.
    pub coarse: u64,
    /// The leaf of its fine tree.
    pub leaf: u64,
    /// The leaf's bytes, as the operator opened them.
    pub bytes: &'a [u8],
    /// Which of its elements is said to be wrong.
    pub element: u64,
}

/// What an executed step showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepOutcome {
    /// Whether the claimed element is another than its operands give.
    pub wrong: bool,
    /// The op, by its number in the graph.
    pub op: u32,
    /// Whether weights were among the operands.
    pub weights: bool,
}

/// A run, leaf or output that the model does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model has no such run, leaf or output")]
pub struct Impossible;

/// Why openings are no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StepRefused {
    /// What does not fit, for whoever sent them.
    pub reason: Text<REASON_BYTES_MAX>,
}

impl StepRefused {
    /// From a text of any length; what exceeds the bound is cut at a character.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self { reason: ModelRejected::new(reason).reason }
    }
}

/// Signature checks. Bound to ed25519 under ZIP-215 everywhere but in the simulator, which
/// signs nothing.
pub trait Signatures: Sync {
    /// Whether `signature` is by `key` on `digest`.
    ///
    /// Cost: about 30 µs.
    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool;

    /// Whether all are good: the same answer as one by one, a third of the cost.
    fn verify_all(&self, items: &[(PublicKey, Digest, Signature)]) -> bool;
}

/// The one signature scheme of the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ed25519;

impl Signatures for Ed25519 {
    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        key.verify_digest(digest, signature).is_ok()
    }

    fn verify_all(&self, items: &[(PublicKey, Digest, Signature)]) -> bool {
        verify_batch(items).is_ok()
    }
}

/// All ports, as a block gets them.
#[derive(Clone, Copy)]
pub struct Ports<'a> {
    /// Knowledge of models.
    pub verifier: &'a dyn Verifier,
    /// Signature checks.
    pub signatures: &'a dyn Signatures,
}
