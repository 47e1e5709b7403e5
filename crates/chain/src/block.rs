//! The block as consensus carries it: a header, and the body that the header commits to.
//!
//! Rules: a block that exists is consistent: its header's transaction root and payload digest
//! are those of its body, so the header's digest names the whole block and the encoding is
//! canonical. Length is checked before anything is decoded.
//! Never here: whether the block is valid on its parent.

use crate::keys::{PeerKey, peer_key};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{BufMut, Bytes};
use commonware_codec::{Buf, EncodeSize, Error as CodecError, Read, ReadExt as _, Write};
use commonware_consensus::{
    Block as ConsensusBlock, BoundedBlock, CertifiableBlock, Heightable,
    simplex::types::Context,
    types::{Epoch, Height as ConsensusHeight, Round as ConsensusRound, View},
};
use commonware_cryptography::{Digestible, sha256};
use crypto::{Digest, Domain, hash, hash_of, merkle};
use ledger::SignedTransaction;
use light::{Header, MAX_HEADER_BYTES};
use std::sync::Arc;
use units::List;

/// Bound of an encoded block: the most that genesis can allow for transactions, and the header.
pub(crate) const MAX_BLOCK_BYTES: usize = 33 << 20;

/// Most transactions in a block, whatever genesis says.
pub(crate) const MAX_BLOCK_TRANSACTIONS: usize = 100_000;

/// Bound of a consensus payload.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// Consensus' view of a block's place.
pub(crate) type BlockContext = Context<sha256::Digest, PeerKey>;

/// A block; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Block(Arc<Sealed>);

#[derive(Debug)]
struct Sealed {
    content: Content,
    digest: Digest,
    context: BlockContext,
    bytes: Bytes,
}

/// The canonical content.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
struct Content {
    header: Header,
    transactions: List<SignedTransaction, MAX_BLOCK_TRANSACTIONS>,
    payload: Option<List<u8, MAX_PAYLOAD_BYTES>>,
}

impl Block {
    /// A block of `header`, whose commitments to the body are filled in, and `transactions`.
    /// `None` if the body exceeds its bounds or the proposer is no key.
    pub(crate) fn new(mut header: Header, transactions: Vec<SignedTransaction>) -> Option<Self> {
        let transactions = List::new(transactions).ok()?;
        header.transactions = transactions_root(&transactions);
        header.payload = None;
        Self::seal(Content { header, transactions, payload: None })
    }

    /// The first block: no parent, no transactions, the genesis digest in place of their root.
    pub(crate) fn genesis(header: Header) -> Option<Self> {
        let transactions = List::new(Vec::new()).ok()?;
        Self::seal(Content { header, transactions, payload: None })
    }

    /// From encoded bytes, length prefix not included.
    pub(crate) fn decode_content(bytes: &[u8]) -> Option<Self> {
        let content: Content = borsh::from_slice(bytes).ok()?;
        let header = &content.header;
        let payload = content.payload.as_deref().map(payload_digest);
        let consistent = payload == header.payload
            && (header.height.is_zero()
                || header.transactions == transactions_root(&content.transactions));
        if consistent { Self::seal(content) } else { None }
    }

    fn seal(content: Content) -> Option<Self> {
        let bytes = Bytes::from(borsh::to_vec(&content).ok()?);
        if bytes.len() > MAX_BLOCK_BYTES {
            return None;
        }
        let header = &content.header;
        let context = Context {
            round: ConsensusRound::new(Epoch::new(header.committee), View::new(header.round.get())),
            leader: peer_key(&header.proposer)?,
            parent: (View::new(header.parent_round.get()), tree_digest(&header.parent)),
        };
        let digest = header.digest();
        Some(Self(Arc::new(Sealed { content, digest, context, bytes })))
    }

    pub(crate) fn header(&self) -> &Header {
        &self.0.content.header
    }

    pub(crate) fn transactions(&self) -> &[SignedTransaction] {
        &self.0.content.transactions
    }

    /// Digest of the header.
    pub(crate) fn id(&self) -> Digest {
        self.0.digest
    }

    /// The encoded content.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Whether it carries a payload for the consensus itself.
    pub(crate) fn has_payload(&self) -> bool {
        self.0.content.payload.is_some()
    }
}

/// Root over the signed bytes, so that a block with another signature is another block.
fn transactions_root(transactions: &[SignedTransaction]) -> Digest {
    let leaves: Vec<_> = transactions
        .iter()
        .map(|transaction| hash_of(Domain::BlockTransactions, transaction))
        .collect();
    merkle::root(&leaves)
}

fn payload_digest(payload: &[u8]) -> Digest {
    hash(Domain::BlockTransactions, &[b"payload", payload])
}

/// A digest as consensus and store hold it.
pub(crate) fn tree_digest(digest: &Digest) -> sha256::Digest {
    sha256::Digest::from(*digest.as_bytes())
}

/// A digest as headers hold it.
pub(crate) fn plain_digest(digest: &sha256::Digest) -> Digest {
    Digest::new(<[u8; 32]>::try_from(digest.as_ref()).expect("a SHA-256 digest has 32 bytes"))
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Block {}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        let length = u32::try_from(self.0.bytes.len()).expect("a block is bounded");
        length.write(buf);
        buf.put_slice(&self.0.bytes);
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        4 + self.0.bytes.len()
    }
}

impl Read for Block {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, CodecError> {
        let length = u32::read(buf)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_BLOCK_BYTES {
            return Err(CodecError::InvalidLength(length));
        }
        if buf.remaining() < length {
            return Err(CodecError::EndOfBuffer);
        }
        let bytes = buf.copy_to_bytes(length);
        Self::decode_content(&bytes).ok_or(CodecError::Invalid("Block", "not one canonical block"))
    }
}

impl Digestible for Block {
    type Digest = sha256::Digest;

    fn digest(&self) -> sha256::Digest {
        tree_digest(&self.0.digest)
    }
}

impl Heightable for Block {
    fn height(&self) -> ConsensusHeight {
        ConsensusHeight::new(self.header().height.get())
    }
}

impl ConsensusBlock for Block {
    fn parent(&self) -> sha256::Digest {
        tree_digest(&self.header().parent)
    }
}

impl CertifiableBlock for Block {
    type Context = BlockContext;

    fn context(&self) -> BlockContext {
        self.0.context.clone()
    }
}

impl BoundedBlock for Block {
    fn max_encode_size((): &()) -> usize {
        4 + MAX_BLOCK_BYTES
    }
}

const _: () = assert!(MAX_HEADER_BYTES < MAX_BLOCK_BYTES);
