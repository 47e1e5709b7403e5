//! Bodies: requests read whole within their bounds, answers sent whole or piece by piece.
//!
//! Never here: JSON's meaning.

use crate::{
    error::{ApiError, Code},
    http::{
        HttpLimits,
        stream::{Phase, PhaseMark},
    },
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use serde_json::Value;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{sync::mpsc, time::timeout};

/// Reads a request's body.
pub(crate) async fn read_body(body: Incoming, limits: &HttpLimits) -> Result<Bytes, ApiError> {
    let too_long = || {
        let message = format!("the body is longer than {} bytes", limits.body_bytes);
        ApiError::new(Code::BodyTooLarge, message, "split the input into several requests")
    };
    let announced = body.size_hint().lower();
    if usize::try_from(announced).is_ok_and(|announced| announced > limits.body_bytes) {
        return Err(too_long());
    }
    match timeout(limits.body, Limited::new(body, limits.body_bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => {
            let message = format!("the body could not be read: {error}");
            Err(ApiError::new(Code::BadRequest, message, "send a well-formed HTTP/1.1 body"))
        }
        Err(_) => {
            let message = format!("the body took longer than {} s", limits.body.as_secs());
            Err(ApiError::new(Code::RequestTimeout, message, "send the body without pauses"))
        }
    }
}

/// An answer's body.
#[derive(Debug)]
pub(crate) struct Body {
    content: Content,
    /// Told when the answer has ended, however it ends.
    ended: Option<PhaseMark>,
}

#[derive(Debug)]
enum Content {
    Whole(Option<Bytes>),
    Pieces(mpsc::Receiver<Bytes>),
}

impl Body {
    pub(crate) fn json(value: &Value) -> Self {
        Self::whole(value.to_string().into())
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { content: Content::Whole(Some(bytes)), ended: None }
    }

    /// Pieces as they come; the body ends when their sender is dropped, and the sender sees
    /// when the caller has gone.
    pub(crate) fn pieces(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { content: Content::Pieces(pieces), ended: None }
    }

    pub(super) fn marking_end(mut self, mark: PhaseMark) -> Self {
        self.ended = Some(mark);
        self
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(mark) = &self.ended {
            mark.set(Phase::Idle);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take()),
            Content::Pieces(pieces) => pieces.poll_recv(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Pieces(_) => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(None))
    }
}
