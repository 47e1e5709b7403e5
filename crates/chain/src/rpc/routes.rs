//! The handlers: one per path of the interface.
//!
//! Rules: a handler reads one consistent state; what it takes from a caller is bounded before
//! it is read. Never here: checks of transactions (see `submit`).

use super::{Bounds, Shared, error::Refusal, events};
use crate::block::Block;
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response, Sse, sse::KeepAlive},
    routing::{get, post},
};
use crypto::{Digest, OperatorId};
use ledger::{Call, Read as _, SignedTransaction, payments, transaction::MAX_TRANSACTION_BYTES};
use light::rpc::{
    BlockAnswer, HexBytes, Outcome, StateAnswer, StateEntry, StateEvidence, StateRange, Status,
    TransactionResult,
};
use serde::Deserialize;
use std::time::Duration;
use units::{Epoch, Height, List};

/// Transactions in one batch.
const MAX_BATCH: usize = 8_192;

/// Bytes of one batch.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Bytes of a state key in a question.
const MAX_KEY_BYTES: usize = 1_024;

/// Entries of one answer to a range question.
const MAX_RANGE: usize = 1_000;

/// Bytes of keys and values after which an answer to a range question ends.
const MAX_RANGE_BYTES: usize = 4 << 20;

/// A tree that is about to take over a block is asked again this often.
const PROOF_TRIES: u32 = 100;

/// Pause between two tries.
const PROOF_PAUSE: Duration = Duration::from_millis(20);

type Answer<T> = Result<Json<T>, Refusal>;

pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/genesis", get(genesis))
        .route("/v1/transactions", post(submit))
        .route("/v1/transactions/batch", post(submit_all))
        .route("/v1/transactions/{id}", get(transaction))
        .route("/v1/state", get(state))
        .route("/v1/state/range", get(range))
        .route("/v1/blocks/{height}", get(block))
        .route("/v1/claims/{operator}/{epoch}", get(claim))
        .route("/v1/events", get(stream))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(shared)
}

async fn no_route() -> Refusal {
    Refusal::not_found("this path", "see docs/spec/chain.md for the paths")
}

async fn no_method() -> Refusal {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Refusal::new(status, "method_not_allowed", "this path has another method", "use it")
}

async fn status(State(shared): State<Shared>) -> Json<Status> {
    let machine = &shared.machine;
    let head = machine.head();
    Json(Status {
        chain_id: machine.anchor().chain_id(),
        anchor: machine.anchor().clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        height: head.header.height,
        digest: head.id,
        time: head.header.time,
        clock: head.clock,
        round: head.header.round,
        seeded: head.header.seeded,
        oldest: machine.archive().oldest(),
        mempool: machine.mempool().status(),
    })
}

async fn genesis(State(shared): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "application/json")], shared.genesis.to_string()).into_response()
}

async fn submit(State(shared): State<Shared>, body: Body) -> Answer<TransactionResult> {
    let bytes = read_body(body, MAX_TRANSACTION_BYTES).await?;
    let submitted = shared.submit(&bytes)?;
    shared.result(submitted).await.map(Json)
}

async fn submit_all(State(shared): State<Shared>, body: Body) -> Result<Response, Refusal> {
    let bytes = read_body(body, MAX_BATCH_BYTES).await?;
    let batch: List<SignedTransaction, MAX_BATCH> = borsh::from_slice(&bytes).map_err(|error| {
        let hint = "send one borsh list of at most 8192 SignedTransactions";
        Refusal::bad_request("malformed", error, hint)
    })?;
    let results = shared.submit_all(batch.into_vec()).await;
    let bytes = borsh::to_vec(&results).map_err(Refusal::internal)?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

async fn transaction(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Answer<TransactionResult> {
    let id: Digest = id
        .parse()
        .map_err(|error| Refusal::bad_request("bad_id", error, "give the transaction's id"))?;
    match shared.machine.archive().result(&id).map_err(Refusal::internal)? {
        Some(result) => Ok(Json(result)),
        None if shared.machine.mempool().find(&id).is_some() => {
            let message = "the transaction waits for a block";
            Err(Refusal::new(StatusCode::NOT_FOUND, "pending", message, "ask again"))
        }
        None => Err(Refusal::not_found("the transaction", "it may be too long ago")),
    }
}

#[derive(Deserialize)]
struct StateQuestion {
    key: String,
    #[serde(default)]
    proof: bool,
}

async fn state(
    State(shared): State<Shared>,
    question: Result<Query<StateQuestion>, QueryRejection>,
) -> Answer<StateAnswer> {
    let Query(StateQuestion { key, proof }) = question.map_err(bad_query)?;
    let HexBytes(key) = hex("key", &key)?;
    let look = || {
        shared.machine.read(|state, head| {
            (state.raw(&key).map(|value| HexBytes(value.to_vec())), head.clone())
        })
    };
    if !proof {
        let (value, head) = look();
        return Ok(Json(StateAnswer { height: head.header.height, value, evidence: None }));
    }
    for _ in 0..PROOF_TRIES {
        let (value, head) = look();
        let proved = shared.prover.prove(&key).await;
        let (root, proof) = proved.ok_or_else(|| Refusal::internal("the tree cannot be read"))?;
        if let Some(certificate) = head.certificate
            && root == head.header.state.root
        {
            let height = head.header.height;
            let evidence = StateEvidence { header: head.header, certificate, proof };
            return Ok(Json(StateAnswer { height, value, evidence: Some(evidence) }));
        }
        tokio::time::sleep(PROOF_PAUSE).await;
    }
    let message = "no certified block has this state yet";
    Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no_proof_yet", message, "ask again"))
}

#[derive(Deserialize)]
struct RangeQuestion {
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

async fn range(
    State(shared): State<Shared>,
    question: Result<Query<RangeQuestion>, QueryRejection>,
) -> Answer<StateRange> {
    let Query(RangeQuestion { prefix, after, limit }) = question.map_err(bad_query)?;
    let HexBytes(prefix) = hex("prefix", &prefix)?;
    let after = after.map(|after| hex("after", &after)).transpose()?;
    let limit = limit.unwrap_or(MAX_RANGE).clamp(1, MAX_RANGE);
    shared.machine.read(|state, head| {
        let after = after.as_ref().map(|HexBytes(after)| after.as_slice());
        let (mut entries, mut bytes, mut more) = (Vec::new(), 0, false);
        for (key, value) in state.range(&prefix, after, limit + 1) {
            if entries.len() == limit || bytes > MAX_RANGE_BYTES {
                more = true;
                break;
            }
            bytes += key.len() + value.len();
            let (key, value) = (HexBytes(key.to_vec()), HexBytes(value.to_vec()));
            entries.push(StateEntry { key, value });
        }
        let next = entries.last().filter(|_| more).map(|entry| entry.key.clone());
        Ok(Json(StateRange { height: head.header.height, entries, next }))
    })
}

async fn block(State(shared): State<Shared>, Path(height): Path<String>) -> Answer<BlockAnswer> {
    let height: u64 = height
        .parse()
        .map_err(|error| Refusal::bad_request("bad_height", error, "give a block's number"))?;
    let record = shared.machine.archive().read(Height::new(height)).map_err(Refusal::internal)?;
    let hint = "blocks are kept from `oldest` to `height` of /v1/status";
    let record = record.ok_or_else(|| Refusal::not_found("the block", hint))?;
    let block = Block::decode_content(&record.block)
        .ok_or_else(|| Refusal::internal("a block of the journal does not decode"))?;
    Ok(Json(BlockAnswer {
        digest: block.id(),
        header: block.header().clone(),
        certificate: record.certificate,
        transactions: record.results.iter().map(|result| result.id).collect(),
    }))
}

/// The claim as it was filed, with its lanes, of which the state keeps only a root.
async fn claim(
    State(shared): State<Shared>,
    Path((operator, epoch)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let hint = "give the operator's id and the period's number";
    let bad = |what: &str| Refusal::bad_request("bad_claim", format!("{what} is none"), hint);
    let operator: OperatorId = operator.parse().map_err(|_| bad("the operator"))?;
    let epoch = epoch.parse().map(Epoch::new).map_err(|_| bad("the period"))?;
    let record = shared.machine.read(|state, _| payments::claim(state, &operator, epoch));
    let record = record.map_err(Refusal::internal)?;
    let none = |hint| Refusal::not_found("the claim", hint);
    let record =
        record.ok_or_else(|| none("the ledger forgets claims some time after their end"))?;
    let block = shared.machine.archive().read(record.filed_height).map_err(Refusal::internal)?;
    let block = block.ok_or_else(|| none("its block is no longer kept; ask an older node"))?;
    let content = Block::decode_content(&block.block)
        .ok_or_else(|| Refusal::internal("a block of the journal does not decode"))?;
    let filed = content.transactions().iter().zip(&block.results).find_map(|(sent, result)| {
        match &sent.transaction.call {
            Call::Payments(payments::Tx::FileClaim(claim))
                if (claim.operator, claim.epoch, claim.root) == (operator, epoch, record.root)
                    && result.outcome == Outcome::Applied =>
            {
                Some(claim)
            }
            _ => None,
        }
    });
    let filed = filed.ok_or_else(|| Refusal::internal("a claim is not in its block"))?;
    let bytes = borsh::to_vec(filed).map_err(Refusal::internal)?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

#[derive(Deserialize)]
struct EventsQuestion {
    from: Option<u64>,
}

async fn stream(
    State(shared): State<Shared>,
    question: Result<Query<EventsQuestion>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(EventsQuestion { from }) = question.map_err(bad_query)?;
    let next = shared.machine.head().header.height.get().saturating_add(1);
    let events = events::from(&shared, Height::new(from.unwrap_or(next)))?;
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Reads a body within its bounds of size and time.
pub(super) async fn read_body(body: Body, limit: usize) -> Result<axum::body::Bytes, Refusal> {
    match tokio::time::timeout(Bounds::BODY_TIMEOUT, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body exceeds {limit} bytes or broke off"),
            "send less at a time",
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "the body did not arrive in time",
            "send it in one go",
        )),
    }
}

fn hex(name: &str, text: &str) -> Result<HexBytes, Refusal> {
    let hint = "bytes are lower-case hex, two digits each";
    if text.len() > 2 * MAX_KEY_BYTES {
        let message = format!("`{name}` exceeds {MAX_KEY_BYTES} bytes");
        return Err(Refusal::bad_request("bad_key", message, hint));
    }
    text.parse().map_err(|_| Refusal::bad_request("bad_key", format!("`{name}` is no hex"), hint))
}

fn bad_query(error: QueryRejection) -> Refusal {
    Refusal::bad_request("bad_query", error, "see docs/spec/chain.md for the parameters")
}
