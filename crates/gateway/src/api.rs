//! The paths of the API: who may ask, what is asked, how the answer goes out.
//!
//! ```text
//!   request ─▶ key ─▶ body ─▶ task (known or new) ─▶ prepared, reserved, run ─▶ answer or stream
//! ```
//! Rules: nothing is begun for a request that is refused; a stream that has begun ends with its
//! last chunk or with an error object, never by silence; every answer names its receipt.
//! Never here: operators, lanes.

use crate::{
    config::KnownModel,
    error::{ApiError, Code},
    http::{Body, Handler, HttpLimits, read_body},
    keys::Keys,
    now,
    openai::{Usage, chat::ChatHead, embeddings::embeddings},
    receipts::Receipts,
    router::Router,
    store::Answer,
    tasks::{Ask, Begun, End, Seen, Task, Tasks, Watcher},
    work::{Prepared, Shop, prepare_chat, prepare_embeddings},
};
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use client::openai::{ChatRequest, EmbeddingsRequest, Encoding, parse};
use crypto::{Digest, Domain, hash};
use hyper::body::Incoming;
use ledger::payments::messages::AuditMode;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use units::Credit;

/// How long a stream's first piece is waited for before its head goes out anyway: until then a
/// failure still has an HTTP status of its own.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after which a stream shows a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Chunks of a stream that wait for a slow caller; the task itself never waits.
const CHUNKS: usize = 16;
/// Longest idempotency key.
const MAX_IDEMPOTENCY_BYTES: usize = 256;

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) keys: Arc<Keys>,
    pub(crate) models: BTreeMap<String, Arc<KnownModel>>,
    pub(crate) router: Arc<Router>,
    pub(crate) tasks: Tasks,
    pub(crate) shop: Arc<Shop>,
    pub(crate) receipts: Receipts,
    pub(crate) limits: HttpLimits,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Handler for Api {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError> {
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let get = || allow(request.method(), &Method::GET);
        match path.as_str() {
            "/health" => get().map(|()| ok(&json!({"status": "ok"}))),
            "/ready" => get().and_then(|()| self.ready()),
            "/v1/models" => {
                get()?;
                self.keys.authenticate(request.headers())?;
                let data: Vec<Value> = self.models.values().map(|m| self.model(m)).collect();
                Ok(ok(&json!({"object": "list", "data": data})))
            }
            "/v1/chat/completions" => {
                allow(request.method(), &Method::POST)?;
                self.chat(request).await
            }
            "/v1/embeddings" => {
                allow(request.method(), &Method::POST)?;
                self.embeddings(request).await
            }
            other => {
                get()?;
                let key = self.keys.authenticate(request.headers())?;
                if let Some(name) = other.strip_prefix("/v1/models/") {
                    return self.known(name).map(|model| ok(&self.model(&model)));
                }
                match other.strip_prefix("/v1/receipts/") {
                    Some(id) => self.receipts.get(&key, id).await.map(|body| ok(&body)),
                    None => Err(no_path(other)),
                }
            }
        }
    }
}

/// A request that may begin a task.
struct Call {
    ask: Ask,
    is_repeat: bool,
    mode: AuditMode,
    body: Value,
}

impl Api {
    async fn chat(&self, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
        let Call { ask, is_repeat, mode, body } = self.call(request).await?;
        let request = ChatRequest::read(body)?;
        let model = self.known(&request.model)?;
        let (stream, include_usage) = (request.stream, request.include_usage);
        let prepare = move || prepare_chat(model, &request, mode);
        let (task, name) = self.begin(ask, is_repeat, prepare).await?;
        let watcher = task.watch(stream);
        let head = ChatHead { id: task.id.clone(), created: task.created_ms / 1_000, model: name };
        if stream {
            stream_chat(watcher, head, include_usage).await
        } else {
            whole_chat(watcher, &head).await
        }
    }

    async fn embeddings(&self, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
        let Call { ask, is_repeat, mode, body } = self.call(request).await?;
        let request = EmbeddingsRequest::read(body)?;
        let model = self.known(&request.model)?;
        let encoding: Encoding = request.encoding;
        let prepare = move || prepare_embeddings(model, request, mode);
        let (task, name) = self.begin(ask, is_repeat, prepare).await?;
        let (answer, cost) = whole(task.watch(false)).await?;
        let Answer::Rows { rows, tokens_in } = answer.as_ref() else {
            return Err(ApiError::internal("a chat's answer to an embeddings call"));
        };
        let usage = Usage { tokens_in: *tokens_in, tokens_out: 0, cost };
        Ok(with_receipt(ok(&embeddings(&task.id, &name, rows, encoding, &usage)), &task.id))
    }

    /// Reads what every task's request has: key, type, body, marks of a repeat.
    async fn call(&self, request: Request<Incoming>) -> Result<Call, ApiError> {
        let key = self.keys.authenticate(request.headers())?;
        if *self.stopping.borrow() {
            let message = "the gateway is stopping";
            return Err(ApiError::new(Code::ShuttingDown, message, "retry in a few seconds"));
        }
        check_type(request.headers())?;
        let idempotency = idempotency(request.headers())?;
        let is_repeat = is_repeat(request.headers());
        let mode = audit_mode(request.headers())?.unwrap_or_else(|| self.keys.audit_mode(&key));
        let path = request.uri().path().to_owned();
        let bytes = read_body(request.into_body(), &self.limits).await?;
        let body = hash(Domain::HttpBody, &[path.as_bytes(), mode.name().as_bytes(), &bytes]);
        Ok(Call { ask: Ask { key, body, idempotency }, is_repeat, mode, body: parse(&bytes)? })
    }

    /// The task of a request and its model's name; starts it if it is new.
    async fn begin(
        &self,
        ask: Ask,
        is_repeat: bool,
        prepare: impl FnOnce() -> Result<Prepared, ApiError> + Send + 'static,
    ) -> Result<(Arc<Task>, String), ApiError> {
        // Prepared even for a repeat: the same body gives the same refusal.
        let prepared = tokio::task::spawn_blocking(prepare).await.map_err(ApiError::internal)??;
        let name = prepared.model.name.clone();
        match self.tasks.begin(ask, is_repeat, task_id, now().get())? {
            Begun::Known(task) => Ok((task, name)),
            Begun::New(task) => match self.shop.reserve(ask.key, &prepared) {
                Ok(reservation) => {
                    let running = Arc::clone(&self.shop);
                    tokio::spawn(running.run(Arc::clone(&task), prepared, reservation));
                    Ok((task, name))
                }
                Err(error) => {
                    self.tasks.retract(&task);
                    // A repeat may have come upon it in between.
                    task.end(End::Failed(error.clone()), now().get());
                    Err(error)
                }
            },
        }
    }

    fn known(&self, name: &str) -> Result<Arc<KnownModel>, ApiError> {
        self.models.get(name).cloned().ok_or_else(|| {
            let message = format!("this gateway knows no model {name:?}");
            ApiError::new(Code::ModelNotFound, message, "see GET /v1/models").of_field("model")
        })
    }

    /// A model as `/v1/models` shows it.
    fn model(&self, model: &KnownModel) -> Value {
        let asking = self.router.asking(&model.id);
        let prices = asking.iter().filter_map(|handle| handle.asks.get(&model.id));
        let lowest = prices.min().map(|price| Credit::new(price.get()));
        json!({
            "id": model.name,
            "object": "model",
            "created": 0,
            "owned_by": "selvedge",
            "model_id": model.id,
            "task": match model.facts.task {
                model::inspect::Task::Generate => "chat",
                model::inspect::Task::Embed => "embeddings",
            },
            "max_input": model.facts.max_input,
            "max_positions": model.facts.max_positions,
            "semantics": model.manifest.semantics,
            "licence": &*model.manifest.licence,
            "test_model": model.test,
            "operators": asking.len(),
            "pricing": {
                "credits_per_unit": lowest.map(crate::openai::credits),
                "nano_credits_per_unit": lowest,
                "margin_basis_points": self.shop.margin,
            },
        })
    }

    fn ready(&self) -> Result<Response<Body>, ApiError> {
        let operators = self.router.all().len();
        if operators == 0 || *self.stopping.borrow() {
            let message = "no operator is connected";
            return Err(ApiError::new(Code::Overloaded, message, "wait until one has connected"));
        }
        Ok(ok(&json!({"status": "ready", "operators": operators})))
    }
}

/// Waits for the end of a task.
async fn whole(mut watcher: Watcher) -> Result<(Arc<Answer>, Credit), ApiError> {
    loop {
        match watcher.next().await {
            Seen::Piece(_) => {}
            Seen::End(End::Done { answer, cost }) => return Ok((answer, cost)),
            Seen::End(End::Failed(error)) => return Err(error),
        }
    }
}

async fn whole_chat(watcher: Watcher, head: &ChatHead) -> Result<Response<Body>, ApiError> {
    let (answer, cost) = whole(watcher).await?;
    let Answer::Chat { text, finish, tokens_in, tokens_out } = answer.as_ref() else {
        return Err(ApiError::internal("an embedding's answer to a chat"));
    };
    let usage = Usage { tokens_in: *tokens_in, tokens_out: *tokens_out, cost };
    Ok(with_receipt(ok(&head.completion(text, finish, &usage)), &head.id))
}

/// The answer as server-sent events.
async fn stream_chat(
    mut watcher: Watcher,
    head: ChatHead,
    include_usage: bool,
) -> Result<Response<Body>, ApiError> {
    let first = timeout(HEAD_TIMEOUT, watcher.next()).await.ok();
    if let Some(Seen::End(End::Failed(error))) = first {
        return Err(error);
    }
    let (send, pieces) = mpsc::channel(CHUNKS);
    let id = head.id.clone();
    tokio::spawn(async move {
        // Ends early when the caller has gone; dropping the watcher then stops the task.
        pump(watcher, &head, include_usage, first, &send).await;
    });
    let mut response = Response::new(Body::pieces(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(with_receipt(response, &id))
}

/// Writes chunks until the end; nothing once the caller has gone.
async fn pump(
    mut watcher: Watcher,
    head: &ChatHead,
    include_usage: bool,
    first: Option<Seen>,
    send: &mpsc::Sender<Bytes>,
) -> Option<()> {
    let chunk = async |value: &Value| send.send(event(value)).await.ok();
    chunk(&head.opening()).await?;
    let mut seen = first;
    loop {
        let next = match seen.take() {
            Some(seen) => seen,
            None => tokio::select! {
                next = watcher.next() => next,
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    chunk(&head.keep_alive()).await?;
                    continue;
                }
                () = send.closed() => return None,
            },
        };
        match next {
            Seen::Piece(text) => chunk(&head.delta(&text)).await?,
            Seen::End(End::Failed(error)) => {
                return chunk(&error.body()).await;
            }
            Seen::End(End::Done { answer, cost }) => {
                if let Answer::Chat { text, finish, tokens_in, tokens_out } = answer.as_ref() {
                    let usage = Usage { tokens_in: *tokens_in, tokens_out: *tokens_out, cost };
                    if watcher.is_replay() {
                        chunk(&head.delta(text)).await?;
                    }
                    chunk(&head.ending(finish)).await?;
                    if include_usage {
                        chunk(&head.closing(&usage)).await?;
                    }
                }
                return send.send(Bytes::from_static(b"data: [DONE]\n\n")).await.ok();
            }
        }
    }
}

fn event(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

fn ok(body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::json(body));
    *response.status_mut() = StatusCode::OK;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Names the receipt where every client can see it.
fn with_receipt(mut response: Response<Body>, id: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-receipt-id", value.clone());
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

fn allow(method: &Method, allowed: &Method) -> Result<(), ApiError> {
    if method == allowed {
        return Ok(());
    }
    let message = format!("this path takes {allowed}, not {method}");
    Err(ApiError::new(Code::MethodNotAllowed, message, format!("use {allowed}")))
}

fn no_path(path: &str) -> ApiError {
    let shown: String = path.chars().take(64).collect();
    let hint = "see /v1/models, /v1/chat/completions, /v1/embeddings, /v1/receipts/ID";
    ApiError::new(Code::NotFound, format!("there is nothing at {shown}"), hint)
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = found.and_then(|value| value.split(';').next()).map(str::trim);
    if media.is_some_and(|media| media.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let message = "the body must be application/json";
    let hint = "send the header Content-Type: application/json";
    Err(ApiError::new(Code::UnsupportedMediaType, message, hint))
}

fn idempotency(headers: &HeaderMap) -> Result<Option<Digest>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    if value.is_empty() || value.len() > MAX_IDEMPOTENCY_BYTES {
        let message = format!("an Idempotency-Key has 1 to {MAX_IDEMPOTENCY_BYTES} bytes");
        return Err(
            ApiError::new(Code::InvalidValue, message, "use a UUID").of_field("Idempotency-Key")
        );
    }
    Ok(Some(hash(Domain::HttpBody, &[value.as_bytes()])))
}

/// Who may see the request if its receipt is drawn, where the caller says so.
fn audit_mode(headers: &HeaderMap) -> Result<Option<AuditMode>, ApiError> {
    let mut values = headers.get_all("x-audit-mode").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        let hint = "send the header once";
        let error = ApiError::new(Code::InvalidValue, "there are two audit modes", hint);
        return Err(error.of_field("x-audit-mode"));
    }
    let known = AuditMode::ALL.into_iter().find(|mode| value.as_bytes() == mode.name().as_bytes());
    known.map(Some).ok_or_else(|| {
        let names = AuditMode::ALL.map(AuditMode::name).join(", ");
        let hint = format!("use one of {names}, or leave the header out");
        ApiError::new(Code::InvalidValue, "there is no such audit mode", hint)
            .of_field("x-audit-mode")
    })
}

/// Whether an SDK says that it has asked before.
fn is_repeat(headers: &HeaderMap) -> bool {
    let count = headers.get("x-stainless-retry-count").and_then(|value| value.to_str().ok());
    count.and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count > 0)
}

fn task_id() -> String {
    // A system without random bytes has failed long before: keys are made of them.
    let bytes = client::keystore::random_bytes().map(|bytes| *bytes).unwrap_or_default();
    let digest = hash(Domain::HttpBody, &[&bytes]).to_string();
    format!("task_{}", digest.get(..32).unwrap_or_default())
}
