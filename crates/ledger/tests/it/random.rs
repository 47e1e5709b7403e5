//! A small source of pseudo-random numbers (SplitMix64): one seed replays everything.

/// The state of the generator.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `n`.
    pub(crate) const fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let index = self.below(items.len() as u64);
        items[index as usize]
    }

    /// Mostly ordinary, sometimes an edge: nothing, one, all of it, one too many, absurd.
    pub(crate) fn amount(&mut self, ordinary: u128) -> u128 {
        match self.below(16) {
            0 => 0,
            1 => 1,
            2 => ordinary,
            3 => ordinary + 1,
            4 => 1 << 99,
            _ => u128::from(self.next()) % ordinary.max(1),
        }
    }
}

/// The seed in an environment variable, or a fresh one; printed, so that a failure replays.
pub(crate) fn seed_from_env(variable: &str, fallback: u64) -> u64 {
    let seed = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(fallback);
    eprintln!("{variable}={seed}");
    seed
}
