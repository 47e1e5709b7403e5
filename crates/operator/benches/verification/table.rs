//! The ledger on which the disputes of the bench are played: the validators' port, real signatures.

use chain::Models;
use crypto::{
    AccountId, ChainId, Digest, Domain, OperatorId, Salt, SecretKey, Seed, hash_bytes, merkle,
};
use ledger::{
    Authorized, Call, Ed25519, Env, Genesis, Params, Ports, Read as _, SignedTransaction, State,
    Status, Transaction, Verifier as _, accounts, apply_block, clock,
    credits::PriceSource,
    disputes::{self, Dispute, LINES, Line, math::work_units, moves::Subject},
    genesis::{GenesisAccount, GenesisModel, GenesisOperator},
    models::Publication,
    payments::messages::{AuditMode, Receipt, Request, RequestBody, Sampling, Tier, fee},
    staking,
};
use model::{Model, commit};
use operator::Execution;
use std::time::{Duration, Instant};
use units::{Coin, Height, List, Millis, NANO, Nonce, Price, Round, Text, UsdNano};

/// The operator's owner and box, the payer, the challenger.
pub(crate) const OWNER: u8 = 1;
pub(crate) const CHALLENGER: u8 = 2;
const PAYER: u8 = 3;
const BOX: u8 = 4;

/// Times that a block is applied to find out how long it takes.
const TIMES: usize = 9;

/// The salt of every request.
pub(crate) const SALT: Salt = Salt::new([5; 32]);

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

fn account(number: u8) -> AccountId {
    AccountId::new(key(number).public())
}

/// A ledger with one operator and one model.
pub(crate) struct Table {
    state: State,
    chain: ChainId,
    port: Models,
    time: Millis,
    round: Round,
}

impl Table {
    pub(crate) fn new(model: &Model) -> Self {
        let genesis = genesis(model);
        let chain = ChainId::new(genesis.digest());
        let port = Models::default();
        let state = {
            let ports = Ports { verifier: &port, signatures: &Ed25519 };
            State::from_genesis(&genesis, chain, &ports).expect("the genesis is legal")
        };
        let mut table = Self { state, chain, port, time: genesis.time, round: Round::ZERO };
        table.block(&[]);
        table
    }

    /// What is asked of the model.
    pub(crate) fn body(
        &self,
        model: &Model,
        ids: &[u32],
        sampling: Sampling,
        seed: u64,
        max_tokens: u32,
    ) -> RequestBody {
        RequestBody {
            chain: self.chain,
            model: model.id(),
            semantics: model.manifest().semantics,
            input_commit: merkle::root(&commit::input_leaves(&SALT, ids)),
            sampling,
            seed,
            max_tokens,
            stop: List::empty(),
        }
    }

    /// What the operator signs about a finding.
    pub(crate) fn receipt(
        &self,
        model: &Model,
        body: RequestBody,
        n_in: u32,
        finding: &disputes::moves::Finding,
    ) -> Subject {
        let operator = OperatorId::derive(&account(OWNER), 0);
        let request = Request {
            body,
            payer: account(PAYER),
            session_key: key(PAYER).public(),
            operator,
            lane: 0,
            sequence: 1,
            price: Price::new(1),
            deadline: Millis::new(5_000),
            tier: Tier::Audit,
            audit_mode: AuditMode::Open,
            freshness: self.round,
        };
        let encode = |value| borsh::to_vec(value).expect("memory");
        let (manifest, graph) =
            (encode(model.manifest()), borsh::to_vec(model.graph()).expect("memory"));
        let facts = self.port.inspect_model(&manifest, &graph).expect("the model is legal");
        let work = work_units(&facts, n_in, finding.n_out).expect("a legal run");
        let receipt = Receipt {
            operator,
            key_epoch: 0,
            request: request.hash(),
            output_commit: finding.output_commit,
            trace_commit: commit::trace_commit(&finding.trace_root, &SALT),
            n_in,
            n_out: finding.n_out,
            finish: finding.finish,
            work_units: work,
            fee: fee(request.price, work).expect("a small fee"),
            sequence: 1,
            previous: Digest::ZERO,
            t_received: Millis::new(1),
            t_first: Millis::new(2),
            t_done: Millis::new(3),
        };
        let receipt = receipt.sign(&key(BOX));
        Subject { request: request.sign(&key(PAYER)), receipt, claimed: None }
    }

    /// Applies a block; what became of its transactions, and the median time of several
    /// applications, which are all the same.
    fn block(&mut self, transactions: &[Authorized<Transaction>]) -> (Vec<Status>, Duration) {
        let digest = hash_bytes(Domain::BeaconSeed, &self.round.get().to_le_bytes());
        let seeds = match self.round {
            Round::ZERO => vec![],
            round => vec![(round, Seed::new(digest))],
        };
        let env = Env {
            height: Height::new(self.now().height.get() + 1),
            time: Millis::new(self.time.get() + 10),
            proposer: key(BOX).public(),
            round: Round::new(self.round.get() + 1),
            seeds,
        };
        let ports = Ports { verifier: &self.port, signatures: &Ed25519 };
        let mut took = Vec::with_capacity(TIMES);
        let mut applied = None;
        for _ in 0..TIMES {
            let start = Instant::now();
            let made = apply_block(&self.state, &env, transactions, &ports);
            took.push(start.elapsed());
            applied = Some(made.expect("a legal block"));
        }
        let applied = applied.expect("applied at least once");
        self.state.commit(&applied.writes);
        (self.time, self.round) = (env.time, env.round);
        took.sort();
        let status = applied.outcomes.into_iter().map(|outcome| outcome.status).collect();
        (status, took.get(TIMES / 2).copied().unwrap_or_default())
    }

    fn now(&self) -> clock::Now {
        clock::now(&self.state).expect("the state is whole")
    }

    /// Applies one transaction; its bytes, and how long its block took.
    pub(crate) fn send(&mut self, number: u8, tx: disputes::Tx) -> (usize, Duration) {
        let (account, signer) = (account(number), key(number).public());
        let nonce = accounts::next_nonce(&self.state, &account, &signer).expect("whole");
        let transaction = Transaction {
            chain: self.chain,
            account,
            signer,
            nonce: Nonce::new(nonce.get()),
            valid_until: Height::new(self.now().height.get() + 50),
            call: Call::Disputes(tx),
        };
        let signature = key(number).sign(Domain::Transaction, &transaction);
        let signed = SignedTransaction { transaction, signature };
        let authorized = signed.authorize(&Ed25519).expect("just signed");
        let (status, took) = self.block(core::slice::from_ref(&authorized));
        assert_eq!(status, [Status::Applied]);
        (authorized.bytes(), took)
    }

    pub(crate) fn dispute(&self, receipt: &Digest) -> Dispute {
        disputes::dispute(&self.state, receipt).expect("whole").expect("disputed")
    }

    /// The line, while it is open.
    pub(crate) fn line(&self, receipt: &Digest) -> Option<Line> {
        self.state.get(&LINES, &(*receipt, 0)).expect("whole")
    }

    /// Whether the receipt is proven wrong.
    pub(crate) fn is_proven(&self, receipt: &Digest) -> bool {
        self.dispute(receipt).proven.is_some()
    }
}

/// The finding of an honest party, against a receipt of the same length.
pub(crate) fn challenge(subject: &Subject, right: &Execution) -> disputes::Tx {
    disputes::Tx::Challenge { subject: Box::new(subject.clone()), finding: right.finding() }
}

fn genesis(model: &Model) -> Genesis {
    let accounts = [OWNER, CHALLENGER, PAYER].map(|number| GenesisAccount {
        account: account(number),
        balance: Coin::whole(1_000_000).expect("small"),
        sessions: List::empty(),
    });
    let bytes = |bytes: Vec<u8>| ledger::bytes::Bytes::new(bytes).expect("within the bounds");
    let publication = Publication {
        publisher: Text::new("bench").expect("short"),
        name: Text::new("model").expect("short"),
        manifest: bytes(borsh::to_vec(model.manifest()).expect("memory")),
        graph: ledger::bytes::Bytes::new(borsh::to_vec(model.graph()).expect("memory"))
            .expect("within the bounds"),
    };
    let registration = staking::Registration {
        index: 0,
        box_key: key(BOX).public(),
        class: staking::Class::Board,
        profile: staking::Profile::default(),
        bond: Coin::whole(10_000).expect("small"),
    };
    Genesis {
        name: Text::new("bench").expect("short"),
        time: Millis::new(1_000_000),
        price: PriceSource::Fixed(UsdNano::new(NANO / 10)),
        treasury: Coin::ZERO,
        accounts: List::new(accounts.to_vec()).expect("few"),
        operators: List::new(vec![GenesisOperator { owner: account(OWNER), registration }])
            .expect("few"),
        models: List::new(vec![GenesisModel { owner: account(PAYER), publication }]).expect("few"),
        params: Params::devnet(),
    }
}
