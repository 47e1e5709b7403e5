//! Watches the bytes of a connection for requests whose limits or framing are in doubt.
//!
//! ```text
//!   head ── no body ──▶ head      head ── content-length n ──▶ body of n ──▶ head
//!   head ── chunked ──▶ size line ─▶ data ─▶ size line … ─▶ trailers ──▶ head
//! ```
//! Rules: a message framed in two ways is refused before anybody reads it, because two readers
//! could disagree on where it ends (request smuggling, RFC 9112 §6.3); so are heads above the
//! bounds and heads that are none, each with an error object. Once a body cannot be followed,
//! nothing further is watched: hyper refuses it in its own words.
//! Never here: I/O; what a header means beyond framing.

use super::HttpLimits;
use crate::error::{ApiError, Code};
use httparse::{EMPTY_HEADER, Error, Header, Status};

/// The longest line with the size of a chunk, its extensions included.
const SIZE_LINE_BYTES_MAX: usize = 256;

/// Where in a message the next byte belongs.
#[derive(Debug)]
enum State {
    /// To a head; what came of it so far.
    Head(Vec<u8>),
    /// To a body, or the data of a chunk with its line end; `last` if a head comes after it.
    Data { left: u64, last: bool },
    /// To a line with the size of a chunk.
    Size(Vec<u8>),
    /// To the trailers; the length of the present line.
    Trailer(usize),
    /// To something that hyper refuses.
    Lost,
}

/// Follows the messages of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    limits: HttpLimits,
}

impl Framing {
    pub(super) const fn new(limits: HttpLimits) -> Self {
        Self { state: State::Head(Vec::new()), limits }
    }

    /// Takes note of bytes as they came from the peer.
    ///
    /// # Errors
    /// What the peer is told before the connection closes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), ApiError> {
        while !bytes.is_empty() {
            let used = match &mut self.state {
                State::Head(head) => {
                    let before = head.len();
                    head.extend_from_slice(bytes);
                    match whole_head(head, &self.limits)? {
                        Some((length, next)) => {
                            self.state = next;
                            length - before
                        }
                        None => bytes.len(),
                    }
                }
                State::Data { left, last } => {
                    let used = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= used as u64;
                    if *left == 0 {
                        self.state =
                            if *last { State::Head(Vec::new()) } else { State::Size(Vec::new()) };
                    }
                    used
                }
                State::Size(line) => {
                    let before = line.len();
                    line.extend(bytes.iter().take(SIZE_LINE_BYTES_MAX - before));
                    let (length, next) = after_size(line);
                    self.state = next.unwrap_or_else(|| State::Size(std::mem::take(line)));
                    length - before
                }
                State::Trailer(length) => {
                    let end = bytes[0] == b'\n';
                    if end && *length == 0 {
                        self.state = State::Head(Vec::new());
                    } else {
                        *length = if end { 0 } else { *length + usize::from(bytes[0] != b'\r') };
                    }
                    1
                }
                State::Lost => return Ok(()),
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }
}

/// How many bytes of `line` belong to the size of a chunk, and what follows once it is whole.
fn after_size(line: &[u8]) -> (usize, Option<State>) {
    match httparse::parse_chunk_size(line) {
        Ok(Status::Complete((length, 0))) => (length, Some(State::Trailer(0))),
        Ok(Status::Complete((length, size))) => {
            (length, Some(State::Data { left: size.saturating_add(2), last: false }))
        }
        Ok(Status::Partial) if line.len() < SIZE_LINE_BYTES_MAX => (line.len(), None),
        Ok(Status::Partial) | Err(_) => (line.len(), Some(State::Lost)),
    }
}

/// The length of a head that is whole, and what follows it.
fn whole_head(head: &[u8], limits: &HttpLimits) -> Result<Option<(usize, State)>, ApiError> {
    let mut headers = vec![EMPTY_HEADER; limits.headers];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(head);
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= limits.header_bytes => length,
        Ok(Status::Partial) if head.len() <= limits.header_bytes => return Ok(None),
        Ok(_) | Err(Error::TooManyHeaders) => return Err(too_large(limits)),
        Err(error) => return Err(malformed(format!("the HTTP head cannot be read: {error}"))),
    };
    if let Err(error) = request.path.unwrap_or_default().parse::<::http::Uri>() {
        return Err(malformed(format!("the path cannot be read: {error}")));
    }
    Ok(Some((length, after_head(request.headers, request.version)?)))
}

/// What follows a head with these headers.
fn after_head(headers: &[Header<'_>], version: Option<u8>) -> Result<State, ApiError> {
    let values = |name: &str| -> Vec<&[u8]> {
        let named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(State::Head(Vec::new())),
        ([length], []) => match length_of(length) {
            Some(0) => Ok(State::Head(Vec::new())),
            Some(left) => Ok(State::Data { left, last: true }),
            None => Err(malformed("the content-length is no number of bytes")),
        },
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && version == Some(1) => {
            Ok(State::Size(Vec::new()))
        }
        ([], [_, ..]) => Err(malformed("the only transfer-encoding taken is chunked, once")),
        ([_, _, ..], []) => Err(malformed("there is more than one content-length")),
        ([_, ..], [_, ..]) => Err(malformed("content-length and transfer-encoding stand together")),
    }
}

/// A length in decimal digits alone: no sign, no list.
fn length_of(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn malformed(message: impl Into<String>) -> ApiError {
    let hint = "send a well-formed request with one content-length, or chunked";
    ApiError::new(Code::BadRequest, message, hint)
}

fn too_large(limits: &HttpLimits) -> ApiError {
    let (lines, bytes) = (limits.headers, limits.header_bytes);
    let message = format!("the head exceeds {lines} header lines or {bytes} bytes");
    ApiError::new(Code::HeadTooLarge, message, "send fewer or shorter headers")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes bytes in pieces of `step`.
    fn follow(bytes: &[u8], step: usize) -> Result<State, String> {
        let mut framing = Framing::new(HttpLimits::default());
        for piece in bytes.chunks(step) {
            framing.take(piece).map_err(|error| error.message)?;
        }
        Ok(framing.state)
    }

    #[test]
    fn messages_are_followed_whole_however_they_are_cut() {
        let one = "POST / HTTP/1.1\r\ncontent-length: 26\r\n\r\nGET / HTTP/1.1\r\na: b\r\n\r\nxy";
        let two = "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
                   3;x=y\r\nabc\r\n1\r\nd\r\n0\r\ntrailer: 1\r\n\r\n";
        let smuggled = "GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
        for step in 1..200 {
            let good = [one, two, one].concat();
            let state = follow(good.as_bytes(), step).unwrap();
            assert!(matches!(&state, State::Head(head) if head.is_empty()), "{step}: {state:?}");
            let bad = [one, two, smuggled].concat();
            assert!(follow(bad.as_bytes(), step).unwrap_err().contains("together"), "{step}");
        }
    }

    #[test]
    fn a_size_line_without_end_costs_no_memory() {
        let mut bytes = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;".to_vec();
        bytes.extend([b'a'; 10_000]);
        assert!(matches!(follow(&bytes, 100), Ok(State::Lost)));
    }

    #[test]
    fn a_head_that_leaves_its_end_open_is_refused() {
        for (headers, why) in [
            ("content-length: 1\r\ncontent-length: 1", "more than one"),
            ("content-length: 1, 1", "no number"),
            ("content-length: +1", "no number"),
            ("content-length: ", "no number"),
            ("content-length: 99999999999999999999", "no number"),
            ("transfer-encoding: gzip", "only transfer-encoding"),
            ("transfer-encoding: gzip, chunked", "only transfer-encoding"),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", "only transfer-encoding"),
            ("bad header: 1", "cannot be read"),
        ] {
            let request = format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n");
            let error = follow(request.as_bytes(), 7).unwrap_err();
            assert!(error.contains(why), "{headers}: {error}");
        }
        for line in ["\u{16}\u{3}\u{1}", "PRI * HTTP/2.0", "GET /"] {
            let error = follow(format!("{line}\r\n\r\n").as_bytes(), 100).unwrap_err();
            assert!(error.contains("cannot be read"), "{line}: {error}");
        }
    }
}
