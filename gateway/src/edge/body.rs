//! Reading the bodies of requests.

use std::{sync::Arc, time::Duration};

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
use crate::commands::failure::Failure;

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
    bytes_max: usize,
    /// In [`UNIT`]s.
    room: Arc<Semaphore>,
}

impl BodyReader {
    /// For bodies of up to `bytes_max` each.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, room: Arc::new(Semaphore::new(AT_ONCE * bytes_max.div_ceil(UNIT))) }
    }

    /// The whole body.
    pub(super) async fn bytes(&self, request: Request) -> Result<Bytes, Problem> {
        content_coding::check(request.headers())?;
        timeout(READ_MAX, self.collect(request))
            .await
            .unwrap_or_else(|_| Err(Problem::bad_request("the body took too long to come")))
    }

    async fn collect(&self, request: Request) -> Result<Bytes, Problem> {
        let mut parts = request.into_body().into_data_stream();
        let mut whole = BytesMut::new();
        let mut room: Option<SemaphorePermit<'_>> = None;
        let broken = |error: axum::Error| {
            debug!(%error, "a body broke off");
            Problem::bad_request("the body did not come to its end")
        };
        while let Some(part) = parts.try_next().await.map_err(broken)? {
            let bytes = whole.len() + part.len();
            if bytes > self.bytes_max {
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
