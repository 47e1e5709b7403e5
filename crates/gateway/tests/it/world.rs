//! What the tests share: a chain, boxes with the test models, a gateway, a caller.
//!
//! Rules: waits are bounded, and a wait that runs out is a failure of the test.

use chain::{Chain, ValidatorKeys};
use client::{bundle::Bundle, rpc::Rpc};
use crypto::{AccountId, SecretKey};
use gateway::{ApiKey, Config, Funding, Gateway, HttpLimits, KnownModel};
use ledger::{
    Genesis, Params,
    bytes::Bytes,
    credits::PriceSource,
    genesis::{GenesisAccount, GenesisModel, GenesisOperator, GenesisSession},
    models::Publication,
    payments::messages::AuditMode,
    staking,
};
use model::Model;
use operator::{Operator, ServedModel, faults::Fault};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use units::{BasisPoints, Coin, Credit, List, Millis, NANO, Price, Text, UsdNano};

/// Longest wait for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// What the boxes ask per unit of work.
pub(crate) const PRICE: Price = Price::new(1_000_000);
/// A caller's key with plenty to spend.
pub(crate) const SECRET: &str = "sk-test";
/// A caller's key with next to nothing.
pub(crate) const POOR: &str = "sk-poor";

/// The key that belongs to a role.
pub(crate) fn key(role: &str) -> SecretKey {
    let mut seed = [0; 32];
    seed[..role.len()].copy_from_slice(role.as_bytes());
    SecretKey::from_seed(seed)
}

pub(crate) fn account(role: &str) -> AccountId {
    AccountId::new(key(role).public())
}

/// Periods of a few seconds, so that a claim settles while a test waits.
fn params() -> Params {
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

/// The owners of the two boxes; each box's key is `NAME-box`.
pub(crate) const OWNERS: [&str; 2] = ["one", "two"];

/// The test models as the registry has them from the start.
fn registered(models: &Models) -> Vec<GenesisModel> {
    let model = |(name, model): (&str, &Arc<Model>)| GenesisModel {
        owner: account("payer"),
        publication: Publication {
            publisher: Text::new("test").unwrap(),
            name: Text::new(name).unwrap(),
            manifest: Bytes::new(borsh::to_vec(model.manifest()).unwrap()).unwrap(),
            graph: Bytes::new(borsh::to_vec(model.graph()).unwrap()).unwrap(),
        },
    };
    let all = [("chat", &models.chat), ("embed", &models.embed)];
    all.map(model).to_vec()
}

fn genesis(models: &Models, params: Params) -> Genesis {
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
    let operator = |owner: &str| GenesisOperator {
        owner: account(owner),
        registration: staking::Registration {
            index: 0,
            box_key: key(&format!("{owner}-box")).public(),
            class: staking::Class::Board,
            profile: staking::Profile::default(),
            bond: Coin::whole(1_000).unwrap(),
        },
    };
    let accounts =
        vec![funded("one", "one-box"), funded("two", "two-box"), funded("payer", "payer-hot")];
    Genesis {
        name: Text::new("test").unwrap(),
        time: Millis::new(1_700_000_000_000),
        price: PriceSource::Fixed(UsdNano::new(NANO / 10)),
        treasury: Coin::ZERO,
        accounts: List::new(accounts).unwrap(),
        operators: List::new(OWNERS.map(operator).to_vec()).unwrap(),
        models: List::new(registered(models)).unwrap(),
        params,
    }
}

/// Both test models, made once.
pub(crate) struct Models {
    pub(crate) chat: Arc<Model>,
    pub(crate) embed: Arc<Model>,
}

impl Models {
    pub(crate) fn new() -> Self {
        Self {
            chat: Arc::new(engine::tiny::chat().unwrap()),
            embed: Arc::new(engine::tiny::embed().unwrap()),
        }
    }
}

/// The whole network.
pub(crate) struct World {
    pub(crate) rpc_url: String,
    pub(crate) rpc: Rpc,
    pub(crate) models: Models,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) boxes: Vec<Operator>,
    pub(crate) margin: BasisPoints,
    pub(crate) duplicates: BasisPoints,
    chain: Option<Chain>,
    folder: TempDir,
}

impl World {
    /// A chain and a gateway, without boxes.
    pub(crate) async fn empty() -> Self {
        Self::with(params()).await
    }

    /// The same where every claim is audited.
    pub(crate) async fn audited() -> Self {
        let mut params = params();
        params.windows = Params::devnet().windows;
        params.windows.epoch = Millis::new(3_000);
        params.verification.leaves = 1;
        params.verification.audited_owners = 1;
        params.verification.audit_floor = BasisPoints::WHOLE;
        Self::with(params).await
    }

    async fn with(params: Params) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models = Models::new();
        let config = chain::Config {
            dir: folder.path().join("chain"),
            genesis: genesis(&models, params),
            keys: ValidatorKeys::from_secrets([7; 32], [8; 32]),
            rpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let chain = tokio::task::spawn_blocking(|| chain::start(config)).await.unwrap().unwrap();
        let rpc_url = format!("http://{}", chain.rpc_addr());
        let mut world = Self {
            rpc: Rpc::new(&rpc_url).unwrap(),
            rpc_url,
            models,
            gateway: None,
            boxes: Vec::new(),
            margin: BasisPoints::ZERO,
            duplicates: BasisPoints::ZERO,
            chain: Some(chain),
            folder,
        };
        world.start_gateway().await;
        world
    }

    /// A network with one box.
    pub(crate) async fn new() -> Self {
        let mut world = Self::empty().await;
        world.start_box("one").await;
        world
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn start_gateway(&mut self) {
        let known = |name, model: &Model| KnownModel::of(name, model, true).unwrap();
        let api_key = |secret: &str, budget| ApiKey {
            name: secret.to_owned(),
            secret: secret.to_owned(),
            budget,
            audit_mode: AuditMode::Open,
        };
        let config = || Config {
            data_dir: self.folder().join("gateway"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            link_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            link_key: key("link"),
            rpc_url: self.rpc_url.clone(),
            account: account("payer"),
            owner_key: Some(key("payer")),
            session_key: key("payer-hot"),
            funding: Funding {
                coin_per_purchase: Coin::whole(1_000).unwrap(),
                allocation: Credit::whole(10).unwrap(),
            },
            models: vec![
                known("tiny-test-chat", &self.models.chat),
                known("tiny-test-embed", &self.models.embed),
            ],
            api_keys: vec![
                api_key(SECRET, Credit::whole(20).unwrap()),
                api_key(POOR, Credit::new(10)),
            ],
            margin: self.margin,
            duplicates: self.duplicates,
            http: HttpLimits::default(),
        };
        // The files of an earlier run may still be held for a moment.
        let starting = async {
            loop {
                match gateway::start(config()).await {
                    Ok(gateway) => return gateway,
                    Err(gateway::GatewayError::Store(_)) => sleep(Duration::from_millis(50)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        self.gateway = Some(timeout(PATIENCE, starting).await.expect("the gateway starts"));
    }

    pub(crate) async fn stop_gateway(&mut self) {
        self.gateway.take().unwrap().shutdown().await;
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    /// Starts the box of an owner and waits until the gateway knows it.
    pub(crate) async fn start_box(&mut self, owner: &str) {
        self.start_box_with(owner, None).await;
    }

    /// The same with a fault.
    pub(crate) async fn start_box_with(&mut self, owner: &str, fault: Option<Arc<dyn Fault>>) {
        let served = |model: &Arc<Model>| {
            let options = engine::Options { backend: None, threads: 1 };
            let engine = engine::Engine::load(Arc::clone(model), options).unwrap();
            ServedModel { engine: Arc::new(engine), price: PRICE }
        };
        let config = operator::Config {
            data_dir: self.folder().join(owner),
            owner: account(owner),
            index: 0,
            box_key: key(&format!("{owner}-box")),
            rpc_url: self.rpc_url.clone(),
            gateways: vec![operator::Gateway {
                address: self.gateway().link_addr().to_string(),
                key: key("link").public(),
            }],
            models: vec![served(&self.models.chat), served(&self.models.embed)],
            at_once: 1,
            queue: operator::Config::QUEUE,
            credit_limit: operator::Config::CREDIT_LIMIT,
            refuses: Vec::new(),
            audit: None,
            fault,
        };
        let before = self.gateway().operators();
        self.boxes.push(operator::start(config).await.unwrap());
        self.until("the box is connected", |world| world.gateway().operators() > before).await;
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
    }

    pub(crate) fn caller(&self) -> Caller {
        let base = self.gateway().base_url();
        let address = base.trim_start_matches("http://").trim_end_matches("/v1");
        Caller { address: address.to_owned(), secret: SECRET.to_owned() }
    }

    /// What a receipt's endpoint says, for the usual key.
    pub(crate) async fn bundles(&self, id: &str) -> Vec<Bundle> {
        let reply = self.caller().get(&format!("/v1/receipts/{id}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let body = reply.json();
        assert_eq!(body["id"], json!(id));
        serde_json::from_value(body["bundles"].clone()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(chain) = self.chain.take() {
            chain.shutdown().ok();
        }
    }
}

/// Who asks, over plain HTTP.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) address: String,
    pub(crate) secret: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Reply {
    fn read(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("0");
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
        let text = if chunked { unchunked(body) } else { body.to_owned() };
        Self { status: status.parse().unwrap(), headers, text }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    pub(crate) fn receipt(&self) -> String {
        self.headers.get("x-receipt-id").expect("the answer names its receipt").clone()
    }

    /// The events of a stream, up to its end mark.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        lines
            .take_while(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: &str, param: Option<&str>) {
        assert_eq!(self.status, status, "{}", self.text);
        let error = &self.json()["error"];
        assert_eq!(error["code"], json!(code), "{error}");
        assert_eq!(error["param"], json!(param), "{error}");
        for field in ["message", "type", "hint"] {
            assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        }
    }
}

/// The content of a chunked body.
fn unchunked(body: &str) -> String {
    let (mut text, mut rest) = (String::new(), body);
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap_or(0);
        text.push_str(after.get(..length).unwrap_or(after));
        rest = after.get(length + 2..).unwrap_or("");
    }
    text
}

impl Caller {
    pub(crate) fn with_key(&self, secret: &str) -> Self {
        Self { secret: secret.to_owned(), ..self.clone() }
    }

    /// Sends raw bytes and reads until the gateway closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Reply {
        let exchange = async {
            let mut socket = TcpStream::connect(&self.address).await.unwrap();
            // A gateway that refuses early may close before everything was sent.
            socket.write_all(bytes).await.ok();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await.ok();
            answer
        };
        Reply::read(&timeout(PATIENCE, exchange).await.expect("the gateway answers"))
    }

    pub(crate) fn head(&self, method: &str, path: &str, extra: &[(&str, &str)]) -> String {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             authorization: Bearer {}\r\n",
            self.address, self.secret
        );
        for (name, value) in extra {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.raw(format!("{}\r\n", self.head("GET", path, &[])).as_bytes()).await
    }

    pub(crate) async fn post_with(&self, path: &str, body: &[u8], extra: &[(&str, &str)]) -> Reply {
        let head = self.head("POST", path, extra);
        let length = body.len();
        let head =
            format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_with(path, body.to_string().as_bytes(), &[]).await
    }

    pub(crate) async fn chat(&self, body: &Value) -> Reply {
        self.post("/v1/chat/completions", body).await
    }

    pub(crate) async fn embed(&self, body: &Value) -> Reply {
        self.post("/v1/embeddings", body).await
    }
}

/// A chat body with a fixed seed.
pub(crate) fn chat(text: &str) -> Value {
    json!({
        "model": "tiny-test-chat",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 12,
        "seed": 7,
    })
}
