//! What a caller is told when something is refused: a stable code, what, why, how to fix it.
//!
//! The body is OpenAI's error object with one more field, `hint`. Codes never change meaning.
//! Statuses that SDKs retry by themselves (408, 409, 429, 5xx) say when, or that it is no use.
//! Never here: secrets, paths, or a number of the inner workings that a caller cannot use.

use ::http::StatusCode;
use client::openai::{BodyError, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Stable codes: the `code` of an error object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: the body is not JSON as we read it.
    InvalidJson,
    /// 400: a field has a value outside its type or range.
    InvalidValue,
    /// 400: a field that must stand is absent.
    MissingField,
    /// 400: a field this gateway would have to ignore.
    UnsupportedField,
    /// 400: the input is longer than the model takes.
    ContextLengthExceeded,
    /// 400: the HTTP message is malformed.
    BadRequest,
    /// 401: no API key.
    MissingApiKey,
    /// 401: an API key this gateway does not know.
    InvalidApiKey,
    /// 402: the key's budget or the gateway's deposit does not cover the request.
    InsufficientCredits,
    /// 403: the object belongs to another key.
    Forbidden,
    /// 404: nobody serves this model here.
    ModelNotFound,
    /// 404: no such receipt.
    ReceiptNotFound,
    /// 404: no such path.
    NotFound,
    /// 405: the path takes other methods.
    MethodNotAllowed,
    /// 408: the body came too slowly.
    RequestTimeout,
    /// 409: an idempotency key with another body.
    IdempotencyKeyReused,
    /// 413: the body is too long.
    BodyTooLarge,
    /// 431: the HTTP head has too many lines or bytes.
    HeadTooLarge,
    /// 415: not `application/json`.
    UnsupportedMediaType,
    /// 429: too many requests of this key at once.
    RateLimited,
    /// 500: our own fault.
    Internal,
    /// 503: operators serve the model, none can take the request now.
    Overloaded,
    /// 503: the gateway is stopping.
    ShuttingDown,
    /// 504: no operator answered in time.
    OperatorTimeout,
    /// 503: the caller went away before an answer began.
    Cancelled,
    /// 502: the operator was lost after the answer had begun.
    OperatorLost,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson
            | Self::InvalidValue
            | Self::MissingField
            | Self::UnsupportedField
            | Self::ContextLengthExceeded
            | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::MissingApiKey | Self::InvalidApiKey => StatusCode::UNAUTHORIZED,
            Self::InsufficientCredits => StatusCode::PAYMENT_REQUIRED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::ModelNotFound | Self::ReceiptNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::IdempotencyKeyReused => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::OperatorLost => StatusCode::BAD_GATEWAY,
            Self::Overloaded | Self::ShuttingDown | Self::Cancelled => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::OperatorTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// OpenAI's `type`, by which SDKs and proxies sort errors.
    fn kind(self) -> &'static str {
        match self {
            Self::MissingApiKey | Self::InvalidApiKey => "authentication_error",
            Self::InsufficientCredits => "insufficient_quota",
            Self::Forbidden => "permission_error",
            Self::RateLimited => "rate_limit_error",
            Self::Internal
            | Self::Overloaded
            | Self::ShuttingDown
            | Self::Cancelled
            | Self::OperatorTimeout
            | Self::OperatorLost => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// Seconds after which a retry may help; zero means that it never does.
    fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::RateLimited | Self::Overloaded => Some(1),
            Self::ShuttingDown => Some(5),
            // SDKs would retry these by themselves, and get the same answer.
            Self::IdempotencyKeyReused | Self::OperatorLost => Some(0),
            _ => None,
        }
    }
}

/// A refusal as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The stable code.
    pub code: Code,
    /// What is wrong, with the numbers.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// What to do about it.
    pub hint: String,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, hint: hint.into() }
    }

    pub(crate) fn of_field(mut self, field: impl Into<String>) -> Self {
        self.param = Some(field.into());
        self
    }

    /// Our own fault; the caller learns no more than that, the log has the reason.
    pub(crate) fn internal(reason: impl std::fmt::Display) -> Self {
        tracing::error!(%reason, "internal error");
        Self::new(Code::Internal, "the gateway failed", "retry; if it stays, ask who runs it")
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// Seconds for `Retry-After`; zero asks for `x-should-retry: false` instead.
    pub(crate) fn retry_after_s(&self) -> Option<u32> {
        self.code.retry_after_s()
    }

    /// The error object.
    pub(crate) fn body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.code.kind(),
            "code": self.code,
            "param": self.param,
            "hint": self.hint,
        }})
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let code = match error.problem {
            Problem::InvalidJson => Code::InvalidJson,
            Problem::InvalidValue => Code::InvalidValue,
            Problem::MissingField => Code::MissingField,
            Problem::UnsupportedField => Code::UnsupportedField,
        };
        Self { code, message: error.message, param: error.param, hint: error.hint }
    }
}
