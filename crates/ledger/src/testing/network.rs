//! A small market for tests of audits: operators that serve the toy model, auditors, one payer.
//!
//! Rules: everybody acts by transactions, in blocks, as the software does; whoever lies does it
//! with a [`ToyRun`] of its own. Never here: a rule of the ledger.

use super::{
    World, account, coins, digest, genesis, operator_of, public,
    toy::{self, ToyRun},
};
use crypto::{
    AccountId, Digest, OperatorId,
    merkle_sum::{SumPath, SumTree},
};
use ledger::{
    Authorized, Call, Params, Read, Status, Transaction,
    disputes::{self, Party, player::next_move},
    genesis::GenesisAccount,
    models, payments,
    payments::messages::{
        Acknowledgement, AuditMode, Claim, LaneClaim, Receipt, Request, RequestBody, Voucher, fee,
    },
    staking, tables, verification,
    verification::{Opening, Phase, Point, Tx},
};
use std::{collections::BTreeMap, rc::Rc};
use units::{BasisPoints, Coin, Credit, Epoch, List, Millis, Round, Text};

/// A point of a claim.
pub(crate) type PointKey = (OperatorId, Epoch, u8);

/// Who audits in [`Network::new`].
pub(crate) const AUDITORS: [&str; 4] = ["ada", "ben", "cleo", "dora"];
/// Most tokens of every request.
const TOKENS: u32 = 4;

/// Parameters under which every claim is audited.
pub(crate) fn audited() -> Params {
    let mut params = Params::devnet();
    params.verification = verification::Params {
        leaves: 2,
        auditors: 2,
        audited_owners: 1,
        audit_floor: BasisPoints::WHOLE,
        ..verification::Params::devnet()
    };
    params
}

/// A market.
pub(crate) struct Network {
    pub(crate) world: World,
    /// Last receipt and sum of fees of the payer's lane to each operator's owner.
    lanes: BTreeMap<String, (u64, Credit)>,
    /// Everybody by account.
    names: BTreeMap<AccountId, String>,
    /// Who may see what is served from now on.
    pub(crate) mode: AuditMode,
    /// Whether claims say that some receipts are never opened.
    pub(crate) canary_only: bool,
}

/// A filed claim, with what its operator keeps.
pub(crate) struct Claimed {
    pub(crate) owner: String,
    pub(crate) operator: OperatorId,
    pub(crate) epoch: Epoch,
    pub(crate) work: Vec<(Request, Receipt, Rc<ToyRun>)>,
    pub(crate) tree: SumTree,
}

impl Claimed {
    /// The opening of the `index`-th receipt.
    pub(crate) fn opening(&self, index: usize) -> Opening {
        let (request, receipt, _) = &self.work[index];
        let subject = toy::subject(request.clone(), receipt.clone(), &box_of(&self.owner));
        let (epoch, path) = (self.epoch, self.path(index));
        Opening { epoch, request: subject.request, receipt: subject.receipt, path }
    }

    pub(crate) fn path(&self, index: usize) -> SumPath {
        self.tree.path(index as u64).unwrap()
    }

    /// The receipt that lies at a place in the sum of the fees.
    pub(crate) fn at(&self, place: Credit) -> usize {
        let mut sum = 0;
        let here = |(_, receipt, _): &(Request, Receipt, Rc<ToyRun>)| {
            sum += receipt.fee.get();
            place.get() < sum
        };
        self.work.iter().position(here).unwrap()
    }

    /// The place of a receipt in the claim.
    pub(crate) fn index_of(&self, receipt: &Digest) -> usize {
        self.work.iter().position(|(_, own, _)| own.hash() == *receipt).unwrap()
    }
}

/// The box key of an owner's operator.
pub(crate) fn box_of(owner: &str) -> String {
    format!("{owner}-box")
}

/// Wraps a transaction of verification.
pub(crate) fn call(tx: Tx) -> Call {
    Call::Verification(tx)
}

/// A run, so many times.
pub(crate) fn copies(run: &ToyRun, count: usize) -> Vec<Rc<ToyRun>> {
    let run = Rc::new(run.clone());
    std::iter::repeat_n(run, count).collect()
}

/// An auditor's own salt.
pub(crate) fn salt_of(name: &str) -> Digest {
    digest(&format!("{name}'s salt"))
}

impl Network {
    /// Olga serves, four people audit, the gateway pays.
    pub(crate) fn new(params: Params) -> Self {
        let mut network = Self::empty(params, &["olga", "otto", "ada", "ben", "cleo", "dora"]);
        for name in AUDITORS {
            network.enlist(name, coins(100));
        }
        network.join("olga", coins(1_000));
        // What comes before a claim is older than it.
        network.world.block(&[]);
        network
    }

    /// A payer and a registered model; nobody serves or audits.
    pub(crate) fn empty(params: Params, people: &[&str]) -> Self {
        let mut document = genesis();
        document.params = params;
        let mut accounts = document.accounts.into_vec();
        for known in &mut accounts {
            if known.account == account("gateway") {
                known.balance = coins(300_000_000);
            }
        }
        let names = people.iter().copied().chain(super::NAMES).map(str::to_owned);
        let names: BTreeMap<_, _> = names.map(|name| (account(&name), name)).collect();
        let more = names.keys().filter(|key| accounts.iter().all(|known| known.account != **key));
        // A genesis can make only so much.
        let balance = coins(64_000_000 / names.len() as u128).min(coins(1_000_000));
        let more =
            more.map(|key| GenesisAccount { account: *key, balance, sessions: List::empty() });
        accounts.extend(more.collect::<Vec<_>>());
        document.accounts = List::new(accounts).unwrap();
        let mut world = World::from_genesis(&document);
        let publication = models::Publication {
            publisher: Text::new("acme").unwrap(),
            name: Text::new("toy").unwrap(),
            manifest: models::schema::Manifest::new(borsh::to_vec(&toy::facts()).unwrap()).unwrap(),
            graph: models::schema::Graph::new(vec![1; 40]).unwrap(),
        };
        world.done("alice", Call::Models(models::Tx::Publish(publication)));
        world.fund("gateway", 20_000_000);
        let (mode, canary_only) = (AuditMode::Open, false);
        Self { world, lanes: BTreeMap::new(), names, mode, canary_only }
    }

    /// An operator enters, serves the toy model and is promised credits.
    pub(crate) fn join(&mut self, owner: &str, bond: Coin) -> OperatorId {
        let operator = operator_of(owner, 0);
        let profile = staking::Profile {
            endpoint: Text::default(),
            models: List::new(vec![toy::facts().model]).unwrap(),
        };
        let registration = staking::Registration {
            index: 0,
            box_key: public(&box_of(owner)),
            class: staking::Class::Board,
            profile,
            bond,
        };
        self.world.done(owner, Call::Staking(staking::Tx::Register(registration)));
        let record = payments::deposit(&self.world.state, &account("gateway")).unwrap();
        let allocate = payments::Tx::Allocate {
            allocation: record.next_allocation,
            operator,
            signer: public("gateway"),
            limit: super::whole_credits(5_000),
            expires: Millis::new(self.world.clock() + 30 * 86_400_000),
        };
        self.world.done("gateway", Call::Payments(allocate));
        self.names.insert(account(owner), owner.to_owned());
        operator
    }

    pub(crate) fn enlist_call(key: &str, amount: Coin) -> Call {
        call(Tx::Enlist {
            key: public(key),
            amount,
            models: List::new(vec![toy::facts().model]).unwrap(),
            endpoint: Text::new("127.0.0.1:7001").unwrap(),
        })
    }

    pub(crate) fn enlist(&mut self, name: &str, amount: Coin) {
        self.world.done(name, Self::enlist_call(name, amount));
    }

    pub(crate) fn name(&self, account: AccountId) -> String {
        self.names[&account].clone()
    }

    /// What every request of the market asks.
    pub(crate) fn body(&self) -> RequestBody {
        toy::request(self.world.chain, 1, TOKENS, None, Round::ZERO).body
    }

    /// The right run.
    pub(crate) fn right(&self) -> ToyRun {
        ToyRun::right(&self.body())
    }

    /// Many transactions in one block.
    pub(crate) fn batch(&mut self, calls: Vec<(String, Call)>) -> Vec<Status> {
        let mut ahead: BTreeMap<String, u64> = BTreeMap::new();
        let signed: Vec<Authorized<Transaction>> = calls
            .into_iter()
            .map(|(name, call)| {
                let ahead = ahead.entry(name.clone()).or_default();
                *ahead += 1;
                self.world.authorized(&name, &name, *ahead - 1, call)
            })
            .collect();
        self.world.block(&signed);
        self.world.last.outcomes.iter().map(|outcome| outcome.status.clone()).collect()
    }

    /// The same, which must all succeed.
    pub(crate) fn all_done(&mut self, calls: Vec<(String, Call)>) {
        let statuses = self.batch(calls);
        assert!(statuses.iter().all(|status| *status == Status::Applied), "{statuses:?}");
    }

    /// What an operator has signed for such runs, in its next period; not filed yet.
    pub(crate) fn serve(&mut self, owner: &str, runs: &[Rc<ToyRun>]) -> Claimed {
        let (sequence, _) = self.lanes.get(owner).copied().unwrap_or_default();
        let freshness = Round::new(self.world.round.get() - 1);
        let operator = operator_of(owner, 0);
        let mut templates: Vec<(Rc<ToyRun>, Receipt)> = Vec::new();
        let mut work = Vec::new();
        for (run, place) in runs.iter().zip(sequence + 1..) {
            let mut request = toy::request(self.world.chain, place, TOKENS, None, freshness);
            (request.operator, request.audit_mode) = (operator, self.mode);
            let known = templates.iter().find(|(known, _)| Rc::ptr_eq(known, run));
            let mut receipt = match known {
                Some((_, receipt)) => receipt.clone(),
                None => {
                    let receipt = toy::receipt(&request, run);
                    templates.push((run.clone(), receipt.clone()));
                    receipt
                }
            };
            (receipt.request, receipt.sequence) = (request.hash(), place);
            work.push((request, receipt, run.clone()));
        }
        let leaf = |(request, receipt, _): &(Request, Receipt, Rc<ToyRun>)| {
            receipt.leaf(request.payer, request.lane)
        };
        let leaves: Vec<_> = work.iter().map(leaf).collect();
        let tree = SumTree::new(&leaves).unwrap();
        let epoch = self.world.now().epoch(&self.world.params().windows);
        Claimed { owner: owner.to_owned(), operator, epoch, work, tree }
    }

    /// The call that files a claim over what was served.
    pub(crate) fn filing(&self, claimed: &Claimed) -> Call {
        let (sequence, cumulative) = self.lanes.get(&claimed.owner).copied().unwrap_or_default();
        let totals = claimed.tree.totals();
        let last = sequence + totals.count;
        let acknowledgement = Acknowledgement {
            receipt: claimed.work.last().unwrap().1.hash(),
            t_sent: Millis::new(1),
            t_first: Millis::new(2),
            t_done: Millis::new(3),
        };
        let voucher = Voucher {
            chain: self.world.chain,
            payer: account("gateway"),
            session_key: public("gateway"),
            operator: claimed.operator,
            lane: 0,
            allocation: self.allocation_of(claimed.operator),
            cumulative: cumulative.checked_add(totals.fee).unwrap(),
            sequence: last,
            acknowledgement: Some(acknowledgement),
        };
        let voucher = voucher.sign(&super::key("gateway"));
        let lane = LaneClaim { voucher, first: sequence + 1, last, delta: totals.fee };
        super::file(Claim {
            operator: claimed.operator,
            key_epoch: 0,
            epoch: claimed.epoch,
            root: claimed.tree.root(),
            totals,
            lanes: List::new(vec![lane]).unwrap(),
            canary_only: self.canary_only,
        })
    }

    fn allocation_of(&self, operator: OperatorId) -> u64 {
        let promised = self.world.state.scan(&tables::ALLOCATIONS, &(), usize::MAX).unwrap();
        let own = promised.into_iter().filter(|(_, promise)| promise.operator == operator);
        own.map(|((_, number), _)| number).max().unwrap()
    }

    /// The lane goes on from here: its claim was taken.
    pub(crate) fn filed(&mut self, claimed: &Claimed) {
        let lane = self.lanes.entry(claimed.owner.clone()).or_default();
        let totals = claimed.tree.totals();
        *lane = (lane.0 + totals.count, lane.1.checked_add(totals.fee).unwrap());
    }

    /// Serves so many receipts of a run and claims them after the period has ended.
    pub(crate) fn claim(&mut self, owner: &str, run: &ToyRun, count: usize) -> Claimed {
        let claimed = self.serve(owner, &copies(run, count));
        self.world.wait_for_next_period();
        let filing = self.filing(&claimed);
        self.world.done(owner, filing);
        self.filed(&claimed);
        claimed
    }

    /// The same, until its seed has come.
    pub(crate) fn drawn(&mut self, owner: &str, run: &ToyRun, count: usize) -> Claimed {
        let claimed = self.claim(owner, run, count);
        while self.record(&claimed).stage == payments::Stage::Filed {
            self.world.block(&[]);
        }
        claimed
    }

    pub(crate) fn record(&self, claimed: &Claimed) -> payments::ClaimRecord {
        payments::claim(&self.world.state, &claimed.operator, claimed.epoch).unwrap().unwrap()
    }

    /// The points of a claim.
    pub(crate) fn points(&self, claimed: &Claimed) -> Vec<(u8, Point)> {
        let key = (claimed.operator, claimed.epoch);
        let points = self.world.state.scan(&tables::POINTS, &key, usize::MAX).unwrap();
        points.into_iter().map(|((.., number), point)| (number, point)).collect()
    }

    /// The points of a claim in a phase.
    pub(crate) fn in_phase(&self, claimed: &Claimed, phase: Phase) -> Vec<(u8, Point)> {
        let mut points = self.points(claimed);
        points.retain(|(_, point)| point.phase == phase);
        points
    }

    /// The openings of all receipts that are drawn.
    pub(crate) fn openings(&self, claimed: &Claimed) -> Vec<(String, Call)> {
        let drawn = self.in_phase(claimed, Phase::Drawn);
        let mut receipts: Vec<_> = drawn.iter().map(|(_, point)| claimed.at(point.at)).collect();
        receipts.sort_unstable();
        receipts.dedup();
        let open = |index| call(Tx::Open(Box::new(claimed.opening(index))));
        receipts.into_iter().map(|index| (claimed.owner.clone(), open(index))).collect()
    }

    /// What the drawn auditors commit to, given what each has run.
    pub(crate) fn commits(
        &self,
        claimed: &Claimed,
        run: impl Fn(&str) -> Option<ToyRun>,
    ) -> Vec<(String, Call)> {
        let mut calls = Vec::new();
        for (point, record) in self.in_phase(claimed, Phase::Committing) {
            for seat in record.seats.iter().filter(|seat| seat.commitment.is_none()) {
                let name = self.name(seat.auditor);
                let Some(run) = run(&name) else { continue };
                let (operator, epoch) = (claimed.operator, claimed.epoch);
                let salt = salt_of(&name);
                let commitment = verification::commitment(&run.finding(), &seat.auditor, &salt);
                calls.push((name, call(Tx::Commit { operator, epoch, point, commitment })));
            }
        }
        calls
    }

    /// What they reveal, and the operator's trace root.
    pub(crate) fn reveals(
        &self,
        claimed: &Claimed,
        run: impl Fn(&str) -> Option<ToyRun>,
        trace: bool,
    ) -> Vec<(String, Call)> {
        let (operator, epoch) = (claimed.operator, claimed.epoch);
        let mut calls = Vec::new();
        for (point, record) in self.in_phase(claimed, Phase::Revealing) {
            for seat in record.seats.iter().filter(|seat| seat.finding.is_none()) {
                let name = self.name(seat.auditor);
                let Some(run) = run(&name) else { continue };
                let (finding, salt) = (run.finding(), salt_of(&name));
                calls.push((name, call(Tx::Reveal { operator, epoch, point, finding, salt })));
            }
            if trace {
                let own = &claimed.work[claimed.index_of(&record.receipt.unwrap())].2;
                let (trace_root, salt) = (own.trace_root(), toy::trace_salt());
                let tx = Tx::RevealTrace { operator, epoch, point, trace_root, salt };
                calls.push((claimed.owner.clone(), call(tx)));
            }
        }
        calls
    }

    /// Opening, commitments and reveals of everybody, each with the run it has; `None` is silent.
    pub(crate) fn audit(&mut self, claimed: &Claimed, run: impl Fn(&str) -> Option<ToyRun>) {
        let openings = self.openings(claimed);
        self.all_done(openings);
        let commits = self.commits(claimed, &run);
        self.all_done(commits);
        let reveals = self.reveals(claimed, &run, true);
        self.all_done(reveals);
    }

    /// One move in every open line, by those that have something to show.
    pub(crate) fn moves(
        &self,
        run: impl Fn(&str, &Digest) -> Option<ToyRun>,
    ) -> Vec<(String, Call)> {
        let mut calls = Vec::new();
        for ((receipt, number), line) in
            self.world.state.scan(&tables::LINES, &(), usize::MAX).unwrap()
        {
            let dispute = disputes::dispute(&self.world.state, &receipt).unwrap().unwrap();
            let party = line.phase.turn();
            let account = match party {
                Party::Defender => {
                    let operator = dispute.receipt.operator;
                    staking::operator(&self.world.state, &operator).unwrap().unwrap().owner
                }
                Party::Challenger => line.backers.first().unwrap().account,
            };
            let name = self.name(account);
            let Some(mut own) = run(&name, &receipt) else { continue };
            if let Ok(play) = next_move(&dispute, &line, party, &mut own) {
                let tx = disputes::Tx::Play { receipt, line: number, play };
                calls.push((name, Call::Disputes(tx)));
            }
        }
        calls
    }

    /// Plays every open line until nobody has anything more to show; a liar's last step is refused.
    pub(crate) fn play_out(&mut self, run: impl Fn(&str, &Digest) -> Option<ToyRun>) {
        for _ in 0..40 {
            let moves = self.moves(&run);
            let statuses = self.batch(moves);
            if statuses.iter().all(|status| *status != Status::Applied) {
                return;
            }
        }
        panic!("lines of so few leaves end sooner");
    }

    /// The faults of an operator, in order.
    pub(crate) fn faults(&self, operator: OperatorId) -> Vec<verification::Fault> {
        let faults = self.world.state.scan(&tables::FAULTS, &operator, usize::MAX).unwrap();
        faults.into_iter().map(|(_, fault)| fault).collect()
    }

    pub(crate) fn bond(&self, operator: OperatorId) -> Coin {
        staking::operator(&self.world.state, &operator).unwrap().unwrap().bond
    }

    /// The fee of one receipt of the market.
    pub(crate) fn receipt_fee(&self) -> Credit {
        let request = toy::request(self.world.chain, 1, TOKENS, None, Round::ZERO);
        let receipt = toy::receipt(&request, &self.right());
        assert_eq!(fee(request.price, receipt.work_units), Ok(receipt.fee));
        receipt.fee
    }
}
