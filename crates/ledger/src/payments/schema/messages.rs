//! The messages that payer and operator exchange off chain, and the claim that settles them.
//!
//! ```text
//!   payer ──Request, Voucher──▶ operator ──Receipt──▶ payer      once per task, off chain
//!                               operator ──Claim──▶ ledger       once per epoch
//! ```
//! Rules: every field that decides an output, a price or a payment is signed; encodings are frozen
//! (golden files), a change is a new domain tag; commitments are opaque digests here, `model`
//! says how they are computed.
//! Never here: text, images or sound; the input of a task is token ids behind a commitment.

use crate::payments::state::LaneRange;
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::merkle_sum::{Leaf, Sums};
use crypto::{
    AccountId, ChainId, Digest, Domain, ModelId, OperatorId, PublicKey, SecretKey, Signed, hash_of,
};
use serde::{Deserialize, Serialize};
use units::{Credit, Epoch, List, Millis, Overflow, Price, Round, WorkUnits};

/// Stop tokens in one request.
pub const MAX_STOP_TOKENS: usize = 8;
/// Lanes in one claim.
pub const MAX_CLAIM_LANES: usize = 4_096;

/// The payment sequence from one payer to one operator. A payer may open several, so that two of
/// its gateways need not share state.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct LaneId {
    /// Who pays.
    pub payer: AccountId,
    /// Who is paid.
    pub operator: OperatorId,
    /// Which of the payer's lanes to this operator.
    pub index: u32,
}

/// How the next token is chosen; 0 and 1000 mean "off", so that a missing field has one encoding.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Sampling {
    /// Temperature in thousandths; 0 takes the likeliest token.
    pub temperature_milli: u16,
    /// Share of probability kept, in thousandths; 1000 keeps all.
    pub top_p_milli: u16,
    /// How many of the likeliest tokens are kept; 0 keeps all.
    pub top_k: u16,
}

/// The part of a request that decides its output, and nothing else: two operators' receipts for
/// one body must agree, and a pair that does not is a conflict certificate.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RequestBody {
    /// The chain whose rules judge the work.
    pub chain: ChainId,
    /// The model to run.
    pub model: ModelId,
    /// Version of the integer semantics; 0 is a draft.
    pub semantics: u16,
    /// Salted Merkle root over the token ids.
    pub input_commit: Digest,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Seed of the sampling draws.
    #[serde(with = "crate::decimal")]
    pub seed: u64,
    /// Most tokens to generate; 0 for an embedding.
    pub max_tokens: u32,
    /// Token ids that end the answer, beside the model's own.
    pub stop: List<u32, MAX_STOP_TOKENS>,
}

impl RequestBody {
    /// The body hash, by which duplicates are compared.
    #[must_use]
    pub fn hash(&self) -> Digest {
        hash_of(Domain::RequestBody, self)
    }
}

/// What the payer asks the network to stand behind.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tier {
    /// 0: the receipt can be drawn for audit and disputed.
    Audit = 0,
}

/// Who may see input and output if the receipt is drawn.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum AuditMode {
    /// 0: its auditors; and everybody, if one of them was sent nothing and demands it.
    Open = 0,
    /// 1: its auditors alone.
    Sealed = 1,
    /// 2: nobody. Other receipts for the same work may contradict it; nothing else checks it.
    CanaryOnly = 2,
}

impl AuditMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Sealed, Self::CanaryOnly];

    /// Its name in settings and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sealed => "sealed",
            Self::CanaryOnly => "canary_only",
        }
    }
}

/// One task, ordered and priced by the payer. Signed by the session key under
/// [`Domain::Request`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Request {
    /// What decides the output.
    pub body: RequestBody,
    /// The account that pays.
    pub payer: AccountId,
    /// The payer's hot key that signs this request and its vouchers.
    pub session_key: PublicKey,
    /// Who is to run it.
    pub operator: OperatorId,
    /// The payer's lane to this operator.
    pub lane: u32,
    /// Place in the lane, from 1.
    pub sequence: u64,
    /// The operator's own ask, exactly.
    pub price: Price,
    /// From arrival to the last token, at most.
    pub deadline: Millis,
    /// What the network stands behind.
    pub tier: Tier,
    /// Who may see the input.
    pub audit_mode: AuditMode,
    /// A recent round: bounds the time in which an unclaimed receipt can be disputed.
    pub freshness: Round,
}

impl Request {
    /// The hash that the receipt names.
    #[must_use]
    pub fn hash(&self) -> Digest {
        hash_of(Domain::Request, self)
    }

    /// The lane it moves along.
    #[must_use]
    pub const fn lane_id(&self) -> LaneId {
        LaneId { payer: self.payer, operator: self.operator, index: self.lane }
    }

    /// Signs with the session key.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> Signed<Self> {
        let signature = key.sign(Domain::Request, &self);
        Signed { message: self, signature }
    }
}

/// The payer's word that it holds a receipt, with its own times, so that latency is signed by
/// both sides.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Acknowledgement {
    /// The receipt with the voucher's sequence.
    pub receipt: Digest,
    /// When the request left the payer, on the payer's clock; only differences mean anything.
    pub t_sent: Millis,
    /// When the first token came.
    pub t_first: Millis,
    /// When the receipt came.
    pub t_done: Millis,
}

/// A cumulative promise to pay. Replaces all earlier vouchers of its lane, so a lost one costs
/// nothing and none can be cashed twice. Signed by the session key under [`Domain::Voucher`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Voucher {
    /// The chain that settles it.
    pub chain: ChainId,
    /// The account that pays.
    pub payer: AccountId,
    /// The hot key that signs.
    pub session_key: PublicKey,
    /// Who is paid.
    pub operator: OperatorId,
    /// The payer's lane to this operator.
    pub lane: u32,
    /// The payer's on-chain limit that backs it.
    pub allocation: u64,
    /// Sum of the fees of receipts 1 to `sequence`.
    pub cumulative: Credit,
    /// The last receipt it pays for; 0 opens the lane.
    pub sequence: u64,
    /// The receipt with that sequence; none only at sequence 0.
    pub acknowledgement: Option<Acknowledgement>,
}

impl Voucher {
    /// The lane it moves along.
    #[must_use]
    pub const fn lane_id(&self) -> LaneId {
        LaneId { payer: self.payer, operator: self.operator, index: self.lane }
    }

    /// The digest that is signed.
    #[must_use]
    pub fn hash(&self) -> Digest {
        hash_of(Domain::Voucher, self)
    }

    /// Signs with the session key.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> Signed<Self> {
        let signature = key.sign(Domain::Voucher, &self);
        Signed { message: self, signature }
    }
}

/// Why the answer ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Finish {
    /// 0: at a stop token, or the output is complete by nature, as an embedding is.
    Stop = 0,
    /// 1: at `max_tokens` or at the end of the model's positions.
    Length = 1,
    /// 2: the payer cancelled; the length proves nothing.
    Cancelled = 2,
}

/// The operator's statement of what it did. Signed by the box key under [`Domain::Receipt`]; a
/// wrong one costs the operator its bond.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Receipt {
    /// Who ran it.
    pub operator: OperatorId,
    /// Which of the operator's box keys signs.
    pub key_epoch: u32,
    /// Hash of the request; through it chain, model, input, payer and lane are signed.
    pub request: Digest,
    /// Salted Merkle root over the output's tokens, or over its row.
    pub output_commit: Digest,
    /// H(coarse trace root ‖ salt).
    pub trace_commit: Digest,
    /// Tokens in.
    pub n_in: u32,
    /// Tokens out; 1 for a row.
    pub n_out: u32,
    /// Why it ended.
    pub finish: Finish,
    /// Work done, from the model's coefficients and the two lengths.
    pub work_units: WorkUnits,
    /// Price times work units.
    pub fee: Credit,
    /// Place in the lane.
    pub sequence: u64,
    /// The lane's receipt before this one; zero at sequence 1.
    pub previous: Digest,
    /// When the request arrived, on the box's clock; only differences mean anything.
    pub t_received: Millis,
    /// When the first token left.
    pub t_first: Millis,
    /// When the answer was complete.
    pub t_done: Millis,
}

impl Receipt {
    /// The hash that vouchers acknowledge and claims hold.
    #[must_use]
    pub fn hash(&self) -> Digest {
        hash_of(Domain::Receipt, self)
    }

    /// Signs with the box key.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> Signed<Self> {
        let signature = key.sign(Domain::Receipt, &self);
        Signed { message: self, signature }
    }

    /// Its leaf in the claim of its epoch.
    #[must_use]
    pub fn leaf(&self, payer: AccountId, lane: u32) -> Leaf<ReceiptKey> {
        Leaf {
            key: ReceiptKey { payer, lane, sequence: self.sequence },
            item: self.hash(),
            fee: self.fee,
            work: self.work_units,
        }
    }
}

/// Price times work units, in credits: exact, for a price counts billionths per unit.
///
/// # Errors
/// [`Overflow`] if the product does not fit.
pub fn fee(price: Price, work: WorkUnits) -> Result<Credit, Overflow> {
    let product = price.get().checked_mul(u128::from(work.get())).ok_or(Overflow)?;
    Ok(Credit::new(product))
}

/// Where a receipt stands in its operator's claim: claims are sorted by it, so that an omitted
/// receipt shows as a gap between neighbours.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct ReceiptKey {
    /// Who pays.
    pub payer: AccountId,
    /// Which of the payer's lanes.
    pub lane: u32,
    /// Place in the lane.
    pub sequence: u64,
}

/// What an operator asks for one model. Signed by the box key under [`Domain::Ask`]; the one
/// with the highest serial holds.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Ask {
    /// The chain that settles.
    pub chain: ChainId,
    /// Who asks.
    pub operator: OperatorId,
    /// Which of the operator's box keys signs.
    pub key_epoch: u32,
    /// For which model.
    pub model: ModelId,
    /// Per unit of work.
    pub price: Price,
    /// Counts up with each change.
    pub serial: u64,
}

impl Ask {
    /// Signs with the box key.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> Signed<Self> {
        let signature = key.sign(Domain::Ask, &self);
        Signed { message: self, signature }
    }
}

/// One lane of a claim: the receipts `first` to `last`, which the voucher pays.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct LaneClaim {
    /// The latest voucher; its sequence is `last`.
    pub voucher: Signed<Voucher>,
    /// One after the last claimed receipt of this lane.
    pub first: u64,
    /// The last receipt claimed.
    pub last: u64,
    /// What the voucher adds to what this lane has been claimed for.
    pub delta: Credit,
}

/// An epoch's receipts, brought to the ledger by their operator. It travels inside a transaction
/// that the box key signs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Claim {
    /// Whose receipts.
    pub operator: OperatorId,
    /// The box key that signed them.
    pub key_epoch: u32,
    /// The epoch in which they were written.
    pub epoch: Epoch,
    /// Root of the Merkle-sum tree over the receipts, keyed by [`ReceiptKey`].
    pub root: Digest,
    /// What the tree adds up to.
    pub totals: Sums,
    /// One entry per lane, sorted by payer and lane.
    pub lanes: List<LaneClaim, MAX_CLAIM_LANES>,
    /// Whether a receipt in it may be of mode [`AuditMode::CanaryOnly`]: its fee then counts twice
    /// as unverified work. A claim that holds one and does not say so is a fault.
    pub canary_only: bool,
}

impl Claim {
    /// What stands under [`ClaimRecord::ranges_root`], in the order of the lanes.
    ///
    /// [`ClaimRecord::ranges_root`]: crate::payments::ClaimRecord::ranges_root
    #[must_use]
    pub fn range_leaves(&self) -> Vec<Digest> {
        self.lanes.iter().map(|lane| LaneRange::of(lane).leaf()).collect()
    }
}
