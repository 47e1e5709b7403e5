//! The beacon's seeds: harvested as rounds end, kept until a block has brought them.
//!
//! Rules: a seed is the validators' signature over its round alone, so any certificate of that
//! round yields it: a notarization, a nullification or a finalization. Blocks bring the seeds
//! of all rounds since the last one brought, in order and without a gap. What a stopped node
//! did not see is signed again where one share is enough to sign for all; a draw that waits for
//! a round therefore always gets its seed.
//! Never here: a seed whose signature was not checked.

use crate::keys::Scheme;
use commonware_actor::Feedback;
use commonware_codec::Encode as _;
use commonware_consensus::{
    Reporter,
    simplex::{
        scheme::bls12381_threshold::vrf::Seedable as _,
        types::{Activity, Subject},
    },
    types::{Epoch, Round as ConsensusRound, View},
};
use commonware_cryptography::{
    bls12381::primitives::variant::{MinSig, Variant},
    certificate::Scheme as _,
    sha256,
};
use commonware_parallel::Sequential;
use commonware_utils::{iter::NonEmpty, sync::Mutex};
use light::{MAX_SEEDS, SeedSignature};
use std::{collections::BTreeMap, sync::Arc};
use units::Round;

/// Most seeds kept in memory. A node that is further behind than this many rounds makes the
/// missing ones again.
const MAX_KEPT: usize = 4_096;

/// Seeds by round, shared between the consensus engine (which brings them) and proposals
/// (which take them).
#[derive(Clone)]
pub(crate) struct Seeds {
    scheme: Scheme,
    known: Arc<Mutex<BTreeMap<u64, SeedSignature>>>,
}

impl Seeds {
    /// An empty harvest under a voting scheme.
    pub(crate) fn new(scheme: Scheme) -> Self {
        Self { scheme, known: Arc::default() }
    }

    /// The signatures that a block proposed in `round` brings, if its parent had seeds up to
    /// `seeded`: those of the next rounds that have ended, at most [`MAX_SEEDS`].
    /// `None` if one of them is not known and cannot be made here.
    pub(crate) fn due(
        &self,
        committee: u64,
        seeded: Round,
        round: Round,
    ) -> Option<Vec<SeedSignature>> {
        due_rounds(seeded, round).map(|round| self.get(committee, round)).collect()
    }

    /// Forgets the rounds that blocks have brought.
    pub(crate) fn forget_through(&self, seeded: Round) {
        let mut known = self.known.lock();
        *known = known.split_off(&seeded.get().saturating_add(1));
    }

    fn get(&self, committee: u64, round: Round) -> Option<SeedSignature> {
        if let Some(seed) = self.known.lock().get(&round.get()) {
            return Some(*seed);
        }
        self.make(committee, round)
    }

    /// Signs a past round alone, as a validator whose share is a quorum can.
    fn make(&self, committee: u64, round: Round) -> Option<SeedSignature> {
        let subject: Subject<'_, sha256::Digest> = Subject::Nullify {
            round: ConsensusRound::new(Epoch::new(committee), View::new(round.get())),
        };
        let vote = self.scheme.sign(subject)?;
        let certificate =
            self.scheme.assemble(NonEmpty::new(vote, std::iter::empty()), &Sequential).ok()?;
        certificate.get().map(|pair| encode(&pair.seed_signature))
    }

    fn put(&self, round: ConsensusRound, signature: &<MinSig as Variant>::Signature) {
        let mut known = self.known.lock();
        known.insert(round.view().get(), encode(signature));
        while known.len() > MAX_KEPT {
            // The oldest are due first; the newest can be harvested or made again.
            known.pop_last();
        }
    }
}

/// The rounds whose seeds a block of `round` must bring after a parent that had brought them up
/// to `seeded`. A rule of validity: it is fixed by the block and its parent.
pub(crate) fn due_rounds(seeded: Round, round: Round) -> impl Iterator<Item = Round> {
    let first = seeded.get().saturating_add(1);
    let last = round.get().saturating_sub(1).min(seeded.get().saturating_add(u64::from(MAX_SEEDS)));
    (first..=last).map(Round::new)
}

impl Reporter for Seeds {
    type Activity = Activity<Scheme, sha256::Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        match activity {
            Activity::Notarization(n) | Activity::Certification(n) => {
                let seed = n.seed();
                self.put(seed.round, &seed.signature);
            }
            Activity::Finalization(f) => {
                let seed = f.seed();
                self.put(seed.round, &seed.signature);
            }
            Activity::Nullification(n) => {
                if let Some(pair) = n.certificate.get() {
                    self.put(n.round, &pair.seed_signature);
                }
            }
            Activity::Notarize(_)
            | Activity::Nullify(_)
            | Activity::Finalize(_)
            | Activity::ConflictingNotarize(_)
            | Activity::ConflictingFinalize(_)
            | Activity::NullifyFinalize(_) => {}
        }
        Feedback::Ok
    }
}

fn encode(signature: &<MinSig as Variant>::Signature) -> SeedSignature {
    let bytes = signature.encode();
    SeedSignature::new(<[u8; 48]>::try_from(bytes.as_ref()).expect("a G1 point has 48 bytes"))
}

#[cfg(test)]
mod tests;
