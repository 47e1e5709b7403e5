//! What the digests, keys and trees promise.

use crate::merkle::{self, BadProof, PrefixProof, RangeProof};
use crate::merkle_sum::{BadLeaves, Leaf, SumPath, SumTree, Sums};
use crate::{
    AccountId, BadSignature, Digest, Domain, OperatorId, PublicKey, Salt, SecretKey, Seed,
    Signature, Tree, hash, hash_bytes, hash_of, sha256_bytes, verify_batch,
};
use proptest::prelude::*;
use units::{Credit, List, WorkUnits};

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn leaves(count: u64) -> Vec<Digest> {
    (0..count).map(|i| merkle::leaf(&i.to_le_bytes())).collect()
}

#[test]
fn no_two_domains_share_a_tag() {
    let mut tags: Vec<_> = Domain::ALL.iter().map(|domain| domain.tag()).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), Domain::ALL.len());
    assert_ne!(hash_bytes(Domain::Receipt, b"x"), hash_bytes(Domain::Voucher, b"x"));
    assert_ne!(sha256_bytes(Domain::StateKey, b"x"), sha256_bytes(Domain::StateValue, b"x"));
}

#[test]
fn parts_cannot_be_moved_across_their_borders() {
    let domain = Domain::Receipt;
    assert_ne!(hash(domain, &[b"ab", b"c"]), hash(domain, &[b"a", b"bc"]));
    assert_ne!(hash(domain, &[b"ab"]), hash(domain, &[b"ab", b""]));
}

#[test]
fn digests_are_fixed_for_ever() {
    let line = |name: &str, digest: Digest| format!("{name} {digest}\n");
    let text = [
        line("bytes", hash_bytes(Domain::Receipt, b"selvedge")),
        line("parts", hash(Domain::Receipt, &[b"sel", b"vedge"])),
        line("canonical", hash_of(Domain::Receipt, &(7u64, "selvedge"))),
        line("sha256", sha256_bytes(Domain::Header, b"selvedge")),
        line("merkle 0", merkle::root(&leaves(0))),
        line("merkle 1", merkle::root(&leaves(1))),
        line("merkle 7", merkle::root(&leaves(7))),
        line("sums 5", tree(5).root()),
        line("leaf salt", Salt::new([3; 32]).of_leaf(Tree::Output, 9)),
        line("operator", *OperatorId::derive(&AccountId::new(key(1).public()), 2).get()),
    ]
    .concat();
    expect_test::expect_file!["golden.txt"].assert_eq(&text);
}

#[test]
fn a_signature_holds_for_its_key_message_and_domain_only() {
    let signature = key(1).sign(Domain::Receipt, &7u64);
    let public = key(1).public();
    assert_eq!(public.verify(Domain::Receipt, &7u64, &signature), Ok(()));
    assert_eq!(public.verify(Domain::Receipt, &8u64, &signature), Err(BadSignature));
    assert_eq!(public.verify(Domain::Voucher, &7u64, &signature), Err(BadSignature));
    assert_eq!(key(2).public().verify(Domain::Receipt, &7u64, &signature), Err(BadSignature));
}

#[test]
fn keys_under_which_any_message_verifies_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut second_spelling = [0xff; 32];
    second_spelling[0] = 0xee;
    second_spelling[31] = 0x7f;
    let mut forged = [0; 64];
    forged[..32].copy_from_slice(&identity);
    for bytes in [identity, second_spelling, [0; 32]] {
        let public = PublicKey::new(bytes);
        assert!(public.validate().is_err());
        let signature = Signature::new(forged);
        assert_eq!(public.verify(Domain::Receipt, &1u8, &signature), Err(BadSignature));
        let digest = hash_of(Domain::Receipt, &1u8);
        assert_eq!(verify_batch(&[(public, digest, signature)]), Err(BadSignature));
    }
}

#[test]
fn a_batch_with_one_bad_signature_fails() {
    let mut items: Vec<_> = (1..20u8)
        .map(|n| {
            let digest = hash_of(Domain::Receipt, &n);
            (key(n).public(), digest, key(n).sign_digest(&digest))
        })
        .collect();
    assert_eq!(verify_batch(&items), Ok(()));
    assert_eq!(verify_batch(&[]), Ok(()));
    items[7].1 = hash_of(Domain::Receipt, &99u8);
    assert_eq!(verify_batch(&items), Err(BadSignature));
}

#[test]
fn a_secret_is_never_printed() {
    let secret = SecretKey::from_seed([0x5a; 32]);
    assert!(!format!("{secret:?}").contains("5a5a5a"));
}

#[test]
fn text_forms_have_one_spelling() {
    let digest = hash_bytes(Domain::Receipt, b"x");
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
    assert!("00".parse::<Digest>().is_err());
    assert!("zz".repeat(32).parse::<Digest>().is_err());
    let json = serde_json::to_string(&digest).unwrap();
    assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
}

#[test]
fn a_draw_stays_below_its_bound_and_depends_on_its_purpose() {
    let seed = Seed::new(hash_bytes(Domain::BeaconSeed, b"1"));
    assert_eq!(seed.below(0, &[]), 0);
    assert_eq!(seed.below(1, &[]), 0);
    let draws: Vec<u64> = (0..100u8).map(|i| seed.below(10, &[&[i]])).collect();
    assert!(draws.iter().all(|draw| *draw < 10));
    assert!((0..10).all(|value| draws.contains(&value)));
}

#[test]
fn every_range_of_every_small_tree_proves_and_nothing_else_does() {
    for count in 1..=17 {
        let all = leaves(count);
        let root = merkle::root(&all);
        for start in 0..count {
            for end in start + 1..=count {
                let proof = RangeProof::new(&all, start..end).unwrap();
                let inside = &all[start as usize..end as usize];
                assert_eq!(proof.verify(&root, count, start, inside), Ok(()));
                assert!(proof.verify(&root, count + 1, start, inside).is_err());
                if end < count {
                    assert!(proof.verify(&root, count, start + 1, inside).is_err());
                }
                let mut other = inside.to_vec();
                other[0] = merkle::leaf(b"other");
                assert_eq!(proof.verify(&root, count, start, &other), Err(BadProof::Root));
            }
        }
        assert_eq!(RangeProof::new(&all, 0..count + 1), Err(BadProof::Range));
        assert_eq!(RangeProof::new(&all, 1..1), Err(BadProof::Range));
    }
}

#[test]
fn a_huge_claimed_count_costs_no_more_than_the_proof() {
    let proof = RangeProof::default();
    let result = proof.verify(&Digest::ZERO, u64::MAX, 5, &leaves(1));
    assert_eq!(result, Err(BadProof::Length));
}

fn sum_leaves(count: u64) -> Vec<Leaf<u64>> {
    let leaf = |i: u64| Leaf {
        key: i * 2,
        item: merkle::leaf(&i.to_le_bytes()),
        fee: Credit::new(u128::from(i) + 1),
        work: WorkUnits::new(10 + i),
    };
    (0..count).map(leaf).collect()
}

fn tree(count: u64) -> SumTree {
    SumTree::new(&sum_leaves(count)).unwrap()
}

#[test]
fn a_sum_tree_adds_up_and_each_leaf_proves_its_place() {
    for count in 1..=17 {
        let all = sum_leaves(count);
        let tree = SumTree::new(&all).unwrap();
        let (root, totals) = (tree.root(), tree.totals());
        assert_eq!(totals.count, count);
        assert_eq!(totals.fee.get(), u128::from(count * (count + 1) / 2));
        for (index, leaf) in all.iter().enumerate() {
            let path = tree.path(index as u64).unwrap();
            assert_eq!(path.verify(&root, &totals, leaf), Ok(()));
            let mut dearer = leaf.clone();
            dearer.fee = Credit::new(leaf.fee.get() + 1);
            assert!(path.verify(&root, &totals, &dearer).is_err());
            let mut moved = path.clone();
            moved.index = (moved.index + 1) % count;
            if count > 1 {
                assert!(moved.verify(&root, &totals, leaf).is_err());
            }
            let mut inflated = totals;
            inflated.fee = Credit::new(totals.fee.get() + 1);
            assert_eq!(path.verify(&root, &inflated, leaf), Err(BadProof::Root));
        }
        assert_eq!(tree.path(count).unwrap_err(), BadProof::Range);
    }
}

#[test]
fn a_path_tells_what_stands_before_its_leaf() {
    for count in 1..=17 {
        let tree = tree(count);
        let mut before = Sums::default();
        for (index, leaf) in sum_leaves(count).iter().enumerate() {
            let path = tree.path(index as u64).unwrap();
            assert_eq!(path.before(count), Ok(before));
            assert_eq!(path.before(path.index), Err(BadProof::Range));
            let own = Sums { fee: leaf.fee, work: leaf.work, count: 1 };
            before = before.checked_add(&own).unwrap();
        }
        assert_eq!(before, tree.totals());
    }
    let bare = SumPath { index: 1, siblings: List::default() };
    assert_eq!(bare.before(2), Err(BadProof::Length));
}

#[test]
fn a_receipt_cannot_stand_in_a_claim_twice() {
    let mut all = sum_leaves(4);
    all[2].key = all[1].key;
    assert_eq!(SumTree::new(&all).unwrap_err(), BadLeaves::Order);
    all.swap(0, 3);
    assert_eq!(SumTree::new(&all).unwrap_err(), BadLeaves::Order);
}

#[test]
fn totals_that_overflow_are_refused() {
    let mut all = sum_leaves(2);
    all[0].fee = Credit::MAX;
    assert!(matches!(SumTree::new(&all).unwrap_err(), BadLeaves::Overflow(_)));
}

/// Levels of every round of a bisection in these tests.
const LEVELS: u32 = 4;

#[test]
fn the_parts_below_a_top_follow_from_the_count_and_join_to_it_again() {
    for count in 0..300 {
        let all = leaves(count);
        let widths = merkle::widths(count, LEVELS);
        let tops = merkle::tops(&all, LEVELS);
        assert_eq!(widths.len(), tops.len());
        assert!(tops.len() <= 16);
        let mut rest = all.as_slice();
        for (width, top) in widths.iter().zip(&tops) {
            let (part, after) = rest.split_at(usize::try_from(*width).unwrap());
            assert_eq!(merkle::tops(part, 0), [*top], "{count} leaves");
            rest = after;
        }
        assert!(rest.is_empty(), "{count} leaves");
        let top = merkle::join(count, LEVELS, &tops).unwrap();
        assert_eq!(merkle::bind(count, &top), merkle::root(&all), "{count} leaves");
        let short = tops.get(1..).unwrap_or_default();
        assert_eq!(merkle::join(count, LEVELS, short), Err(BadProof::Length));
        let long = [tops.as_slice(), &[merkle::leaf(b"more")]].concat();
        assert_eq!(merkle::join(count, LEVELS, &long), Err(BadProof::Length));
    }
}

#[test]
fn a_beginning_is_proven_at_every_length_and_nothing_else_is() {
    let all = leaves(45);
    let top = |leaves: &[_]| merkle::tops(leaves, 0)[0];
    for count in 1..=45_u64 {
        let proof = PrefixProof::new(&all, count).unwrap();
        let first = top(&all[..usize::try_from(count).unwrap()]);
        assert_eq!(proof.verify(&first, count, 45), Ok(top(&all)), "{count}");
        let other = merkle::leaf(b"other");
        assert_eq!(proof.verify(&other, count, 45), Err(BadProof::Root));
        for (count, all) in [(0, 45), (46, 45), (count, count - 1)] {
            assert_eq!(proof.verify(&first, count, all), Err(BadProof::Range));
        }
        // Another length needs other parts, or gives another top: the root binds the count.
        for length in (1..=60).filter(|length| *length != 45 && *length >= count) {
            let shown = proof.verify(&first, count, length);
            let root = shown.map(|top| merkle::bind(length, &top));
            assert_ne!(root, Ok(merkle::root(&all)), "{count} of {length}");
        }
    }
    assert_eq!(PrefixProof::new(&all, 0), Err(BadProof::Range));
    assert_eq!(PrefixProof::new(&all, 46), Err(BadProof::Range));
}

proptest! {
    #[test]
    fn any_bytes_are_a_proof_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = borsh::from_slice::<RangeProof>(&bytes);
        if let Ok(path) = borsh::from_slice::<SumPath>(&bytes) {
            let all = sum_leaves(3);
            let tree = tree(3);
            prop_assert!(path.verify(&tree.root(), &tree.totals(), &all[0]).is_err());
        }
    }

    #[test]
    fn one_changed_bit_breaks_a_signature(message: u64, bit in 0usize..512) {
        let signature = key(3).sign(Domain::Request, &message);
        let mut bytes = *signature.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let changed = Signature::new(bytes);
        prop_assert!(key(3).public().verify(Domain::Request, &message, &changed).is_err());
    }
}
