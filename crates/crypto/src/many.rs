//! BLAKE3 of several short texts of one length, side by side.
//!
//! A text of a few kilobytes has too few chunks to fill a vector, so one alone is hashed at a
//! fraction of the speed of long ones. Here the lanes hold the same chunk of different texts. The
//! compressions are the `blake3` crate's own, through its interface for several inputs; what is
//! left to do is the order of chunks and parents, which the tests hold against its hasher.

use blake3::IncrementCounter;
use blake3::platform::{Platform, words_from_le_bytes_32};

use crate::{Digest, Domain, hash_bytes};

/// Texts that are hashed side by side: what the widest vectors take.
const LANES: usize = 16;

const BLOCK: usize = 64;
const CHUNK: usize = 1_024;

// The flags of BLAKE3, section 2.2 of its paper.
const CHUNK_START: u8 = 1 << 0;
const CHUNK_END: u8 = 1 << 1;
const PARENT: u8 = 1 << 2;
const ROOT: u8 = 1 << 3;
const DERIVE_KEY_MATERIAL: u8 = 1 << 6;

/// Chaining values of one node of each text.
type Nodes = [[u8; 32]; LANES];

/// [`hash_bytes`] of each text: faster than one by one if they are of one length, which is a
/// multiple of 64.
#[must_use]
pub fn hash_many(domain: Domain, texts: &[&[u8]]) -> Vec<Digest> {
    let length = texts.first().map_or(0, |text| text.len());
    let in_blocks = length > 0 && length.is_multiple_of(BLOCK);
    if texts.len() < 2 || !in_blocks || texts.iter().any(|text| text.len() != length) {
        return texts.iter().map(|text| hash_bytes(domain, text)).collect();
    }
    let lanes = Lanes { platform: Platform::detect(), key: domain.context_key() };
    let mut digests = Vec::with_capacity(texts.len());
    for texts in texts.chunks(LANES) {
        digests.extend(lanes.roots(texts, length).into_iter().take(texts.len()).map(Digest::new));
    }
    digests
}

struct Lanes {
    platform: Platform,
    key: &'static [u8; 32],
}

impl Lanes {
    /// The hash of each of at most [`LANES`] texts.
    fn roots(&self, texts: &[&[u8]], length: usize) -> Nodes {
        let chunks = length.div_ceil(CHUNK);
        let root = if chunks == 1 { ROOT } else { 0 };
        let mut level: Vec<Nodes> = (0..chunks)
            .map(|chunk| {
                let parts = texts.iter().map(|text| text.chunks(CHUNK).nth(chunk).unwrap_or(&[]));
                self.chunks(&parts.collect::<Vec<_>>(), chunk, root)
            })
            .collect();
        while level.len() > 1 {
            let root = if level.len() == 2 { ROOT } else { 0 };
            level = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => self.parents(left, right, texts.len(), root),
                    odd => odd.first().copied().unwrap_or_default(),
                })
                .collect();
        }
        level.first().copied().unwrap_or_default()
    }

    /// Chunk number `chunk` of each text, all of one length.
    fn chunks(&self, parts: &[&[u8]], chunk: usize, root: u8) -> Nodes {
        let counter = u64::try_from(chunk).unwrap_or(u64::MAX);
        let (start, end) = (CHUNK_START, CHUNK_END | root);
        let blocks = parts.first().map_or(0, |part| part.len()) / BLOCK;
        macro_rules! of_blocks {
            ($($count:literal)*) => {
                match blocks {
                    $($count => {
                        self.compress::<{ $count * BLOCK }>(parts, counter, 0, start, end)
                    })*
                    _ => Nodes::default(),
                }
            };
        }
        of_blocks!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    }

    fn parents(&self, left: &Nodes, right: &Nodes, texts: usize, root: u8) -> Nodes {
        let mut blocks = [[[0; 32]; 2]; LANES];
        for (block, (left, right)) in blocks.iter_mut().zip(left.iter().zip(right)) {
            *block = [*left, *right];
        }
        let parts: Vec<&[u8]> =
            blocks.iter().take(texts).map(|block| block.as_flattened()).collect();
        self.compress::<BLOCK>(&parts, 0, PARENT | root, 0, 0)
    }

    fn compress<const N: usize>(
        &self,
        parts: &[&[u8]],
        counter: u64,
        flags: u8,
        start: u8,
        end: u8,
    ) -> Nodes {
        let inputs: Vec<&[u8; N]> = parts.iter().filter_map(|part| part.first_chunk()).collect();
        let mut nodes = Nodes::default();
        self.platform.hash_many(
            &inputs,
            &words_from_le_bytes_32(self.key),
            counter,
            IncrementCounter::No,
            DERIVE_KEY_MATERIAL | flags,
            start,
            end,
            nodes.as_flattened_mut(),
        );
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths around every bound, and more texts than lanes.
    #[test]
    fn texts_side_by_side_have_the_hashes_that_they_have_alone() {
        let lengths = (0..=40).map(|blocks| blocks * BLOCK).chain([1, 63, 65, 1_023, 4_096, 8_192]);
        for length in lengths.chain([7 * CHUNK + BLOCK, 15 * CHUNK]) {
            for count in [1, 2, 3, 8, 15, 16, 17, 40] {
                let texts: Vec<Vec<u8>> = (0..count)
                    .map(|text| (0..length).map(|at| ((at * 7 + text * 31) % 251) as u8).collect())
                    .collect();
                let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
                let alone: Vec<Digest> =
                    texts.iter().map(|text| hash_bytes(Domain::TraceLeaf, text)).collect();
                assert_eq!(hash_many(Domain::TraceLeaf, &texts), alone, "{count} x {length}");
            }
        }
    }

    #[test]
    fn texts_of_different_lengths_are_hashed_one_by_one() {
        let texts: [&[u8]; 3] = [&[1; 64], &[2; 128], &[]];
        let alone = texts.map(|text| hash_bytes(Domain::TraceLeaf, text));
        assert_eq!(hash_many(Domain::TraceLeaf, &texts), alone);
        assert!(hash_many(Domain::TraceLeaf, &[]).is_empty());
    }
}
