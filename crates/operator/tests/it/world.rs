//! What the tests share: a chain with two operators and a payer, a box, the gateway's end.
//!
//! Rules: waits are bounded, and a wait that runs out is a failure of the test; nothing here
//! knows the box's inside.

use chain::{Chain, ValidatorKeys};
use client::{
    lanes::{Payer, Times},
    rpc::Rpc,
    transactions::Sender,
    wire::{self, FromBox, FromGateway, Hello, LaneReport, Refusal, Task},
};
use crypto::{AccountId, ChainId, OperatorId, PublicKey, Salt, SecretKey, Signed};
use ledger::{
    Call, Genesis, Params, accounts,
    credits::{self, PriceSource},
    genesis::{GenesisAccount, GenesisModel, GenesisOperator, GenesisSession},
    models,
    payments::{
        self, DEPOSITS,
        schema::{AuditMode, LaneId, Receipt, Request, RequestBody, Sampling, Tier, Voucher},
    },
    staking,
};
use link::{Connection, Limits, Listener, TlsListener};
use model::{Job, Model, Output, Run, commit};
use operator::{Config, Operator, ServedModel};
use std::{
    collections::BTreeMap, net::SocketAddr, ops::ControlFlow, path::PathBuf, sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use units::{Coin, Credit, List, Millis, NANO, Price, Text, UsdNano};

/// Longest wait for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// What the box asks per unit of work.
pub(crate) const PRICE: Price = Price::new(10_000);

/// The key that belongs to a role.
pub(crate) fn key(role: &str) -> SecretKey {
    let mut seed = [0; 32];
    seed[..role.len()].copy_from_slice(role.as_bytes());
    SecretKey::from_seed(seed)
}

pub(crate) fn account(role: &str) -> AccountId {
    AccountId::new(key(role).public())
}

pub(crate) fn operator_of(role: &str) -> OperatorId {
    OperatorId::derive(&account(role), 0)
}

pub(crate) fn chat() -> Arc<Model> {
    Arc::new(engine::tiny::chat().unwrap())
}

pub(crate) fn embed() -> Arc<Model> {
    Arc::new(engine::tiny::embed().unwrap())
}

/// Periods of a few seconds, so that a claim settles while a test waits.
pub(crate) fn params() -> Params {
    let mut params = Params::devnet();
    params.block.pace = Millis::new(50);
    params.block.idle = Millis::new(200);
    let windows = &mut params.windows;
    windows.epoch = Millis::new(3_000);
    windows.claim = Millis::new(1_000);
    windows.open = Millis::new(1_000);
    windows.commit = Millis::new(1_000);
    windows.reveal = Millis::new(1_000);
    windows.challenge = Millis::new(4_000);
    windows.draw_delay = 1;
    params
}

fn published(name: &str, model: &Model) -> GenesisModel {
    let bytes = |encoded: std::io::Result<Vec<u8>>| encoded.unwrap();
    GenesisModel {
        owner: account("payer"),
        publication: models::Publication {
            publisher: Text::new("test").unwrap(),
            name: Text::new(name).unwrap(),
            manifest: models::schema::Manifest::new(bytes(borsh::to_vec(model.manifest())))
                .unwrap(),
            graph: models::schema::Graph::new(bytes(borsh::to_vec(model.graph()))).unwrap(),
        },
    }
}

fn genesis(params: Params) -> Genesis {
    let session = |role: &str| GenesisSession {
        key: key(role).public(),
        fee_cap: Coin::whole(100).unwrap(),
        spend_cap: Credit::whole(1_000).unwrap(),
        expires: Millis::new(86_400_000),
    };
    let funded = |role: &str, hot: &str| GenesisAccount {
        account: account(role),
        balance: Coin::whole(1_000_000).unwrap(),
        sessions: List::new(vec![session(hot)]).unwrap(),
    };
    let operator = |owner: &str, box_key: &str| GenesisOperator {
        owner: account(owner),
        registration: staking::Registration {
            index: 0,
            box_key: key(box_key).public(),
            class: staking::Class::Board,
            profile: staking::Profile::default(),
            bond: Coin::whole(1_000).unwrap(),
        },
    };
    let accounts =
        vec![funded("owner", "box"), funded("rival", "rival-box"), funded("payer", "hot")];
    Genesis {
        name: Text::new("test").unwrap(),
        time: Millis::new(1_700_000_000_000),
        price: PriceSource::Fixed(UsdNano::new(NANO / 10)),
        treasury: Coin::ZERO,
        accounts: List::new(accounts).unwrap(),
        operators: List::new(vec![operator("owner", "box"), operator("rival", "rival-box")])
            .unwrap(),
        models: List::new(vec![published("chat", &chat()), published("embed", &embed())]).unwrap(),
        params,
    }
}

/// A chain, and the folder of a box.
pub(crate) struct World {
    pub(crate) rpc: Rpc,
    pub(crate) chain_id: ChainId,
    chain: Option<Chain>,
    folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(params()).await
    }

    pub(crate) async fn with(params: Params) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = chain::Config {
            dir: folder.path().join("chain"),
            genesis: genesis(params),
            keys: ValidatorKeys::from_secrets([7; 32], [8; 32]),
            rpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let chain = tokio::task::spawn_blocking(|| chain::start(config)).await.unwrap().unwrap();
        let rpc = Rpc::new(&format!("http://{}", chain.rpc_addr())).unwrap();
        Self { rpc, chain_id: chain.chain_id(), chain: Some(chain), folder }
    }

    pub(crate) fn box_folder(&self) -> PathBuf {
        self.folder.path().join("box")
    }

    /// A box that serves both test models to one gateway.
    pub(crate) fn config(&self, gateway: &Gateway) -> Config {
        let served = |model| {
            let options = engine::Options { backend: None, threads: 1 };
            let engine = Arc::new(engine::Engine::load(model, options).unwrap());
            ServedModel { engine, price: PRICE }
        };
        Config {
            data_dir: self.box_folder(),
            owner: account("owner"),
            index: 0,
            box_key: key("box"),
            rpc_url: format!("http://{}", self.chain.as_ref().unwrap().rpc_addr()),
            gateways: vec![operator::Gateway {
                address: gateway.address(),
                key: key("gateway").public(),
            }],
            models: vec![served(chat()), served(embed())],
            at_once: 1,
            queue: Config::QUEUE,
            credit_limit: Config::CREDIT_LIMIT,
            refuses: Vec::new(),
            audit: None,
            fault: None,
        }
    }

    /// A gateway and a box that serves it.
    pub(crate) async fn serving(&self) -> (Gateway, Operator) {
        let mut gateway = Gateway::bind().await;
        let operator = operator::start(self.config(&gateway)).await.unwrap();
        gateway.accept().await;
        (gateway, operator)
    }

    /// Starts the box again; its files may still be held for a moment by what was dropped.
    pub(crate) async fn restart(&self, config: &Config) -> Operator {
        let again = async {
            loop {
                match operator::start(config.clone()).await {
                    Ok(operator) => return operator,
                    Err(operator::StartError::Store(_)) => {
                        sleep(Duration::from_millis(50)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        timeout(PATIENCE, again).await.expect("the box starts again")
    }

    pub(crate) fn sender(&self, account_of: &str) -> Sender {
        Sender::new(self.rpc.clone(), self.chain_id, account(account_of), key(account_of))
    }

    /// Gives the payer ten credits in its deposit.
    pub(crate) async fn fund(&self) {
        let mut sender = self.sender("payer");
        let coin = Coin::whole(200).unwrap();
        let mint = credits::Tx::Mint { coin, at_least: Credit::ZERO };
        sender.send(Call::Credits(mint)).await.unwrap();
        let amount = Credit::whole(10).unwrap();
        sender.send(Call::Payments(payments::Tx::Deposit { amount })).await.unwrap();
    }

    /// The payer's next allocation.
    pub(crate) async fn allocate(
        &self,
        operator: OperatorId,
        signer: PublicKey,
        limit: Credit,
        life: u64,
    ) -> u64 {
        let deposit = self.rpc.record(&DEPOSITS, &account("payer")).await.unwrap();
        let allocation = deposit.unwrap_or_default().next_allocation;
        let clock = self.rpc.status().await.unwrap().clock;
        let expires = Millis::new(clock.get() + life);
        let call = payments::Tx::Allocate { allocation, operator, signer, limit, expires };
        self.sender("payer").send(Call::Payments(call)).await.unwrap();
        allocation
    }

    /// A funded payer with an allocation of one credit to the box.
    pub(crate) async fn pays(&self) -> u64 {
        self.fund().await;
        let one = Credit::whole(1).unwrap();
        self.allocate(operator_of("owner"), key("hot").public(), one, 600_000).await
    }

    pub(crate) async fn balance(&self, role: &str) -> Coin {
        let record = self.rpc.record(&accounts::ACCOUNTS, &account(role)).await.unwrap();
        record.unwrap_or_default().balance
    }

    /// A request for the next place of a lane.
    pub(crate) async fn request(&self, lane: &PayerLane, model: &Model, ask: &Ask) -> Request {
        let body = RequestBody {
            chain: self.chain_id,
            model: model.id(),
            semantics: model.manifest().semantics,
            input_commit: commit::input_commit(&ask.salt, &ask.ids),
            sampling: Sampling { temperature_milli: 0, top_p_milli: 1_000, top_k: 0 },
            seed: 7,
            max_tokens: ask.max_tokens,
            stop: List::empty(),
        };
        Request {
            body,
            payer: account("payer"),
            session_key: key("hot").public(),
            operator: operator_of("owner"),
            lane: lane.payer.lane().index,
            sequence: lane.payer.next_sequence(),
            price: PRICE,
            deadline: Millis::new(120_000),
            tier: Tier::Audit,
            audit_mode: AuditMode::Open,
            freshness: self.rpc.status().await.unwrap().round,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(chain) = self.chain.take() {
            chain.shutdown().ok();
        }
    }
}

/// An input and how much is wanted.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) ids: Vec<u32>,
    pub(crate) salt: Salt,
    pub(crate) max_tokens: u32,
}

impl Ask {
    pub(crate) fn new(first: u32, max_tokens: u32) -> Self {
        let ids = (first..first + 12).collect();
        Self { ids, salt: Salt::new([9; 32]), max_tokens }
    }

    /// What the normative reference gives.
    pub(crate) fn reference(&self, model: &Model, request: &Request) -> Run {
        let body = &request.body;
        let asked = body.sampling;
        let job = Job {
            ids: &self.ids,
            sampling: model::Sampling {
                temperature_milli: asked.temperature_milli,
                top_p_milli: asked.top_p_milli,
                top_k: asked.top_k,
            },
            seed: body.seed,
            max_tokens: body.max_tokens,
            stop: &body.stop,
        };
        model::reference::run(model, &job, &mut |_| ControlFlow::Continue(())).unwrap()
    }
}

/// The payer's end of a lane.
#[derive(Clone)]
pub(crate) struct PayerLane {
    pub(crate) payer: Payer,
    pub(crate) allocation: u64,
}

impl PayerLane {
    pub(crate) fn new(index: u32, allocation: u64) -> Self {
        let (payer, operator) = (account("payer"), operator_of("owner"));
        Self { payer: Payer::new(LaneId { payer, operator, index }), allocation }
    }

    pub(crate) fn voucher(&mut self, chain: ChainId) -> Signed<Voucher> {
        self.payer.voucher(chain, self.allocation, &key("hot"))
    }

    /// The task, noted as ordered.
    pub(crate) fn order(&mut self, chain: ChainId, request: Request, ask: &Ask) -> Task {
        self.payer.order_task(&request, Credit::whole(1).unwrap());
        Task {
            task: 0,
            request: request.sign(&key("hot")),
            ids: List::new(ask.ids.clone()).unwrap(),
            salt: ask.salt,
            voucher: self.voucher(chain),
        }
    }

    pub(crate) fn accept(&mut self, receipt: &Signed<Receipt>) {
        self.payer.accept(receipt, &key("box").public(), Times::default()).unwrap();
    }
}

/// What came for one task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) output: Output,
    pub(crate) receipt: Signed<Receipt>,
}

/// The gateway's end of the link.
pub(crate) struct Gateway {
    listener: TlsListener,
    connection: Option<(link::Sender, link::Receiver)>,
    pub(crate) hello: Option<Hello>,
    numbers: u64,
}

impl Gateway {
    pub(crate) async fn bind() -> Self {
        Self::bind_again("127.0.0.1:0").await
    }

    /// Listens where another has just stopped.
    pub(crate) async fn bind_again(address: &str) -> Self {
        let binding = async {
            loop {
                let listening = address.parse().unwrap();
                let limits = Limits::default();
                match TlsListener::bind(listening, &key("gateway"), limits).await {
                    Ok(listener) => {
                        return Self { listener, connection: None, hello: None, numbers: 0 };
                    }
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(PATIENCE, binding).await.expect("the address is free again")
    }

    pub(crate) fn address(&self) -> String {
        self.listener.address().to_string()
    }

    /// Takes the box's connection and welcomes it.
    pub(crate) async fn accept(&mut self) {
        let connection =
            timeout(PATIENCE, self.listener.accept()).await.expect("the box dials").unwrap();
        assert_eq!(connection.peer(), key("box").public());
        self.connection = Some(connection.split());
        let FromBox::Hello(hello) = self.next().await else { panic!("no hello") };
        self.hello = Some(hello);
        self.send(&FromGateway::Welcome).await;
    }

    /// A connection whose peer has proved a key.
    pub(crate) async fn connection(&mut self) -> Connection {
        self.listener.accept().await.unwrap()
    }

    /// Cuts the connection.
    pub(crate) fn cut(&mut self) {
        self.connection = None;
    }

    pub(crate) async fn send(&self, message: &FromGateway) {
        self.send_raw(wire::encode(message)).await;
    }

    pub(crate) async fn send_raw(&self, frame: Vec<u8>) {
        self.connection.as_ref().unwrap().0.send(frame).await.unwrap();
    }

    /// The box's next message.
    pub(crate) async fn next(&mut self) -> FromBox {
        self.try_next().await.expect("the connection holds")
    }

    /// The box's next message, or nothing once the connection has ended.
    pub(crate) async fn try_next(&mut self) -> Option<FromBox> {
        let receiver = &mut self.connection.as_mut().unwrap().1;
        let frame = timeout(PATIENCE, receiver.next()).await.expect("the box speaks");
        frame.ok().flatten().map(|frame| wire::decode(&frame).unwrap())
    }

    /// The first piece of an answer that is under way.
    pub(crate) async fn tokens(&mut self) -> (u64, Vec<u32>) {
        match self.next().await {
            FromBox::Tokens { task, ids } => (task, ids.into_vec()),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a task under a number of its own.
    pub(crate) async fn ask(&mut self, mut task: Task) -> u64 {
        self.numbers += 1;
        task.task = self.numbers;
        self.send(&FromGateway::Task(Box::new(task))).await;
        self.numbers
    }

    /// What comes for one task that was sent.
    pub(crate) async fn answer_to(&mut self, number: u64) -> Result<Answer, Refusal> {
        self.answers_to(&[number]).await.remove(&number).unwrap()
    }

    /// What comes for some tasks that were sent.
    pub(crate) async fn answers_to(
        &mut self,
        numbers: &[u64],
    ) -> BTreeMap<u64, Result<Answer, Refusal>> {
        let mut tokens: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        while answers.len() < numbers.len() {
            match self.next().await {
                FromBox::Tokens { task, ids } => tokens.entry(task).or_default().extend(&ids[..]),
                FromBox::Done { task, receipt, rest } => {
                    let mut before = tokens.remove(&task).unwrap_or_default();
                    let output = match rest {
                        wire::Output::Row(row) => Output::Row(row.into_vec()),
                        wire::Output::Tokens(rest) => {
                            before.extend(&rest[..]);
                            Output::Tokens(before)
                        }
                    };
                    answers.insert(task, Ok(Answer { output, receipt }));
                }
                FromBox::Refused { task, refusal } => {
                    answers.insert(task, Err(refusal));
                }
                FromBox::Paths(_) => {}
                other => panic!("{other:?}"),
            }
            assert!(answers.keys().all(|task| numbers.contains(task)), "{answers:?}");
        }
        answers
    }

    /// One task, which must be answered.
    pub(crate) async fn done(
        &mut self,
        world: &World,
        lane: &mut PayerLane,
        model: &Model,
        ask: &Ask,
    ) -> Answer {
        let request = world.request(lane, model, ask).await;
        let task = lane.order(world.chain_id, request, ask);
        let number = self.ask(task).await;
        let answer = self.answer_to(number).await.unwrap();
        lane.accept(&answer.receipt);
        answer
    }

    /// Where a lane stands for the box.
    pub(crate) async fn resume(&mut self, lane: LaneId) -> LaneReport {
        self.send(&FromGateway::Resume { lane }).await;
        loop {
            match self.next().await {
                FromBox::LaneReport(report) => return report,
                FromBox::Paths(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
