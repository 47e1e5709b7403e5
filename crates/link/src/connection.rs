//! A connection: two tasks that move frames between a byte stream and bounded queues.
//!
//! On the wire a frame is its length (`u32`, little-endian) and its bytes. Length zero is a
//! sign of life without content and is never delivered. The stream ends in order when it is
//! closed between two frames; anything else is an error.
//! Never here: how the stream was authenticated.

use crate::{Error, MAX_FRAME_BYTES};
use crypto::PublicKey;
use std::{future::Future, io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{mpsc, watch},
    time::{Instant, timeout, timeout_at},
};

/// Frames that wait to be written. Small, so that a slow peer is felt by who sends.
const SEND_QUEUE_FRAMES: usize = 64;
/// Frames that wait to be taken: at most 16 MiB held for one peer.
const RECEIVE_QUEUE_FRAMES: usize = 16;

/// How long each step of a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Reaching the address.
    pub dial: Duration,
    /// Proving keys on both ends.
    pub handshake: Duration,
    /// Handing one frame to the network.
    pub write: Duration,
    /// The rest of a frame once its first byte has come.
    pub frame: Duration,
    /// Silence after which the peer is given up; longer than `keep_alive`.
    pub silence: Duration,
    /// Silence after which we send a sign of life.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            write: Duration::from_secs(30),
            frame: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
        }
    }
}

/// An authenticated stream of frames.
#[derive(Debug)]
pub struct Connection {
    peer: PublicKey,
    sender: Sender,
    receiver: Receiver,
}

impl Connection {
    /// Starts the two tasks on a stream whose far end has proved `peer`.
    pub(crate) fn start<S>(stream: S, peer: PublicKey, limits: Limits) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reading, writing) = tokio::io::split(stream);
        let (send, outgoing) = mpsc::channel(SEND_QUEUE_FRAMES);
        let (incoming, receive) = mpsc::channel(RECEIVE_QUEUE_FRAMES);
        let (broken, watching) = watch::channel(false);
        tokio::spawn(read_frames(reading, incoming, broken, limits));
        tokio::spawn(write_frames(writing, outgoing, watching, limits));
        Self { peer, sender: Sender(send), receiver: Receiver(receive) }
    }

    /// The key the other end has proved.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// The two directions. When the last [`Sender`] is dropped, what was sent is still
    /// delivered and the connection then ends in order, in both directions.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// The outgoing direction; clones share it.
#[derive(Debug, Clone)]
pub struct Sender(mpsc::Sender<Vec<u8>>);

impl Sender {
    /// Queues one frame; waits while the queue is full.
    ///
    /// # Errors
    /// [`Error::FrameTooLong`]; [`Error::Closed`] once the connection has ended.
    pub async fn send(&self, frame: Vec<u8>) -> Result<(), Error> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(Error::FrameTooLong { length: frame.len() });
        }
        self.0.send(frame).await.map_err(|_| Error::Closed)
    }

    /// Queues one frame if there is room now; says whether it did.
    #[must_use]
    pub fn try_send(&self, frame: Vec<u8>) -> bool {
        frame.len() <= MAX_FRAME_BYTES && self.0.try_send(frame).is_ok()
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// The incoming direction.
#[derive(Debug)]
pub struct Receiver(mpsc::Receiver<Result<Vec<u8>, Error>>);

impl Receiver {
    /// The next frame, or nothing once the peer has ended the stream in order.
    ///
    /// # Errors
    /// [`Error`]: how the connection broke; nothing comes after it.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.0.recv().await.transpose()
    }
}

/// Reads frames until the end, which also ends the writer.
async fn read_frames<S: AsyncRead>(
    mut stream: ReadHalf<S>,
    frames: mpsc::Sender<Result<Vec<u8>, Error>>,
    broken: watch::Sender<bool>,
    limits: Limits,
) {
    loop {
        let delivered = tokio::select! {
            biased;
            () = frames.closed() => break,
            read = read_frame(&mut stream, &limits) => match read {
                Ok(Some(frame)) => frames.send(Ok(frame)).await,
                Ok(None) => break,
                Err(error) => {
                    // A receiver that is gone does not need the reason.
                    frames.send(Err(error)).await.ok();
                    break;
                }
            },
        };
        if delivered.is_err() {
            break;
        }
    }
    broken.send_replace(true);
}

/// One frame with content; skips signs of life; nothing at an orderly end.
async fn read_frame<S: AsyncRead>(
    stream: &mut ReadHalf<S>,
    limits: &Limits,
) -> Result<Option<Vec<u8>>, Error> {
    loop {
        let mut length = [0; 4];
        let first = timed("the next frame", limits.silence, stream.read(&mut length)).await?;
        if first == 0 {
            return Ok(None);
        }
        let deadline = Instant::now() + limits.frame;
        let rest = async {
            if let Some(missing) = length.get_mut(first..) {
                stream.read_exact(missing).await?;
            }
            let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
            if length > MAX_FRAME_BYTES {
                return Err(Error::FrameTooLong { length });
            }
            let mut frame = vec![0; length];
            stream.read_exact(&mut frame).await?;
            Ok(frame)
        };
        let frame = timeout_at(deadline, rest).await.map_err(|_| Error::Timeout {
            step: "a frame",
            limit_ms: limits.frame.as_millis(),
        })??;
        if !frame.is_empty() {
            return Ok(Some(frame));
        }
    }
}

/// Writes queued frames and signs of life until the queue's senders are gone or reading ended; what
/// was queued by then is still written.
async fn write_frames<S: AsyncWrite>(
    mut stream: WriteHalf<S>,
    mut frames: mpsc::Receiver<Vec<u8>>,
    mut broken: watch::Receiver<bool>,
    limits: Limits,
) {
    let mut ending = false;
    loop {
        let frame = tokio::select! {
            biased;
            _ = broken.wait_for(|broken| *broken), if !ending => {
                frames.close();
                ending = true;
                continue;
            }
            frame = timeout(limits.keep_alive, frames.recv()) => match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => Vec::new(),
            },
        };
        if write_frame(&mut stream, &frame, &limits).await.is_err() {
            break;
        }
    }
    // The peer may be gone already; there is nobody to tell.
    timeout(limits.write, stream.shutdown()).await.ok();
}

async fn write_frame<S: AsyncWrite>(
    stream: &mut WriteHalf<S>,
    frame: &[u8],
    limits: &Limits,
) -> Result<(), Error> {
    let length = u32::try_from(frame.len())
        .map_err(|_| Error::FrameTooLong { length: frame.len() })?
        .to_le_bytes();
    let writing = async {
        stream.write_all(&length).await?;
        stream.write_all(frame).await?;
        stream.flush().await
    };
    timed("writing a frame", limits.write, writing).await
}

/// Runs one step of input or output within its bound.
pub(crate) async fn timed<T>(
    step: &'static str,
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, Error> {
    match timeout(limit, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Error::Timeout { step, limit_ms: limit.as_millis() }),
    }
}
