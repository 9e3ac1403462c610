//! Bodies on their way through: never gathered, always frame by frame.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;

use crate::activity::{Activity, Busy};
use crate::pool::Lease;

/// A request's body on its way to a backend.
#[derive(Debug)]
pub enum Upload {
    None(Empty<Bytes>),
    Stream(Incoming, Activity),
}

/// An answer's body on its way to the client.
#[derive(Debug)]
pub enum Download {
    /// Our own words.
    Words(Full<Bytes>),
    Stream(Box<Stream>),
}

/// What a backend sends. Its connection may serve again once all of it has been read.
#[derive(Debug)]
pub struct Stream {
    incoming: Incoming,
    has_ended: bool,
    lease: Option<Lease>,
    _busy: Busy,
}

impl Upload {
    /// The body of a client's request, if it has one; its frames are noted in `activity`.
    pub fn new(incoming: Incoming, activity: Activity) -> Self {
        if incoming.is_end_stream() { Self::none() } else { Self::Stream(incoming, activity) }
    }

    /// No body.
    pub fn none() -> Self {
        Self::None(Empty::new())
    }

    /// Whether it can be sent once only.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(..))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::None(_) => Poll::Ready(None),
            Self::Stream(incoming, activity) => {
                let polled = Pin::new(incoming).poll_frame(cx);
                if polled.is_ready() {
                    activity.touch();
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None(_) => true,
            Self::Stream(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None(empty) => empty.size_hint(),
            Self::Stream(incoming, _) => incoming.size_hint(),
        }
    }
}

impl Download {
    /// Our own words.
    pub fn words(words: impl Into<Bytes>) -> Self {
        Self::Words(Full::new(words.into()))
    }

    /// What a backend sends over a connection that goes back where it came from.
    pub fn stream(incoming: Incoming, lease: Lease, busy: Busy) -> Self {
        Self::Stream(Box::new(Stream { incoming, has_ended: false, lease: Some(lease), _busy: busy }))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Words(words) => Pin::new(words).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(stream) => {
                let polled = Pin::new(&mut stream.incoming).poll_frame(cx);
                stream.has_ended |= matches!(polled, Poll::Ready(None));
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Words(words) => words.is_end_stream(),
            Self::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Words(words) => words.size_hint(),
            Self::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take()
            && (self.has_ended || self.incoming.is_end_stream())
        {
            lease.give_back();
        }
    }
}
