//! A socket that gives up on a peer that dribbles, idles or does not read.
//!
//! hyper bounds the time of a header only together with the wait for it. Here the two are
//! apart: an idle connection may wait long, a header that has begun may not; and a peer that
//! stops reading its answer is let go. What the framing refuses is not passed on: the peer is told
//! why, and the connection ends.
//! Never here: HTTP.

use super::{framing::Framing, refused};
use bytes::{Buf, Bytes};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};

/// How long, and for how many bytes, a peer is heard after its last answer.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: u64 = 4 << 20;

/// Bounds of the HTTP server.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Connections at one time.
    pub connections: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// From a request's first byte to the end of its head; also from connecting to that end.
    pub header: Duration,
    /// From the end of the head to the end of the body.
    pub body: Duration,
    /// Silence between two requests.
    pub idle: Duration,
    /// How long a peer may take nothing of what is written to it.
    pub stall: Duration,
    /// How long open requests may still run when the server stops.
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            headers: 64,
            header_bytes: 16 << 10,
            body_bytes: 1 << 20,
            header: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// A head is being read, or its first byte is owed.
    Header = 0,
    /// A request is being answered.
    Busy = 1,
    /// An answer has ended and no further request has begun.
    Idle = 2,
}

/// The phase, shared between the socket and who answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct PhaseMark(Arc<AtomicU8>);

impl PhaseMark {
    pub(crate) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Header,
            1 => Phase::Busy,
            _ => Phase::Idle,
        }
    }
}

/// The socket with its clocks.
#[derive(Debug)]
pub(crate) struct GuardedStream {
    socket: TcpStream,
    phase: PhaseMark,
    limits: HttpLimits,
    /// The phase `reading` was set for.
    timed: Phase,
    reading: Pin<Box<Sleep>>,
    /// Runs while a write waits.
    writing: Option<Pin<Box<Sleep>>>,
    framing: Framing,
    /// What the peer is still told before the connection is closed.
    farewell: Bytes,
}

impl GuardedStream {
    pub(crate) fn new(socket: TcpStream, phase: PhaseMark, limits: HttpLimits) -> Self {
        let reading = Box::pin(sleep(limits.header));
        let framing = Framing::new(limits);
        let (timed, writing, farewell) = (Phase::Header, None, Bytes::new());
        Self { socket, phase, limits, timed, reading, writing, framing, farewell }
    }

    /// Says what is still to be said, then reads what the peer still sends, for a moment: to
    /// close on unread bytes resets the connection, and the answer may be lost with it (RFC 9112
    /// §9.6).
    pub(crate) async fn close(mut self) {
        if self.shutdown().await.is_ok() {
            let mut rest = (&mut self.socket).take(LINGER_BYTES_MAX);
            timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await.ok();
        }
    }

    /// Whether the time for the present phase is over.
    fn late(&mut self, context: &mut Context<'_>) -> bool {
        let phase = self.phase.get();
        if phase != self.timed {
            self.timed = phase;
            let limit = match phase {
                Phase::Header => self.limits.header,
                Phase::Busy => return false,
                Phase::Idle => self.limits.idle,
            };
            self.reading.as_mut().reset(Instant::now() + limit);
        }
        phase != Phase::Busy && self.reading.as_mut().poll(context).is_ready()
    }

    /// Passes a write's result on, or ends it if the peer has taken nothing for too long.
    fn stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing = None;
            return result;
        }
        let stall = self.limits.stall;
        let clock = self.writing.get_or_insert_with(|| Box::pin(sleep(stall)));
        clock.as_mut().poll(context).map(|()| Err(too_late()))
    }
}

fn too_late() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.late(context) {
            return Poll::Ready(Err(too_late()));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(context, buffer);
        let read = &buffer.filled()[before..];
        if !read.is_empty() && self.phase.get() == Phase::Idle {
            self.phase.set(Phase::Header);
        }
        if let Err(error) = self.framing.take(read) {
            // It must not land in the middle of an answer.
            if self.phase.get() != Phase::Busy {
                self.farewell = refused(&error).into();
            }
            buffer.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        result
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.stalled(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.stalled(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_flush(context);
        self.stalled(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.farewell.is_empty() {
            let farewell = self.farewell.clone();
            let taken = ready!(self.as_mut().poll_write(context, &farewell))?;
            self.farewell.advance(taken);
        }
        let result = Pin::new(&mut self.socket).poll_shutdown(context);
        self.stalled(context, result)
    }
}
