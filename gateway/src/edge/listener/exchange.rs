//! Requests and their answers on one connection: when one begins, when it is over, and what becomes of a
//! body that nobody has read.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    HeaderMap,
    body::{Body, Frame, Incoming, SizeHint},
    header::EXPECT,
};
use metrics::counter;
use tokio::{runtime::Handle, time::timeout};

/// How much of a body that nobody reads is taken from the client all the same, in bytes. It is more than
/// messages have, and than Nginx lets through: within it, a connection goes on after a refusal.
const DISCARD_BYTES_MAX: usize = 2 << 20;

/// How long that may take.
const DISCARD_MAX: Duration = Duration::from_secs(30);

/// The exchanges of one connection.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    begun: AtomicUsize,
    open: AtomicUsize,
}

impl Exchanges {
    /// How many have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether one is under way: its request or its answer is not complete.
    pub(super) fn any_open(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// Begins one.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.hold()
    }

    fn hold(self: &Arc<Self>) -> Exchange {
        self.open.fetch_add(1, Ordering::AcqRel);
        Exchange(self.clone())
    }
}

/// A share in an exchange. It is over when all of them are dropped.
#[derive(Debug)]
pub(super) struct Exchange(Arc<Exchanges>);

impl Clone for Exchange {
    fn clone(&self) -> Self {
        self.0.hold()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of a request. What is left of it when it is dropped is read and discarded, within bounds, so
/// that a refusal neither breaks the connection nor waits for the body.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// `None` once it has ended.
    incoming: Option<Incoming>,
    /// The client waits to be asked for it (RFC 9110 section 10.1.1), and reading is what asks.
    unasked: bool,
    exchange: Exchange,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, headers: &HeaderMap, exchange: Exchange) -> Self {
        let incoming = Some(incoming).filter(|incoming| !incoming.is_end_stream());
        Self { incoming, unasked: headers.contains_key(EXPECT), exchange }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.unasked = false;
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.incoming = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.unasked || self.is_end_stream() {
            return;
        }
        if let (Some(incoming), Ok(runtime)) = (self.incoming.take(), Handle::try_current()) {
            counter!("draftwire_bodies_discarded_total").increment(1);
            runtime.spawn(discard(incoming, self.exchange.clone()));
        }
    }
}

async fn discard(mut incoming: Incoming, _exchange: Exchange) {
    let mut left = DISCARD_BYTES_MAX;
    let all = async {
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(bytes) else { return };
            left = less;
        }
    };
    // What takes longer is closed with the connection.
    let _ = timeout(DISCARD_MAX, all).await;
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: axum::body::Body,
    _exchange: Exchange,
}

impl AnswerBody {
    pub(super) fn new(body: axum::body::Body, exchange: Exchange) -> Self {
        Self { body, _exchange: exchange }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
