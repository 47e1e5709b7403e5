//! A storm: a tenth of all tasks is disputed at the same time, half of the challenges bogus, while
//! more payments wait than blocks hold.
//!
//! Rules: blocks hold what [`ledger::select`] picks of what has waited longest, as a proposer's do;
//! everybody acts by signed transactions; payments keep half of every block, and no honest side
//! loses for want of space.

use crate::testing::{
    coins,
    network::{Claimed, Network, copies},
    toy::ToyRun,
    transfer,
};
use crypto::Digest;
use ledger::{
    Authorized, Call, Event, Params, Status, Transaction, disputes, disputes::Party, select,
    transaction::Traffic,
};
use std::collections::{BTreeMap, BTreeSet};
use units::Coin;

/// Blocks after which a storm that has not ended is a failure.
const BLOCKS_MAX: u64 = 200;

/// How large a storm is.
struct Size {
    /// Every other one lies in the receipts that are challenged.
    operators: usize,
    /// Of each operator; a tenth is challenged.
    tasks: usize,
    /// Payments that wait at every block.
    payments: usize,
    block_transactions: u32,
    block_bytes: u32,
}

/// A transaction that waits: of which receipt, in which line, after how many moves.
type Waits = (Digest, Option<(u32, u32)>);

/// What was seen of it.
#[derive(Debug, Default)]
struct Seen {
    blocks: u64,
    disputes: usize,
    /// Of the bytes and of the transactions of a block while disputes ran: the least of payments.
    bytes: f64,
    places: f64,
    /// Blocks in which disputes waited that found no place.
    crowded: u64,
    /// From the first challenge to the last verdict, on the clock.
    lasted: u64,
}

struct Storm {
    network: Network,
    claims: Vec<Claimed>,
    right: ToyRun,
    lie: ToyRun,
    /// The claim of each receipt that is challenged.
    disputed: BTreeMap<Digest, usize>,
    /// Challenges not on the ledger yet: who, and which receipt of its claim.
    waiting: BTreeMap<Digest, (String, usize)>,
    /// What waits for a place, in the order in which it came.
    pool: Vec<Waits>,
    /// What the ledger has refused: a liar's last step. Nobody sends it twice.
    refused: BTreeSet<Waits>,
    payers: Vec<String>,
    size: Size,
}

fn owner(index: usize) -> String {
    format!("owner {index}")
}

impl Storm {
    fn new(size: Size) -> Self {
        let mut params = Params::devnet();
        params.verification.leaves = 0; // Disputes alone; audits would be little beside them.
        (params.block.transactions, params.block.bytes) =
            (size.block_transactions, size.block_bytes);
        let disputed = size.operators * size.tasks / 10;
        let owners = (0..size.operators).map(owner);
        let challengers: Vec<String> = (0..disputed).map(|n| format!("challenger {n}")).collect();
        let payers: Vec<String> = (0..64).map(|n| format!("payer {n}")).collect();
        let people: Vec<String> =
            owners.chain(challengers.iter().cloned()).chain(payers.iter().cloned()).collect();
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        let mut network = Network::empty(params, &people);
        network.world.every = 64;
        let right = network.right();
        let mut lie = right.clone();
        lie.tokens[1] = 500;

        let mut served = Vec::new();
        for index in 0..size.operators {
            network.join(&owner(index), coins(1_000));
            let mut runs = copies(&right, size.tasks);
            let wrong = copies(&lie, 1).remove(0);
            for place in (0..size.tasks).step_by(10) {
                if index % 2 == 1 {
                    runs[place] = wrong.clone();
                }
            }
            served.push((owner(index), runs));
        }
        network.world.block(&[]);
        let claims: Vec<Claimed> =
            served.iter().map(|(owner, runs)| network.serve(owner, runs)).collect();
        network.world.wait_for_next_period();
        for claimed in &claims {
            let filing = network.filing(claimed);
            network.world.done(&claimed.owner, filing);
        }
        let places = (0..size.operators)
            .flat_map(|claim| (0..size.tasks).step_by(10).map(move |place| (claim, place)));
        let (mut disputed, mut waiting) = (BTreeMap::new(), BTreeMap::new());
        for ((claim, place), challenger) in places.zip(challengers) {
            let receipt = claims[claim].work[place].1.hash();
            disputed.insert(receipt, claim);
            waiting.insert(receipt, (challenger, place));
        }
        let (pool, refused) = (Vec::new(), BTreeSet::new());
        Self { network, claims, right, lie, disputed, waiting, pool, refused, payers, size }
    }

    /// Whether a receipt is wrong.
    fn lies(&self, receipt: &Digest) -> bool {
        self.disputed[receipt] % 2 == 1
    }

    /// What an account re-executes or has signed: liars stand by their lie.
    fn run_of(&self, name: &str, receipt: &Digest) -> ToyRun {
        let defends = name.starts_with("owner");
        if self.lies(receipt) == defends { self.lie.clone() } else { self.right.clone() }
    }

    /// What everybody wants to say about disputes.
    fn wanted(&self) -> BTreeMap<Waits, (String, Call)> {
        let mut wanted = BTreeMap::new();
        for (receipt, (challenger, place)) in &self.waiting {
            let finding = self.run_of(challenger, receipt).finding();
            let claimed = &self.claims[self.disputed[receipt]];
            let subject = Box::new(claimed.opening(*place).subject());
            let challenge = Call::Disputes(disputes::Tx::Challenge { subject, finding });
            wanted.insert((*receipt, None), (challenger.clone(), challenge));
        }
        for (name, call) in self.network.moves(|name, receipt| Some(self.run_of(name, receipt))) {
            let Call::Disputes(disputes::Tx::Play { receipt, line, .. }) = &call else { continue };
            let open = disputes::line(&self.network.world.state, receipt, *line).unwrap().unwrap();
            wanted.insert((*receipt, Some((*line, open.moves))), (name, call));
        }
        wanted.retain(|waits, _| !self.refused.contains(waits));
        wanted
    }

    /// All that waits for a place in the next block: disputes by their age, then payments.
    fn candidates(&mut self) -> Vec<Authorized<Transaction>> {
        let mut wanted = self.wanted();
        self.pool.retain(|waits| wanted.contains_key(waits));
        let known: BTreeSet<Waits> = self.pool.iter().copied().collect();
        self.pool.extend(wanted.keys().filter(|waits| !known.contains(waits)));
        let mut calls: Vec<(String, Call)> =
            self.pool.iter().map(|waits| wanted.remove(waits).expect("kept above")).collect();
        for number in 0..self.size.payments {
            let payer = &self.payers[number % self.payers.len()];
            calls.push((payer.clone(), transfer("alice", Coin::new(1))));
        }
        let mut ahead: BTreeMap<String, u64> = BTreeMap::new();
        let signed = calls.into_iter().map(|(name, call)| {
            let ahead = ahead.entry(name.clone()).or_default();
            *ahead += 1;
            self.network.world.authorized(&name, &name, *ahead - 1, call)
        });
        signed.collect()
    }

    /// Blows itself out. The honest side must win every line.
    fn run(mut self) -> Seen {
        let all = self.disputed.len();
        let mut seen = Seen { bytes: 1.0, places: 1.0, ..Seen::default() };
        let start = self.network.world.clock();
        let mut decided = BTreeSet::new();
        while decided.len() < all {
            assert!(seen.blocks < BLOCKS_MAX, "{} of {all} verdicts", decided.len());
            let candidates = self.candidates();
            let refs: Vec<&Authorized<Transaction>> = candidates.iter().collect();
            let chosen = select(&self.network.world.state, &refs).unwrap();
            let block: Vec<_> = chosen.iter().map(|index| candidates[*index].clone()).collect();
            let taken = chosen.iter().filter(|index| **index < self.pool.len()).count();
            seen.note(&block, self.pool.len() > taken);
            self.network.world.block(&block);
            for (index, outcome) in chosen.iter().zip(&self.network.world.last.outcomes) {
                let applied = outcome.status == Status::Applied;
                match self.pool.get(*index) {
                    None => assert!(applied, "a payment: {:?}", outcome.status),
                    Some((receipt, None)) if applied => drop(self.waiting.remove(receipt)),
                    Some(_) if applied => {}
                    Some(waits) => drop(self.refused.insert(*waits)),
                }
            }
            for event in &self.network.world.last.events {
                let Event::Disputes(disputes::Event::Decided(verdict)) = event else { continue };
                let honest =
                    if self.lies(&verdict.receipt) { Party::Challenger } else { Party::Defender };
                assert_ne!(verdict.loser, honest, "{verdict:?}");
                decided.insert(verdict.receipt);
            }
        }
        self.network.world.check();
        seen.disputes = all;
        seen.lasted = self.network.world.clock() - start;
        seen
    }
}

impl Seen {
    fn note(&mut self, block: &[Authorized<Transaction>], crowded: bool) {
        let payment = |it: &&Authorized<Transaction>| it.get().call.traffic() == Traffic::Payments;
        let bytes = |all: &mut dyn Iterator<Item = &Authorized<Transaction>>| {
            all.fold(0, |sum, it| sum + it.bytes()) as f64
        };
        let all = bytes(&mut block.iter());
        let paid = bytes(&mut block.iter().filter(payment));
        let places = block.iter().filter(payment).count() as f64 / block.len() as f64;
        self.blocks += 1;
        self.crowded += u64::from(crowded);
        self.bytes = self.bytes.min(paid / all);
        self.places = self.places.min(places);
    }
}

#[test]
fn in_a_storm_of_disputes_payments_keep_half_of_every_block_and_the_honest_win() {
    let size = Size {
        operators: 4,
        tasks: 100,
        payments: 100,
        block_transactions: 60,
        block_bytes: 2 << 20,
    };
    let seen = Storm::new(size).run();
    eprintln!("{seen:?}");
    assert!(seen.crowded > 0, "a storm leaves no place free");
    assert!(seen.places >= 0.5);
}

/// Bar: payments keep at least half of the space of blocks that are full.
#[test]
#[ignore = "takes minutes; run by the soak"]
fn soak_in_a_storm_of_a_thousand_disputes_payments_keep_half_of_full_blocks() {
    let size = Size {
        operators: 10,
        tasks: 1_000,
        payments: 13_000,
        block_transactions: 20_000,
        block_bytes: 2 << 20,
    };
    let seen = Storm::new(size).run();
    eprintln!("{seen:?}");
    assert!(seen.crowded > 0 && seen.bytes >= 0.5, "{seen:?}");
}
