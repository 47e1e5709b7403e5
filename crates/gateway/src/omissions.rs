//! What shows that a claim leaves out a receipt: another one in its place, or neighbours that leave
//! it no room.
//!
//! Rules: only leaves whose paths lead to the claim's root count; what is found is what the ledger
//! takes. Never here: asking, filing.

use crypto::Digest;
use ledger::{
    payments::{ClaimRecord, messages::ReceiptKey},
    verification::PlacedLeaf,
};
use std::collections::BTreeMap;
use units::List;

/// Leaves of one claim, by their keys.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<ReceiptKey, PlacedLeaf>);

/// What is known of a receipt's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The receipt stands there.
    Own,
    /// It is not in the claim, as these leaves show.
    Missing(List<PlacedLeaf, 2>),
    /// Nothing is known.
    Unknown,
}

impl Known {
    /// Takes a leaf, if it stands in the claim.
    pub(crate) fn add(&mut self, claim: &ClaimRecord, placed: PlacedLeaf) {
        if placed.path.verify(&claim.root, &claim.totals, &placed.leaf).is_ok() {
            self.0.insert(placed.leaf.key, placed);
        }
    }

    /// Where a receipt stands in a claim of `count` receipts.
    pub(crate) fn place(&self, count: u64, key: &ReceiptKey, receipt: Digest) -> Place {
        if let Some(here) = self.0.get(key) {
            let own = here.leaf.item == receipt;
            return if own { Place::Own } else { missing(vec![here]) };
        }
        let before = self.0.range(..key).next_back().map(|(_, placed)| placed);
        let behind = self.0.range(key..).next().map(|(_, placed)| placed);
        let last = count.saturating_sub(1);
        match (before, behind) {
            (Some(one), Some(other)) if one.path.index.checked_add(1) == Some(other.path.index) => {
                missing(vec![one, other])
            }
            (_, Some(first)) if first.path.index == 0 => missing(vec![first]),
            (Some(end), _) if end.path.index == last => missing(vec![end]),
            _ => Place::Unknown,
        }
    }
}

fn missing(around: Vec<&PlacedLeaf>) -> Place {
    let around = List::new(around.into_iter().cloned().collect());
    around.map_or(Place::Unknown, Place::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::{
        AccountId, Domain, PublicKey, hash_bytes,
        merkle_sum::{Leaf, SumTree},
    };
    use units::{Credit, WorkUnits};

    fn key(sequence: u64) -> ReceiptKey {
        ReceiptKey { payer: AccountId::new(PublicKey::new([1; 32])), lane: 0, sequence }
    }

    fn item(sequence: u64) -> Digest {
        hash_bytes(Domain::Receipt, &sequence.to_le_bytes())
    }

    /// A claim's leaves of these sequences, all of them known.
    fn known(sequences: &[u64]) -> Known {
        let leaf = |sequence: &u64| Leaf {
            key: key(*sequence),
            item: item(*sequence),
            fee: Credit::new(1),
            work: WorkUnits::new(1),
        };
        let leaves: Vec<_> = sequences.iter().map(leaf).collect();
        let tree = SumTree::new(&leaves).unwrap();
        let placed = (0..).zip(leaves).map(|(index, leaf)| {
            let path = tree.path(index).unwrap();
            path.verify(&tree.root(), &tree.totals(), &leaf).unwrap();
            (leaf.key, PlacedLeaf { leaf, path })
        });
        Known(placed.collect())
    }

    fn around(place: Place) -> Vec<u64> {
        match place {
            Place::Missing(around) => around.iter().map(|it| it.leaf.key.sequence).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_receipt_is_missing_where_another_stands_or_neighbours_leave_no_room() {
        let all = known(&[2, 3, 5, 6]);
        assert_eq!(all.place(4, &key(3), item(3)), Place::Own);
        assert_eq!(around(all.place(4, &key(3), item(9))), [3]);
        assert_eq!(around(all.place(4, &key(4), item(4))), [3, 5]);
        assert_eq!(around(all.place(4, &key(1), item(1))), [2]);
        assert_eq!(around(all.place(4, &key(7), item(7))), [6]);
    }

    #[test]
    fn nothing_is_shown_where_leaves_between_are_not_known() {
        let mut some = known(&[2, 3, 4, 5]);
        some.0.remove(&key(4));
        assert_eq!(some.place(4, &key(4), item(4)), Place::Unknown);
        some.0.remove(&key(2));
        assert_eq!(some.place(4, &key(2), item(2)), Place::Unknown);
        assert_eq!(Known::default().place(4, &key(2), item(2)), Place::Unknown);
    }
}
