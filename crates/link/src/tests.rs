//! Connections over real sockets, and hostile byte streams against the frame reader.

use crate::{Connection, Dialer, Error, Limits, Listener, MAX_FRAME_BYTES, TlsDialer, TlsListener};
use crypto::SecretKey;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpStream,
};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

async fn listener(seed: u8) -> TlsListener {
    let address = "127.0.0.1:0".parse().unwrap();
    TlsListener::bind(address, &key(seed), Limits::default()).await.unwrap()
}

fn dialer(seed: u8) -> TlsDialer {
    TlsDialer::new(&key(seed), Limits::default()).unwrap()
}

/// A connection whose far end is a bare stream that the test controls.
fn bare() -> (Connection, DuplexStream) {
    bare_within(Limits::default())
}

fn bare_within(limits: Limits) -> (Connection, DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 16);
    (Connection::start(near, key(9).public(), limits), far)
}

#[tokio::test]
async fn frames_arrive_whole_and_in_order_in_both_directions() {
    let mut listener = listener(1).await;
    let address = listener.address().to_string();
    let dialed = dialer(2).dial(&address, key(1).public()).await.unwrap();
    let accepted = listener.accept().await.unwrap();
    assert_eq!(accepted.peer(), key(2).public());
    assert_eq!(dialed.peer(), key(1).public());

    let (box_sender, mut box_receiver) = dialed.split();
    let (gateway_sender, mut gateway_receiver) = accepted.split();
    gateway_sender.send(vec![4]).await.unwrap();
    let frames = [vec![7; MAX_FRAME_BYTES], vec![1], vec![2, 3]];
    let sent = frames.clone();
    tokio::spawn(async move {
        for frame in sent {
            box_sender.send(frame).await.unwrap();
        }
    });
    for frame in frames {
        assert_eq!(gateway_receiver.next().await.unwrap(), Some(frame));
    }
    assert_eq!(gateway_receiver.next().await.unwrap(), None, "dropped senders end it in order");
    drop(gateway_sender);
    assert_eq!(box_receiver.next().await.unwrap(), Some(vec![4]));
    assert_eq!(box_receiver.next().await.unwrap(), None);
}

#[tokio::test]
async fn what_was_sent_is_delivered_though_nobody_waits_for_an_answer() {
    let (connection, mut far) = bare();
    let (sender, receiver) = connection.split();
    for frame in 0..10 {
        sender.send(vec![frame]).await.unwrap();
    }
    drop(receiver);
    drop(sender);
    let mut written = Vec::new();
    far.read_to_end(&mut written).await.unwrap();
    let expected: Vec<u8> = (0..10).flat_map(|frame| [1, 0, 0, 0, frame]).collect();
    assert_eq!(written, expected);
}

#[tokio::test]
async fn a_gateway_with_another_key_is_refused_by_who_dials() {
    let listener = listener(1).await;
    let result = dialer(2).dial(&listener.address().to_string(), key(3).public()).await;
    assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_holds_up_nobody() {
    let mut listener = listener(1).await;
    let address = listener.address().to_string();
    let silent = TcpStream::connect(&address).await.unwrap();
    let mut babbling = TcpStream::connect(&address).await.unwrap();
    babbling.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _dialed = dialer(2).dial(&address, key(1).public()).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().peer(), key(2).public());
    drop(silent);
}

#[tokio::test]
async fn a_frame_above_the_limit_is_not_sent() {
    let (connection, _far) = bare();
    let (sender, _receiver) = connection.split();
    let result = sender.send(vec![0; MAX_FRAME_BYTES + 1]).await;
    assert!(matches!(result, Err(Error::FrameTooLong { length }) if length > MAX_FRAME_BYTES));
}

#[tokio::test]
async fn an_announced_length_above_the_limit_ends_the_connection() {
    let (connection, mut far) = bare();
    let (sender, mut receiver) = connection.split();
    far.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    let result = receiver.next().await;
    assert!(matches!(result, Err(Error::FrameTooLong { .. })), "{result:?}");
    assert_eq!(receiver.next().await.unwrap(), None);
    sender.closed().await;
    assert!(matches!(sender.send(vec![1]).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_stream_cut_inside_a_frame_is_an_error() {
    let (connection, mut far) = bare();
    let (_sender, mut receiver) = connection.split();
    far.write_all(&[3, 0, 0, 0, b'a']).await.unwrap();
    drop(far);
    assert!(matches!(receiver.next().await, Err(Error::Io(_))));
}

#[tokio::test]
async fn signs_of_life_are_not_delivered() {
    let (connection, mut far) = bare();
    let (_sender, mut receiver) = connection.split();
    far.write_all(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5]).await.unwrap();
    assert_eq!(receiver.next().await.unwrap(), Some(vec![5]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let (connection, _far) = bare();
    let (_sender, mut receiver) = connection.split();
    let result = receiver.next().await;
    assert!(matches!(result, Err(Error::Timeout { step: "the next frame", .. })), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_dribbles_a_frame_is_given_up() {
    let (connection, mut far) = bare();
    let (_sender, mut receiver) = connection.split();
    tokio::spawn(async move {
        far.write_all(&100_u32.to_le_bytes()).await.unwrap();
        while far.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        }
    });
    let result = receiver.next().await;
    assert!(matches!(result, Err(Error::Timeout { step: "a frame", .. })), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_shows_signs_of_life() {
    let (connection, mut far) = bare();
    let (_sender, _receiver) = connection.split();
    let mut sign = [1; 4];
    far.read_exact(&mut sign).await.unwrap();
    assert_eq!(sign, [0; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_given_up() {
    let patient = Limits { silence: std::time::Duration::MAX, ..Limits::default() };
    let (connection, _far) = bare_within(patient);
    let (sender, _receiver) = connection.split();
    while sender.send(vec![0; 1 << 16]).await.is_ok() {}
}
