//! A client of a node's HTTP interface.
//!
//! Rules: every answer is bounded in bytes and time; a record is decoded by its table, so a
//! wrong byte is an error and never a wrong amount; nothing here is trusted further than its
//! caller trusts the node (who does not, asks for evidence and checks it with `light`).
//! Never here: TLS (a node is reached on loopback or through a tunnel), retries of writes.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{Buf, Bytes, BytesMut};
use crypto::{Digest, OperatorId};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, body::Incoming, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ledger::{
    Genesis, SignedTransaction, Table,
    payments::schema::Claim,
    store::{Corrupt, Key},
};
use light::rpc::{
    BlockAnswer, BlockEvents, ErrorBody, HexBytes, StateAnswer, StateRange, Status,
    TransactionResult,
};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;
use units::{Epoch, Height};

/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// Longest line of the event stream: the events of one block.
const MAX_EVENT_BYTES: usize = 8 << 20;
/// Longest wait for an answer to a question.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for a transaction to be final.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Silence after which an event stream is given up; an idle chain makes a block every 2 s.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Entries asked for at once.
const PAGE: usize = 500;
/// Records of one range at most.
pub const MAX_RANGE: usize = 10_000;

/// Why a question to a node has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The address is none.
    #[error("{url:?} is not the address of a node: use http://HOST:PORT")]
    Address {
        /// What was given.
        url: String,
    },
    /// The node cannot be reached or broke off.
    #[error("the node at {node} cannot be reached: {reason}; check that it runs")]
    Unreachable {
        /// Where it should be.
        node: String,
        /// What happened.
        reason: String,
    },
    /// The node took too long.
    #[error("the node did not answer within {seconds} s")]
    Timeout {
        /// The bound.
        seconds: u64,
    },
    /// The node refuses.
    #[error(transparent)]
    Refused(#[from] light::rpc::RpcError),
    /// The answer is not what the interface promises.
    #[error("the node's answer cannot be read: {reason}; is it of this version?")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    /// A record does not decode.
    #[error(transparent)]
    Record(#[from] Corrupt),
}

impl RpcError {
    pub(crate) fn answer(reason: impl ToString) -> Self {
        Self::Answer { reason: reason.to_string() }
    }
}

/// A client of one node; clones share its connections.
#[derive(Debug, Clone)]
pub struct Rpc {
    base: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Rpc {
    /// A client of the node at `url`, for instance `http://127.0.0.1:7700`.
    ///
    /// # Errors
    /// [`RpcError::Address`].
    pub fn new(url: &str) -> Result<Self, RpcError> {
        let base = url.trim_end_matches('/').to_owned();
        let good = base.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme_str() == Some("http") && uri.host().is_some() && uri.path() == "/"
        });
        if !good {
            return Err(RpcError::Address { url: url.to_owned() });
        }
        Ok(Self { base, http: Client::builder(TokioExecutor::new()).build_http() })
    }

    /// Where the node stands.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn status(&self) -> Result<Status, RpcError> {
        self.get("/v1/status").await
    }

    /// The document the chain began with.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn genesis(&self) -> Result<Genesis, RpcError> {
        self.get("/v1/genesis").await
    }

    /// Sends a transaction and waits until it is final and applied.
    ///
    /// # Errors
    /// [`RpcError`]. After a timeout the transaction may still become final: ask for it by id,
    /// or send the same bytes again; its nonce counts once.
    pub async fn submit(
        &self,
        transaction: &SignedTransaction,
    ) -> Result<TransactionResult, RpcError> {
        let bytes = borsh::to_vec(transaction).map_err(RpcError::answer)?;
        self.ask(Method::POST, "/v1/transactions", bytes.into(), SUBMIT_TIMEOUT).await
    }

    /// What became of a transaction, if it is known.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn transaction(&self, id: &Digest) -> Result<Option<TransactionResult>, RpcError> {
        optional(self.get(&format!("/v1/transactions/{id}")).await)
    }

    /// A record of the newest final state.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn record<K, V>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>, RpcError>
    where
        K: Key,
        V: BorshSerialize + BorshDeserialize,
    {
        let key = hex::encode(table.key_bytes(key));
        let answer: StateAnswer = self.get(&format!("/v1/state?key={key}")).await?;
        Ok(answer.value.map(|value| table.decode(&value.0)).transpose()?)
    }

    /// The value of a key together with what proves it.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn evidence(&self, key: &[u8]) -> Result<StateAnswer, RpcError> {
        self.get(&format!("/v1/state?key={}&proof=true", hex::encode(key))).await
    }

    /// The records whose keys start with `part`, in order, at most [`MAX_RANGE`].
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn records<K, V>(
        &self,
        table: &Table<K, V>,
        part: &impl Key,
    ) -> Result<Vec<(K, V)>, RpcError>
    where
        K: Key,
        V: BorshSerialize + BorshDeserialize,
    {
        let prefix = hex::encode(table.part(part));
        let mut records = Vec::new();
        let mut after: Option<HexBytes> = None;
        while records.len() < MAX_RANGE {
            let from = after.map_or(String::new(), |key| format!("&after={}", hex::encode(key.0)));
            let path = format!("/v1/state/range?prefix={prefix}&limit={PAGE}{from}");
            let page: StateRange = self.get(&path).await?;
            for entry in page.entries {
                records.push((table.decode_key(&entry.key.0)?, table.decode(&entry.value.0)?));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(records)
    }

    /// A final block, if the node still has it.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn block(&self, height: Height) -> Result<Option<BlockAnswer>, RpcError> {
        optional(self.get(&format!("/v1/blocks/{height}")).await)
    }

    /// A claim as it was filed, if the ledger knows it and the node still has its block.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn claim(
        &self,
        operator: &OperatorId,
        epoch: Epoch,
    ) -> Result<Option<Claim>, RpcError> {
        let path = format!("/v1/claims/{operator}/{epoch}");
        let asked = self.ask_bytes(Method::GET, &path, Bytes::new(), READ_TIMEOUT).await;
        let Some(bytes) = optional(asked)? else { return Ok(None) };
        borsh::from_slice(&bytes).map(Some).map_err(RpcError::answer)
    }

    /// The events of every block from `from` on.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn events(&self, from: Height) -> Result<Events, RpcError> {
        let path = format!("/v1/events?from={from}");
        let sending = self.send(Method::GET, &path, Bytes::new());
        let response = within(READ_TIMEOUT, sending).await??;
        let status = response.status();
        if !status.is_success() {
            let body = read(response.into_body()).await?;
            return Err(refused(status, &body));
        }
        Ok(Events { body: response.into_body(), buffer: BytesMut::new(), node: self.base.clone() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RpcError> {
        self.ask(Method::GET, path, Bytes::new(), READ_TIMEOUT).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, RpcError> {
        let body = self.ask_bytes(method, path, body, limit).await?;
        serde_json::from_slice(&body).map_err(RpcError::answer)
    }

    async fn ask_bytes(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, RpcError> {
        let asking = async {
            let response = self.send(method, path, body).await?;
            let status = response.status();
            Ok::<_, RpcError>((status, read(response.into_body()).await?))
        };
        let (status, body) = within(limit, asking).await??;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<hyper::Response<Incoming>, RpcError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(body))
            .map_err(RpcError::answer)?;
        self.http.request(request).await.map_err(|error| RpcError::Unreachable {
            node: self.base.clone(),
            reason: error.to_string(),
        })
    }
}

/// The events of one block after the other.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: BytesMut,
    node: String,
}

impl Events {
    /// The events of the next block.
    ///
    /// # Errors
    /// [`RpcError`] once the stream has ended; open it again from the next height.
    pub async fn next(&mut self) -> Result<BlockEvents, RpcError> {
        loop {
            while let Some(line) = self.line()? {
                if let Some(data) = line.strip_prefix(b"data:") {
                    return serde_json::from_slice(data).map_err(RpcError::answer);
                }
            }
            let frame = within(EVENT_TIMEOUT, self.body.frame()).await?;
            let ended = |reason: String| RpcError::Unreachable { node: self.node.clone(), reason };
            let frame = frame.ok_or_else(|| ended("the event stream ended".into()))?;
            let frame = frame.map_err(|error| ended(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// The next whole line, if it has come.
    fn line(&mut self) -> Result<Option<Bytes>, RpcError> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            let long = self.buffer.len() > MAX_EVENT_BYTES;
            return if long { Err(RpcError::answer("an event is too long")) } else { Ok(None) };
        };
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        Ok(Some(line))
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, RpcError> {
    timeout(limit, work).await.map_err(|_| RpcError::Timeout { seconds: limit.as_secs() })
}

async fn read(body: Incoming) -> Result<Bytes, RpcError> {
    let collected = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    collected.map(|body| body.to_bytes()).map_err(RpcError::answer)
}

fn refused(status: StatusCode, body: &[u8]) -> RpcError {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error.into(),
        Err(_) => RpcError::answer(format_args!("status {status}")),
    }
}

/// Turns "there is none" into nothing.
fn optional<T>(result: Result<T, RpcError>) -> Result<Option<T>, RpcError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(RpcError::Refused(error)) if error.code.ends_with("not_found") => Ok(None),
        Err(error) => Err(error),
    }
}
