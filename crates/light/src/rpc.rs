//! What a node's HTTP interface says: the JSON of every answer.
//!
//! ```text
//! GET  /v1/status                              Status
//! GET  /v1/genesis                             the genesis document
//! POST /v1/transactions                        one borsh SignedTransaction → TransactionResult
//! POST /v1/transactions/batch                  borsh list of them → borsh list of results
//! GET  /v1/transactions/{id}                   TransactionResult
//! GET  /v1/state?key=HEX[&proof=true]          StateAnswer
//! GET  /v1/state/range?prefix=HEX[&after=HEX][&limit=N]   StateRange
//! GET  /v1/blocks/{height}                     BlockAnswer
//! GET  /v1/claims/{operator}/{epoch}           the borsh Claim as it was filed
//! GET  /v1/events?from=HEIGHT                  server-sent events, one BlockEvents each
//! ```
//!
//! Rules: amounts are decimal strings, bytes are lower-case hex; an answer outside 2xx is an
//! [`ErrorBody`]. A transaction's answer comes once it is final, applied and on disk.
//! Never here: transport.

use crate::{Certificate, ChainAnchor, Header, StateProof};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{ChainId, Digest};
use ledger::Event;
use serde::{Deserialize, Serialize};
use units::{Coin, Height, Millis, Round};

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The chain's id.
    pub chain_id: ChainId,
    /// What the id is the hash of. To be compared with a copy from a trusted source.
    pub anchor: ChainAnchor,
    /// Release of the node.
    pub version: String,
    /// The last final block.
    pub height: Height,
    /// Its digest.
    pub digest: Digest,
    /// Its proposer's wall clock.
    pub time: Millis,
    /// The ledger's clock after it.
    pub clock: Millis,
    /// The round it was proposed in.
    pub round: Round,
    /// Up to this round, seeds have come.
    pub seeded: Round,
    /// Oldest height whose block and events can still be asked for.
    pub oldest: Height,
    /// What waits for a block.
    pub mempool: MempoolStatus,
}

/// Load of a node's mempool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MempoolStatus {
    /// Number of transactions.
    pub transactions: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct TransactionResult {
    /// The transaction.
    pub id: Digest,
    /// The final block that holds it.
    pub height: Height,
    /// Its place in that block, from 0.
    pub index: u32,
    /// What it did.
    pub outcome: Outcome,
    /// What was burned for it.
    pub fee: Coin,
}

/// Whether a transaction did what it says.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Outcome {
    /// It did.
    Applied = 0,
    /// A rule refused it: it left its fee and its nonce, and nothing else.
    Rejected(Rejected) = 1,
    /// It could not even pay its fee, or came out of turn: it left nothing.
    Refused(Rejected) = 2,
}

/// The ledger's reason.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Rejected {
    /// Stable number: module in the high byte, error in the low one.
    pub code: u16,
    /// For people.
    pub message: String,
}

/// The value of a key in the newest final state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateAnswer {
    /// Height of that state.
    pub height: Height,
    /// The value, if the key has one.
    pub value: Option<HexBytes>,
    /// What proves it, if asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<StateEvidence>,
}

/// All that a holder of the anchor needs to check a [`StateAnswer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEvidence {
    /// The header whose state is meant.
    pub header: Header,
    /// That it is final.
    pub certificate: Certificate,
    /// That the key has the value, or none, under the header's state root.
    pub proof: StateProof,
}

/// Keys under a prefix, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRange {
    /// Height of the state.
    pub height: Height,
    /// Keys and values.
    pub entries: Vec<StateEntry>,
    /// `after` of the next page; `None` if this was the last.
    pub next: Option<HexBytes>,
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// The key.
    pub key: HexBytes,
    /// The value.
    pub value: HexBytes,
}

/// A final block without its transactions' bodies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockAnswer {
    /// Digest of the header.
    pub digest: Digest,
    /// The header.
    pub header: Header,
    /// That it is final; `None` if only a later block was certified, which makes this one final
    /// too.
    pub certificate: Option<Certificate>,
    /// Ids, in order.
    pub transactions: Vec<Digest>,
}

/// What happened in a final block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEvents {
    /// The block.
    pub height: Height,
    /// Its proposer's wall clock.
    pub time: Millis,
    /// The ledger's clock after it.
    pub clock: Millis,
    /// Facts, in the order of execution.
    pub events: Vec<Event>,
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: RpcError,
}

/// What is wrong, why, and what to do.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[error("{code}: {message}")]
pub struct RpcError {
    /// Stable code in snake case.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Bytes whose JSON is lower-case hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HexBytes(#[serde(with = "crate::bytes::string")] pub Vec<u8>);

impl std::str::FromStr for HexBytes {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        crate::bytes::from_hex(text).map(Self).ok_or(NotHex)
    }
}

/// A text that is not lower-case hex of whole bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected lower-case hex, two digits a byte")]
pub struct NotHex;
