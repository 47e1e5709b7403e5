//! The test models without a tokenizer, and ways to break them.

use model::tiny::{Vocabulary, decoder, encoder};
use model::{Graph, Manifest, Model, Op};
use units::List;

pub(crate) fn vocabulary(stop_ids: Vec<u32>) -> Vocabulary {
    let preprocess = b"no tokenizer".to_vec();
    Vocabulary { size: 96, quiet: 16, stop_ids, preprocess, preprocess_version: 0 }
}

pub(crate) fn chat() -> Model {
    decoder(vocabulary(vec![0, 7])).unwrap()
}

pub(crate) fn embed() -> Model {
    encoder(vocabulary(Vec::new())).unwrap()
}

/// The model's graph with another list of ops, and a manifest that agrees with it.
pub(crate) fn with_ops(model: &Model, change: impl FnOnce(&mut Vec<Op>)) -> (Manifest, Graph) {
    let mut ops = model.graph().ops.to_vec();
    change(&mut ops);
    with_graph(model, |graph| graph.ops = List::new(ops).unwrap())
}

pub(crate) fn with_graph(model: &Model, change: impl FnOnce(&mut Graph)) -> (Manifest, Graph) {
    let mut graph = model.graph().clone();
    change(&mut graph);
    let manifest = Manifest { graph_root: graph.root(), ..model.manifest().clone() };
    (manifest, graph)
}

/// Random numbers from one seed, printed so that a failure can be replayed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by `SELVEDGE_SEED`, or else by `otherwise`.
    pub(crate) fn new(otherwise: u64) -> Self {
        let chosen = std::env::var("SELVEDGE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = chosen.unwrap_or(otherwise);
        eprintln!("replay with SELVEDGE_SEED={seed}");
        Self(seed)
    }

    /// Always the same numbers, for what is pinned.
    pub(crate) const fn fixed(seed: u64) -> Self {
        Self(seed)
    }

    /// The numbers that belong to `index` under this seed.
    pub(crate) fn of(&self, index: u64) -> Self {
        Self(Self(self.0 ^ index.wrapping_mul(0xd134_2543_de82_ef95)).next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub(crate) fn within(&mut self, low: i64, high: i64) -> i64 {
        let span = i128::from(high) - i128::from(low) + 1;
        (i128::from(low) + i128::from(self.next()) % span) as i64
    }
}
