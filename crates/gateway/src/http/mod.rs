//! The HTTP server: an accept loop of its own, because limits are its whole point.
//!
//! Rules: every connection, header and body has a bound in bytes, number and time
//! ([`HttpLimits`]); a connection beyond the bound is told so and closed; what a handler
//! returns is sent, and a handler that fails says so in an error object.
//! Never here: what a path means; that is `api`.

mod body;
mod framing;
mod stream;

pub(crate) use body::{Body, read_body};
pub use stream::HttpLimits;

use crate::error::{ApiError, Code};
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc};
use stream::{GuardedStream, Phase, PhaseMark};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// Pause after the system refused to accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// Answers requests; shared by all connections.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The answer to one request.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, ApiError>> + Send;
}

/// Serves until `stopping` turns true, then lets open requests finish within `limits.drain`.
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    limits: HttpLimits,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            // A connection that panicked has said so; the others go on.
            _ = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((mut socket, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if connections.len() >= limits.connections {
            // The socket's buffer takes these few bytes at once or they are not sent at all.
            let told = refused(&full());
            let telling = socket.write_all(&told);
            timeout(std::time::Duration::from_millis(1), telling).await.ok();
            continue;
        }
        let (handler, stopping) = (Arc::clone(&handler), stopping.clone());
        connections.spawn(serve_connection(socket, handler, limits, stopping));
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    timeout(limits.drain, ended).await.ok();
    connections.shutdown().await;
}

async fn serve_connection<H: Handler>(
    socket: TcpStream,
    handler: Arc<H>,
    limits: HttpLimits,
    mut stopping: watch::Receiver<bool>,
) {
    // Small chunks of a stream should leave at once; a socket that cannot is still served.
    socket.set_nodelay(true).ok();
    let phase = PhaseMark::default();
    let stream = TokioIo::new(GuardedStream::new(socket, phase.clone(), limits));
    let service = service_fn(move |request| {
        let mark = phase.clone();
        mark.set(Phase::Busy);
        let handler = Arc::clone(&handler);
        async move {
            let response = answer(handler, request).await;
            Ok::<_, Infallible>(response.map(|body| body.marking_end(mark)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The stream bounds header and idle time each for itself; this bounds their sum.
        .header_read_timeout(limits.idle + limits.header)
        .max_headers(limits.headers)
        // The framing refuses a head at its bound; hyper's own is only there for bodies.
        .max_buf_size(2 * limits.header_bytes)
        .serve_connection(stream, service);
    let mut connection = connection;
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
    connection.into_parts().io.into_inner().close().await;
}

/// What a connection beyond the bound is told. It is closed before its request is read.
fn full() -> ApiError {
    ApiError::new(Code::Overloaded, "too many connections", "retry in a second")
}

/// A refusal as bytes, for where no request was read that could be answered.
fn refused(error: &ApiError) -> Vec<u8> {
    let (status, body) = (error.status(), error.body().to_string());
    let length = body.len();
    let seconds = error.retry_after_s().filter(|seconds| *seconds > 0);
    let retry = seconds.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{retry}connection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The handler's answer, or its refusal as an error object.
async fn answer<H: Handler>(handler: Arc<H>, request: Request<Incoming>) -> Response<Body> {
    handler.handle(request).await.unwrap_or_else(|error| refusal(&error))
}

/// An error object with the headers that steer an SDK's retries.
pub(crate) fn refusal(error: &ApiError) -> Response<Body> {
    let mut response = Response::new(Body::json(&error.body()));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    match error.retry_after_s() {
        Some(0) => {
            headers.insert("x-should-retry", header::HeaderValue::from_static("false"));
        }
        Some(seconds) => {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        None => {}
    }
    // After these the body has not been read to its end: the connection cannot go on.
    let unread = matches!(error.code, Code::BodyTooLarge | Code::RequestTimeout | Code::BadRequest);
    if unread {
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
