//! The server over real sockets, with short bounds and bad callers.

use super::*;
use bytes::Bytes;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::AsyncReadExt,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

/// Answers with the length of the body; `/endless` streams without end, `/wait` waits.
struct Echo {
    limits: HttpLimits,
    /// Gets a message when an endless stream's caller has gone.
    gone: mpsc::Sender<()>,
    waited: Arc<Semaphore>,
}

impl Handler for Echo {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError> {
        match request.uri().path() {
            "/endless" => {
                let (send, pieces) = mpsc::channel(4);
                tokio::spawn(async move {
                    while send.send(Bytes::from(vec![0; 1 << 16])).await.is_ok() {}
                    self.gone.send(()).await.unwrap();
                });
                Ok(Response::new(Body::pieces(pieces)))
            }
            "/wait" => {
                self.waited.acquire().await.unwrap().forget();
                Ok(Response::new(Body::whole("waited".into())))
            }
            _ => {
                let body = read_body(request.into_body(), &self.limits).await?;
                Ok(Response::new(Body::whole(body.len().to_string().into())))
            }
        }
    }
}

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    gone: mpsc::Receiver<()>,
    waited: Arc<Semaphore>,
    serving: JoinHandle<()>,
}

async fn server(change: impl FnOnce(&mut HttpLimits)) -> Server {
    let mut limits = HttpLimits { body_bytes: 1_000, ..HttpLimits::default() };
    change(&mut limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let (report, gone) = mpsc::channel(1);
    let waited = Arc::new(Semaphore::new(0));
    let echo = Echo { limits, gone: report, waited: Arc::clone(&waited) };
    let serving = tokio::spawn(serve(listener, Arc::new(echo), limits, stopping));
    Server { address, stop, gone, waited, serving }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What comes back for raw bytes, until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        read_all(&mut socket).await
    }
}

async fn read_all(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as good as a close.
    socket.read_to_end(&mut answer).await.ok();
    String::from_utf8(answer).unwrap()
}

#[track_caller]
fn shows(answer: &str, status: &str, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert!(answer.contains(code), "{answer}");
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other_on_one_connection() {
    let server = server(|_| ()).await;
    let one = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
    let last = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = server.exchange(format!("{one}{one}{last}").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
}

#[tokio::test]
async fn a_head_that_dribbles_is_closed() {
    let server = server(|limits| limits.header = Duration::from_millis(50)).await;
    let answer = server.exchange(b"POST / HTTP/1.1\r\nhost:").await;
    assert!(!answer.contains("200"), "{answer}");
    let silent = server.exchange(b"").await;
    assert_eq!(silent, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_outlives_the_bound_of_a_head() {
    let server = server(|limits| {
        limits.header = Duration::from_millis(50);
        limits.idle = Duration::from_millis(400);
    })
    .await;
    let mut socket = server.connect().await;
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    socket.write_all(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    socket.write_all(request).await.unwrap();
    let answer = read_all(&mut socket).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
}

#[tokio::test]
async fn too_many_headers_and_too_long_heads_are_431() {
    let server = server(|_| ()).await;
    let lines = |count: usize, bytes: usize| {
        let line = format!("a: {}\r\n", "b".repeat(bytes));
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}\r\n", line.repeat(count))
    };
    shows(&server.exchange(lines(62, 1).as_bytes()).await, "200", "");
    shows(&server.exchange(lines(63, 1).as_bytes()).await, "431", "head_too_large");
    shows(&server.exchange(lines(1, 20_000).as_bytes()).await, "431", "head_too_large");
}

#[tokio::test]
async fn a_body_above_the_bound_is_413_announced_or_not() {
    let server = server(|_| ()).await;
    let announced = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n";
    shows(&server.exchange(announced).await, "413", "body_too_large");
    let mut chunked =
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n".to_vec();
    chunked.extend([b'a'; 1_001]);
    chunked.extend(b"\r\n0\r\n\r\n");
    shows(&server.exchange(&chunked).await, "413", "body_too_large");
}

#[tokio::test]
async fn a_body_that_stalls_is_408() {
    let server = server(|limits| limits.body = Duration::from_millis(50)).await;
    let stalled = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc";
    shows(&server.exchange(stalled).await, "408", "request_timeout");
}

#[tokio::test]
async fn broken_framing_is_400_and_closes() {
    let server = server(|_| ()).await;
    for framing in [
        "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "content-length: -3\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
        "transfer-encoding: chunked\r\n\r\nxyz\r\nabc",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: x\r\n{framing}");
        let answer = server.exchange(request.as_bytes()).await;
        shows(&answer, "400", "bad_request");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_framed_in_two_ways_is_400_and_closes() {
    let server = server(|_| ()).await;
    let good = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = smuggled.len() + 5;
    for framing in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
    ] {
        let bad = format!("POST / HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n0\r\n\r\n{smuggled}");
        let answer = server.exchange(bad.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        shows(&answer, "400", "bad_request");
        assert!(answer.contains("connection: close"), "{answer}");
        // Also as a later request of a connection.
        let mut socket = server.connect().await;
        socket.write_all(good.as_bytes()).await.unwrap();
        let mut first = vec![0; 12];
        socket.read_exact(&mut first).await.unwrap();
        assert_eq!(first, b"HTTP/1.1 200");
        socket.write_all(bad.as_bytes()).await.unwrap();
        let rest = read_all(&mut socket).await;
        assert_eq!(rest.matches("HTTP/1.1 400").count(), 1, "{rest}");
    }
}

#[tokio::test]
async fn a_connection_beyond_the_bound_is_told_so() {
    let server = server(|limits| limits.connections = 1).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    shows(&server.exchange(b"").await, "503", "overloaded");
    server.waited.add_permits(1);
    shows(&read_all(&mut first).await, "200", "waited");
}

#[test]
fn what_a_connection_beyond_the_bound_is_told_is_an_error_object() {
    let told = String::from_utf8(refused(&full())).unwrap();
    assert!(told.contains("retry-after: 1\r\n"), "{told}");
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(value["error"]["code"], "overloaded");
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_let_go() {
    let mut server = server(|limits| limits.stall = Duration::from_millis(50)).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.gone.recv().await.unwrap();
}

#[tokio::test]
async fn open_requests_finish_when_the_server_stops() {
    let server = server(|_| ()).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut other = server.connect().await;
    other.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    shows(&read_all(&mut other).await, "200", "");
    server.stop.send_replace(true);
    server.waited.add_permits(1);
    shows(&read_all(&mut socket).await, "200", "waited");
    server.serving.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
