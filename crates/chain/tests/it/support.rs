//! What the tests share: a chain in a temporary folder, a caller, accounts.

use chain::{Chain, Config, ValidatorKeys};
use crypto::{AccountId, Domain, SecretKey};
use ledger::{
    Call, Genesis, Params, SignedTransaction, Transaction, accounts, credits::PriceSource,
    genesis::GenesisAccount,
};
use light::rpc::{ErrorBody, Status, TransactionResult};
use serde::de::DeserializeOwned;
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};
use units::{Coin, Height, List, Millis, Nonce, Text, UsdNano};

/// Longest wait for any one answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The account that genesis funds.
pub(crate) fn alice() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

pub(crate) fn account(key: &SecretKey) -> AccountId {
    AccountId::new(key.public())
}

pub(crate) fn genesis() -> Genesis {
    let mut params = Params::default();
    params.block.pace = Millis::new(50);
    params.block.idle = Millis::new(200);
    Genesis {
        name: Text::new("test").unwrap(),
        time: Millis::new(1_700_000_000_000),
        price: PriceSource::Fixed(UsdNano::new(1_000_000_000)),
        treasury: Coin::ZERO,
        accounts: List::new(vec![GenesisAccount {
            account: account(&alice()),
            balance: Coin::whole(1_000_000).unwrap(),
            sessions: List::default(),
        }])
        .unwrap(),
        operators: List::default(),
        models: List::default(),
        params,
    }
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        dir: dir.into(),
        genesis: genesis(),
        keys: ValidatorKeys::from_secrets([7; 32], [8; 32]),
        rpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
    }
}

/// Starts a chain; `RUST_LOG` shows what it does.
pub(crate) fn start(dir: &Path) -> Chain {
    // A second call finds the first one's subscriber, which is the same.
    let _set = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .try_init();
    chain::start(config(dir)).expect("the chain starts")
}

/// A signed transfer of one coin from alice.
pub(crate) fn transfer(status: &Status, nonce: u64, to: &SecretKey) -> SignedTransaction {
    let tx = accounts::Tx::Transfer { to: account(to), amount: Coin::whole(1).unwrap() };
    sign(&alice(), status, nonce, Call::Accounts(tx))
}

pub(crate) fn sign(key: &SecretKey, status: &Status, nonce: u64, call: Call) -> SignedTransaction {
    let transaction = Transaction {
        chain: status.chain_id,
        account: account(key),
        signer: key.public(),
        nonce: Nonce::new(nonce),
        valid_until: Height::new(status.height.get() + 1_000),
        call,
    };
    let signature = key.sign(Domain::Transaction, &transaction);
    SignedTransaction { transaction, signature }
}

/// A caller of one node.
#[derive(Clone, Copy)]
pub(crate) struct Caller(pub(crate) SocketAddr);

/// An answer as it came.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Status and code of an error.
    pub(crate) fn refused(&self) -> (u16, String) {
        (self.status, self.json::<ErrorBody>().error.code)
    }
}

impl Caller {
    /// One request on a connection of its own; the error is that of the connection.
    pub(crate) fn try_call(self, head: &str, body: &[u8]) -> std::io::Result<Reply> {
        let mut stream = TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "{head} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let end = reply.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(broken)?;
        let head = String::from_utf8_lossy(&reply[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(broken)?;
        let body = reply.split_off(end + 4);
        let length = head.lines().find_map(|line| {
            line.to_lowercase().strip_prefix("content-length: ")?.trim().parse::<usize>().ok()
        });
        if length.is_some_and(|length| length != body.len()) {
            return Err(broken());
        }
        Ok(Reply { status, body })
    }

    /// Sends these lines as a request's head; returns the status of the answer.
    pub(crate) fn try_call_raw(self, head: &str) -> u16 {
        let mut stream = TcpStream::connect(self.0).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut reply = Vec::new();
        // The node may close before everything is sent; what counts is what it said.
        let _closed = stream.read_to_end(&mut reply);
        let text = String::from_utf8_lossy(&reply).into_owned();
        text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer")
    }

    pub(crate) fn get(self, path: &str) -> Reply {
        self.try_call(&format!("GET {path}"), b"").expect("the node answers")
    }

    pub(crate) fn status(self) -> Status {
        self.get("/v1/status").json()
    }

    pub(crate) fn post(self, signed: &SignedTransaction) -> Reply {
        let body = borsh::to_vec(signed).unwrap();
        self.try_call("POST /v1/transactions", &body).expect("the node answers")
    }

    /// Submits and waits until final.
    pub(crate) fn submit(self, signed: &SignedTransaction) -> TransactionResult {
        let reply = self.post(signed);
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }

    /// An account's balance, `None` if it was never opened.
    pub(crate) fn balance(self, key: &SecretKey) -> Option<Coin> {
        let table_key = hex::encode(accounts::ACCOUNTS.key_bytes(&account(key)));
        let answer: light::rpc::StateAnswer =
            self.get(&format!("/v1/state?key={table_key}")).json();
        answer.value.map(|value| accounts::ACCOUNTS.decode(&value.0).unwrap().balance)
    }
}
