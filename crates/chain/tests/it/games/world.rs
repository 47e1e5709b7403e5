//! The ledger around games: one operator, one payer, many challengers, random models.
//!
//! Rules: real transactions under real signatures through `apply_block` with the port that
//! validators use. Never here: who lies.

use super::{
    graphs,
    random::Random,
    runs::{AtHand, Execution, SALT, Told, input_leaves},
};
use chain::Models;
use crypto::{AccountId, ChainId, Digest, Domain, OperatorId, SecretKey, Seed, hash_bytes, merkle};
use ledger::{
    Applied, Authorized, Call, Ed25519, Env, Event, Genesis, Params, Ports, Read as _,
    SignedTransaction, State, Transaction, Verifier as _, accounts, apply_block, clock,
    credits::PriceSource,
    disputes::{self, Dispute, LINES, Line, Verdict, math::work_units, moves::Subject},
    genesis::{GenesisAccount, GenesisModel, GenesisOperator},
    invariants,
    models::Publication,
    payments::messages::{AuditMode, Receipt, Request, RequestBody, Sampling, Tier, fee},
    staking,
};
use model::commit;
use std::sync::Arc;
use units::{Coin, Height, List, Millis, NANO, Nonce, Price, Round, Text, UsdNano};

/// Challengers of a world.
pub(crate) const CHALLENGERS: u64 = 20;
const OWNER: u64 = 100;
const PAYER: u64 = 101;
const BOX: u64 = 102;

pub(crate) fn key(number: u64) -> SecretKey {
    let digest = hash_bytes(Domain::KeyFile, &number.to_le_bytes());
    SecretKey::from_seed(*digest.as_bytes())
}

pub(crate) fn account(number: u64) -> AccountId {
    AccountId::new(key(number).public())
}

/// Number of the operator's owner.
pub(crate) const fn owner() -> u64 {
    OWNER
}

fn operator() -> OperatorId {
    OperatorId::derive(&account(OWNER), 0)
}

/// What all games of a series share.
pub(crate) struct Arena {
    models: Vec<Arc<AtHand>>,
    state: State,
    chain: ChainId,
    port: Models,
    start: Millis,
}

impl Arena {
    /// A chain with `models` random models.
    pub(crate) fn new(models: u64) -> Self {
        let models: Vec<_> =
            (0..models).map(|number| Arc::new(AtHand::new(graphs::model(number)))).collect();
        let genesis = genesis(&models);
        let chain = ChainId::new(genesis.digest());
        let port = Models::default();
        let ports = Ports { verifier: &port, signatures: &Ed25519 };
        let state = State::from_genesis(&genesis, chain, &ports).unwrap();
        Self { models, state, chain, port, start: genesis.time }
    }

    /// A right run of a random request to a random model.
    pub(crate) fn right_run(&self, random: &mut Random) -> (RequestBody, Vec<u32>, Arc<Execution>) {
        let at_hand = random.pick(&self.models);
        let graph = at_hand.model.graph();
        let n_in = 1 + random.below(10);
        let ids: Vec<u32> =
            (0..n_in).map(|_| random.below(graph.vocabulary.into()) as u32).collect();
        let sampling = match random.below(3) {
            0 => Sampling { temperature_milli: 0, top_p_milli: 1_000, top_k: 0 },
            1 => Sampling { temperature_milli: 900, top_p_milli: 900, top_k: 30 },
            _ => Sampling { temperature_milli: 2_500, top_p_milli: 1_000, top_k: 0 },
        };
        let stop = if random.chance(1, 3) { vec![random.below(40) as u32] } else { vec![] };
        let generates = graph.reach == model::Reach::Causal;
        let body = RequestBody {
            chain: self.chain,
            model: at_hand.model.manifest().id(),
            semantics: at_hand.model.manifest().semantics,
            input_commit: merkle::root(&input_leaves(&ids)),
            sampling,
            seed: random.next(),
            max_tokens: if generates { 1 + random.below(8) as u32 } else { 0 },
            stop: List::new(stop).unwrap(),
        };
        let run = Arc::new(Execution::of(at_hand, &body, &ids));
        (body, ids, run)
    }

    /// A ledger on which nothing has happened yet.
    pub(crate) fn world(&self) -> World<'_> {
        let (state, round, time) = (self.state.clone(), Round::ZERO, self.start);
        let last = Applied { writes: Default::default(), outcomes: vec![], events: vec![] };
        World { arena: self, state, round, time, last, verdicts: Vec::new() }
    }
}

fn genesis(models: &[Arc<AtHand>]) -> Genesis {
    let names = (0..CHALLENGERS).chain([OWNER, PAYER]);
    let accounts = names.map(|number| GenesisAccount {
        account: account(number),
        balance: Coin::whole(1_000_000).unwrap(),
        sessions: List::empty(),
    });
    let publications = (0_u32..).zip(models).map(|(number, at_hand)| GenesisModel {
        owner: account(PAYER),
        publication: Publication {
            publisher: Text::new("random").unwrap(),
            name: Text::new(format!("model-{number}")).unwrap(),
            manifest: ledger::bytes::Bytes::new(borsh::to_vec(at_hand.model.manifest()).unwrap())
                .unwrap(),
            graph: ledger::bytes::Bytes::new(borsh::to_vec(at_hand.model.graph()).unwrap())
                .unwrap(),
        },
    });
    let registration = staking::Registration {
        index: 0,
        box_key: key(BOX).public(),
        class: staking::Class::Board,
        profile: staking::Profile::default(),
        bond: Coin::whole(10_000).unwrap(),
    };
    Genesis {
        name: Text::new("games").unwrap(),
        time: Millis::new(1_000_000),
        price: PriceSource::Fixed(UsdNano::new(NANO / 10)),
        treasury: Coin::ZERO,
        accounts: List::new(accounts.collect()).unwrap(),
        operators: List::new(vec![GenesisOperator { owner: account(OWNER), registration }])
            .unwrap(),
        models: List::new(publications.collect()).unwrap(),
        params: Params::devnet(),
    }
}

/// A ledger in which one game is played.
pub(crate) struct World<'a> {
    arena: &'a Arena,
    pub(crate) state: State,
    round: Round,
    time: Millis,
    pub(crate) last: Applied,
    /// How lines have ended so far; the ledger itself has taken and judged them.
    verdicts: Vec<Verdict>,
}

impl World<'_> {
    pub(crate) fn clock(&self) -> Millis {
        clock::now(&self.state).unwrap().clock
    }

    /// Applies a block `ms` after the last.
    pub(crate) fn block(&mut self, ms: u64, transactions: &[Authorized<Transaction>]) {
        let seed =
            |round: Round| Seed::new(hash_bytes(Domain::BeaconSeed, &round.get().to_le_bytes()));
        let seeds =
            if self.round > Round::ZERO { vec![(self.round, seed(self.round))] } else { vec![] };
        let env = Env {
            height: Height::new(clock::now(&self.state).unwrap().height.get() + 1),
            time: Millis::new(self.time.get() + ms),
            proposer: key(BOX).public(),
            round: Round::new(self.round.get() + 1),
            seeds,
        };
        let ports = Ports { verifier: &self.arena.port, signatures: &Ed25519 };
        self.last = apply_block(&self.state, &env, transactions, &ports).unwrap();
        self.state.commit(&self.last.writes);
        self.verdicts.extend(self.last.events.iter().filter_map(|event| match event {
            Event::Disputes(disputes::Event::Decided(verdict)) => Some(*verdict),
            _ => None,
        }));
        (self.time, self.round) = (env.time, env.round);
    }

    /// Every invariant, or a panic that lists the violations.
    pub(crate) fn check(&self) {
        let findings = invariants::check(&self.state).unwrap();
        assert!(findings.violations().is_empty(), "{:#?}", findings.violations());
    }

    /// A transaction of an account's own key, `ahead` of its next nonce.
    pub(crate) fn signed(
        &self,
        number: u64,
        ahead: u64,
        tx: disputes::Tx,
    ) -> Authorized<Transaction> {
        let (account, signer) = (account(number), key(number).public());
        let next = accounts::next_nonce(&self.state, &account, &signer).unwrap();
        let transaction = Transaction {
            chain: self.arena.chain,
            account,
            signer,
            nonce: Nonce::new(next.get() + ahead),
            valid_until: Height::new(clock::now(&self.state).unwrap().height.get() + 50),
            call: Call::Disputes(tx),
        };
        let signature = key(number).sign(Domain::Transaction, &transaction);
        SignedTransaction { transaction, signature }.authorize(&Ed25519).unwrap()
    }

    /// What the operator has signed about a run, for a request with `sequence` in its lane.
    pub(crate) fn receipt(
        &self,
        body: &RequestBody,
        told: &Told,
        sequence: u64,
        change: impl FnOnce(&mut Receipt),
    ) -> Subject {
        let request = Request {
            body: body.clone(),
            payer: account(PAYER),
            session_key: key(PAYER).public(),
            operator: operator(),
            lane: 0,
            sequence,
            price: Price::new(1_000),
            deadline: Millis::new(5_000),
            tier: Tier::Audit,
            audit_mode: AuditMode::Open,
            freshness: self.round,
        };
        let finding = told.finding();
        let manifest = borsh::to_vec(told_model(self.arena, body).manifest()).unwrap();
        let graph = borsh::to_vec(told_model(self.arena, body).graph()).unwrap();
        let facts = self.arena.port.inspect_model(&manifest, &graph).unwrap();
        let (n_in, n_out) = (told.execution.n_in(), finding.n_out);
        let mut receipt = Receipt {
            operator: operator(),
            key_epoch: 0,
            request: request.hash(),
            output_commit: finding.output_commit,
            trace_commit: commit::trace_commit(&finding.trace_root, &SALT),
            n_in,
            n_out,
            finish: finding.finish,
            work_units: units::WorkUnits::ZERO,
            fee: units::Credit::ZERO,
            sequence,
            previous: Digest::ZERO,
            t_received: Millis::new(1),
            t_first: Millis::new(2),
            t_done: Millis::new(3),
        };
        change(&mut receipt);
        receipt.work_units = work_units(&facts, receipt.n_in, receipt.n_out).unwrap();
        receipt.fee = fee(request.price, receipt.work_units).unwrap();
        let receipt = receipt.sign(&key(BOX));
        Subject { request: request.sign(&key(PAYER)), receipt, claimed: None }
    }

    pub(crate) fn dispute(&self, receipt: &Digest) -> Option<Dispute> {
        disputes::dispute(&self.state, receipt).unwrap()
    }

    /// Open lines of a receipt.
    pub(crate) fn lines(&self, receipt: &Digest) -> Vec<(u32, Line)> {
        let all = self.state.scan(&LINES, receipt, usize::MAX).unwrap();
        all.into_iter().map(|((_, number), line)| (number, line)).collect()
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        self.verdicts.clone()
    }
}

fn told_model<'a>(arena: &'a Arena, body: &RequestBody) -> &'a model::Model {
    let found = arena.models.iter().find(|it| it.model.manifest().id() == body.model);
    &found.unwrap().model
}
