//! Reading the bodies of requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use common::{Code, json::Invalid};
use futures_util::TryStreamExt;
use metrics::counter;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tracing::debug;

use super::{content_coding, problem::Problem};
use crate::{commands::failure::Failure, config::Live};

/// How many bodies of the largest size may be in memory before they are whole. What is whole is the write
/// queue's to bound.
const AT_ONCE: usize = 128;

/// How long a client may take to send one.
const READ_MAX: Duration = Duration::from_secs(30);

/// What room is counted in, bytes.
const UNIT: usize = 1024;

/// Reads bodies in bounded room and time: neither what clients send slowly nor what they never end may add up.
/// Clones share the room.
#[derive(Clone)]
pub(crate) struct BodyReader {
    live: Arc<Live>,
    /// In [`UNIT`]s.
    room: Arc<Semaphore>,
    /// The room that there is, in use or not, in [`UNIT`]s: it grows with the largest body that was ever allowed.
    room_max: Arc<AtomicUsize>,
}

impl BodyReader {
    /// For bodies of up to `MAX_MESSAGE_BYTES` each.
    pub(crate) fn new(live: Arc<Live>) -> Self {
        Self { live, room: Arc::new(Semaphore::new(0)), room_max: Arc::default() }
    }

    /// The largest body at the moment, for several of which there is room.
    fn bytes_max(&self) -> usize {
        let bytes_max = self.live.node().websocket.message_bytes_max;
        let wanted = AT_ONCE * bytes_max.div_ceil(UNIT);
        let before = self.room_max.fetch_max(wanted, Ordering::Relaxed);
        self.room.add_permits(wanted.saturating_sub(before));
        bytes_max
    }

    /// The whole body.
    pub(super) async fn bytes(&self, request: Request) -> Result<Bytes, Problem> {
        content_coding::check(request.headers())?;
        timeout(READ_MAX, self.collect(request))
            .await
            .unwrap_or_else(|_| Err(Problem::bad_request("the body took too long to come")))
    }

    async fn collect(&self, request: Request) -> Result<Bytes, Problem> {
        let bytes_max = self.bytes_max();
        let mut parts = request.into_body().into_data_stream();
        let mut whole = BytesMut::new();
        let mut room: Option<SemaphorePermit<'_>> = None;
        let broken = |error: axum::Error| {
            debug!(%error, "a body broke off");
            Problem::bad_request("the body did not come to its end")
        };
        while let Some(part) = parts.try_next().await.map_err(broken)? {
            let bytes = whole.len() + part.len();
            if bytes > bytes_max {
                return Err(Failure::new(Code::TooLarge, "the body is larger than MAX_MESSAGE_BYTES").into());
            }
            let held = room.as_ref().map_or(0, SemaphorePermit::num_permits);
            let more = u32::try_from(bytes.div_ceil(UNIT).saturating_sub(held)).unwrap_or(u32::MAX);
            let Ok(more) = self.room.try_acquire_many(more) else {
                counter!("draftwire_bodies_refused_total").increment(1);
                return Err(Problem::unavailable("too much is being sent at once; come back later"));
            };
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }
}

/// The body as a JSON text, whatever the request says of its type.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the body is not UTF-8"))
}

/// Refuses a body by what is wrong with it.
pub(super) fn invalid(error: &Invalid) -> Problem {
    Problem::bad_request(error.sentence("the body"))
}
