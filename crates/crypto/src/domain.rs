//! The purposes a hash or a signature can have.
//!
//! Rules: a tag is never reused and never changed; a new format gets a new number at the end.
//! Never here: a tag for two purposes.

use std::sync::OnceLock;

macro_rules! domains {
    ($($(#[$doc:meta])* $name:ident = $tag:literal,)*) => {
        /// What a digest or a signature is for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Domain {
            $($(#[$doc])* $name,)*
        }

        impl Domain {
            /// All of them, for tests that hold the tags apart.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The tag that enters the hash.
            #[must_use]
            pub const fn tag(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("selvedge.", $tag),)*
                }
            }

            /// The BLAKE3 key derived from the tag, computed once per process.
            pub(crate) fn context_key(self) -> &'static blake3::hazmat::ContextKey {
                match self {
                    $(Self::$name => {
                        static KEY: OnceLock<blake3::hazmat::ContextKey> = OnceLock::new();
                        KEY.get_or_init(|| blake3::hazmat::hash_derive_key_context(self.tag()))
                    })*
                }
            }
        }
    };
}

domains! {
    /// A chain's anchor; its digest is the chain id.
    ChainAnchor = "chain-anchor.1",
    /// A genesis document.
    Genesis = "genesis.1",
    /// An operator's identity, from its owner and an index.
    OperatorId = "operator-id.1",
    /// A transaction.
    Transaction = "transaction.1",
    /// The part of a request that decides the output.
    RequestBody = "request-body.1",
    /// A request.
    Request = "request.1",
    /// A voucher.
    Voucher = "voucher.1",
    /// A receipt.
    Receipt = "receipt.1",
    /// An operator's ask.
    Ask = "ask.1",
    /// What sealed content is bound to.
    SealContext = "seal-context.1",
    /// A leaf of a Merkle tree.
    MerkleLeaf = "merkle-leaf.1",
    /// An inner node of a Merkle tree.
    MerkleNode = "merkle-node.1",
    /// The root of a Merkle tree with its leaf count.
    MerkleRoot = "merkle-root.1",
    /// A leaf of a Merkle-sum tree.
    SumLeaf = "sum-leaf.1",
    /// An inner node of a Merkle-sum tree.
    SumNode = "sum-node.1",
    /// The root of a Merkle-sum tree with its totals.
    SumRoot = "sum-root.1",
    /// The salt of one leaf, from a request's salt.
    LeafSalt = "leaf-salt.1",
    /// A leaf under a salt.
    SaltedLeaf = "salted-leaf.1",
    /// A coarse trace root under a salt, as a receipt carries it.
    TraceCommit = "trace-commit.1",
    /// A leaf of the coarse trace.
    TraceLeaf = "trace-leaf.1",
    /// A model's manifest; its digest is the model id.
    Manifest = "manifest.1",
    /// A model's graph.
    Graph = "graph.1",
    /// One output channel of a model's weights.
    WeightLeaf = "weight-leaf.1",
    /// One look-up table of a model.
    TableLeaf = "table-leaf.1",
    /// A preprocess configuration.
    Preprocess = "preprocess.1",
    /// The random number behind one sampled token.
    SampleDraw = "sample-draw.1",
    /// A beacon seed, from a threshold signature.
    BeaconSeed = "beacon-seed.1",
    /// The weights of a batch of signature checks.
    BatchWeights = "batch-weights.1",
    /// A draw from a beacon seed.
    BeaconDraw = "beacon-draw.1",
    /// A block's header; its digest is the block's.
    Header = "header.1",
    /// The transactions of a block.
    BlockTransactions = "block-transactions.1",
    /// A key of the state tree.
    StateKey = "state-key.1",
    /// A value of the state tree.
    StateValue = "state-value.1",
    /// An API key as a gateway stores it.
    ApiKey = "api-key.1",
    /// The body of an HTTP call, to recognise a retry.
    HttpBody = "http-body.1",
    /// A key file's checksum.
    KeyFile = "key-file.1",
    /// A snapshot of the state.
    Snapshot = "snapshot.1",
    /// What one re-execution of a request found.
    Finding = "finding.1",
    /// What an auditor commits to: its finding, sealed.
    FindingCommit = "finding-commit.1",
    /// A conflict certificate; its digest is the conflict's id.
    Conflict = "conflict.1",
}
