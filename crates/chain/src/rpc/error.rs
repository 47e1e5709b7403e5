//! Errors as callers see them: a status, a stable code, what is wrong, what to do.
//!
//! Rules: a code never changes its meaning. What the caller can repair is 4xx, what passes by
//! itself is 503 with a hint to try again.
//! Never here: causes inside the node.

use crate::mempool::Unpooled;
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ledger::{Rejection, transaction};
use light::rpc::{ErrorBody, RpcError};

/// An answer outside 2xx.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    pub(super) error: RpcError,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl ToString, hint: &str) -> Self {
        let error = RpcError { code: code.into(), message: message.to_string(), hint: hint.into() };
        Self { status, error }
    }

    pub(crate) fn bad_request(code: &str, message: impl ToString, hint: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message, hint)
    }

    pub(crate) fn not_found(what: &str, hint: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("{what} is not known"), hint)
    }

    /// For failures of the disk: the node is about to stop or should be.
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "cannot answer");
        let hint = "look into the node's log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the node failed", hint)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.error })).into_response()
    }
}

impl From<transaction::Error> for Refusal {
    fn from(error: transaction::Error) -> Self {
        use transaction::Error as E;
        let (status, code, hint) = match &error {
            E::TooLarge => (413, "too_large", "split it into several transactions"),
            E::Malformed { .. } => {
                (400, "malformed", "send exactly one borsh-encoded SignedTransaction")
            }
            E::BadSignature => {
                (400, "bad_signature", "sign the transaction's id with the signer's key")
            }
            E::WrongChain { .. } => (400, "wrong_chain", "take the chain id from /v1/status"),
            E::Expired { .. } => (400, "expired", "sign it again with a later valid_until"),
            E::ValidTooLong { .. } => (400, "valid_too_long", "lower valid_until"),
            E::WrongNonce { .. } => (409, "wrong_nonce", "sign it again with the next nonce"),
            E::UnknownAccount { .. } => (400, "unknown_account", "transfer coin to it first"),
            E::UnknownSession { .. } => (400, "unknown_session", "grant the session key first"),
            E::SessionEnded => (400, "session_ended", "grant the session key again"),
            E::OwnKeyNeeded => (400, "own_key_needed", "sign with the account's own key"),
            E::SessionFeeCap { .. } => (402, "session_fee_cap", "raise the session's cap"),
            E::FeeNotCovered { .. } => (402, "fee_not_covered", "transfer coin to the account"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Self::new(status, code, error, hint)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Envelope(error) => error.into(),
            other => Self::bad_request("rejected", other, "see the message"),
        }
    }
}

impl From<Unpooled> for Refusal {
    fn from(error: Unpooled) -> Self {
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        let many = StatusCode::TOO_MANY_REQUESTS;
        let conflict = StatusCode::CONFLICT;
        let (status, code, hint) = match &error {
            Unpooled::NonceTooFar { .. } => {
                (conflict, "nonce_too_far", "send the transactions before it first")
            }
            Unpooled::NonceTaken { .. } => {
                (conflict, "nonce_taken", "wait for the other one, or use the next nonce")
            }
            Unpooled::SenderFull { .. } => {
                (many, "sender_full", "wait until some of them are final")
            }
            Unpooled::Full { .. } => (busy, "mempool_full", "send the same bytes again later"),
            Unpooled::Evicted => (busy, "evicted", "send the same bytes again later"),
            Unpooled::Overtaken { .. } => {
                (conflict, "overtaken", "look at the account's nonce and sign it again")
            }
            Unpooled::TooManyWaiters => (many, "too_many_waiters", "ask GET /v1/transactions/{id}"),
            Unpooled::Closed => (busy, "shutting_down", "send the same bytes again later"),
        };
        Self::new(status, code, error, hint)
    }
}
