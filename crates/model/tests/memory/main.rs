//! Memory that reading a file takes: a small multiple of the file, whatever the file claims.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use model::tiny::{Vocabulary, decoder};
use model::{Graph, Header, Manifest, Model, Op, Reach, WeightType};
use units::List;

/// Counts bytes in use, and the most there were.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(used, Ordering::Relaxed);
        // SAFETY: the layout is the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: pointer and layout are the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most bytes that reading `file` has in use at a time.
fn most_bytes_of(file: &[u8]) -> usize {
    let before = USED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let read = Model::from_bytes(file);
    let most = MOST.load(Ordering::Relaxed) - before;
    drop(read);
    most
}

fn bounded(what: &str, file: &[u8]) {
    let (most, limit) = (most_bytes_of(file), 4 * file.len() + (1 << 20));
    assert!(most <= limit, "{what}: {most} bytes for a file of {}", file.len());
}

/// The start of a file, up to the tensors.
fn header(manifest: &Manifest, graph: &Graph, preprocess: &[u8]) -> Vec<u8> {
    let mut file = b"selvedge-cir".to_vec();
    file.extend(0_u16.to_le_bytes());
    file.extend(borsh::to_vec(manifest).unwrap());
    file.extend(borsh::to_vec(graph).unwrap());
    file.extend(borsh::to_vec(preprocess).unwrap());
    file
}

#[test]
fn no_file_takes_more_memory_than_a_few_times_its_size() {
    let vocabulary = Vocabulary {
        size: 96,
        quiet: 16,
        stop_ids: vec![0],
        preprocess: b"none".to_vec(),
        preprocess_version: 0,
    };
    let model = decoder(vocabulary).unwrap();
    let file = model.to_bytes();
    bounded("a model", &file);
    for cut in [0, 100, 500, file.len() / 2, file.len() - 1] {
        bounded("a part of a model", &file[..cut]);
    }
    // A graph that claims 2^34 bytes of weights, and brings none.
    let graph = Graph {
        reach: Reach::Causal,
        vocabulary: 1 << 18,
        tables: 8,
        rope_pairs: 128,
        ops: List::new(vec![
            Op::EmbeddingScaled { width: 16_384, factor: 1 },
            Op::Norm { input: 0, centred: false, offset: 1 },
            Op::Linear { input: 1, outputs: 65_536, weights: WeightType::W8 },
            Op::Logits { input: 2, tied: false, multiplier: 1 },
        ])
        .unwrap(),
        boundaries: List::new(vec![0]).unwrap(),
    };
    let manifest = Manifest { graph_root: graph.root(), ..model.manifest().clone() };
    let huge = header(&manifest, &graph, &[]);
    assert!(Header::read(&huge).is_ok());
    assert!(matches!(Model::from_bytes(&huge), Err(model::ModelError::Length { found: 0, .. })));
    bounded("weights that are only claimed", &huge);
    // Lists that claim 2^32 − 1 elements.
    let small = header(model.manifest(), model.graph(), b"none");
    for at in 0..small.len() - 4 {
        let mut endless = small.clone();
        endless[at..at + 4].fill(0xff);
        bounded("a list that is only claimed", &endless);
    }
}
