//! A small client of a gateway's HTTP interface.
//!
//! Rules: answers are bounded; an error object's message and hint reach the user. Never here:
//! retries; the SDKs are for that.

use crate::{home::GatewayFlags, home::Home, output::Failure};
use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;

/// Largest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A gateway and the key to it.
pub(crate) struct Api {
    base_url: String,
    api_key: String,
}

/// A whole answer.
pub(crate) struct Answer {
    /// The task's receipt id, if the gateway named one.
    pub(crate) receipt: Option<String>,
    /// The body.
    pub(crate) body: Value,
}

impl Api {
    /// The gateway that flags, environment or the last devnet name.
    pub(crate) fn new(home: &Home, flags: &GatewayFlags) -> Result<Self, Failure> {
        let (base_url, api_key) = home.gateway(flags)?;
        Ok(Self { base_url, api_key })
    }

    /// Asks and reads the whole answer.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        read(self.send(Method::GET, path, Bytes::new()).await?).await
    }

    /// Sends a body and reads the whole answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        read(self.send(Method::POST, path, body.to_string().into()).await?).await
    }

    /// Sends a body and gives each event of the answer to `take` as it comes.
    pub(crate) async fn stream(
        &self,
        path: &str,
        body: &Value,
        mut take: impl FnMut(&Value) -> Result<(), Failure>,
    ) -> Result<Option<String>, Failure> {
        let mut response = self.send(Method::POST, path, body.to_string().into()).await?;
        if response.status() != StatusCode::OK {
            return Ok(read(response).await?.receipt);
        }
        let receipt = receipt_id(&response);
        let mut pending = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.context("the answer broke off")?;
            pending.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = pending.drain(..end + 2).collect();
                event_data(&event)?.map_or(Ok(()), |value| {
                    fail_on_error(&value)?;
                    take(&value)
                })?;
            }
        }
        Ok(receipt)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let url = format!("{}{path}", self.base_url);
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.api_key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .with_context(|| format!("{url} is not an address"))?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request).await;
        Ok(answer.with_context(|| format!("no answer from {url}; does the network run?"))?)
    }
}

/// The JSON of one server-sent event, if it carries any.
fn event_data(event: &[u8]) -> Result<Option<Value>, Failure> {
    let text = String::from_utf8_lossy(event);
    let data: String = text.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    match data.trim() {
        "" | "[DONE]" => Ok(None),
        json => Ok(Some(serde_json::from_str(json).context("an event is not JSON")?)),
    }
}

fn receipt_id(response: &Response<Incoming>) -> Option<String> {
    response.headers().get("x-receipt-id")?.to_str().ok().map(str::to_owned)
}

async fn read(response: Response<Incoming>) -> Result<Answer, Failure> {
    let (status, receipt) = (response.status(), receipt_id(&response));
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let bytes = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    fail_on_error(&body)?;
    if status.is_success() {
        Ok(Answer { receipt, body })
    } else {
        Err(anyhow!("the gateway answered {status}").into())
    }
}

/// Turns an error object into an error with its hint.
fn fail_on_error(body: &Value) -> Result<(), Failure> {
    let error = &body["error"];
    let Some(message) = error["message"].as_str() else {
        return Ok(());
    };
    let code = error["code"].as_str().unwrap_or("error");
    let hint = error["hint"].as_str().map(|hint| format!("; {hint}")).unwrap_or_default();
    Err(anyhow!("{message} ({code}){hint}").into())
}
