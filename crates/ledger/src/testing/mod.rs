//! A small world for tests: named keys, signed transactions, blocks, and a check of every
//! invariant after each block.
//!
//! Rules: it uses only what the crate shows to others, so that unit tests and the integration
//! binary share it; a key follows from its name, so a failure replays. Never here: a shortcut
//! around signatures or rules.

#![allow(dead_code, reason = "each test binary uses its own part of the world")]

pub(crate) mod network;
pub(crate) mod seals;
pub(crate) mod toy;

use borsh::BorshDeserialize;
use crypto::{
    AccountId, ChainId, Digest, Domain, OperatorId, PublicKey, SecretKey, Seed, Signed, hash_bytes,
};
use ledger::{
    Applied, Authorized, BlockError, Call, Ed25519, Env, Genesis, ModelFacts, ModelRejected,
    Params, Ports, Rejection, SignedTransaction, State, Status, Transaction, Verifier, accounts,
    apply_block, clock, credits,
    credits::PriceSource,
    genesis::GenesisAccount,
    invariants,
    payments::{self, messages::*},
    staking,
    verifier::{
        DisputedRun, FineShape, Impossible, OutputPlace, StepClaim, StepOutcome, StepRefused,
        StepRoots, TraceShape,
    },
};
use units::{Coin, Credit, Epoch, Height, List, Millis, NANO, Round, Text, UsdNano, WorkUnits};

/// A machine gate that takes the facts from the manifest, and runs of [`toy`]: the ledger's tests
/// know no model.
pub(crate) struct ManifestIsFacts;

impl Verifier for ManifestIsFacts {
    fn inspect_model(&self, manifest: &[u8], graph: &[u8]) -> Result<ModelFacts, ModelRejected> {
        if graph.is_empty() {
            return Err(ModelRejected::new("the graph is empty"));
        }
        ModelFacts::try_from_slice(manifest).map_err(|error| ModelRejected::new(&error.to_string()))
    }

    fn trace_shape(&self, run: &DisputedRun<'_>) -> Result<TraceShape, Impossible> {
        // A port knows what is registered, and nothing else.
        if run.graph.is_empty() || ModelFacts::try_from_slice(run.manifest).is_err() {
            return Err(Impossible);
        }
        toy::trace_shape(run)
    }

    fn fine_shape(&self, run: &DisputedRun<'_>, leaf: u64) -> Result<FineShape, Impossible> {
        toy::fine_shape(run, leaf)
    }

    fn output_place(&self, run: &DisputedRun<'_>, index: u64) -> Result<OutputPlace, Impossible> {
        toy::output_place(run, index)
    }

    fn finish_after(
        &self,
        run: &DisputedRun<'_>,
        token: u32,
    ) -> Result<Option<Finish>, Impossible> {
        Ok(toy::finish_after(run, token))
    }

    fn check_step(
        &self,
        run: &DisputedRun<'_>,
        roots: &StepRoots,
        claim: &StepClaim<'_>,
        openings: &[u8],
    ) -> Result<StepOutcome, StepRefused> {
        toy::check_step(run, roots, claim, openings)
    }
}

/// The ports of all tests: real signatures, the gate above.
pub(crate) const PORTS: Ports<'static> = Ports { verifier: &ManifestIsFacts, signatures: &Ed25519 };

/// The key that belongs to a name.
pub(crate) fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(*hash_bytes(Domain::KeyFile, name.as_bytes()).as_bytes())
}

/// The public half.
pub(crate) fn public(name: &str) -> PublicKey {
    key(name).public()
}

/// The account of a name's key.
pub(crate) fn account(name: &str) -> AccountId {
    AccountId::new(public(name))
}

/// The `index`-th operator of a name.
pub(crate) fn operator_of(name: &str, index: u32) -> OperatorId {
    OperatorId::derive(&account(name), index)
}

/// Whole coins.
pub(crate) fn coins(whole: u128) -> Coin {
    Coin::whole(whole).unwrap()
}

/// Whole credits.
pub(crate) fn whole_credits(whole: u128) -> Credit {
    Credit::whole(whole).unwrap()
}

/// A digest that belongs to a name.
pub(crate) fn digest(name: &str) -> Digest {
    hash_bytes(Domain::MerkleLeaf, name.as_bytes())
}

/// The seed of a round.
pub(crate) fn seed(round: Round) -> Seed {
    Seed::new(hash_bytes(Domain::BeaconSeed, &round.get().to_le_bytes()))
}

/// A chain in memory.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) chain: ChainId,
    pub(crate) time: Millis,
    pub(crate) round: Round,
    /// What the last block did.
    pub(crate) last: Applied,
    /// All that has happened.
    pub(crate) log: Vec<ledger::Event>,
    /// Invariants are checked after each block whose height this divides.
    pub(crate) every: u64,
    /// Whether blocks bring the seed of their parent's round.
    pub(crate) seeds: bool,
    /// The clock at which expiries of the world's sessions lie.
    pub(crate) far: Millis,
}

/// Names that hold a million coins each in [`World::new`].
pub(crate) const NAMES: [&str; 5] = ["alice", "bob", "gateway", "olga", "otto"];

/// A genesis with the parameters of devnet, a coin of ten cents, and [`NAMES`].
pub(crate) fn genesis() -> Genesis {
    let accounts = NAMES.map(|name| GenesisAccount {
        account: account(name),
        balance: coins(1_000_000),
        sessions: List::empty(),
    });
    Genesis {
        name: Text::new("test").unwrap(),
        time: Millis::new(1_000_000),
        price: PriceSource::Fixed(UsdNano::new(NANO / 10)),
        treasury: coins(100),
        accounts: List::new(accounts.to_vec()).unwrap(),
        operators: List::empty(),
        models: List::empty(),
        params: Params::devnet(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::from_genesis(&genesis())
    }

    pub(crate) fn from_genesis(genesis: &Genesis) -> Self {
        let chain = ChainId::new(genesis.digest());
        let state = State::from_genesis(genesis, chain, &PORTS).unwrap();
        let last = Applied { writes: Default::default(), outcomes: vec![], events: vec![] };
        let (time, round, far) = (genesis.time, Round::ZERO, Millis::new(10_000_000));
        let log = Vec::new();
        let world = Self { state, chain, time, round, last, log, every: 1, seeds: true, far };
        world.check();
        world
    }

    /// Every invariant, or a panic that lists the violations.
    pub(crate) fn check(&self) {
        let findings = invariants::check(&self.state).unwrap();
        assert!(findings.violations().is_empty(), "{:#?}", findings.violations());
    }

    pub(crate) fn now(&self) -> clock::Now {
        clock::now(&self.state).unwrap()
    }

    pub(crate) fn clock(&self) -> u64 {
        self.now().clock.get()
    }

    /// The surroundings of the next block, `ms` after the last.
    pub(crate) fn env(&self, ms: u64) -> Env {
        let brings = self.seeds && self.round > Round::ZERO;
        let seeds = if brings { vec![(self.round, seed(self.round))] } else { vec![] };
        Env {
            height: Height::new(self.now().height.get() + 1),
            time: Millis::new(self.time.get() + ms),
            proposer: public("validator"),
            round: Round::new(self.round.get() + 1),
            seeds,
        }
    }

    /// Applies a block `ms` after the last and commits it, or leaves everything as it was.
    pub(crate) fn block_after(
        &mut self,
        ms: u64,
        transactions: &[Authorized<Transaction>],
    ) -> Result<(), BlockError> {
        let env = self.env(ms);
        self.last = apply_block(&self.state, &env, transactions, &PORTS)?;
        self.state.commit(&self.last.writes);
        self.log.extend(self.last.events.iter().cloned());
        (self.time, self.round) = (env.time, env.round);
        if env.height.get().is_multiple_of(self.every) {
            self.check();
        }
        Ok(())
    }

    /// Applies a block half a second after the last.
    pub(crate) fn block(&mut self, transactions: &[Authorized<Transaction>]) {
        self.block_after(500, transactions).unwrap();
    }

    /// Empty blocks until the clock has moved by `ms`.
    pub(crate) fn wait(&mut self, ms: u64) {
        let until = self.clock() + ms;
        while self.clock() < until {
            self.block_after((until - self.clock()).min(5_000), &[]).unwrap();
        }
    }

    /// Empty blocks until the next ledger period begins.
    pub(crate) fn wait_for_next_period(&mut self) {
        let params = self.params();
        let epoch = self.now().epoch(&params.windows);
        while self.now().epoch(&params.windows) == epoch {
            self.block(&[]);
        }
    }

    pub(crate) fn params(&self) -> Params {
        use ledger::Read;
        self.state.get(&ledger::tables::PARAMS, &()).unwrap().unwrap()
    }

    /// A transaction of `account_name`, signed by `signer_name`, with the next nonce plus
    /// `ahead`.
    pub(crate) fn signed(
        &self,
        account_name: &str,
        signer_name: &str,
        ahead: u64,
        call: Call,
    ) -> SignedTransaction {
        let (account, signer) = (account(account_name), public(signer_name));
        let next = accounts::next_nonce(&self.state, &account, &signer).unwrap();
        let transaction = Transaction {
            chain: self.chain,
            account,
            signer,
            nonce: units::Nonce::new(next.get() + ahead),
            valid_until: Height::new(self.now().height.get() + 100),
            call,
        };
        sign(transaction, signer_name)
    }

    /// The same, with its signature checked.
    pub(crate) fn authorized(
        &self,
        account_name: &str,
        signer_name: &str,
        ahead: u64,
        call: Call,
    ) -> Authorized<Transaction> {
        self.signed(account_name, signer_name, ahead, call).authorize(&Ed25519).unwrap()
    }

    /// One transaction in one block, by a session key.
    pub(crate) fn send_by(&mut self, account: &str, signer: &str, call: Call) -> Status {
        let transaction = self.authorized(account, signer, 0, call);
        self.block(&[transaction]);
        self.last.outcomes[0].status.clone()
    }

    /// One transaction in one block, by the account's own key.
    pub(crate) fn send(&mut self, account: &str, call: Call) -> Status {
        self.send_by(account, account, call)
    }

    /// The same, which must succeed.
    pub(crate) fn done(&mut self, account: &str, call: Call) {
        assert_eq!(self.send(account, call), Status::Applied);
    }

    pub(crate) fn balance(&self, name: &str) -> Coin {
        accounts::account(&self.state, &account(name)).unwrap().unwrap_or_default().balance
    }

    pub(crate) fn pot(&self, pot: accounts::Pot) -> Coin {
        accounts::pot(&self.state, pot).unwrap()
    }

    pub(crate) fn burned(&self) -> Coin {
        accounts::supply(&self.state).unwrap().burned
    }

    pub(crate) fn holding(&self, name: &str) -> credits::Holding {
        credits::holding(&self.state, &account(name)).unwrap()
    }

    /// Registers `owner`'s operator 0 with the box key of `box_name`.
    pub(crate) fn register(&mut self, owner: &str, box_name: &str) -> OperatorId {
        self.done(owner, register_call(0, box_name, coins(1_000)));
        operator_of(owner, 0)
    }

    /// Mints and deposits whole credits for a payer.
    pub(crate) fn fund(&mut self, payer: &str, amount: u128) {
        self.done(payer, mint(coins(amount * 11)));
        self.done(payer, deposit(whole_credits(amount)));
    }

    /// The payer's next allocation, for its own key, to an operator.
    pub(crate) fn allocate(&mut self, payer: &str, operator: OperatorId, limit: Credit) -> u64 {
        let record = payments::deposit(&self.state, &account(payer)).unwrap();
        let number = record.next_allocation;
        let expires = Millis::new(self.clock() + 600_000);
        self.done(payer, allocate(number, operator, public(payer), limit, expires));
        number
    }

    /// What the last block did not change but for fee and nonce.
    pub(crate) fn rejection(status: Status) -> Rejection {
        match status {
            Status::Rejected(why) => why,
            other => panic!("not rejected: {other:?}"),
        }
    }
}

/// Signs a transaction as it is.
pub(crate) fn sign(transaction: Transaction, signer_name: &str) -> SignedTransaction {
    let signature = key(signer_name).sign(Domain::Transaction, &transaction);
    SignedTransaction { transaction, signature }
}

pub(crate) fn transfer(to: &str, amount: Coin) -> Call {
    Call::Accounts(accounts::Tx::Transfer { to: account(to), amount })
}

pub(crate) fn grant(name: &str, fee_cap: Coin, spend_cap: Credit, expires: Millis) -> Call {
    let key = public(name);
    Call::Accounts(accounts::Tx::GrantSession { key, fee_cap, spend_cap, expires })
}

pub(crate) fn mint(coin: Coin) -> Call {
    Call::Credits(credits::Tx::Mint { coin, at_least: Credit::ZERO })
}

pub(crate) fn redeem(amount: Credit) -> Call {
    Call::Credits(credits::Tx::Redeem { amount, at_least: Coin::ZERO })
}

pub(crate) fn deposit(amount: Credit) -> Call {
    Call::Payments(payments::Tx::Deposit { amount })
}

pub(crate) fn withdraw(amount: Credit) -> Call {
    Call::Payments(payments::Tx::Withdraw { amount })
}

pub(crate) fn allocate(
    allocation: u64,
    operator: OperatorId,
    signer: PublicKey,
    limit: Credit,
    expires: Millis,
) -> Call {
    Call::Payments(payments::Tx::Allocate { allocation, operator, signer, limit, expires })
}

pub(crate) fn register_call(index: u32, box_name: &str, bond: Coin) -> Call {
    Call::Staking(staking::Tx::Register(staking::Registration {
        index,
        box_key: public(box_name),
        class: staking::Class::Board,
        profile: staking::Profile::default(),
        bond,
    }))
}

/// One lane of a claim, as both sides would have built it.
#[derive(Clone)]
pub(crate) struct LaneOf<'a> {
    pub(crate) payer: &'a str,
    pub(crate) signer: &'a str,
    pub(crate) lane: u32,
    pub(crate) allocation: u64,
    /// First and last receipt.
    pub(crate) range: (u64, u64),
    /// What was claimed before, and now.
    pub(crate) cumulative: (Credit, Credit),
}

impl LaneOf<'_> {
    pub(crate) fn voucher(&self, chain: ChainId, operator: OperatorId) -> Voucher {
        let acknowledgement = Acknowledgement {
            receipt: digest("receipt"),
            t_sent: Millis::new(1),
            t_first: Millis::new(2),
            t_done: Millis::new(3),
        };
        Voucher {
            chain,
            payer: account(self.payer),
            session_key: public(self.signer),
            operator,
            lane: self.lane,
            allocation: self.allocation,
            cumulative: self.cumulative.1,
            sequence: self.range.1,
            acknowledgement: Some(acknowledgement),
        }
    }

    pub(crate) fn claim(&self, chain: ChainId, operator: OperatorId) -> LaneClaim {
        LaneClaim {
            voucher: self.voucher(chain, operator).sign(&key(self.signer)),
            first: self.range.0,
            last: self.range.1,
            delta: self.cumulative.1.checked_sub(self.cumulative.0).unwrap(),
        }
    }
}

/// A claim over lanes, with the totals they add up to.
pub(crate) fn claim_of(operator: OperatorId, epoch: Epoch, mut lanes: Vec<LaneClaim>) -> Claim {
    lanes.sort_by_key(|lane| lane.voucher.message.lane_id());
    let fee = Credit::total(lanes.iter().map(|lane| lane.delta)).unwrap();
    let count = lanes.iter().fold(0, |count, lane| count + lane.last - lane.first + 1);
    Claim {
        operator,
        key_epoch: 0,
        epoch,
        root: digest("root"),
        totals: crypto::merkle_sum::Sums { fee, work: WorkUnits::new(count), count },
        lanes: List::new(lanes).unwrap(),
        canary_only: false,
    }
}

pub(crate) fn file(claim: Claim) -> Call {
    Call::Payments(payments::Tx::FileClaim(claim))
}

/// A voucher with another content under the old signature.
pub(crate) fn tampered(lane: &LaneClaim, change: impl FnOnce(&mut Voucher)) -> LaneClaim {
    let Signed { mut message, signature } = lane.voucher.clone();
    change(&mut message);
    LaneClaim { voucher: Signed { message, signature }, ..lane.clone() }
}
