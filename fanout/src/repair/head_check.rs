//! Asks the log for the heads of streams, and applies what it answers.

use std::{sync::Arc, time::Duration};

use common::{Epoch, Seq};
use tokio::time::timeout;
use tracing::debug;

use super::{
    gap_fill::GapFill,
    log_reader::LogReader,
    loss::{Loss, LossReport},
    trust::BusTrust,
};
use crate::{
    bus::Bus,
    log::{HEADS_PER_CALL_MAX, Head, LogError},
    stream::{HeadChange, LocalStream, Source},
};

/// How long opening a stream waits for the bus to confirm its subscription. After that the stream is opened
/// all the same, and confirmed by the sweep later: a bus that is gone delays nobody.
const SUBSCRIBE_WAIT: Duration = Duration::from_millis(250);

/// Opens streams at their heads, and confirms that open ones are complete.
pub(crate) struct HeadCheck {
    bus: Arc<dyn Bus>,
    trust: Arc<BusTrust>,
    log: Arc<LogReader>,
    gaps: Arc<GapFill>,
    losses: Arc<LossReport>,
}

/// What was true when a head was asked for. The answer confirms no more than that.
#[derive(Debug, Clone, Copy)]
struct Request {
    /// The last event that was known to exist; `None` while the stream was closed.
    known: Option<Seq>,
    /// The generation of the bus, if the stream's channel was subscribed.
    generation: Option<u64>,
}

impl HeadCheck {
    pub(crate) fn new(
        bus: Arc<dyn Bus>,
        trust: Arc<BusTrust>,
        log: Arc<LogReader>,
        gaps: Arc<GapFill>,
        losses: Arc<LossReport>,
    ) -> Self {
        Self { bus, trust, log, gaps, losses }
    }

    /// Opens the stream if it is closed. Returns whether its head was read for that.
    pub(crate) async fn open(&self, stream: &Arc<LocalStream>) -> Result<bool, LogError> {
        stream
            .open_once(async {
                // The head is read after the subscription: copies of what is committed later then arrive.
                if self.bus.is_connected()
                    && timeout(SUBSCRIBE_WAIT, stream.until_subscribed()).await.is_err()
                {
                    debug!(stream = %stream.name(), "the bus did not confirm the subscription in time");
                }
                self.refresh(stream).await
            })
            .await
    }

    /// Reads the head of one stream. Concurrent calls share queries.
    pub(crate) async fn refresh(&self, stream: &Arc<LocalStream>) -> Result<(), LogError> {
        let request = self.request(stream);
        let (epoch, head) = self.log.head(stream.name()).await?;
        self.apply(stream, &epoch, head, request, Source::GapFill);
        Ok(())
    }

    /// Reads the heads of these streams, for the sweep.
    pub(super) async fn refresh_all(&self, streams: &[Arc<LocalStream>]) -> Result<(), LogError> {
        for chunk in streams.chunks(HEADS_PER_CALL_MAX) {
            let requests: Vec<Request> = chunk.iter().map(|stream| self.request(stream)).collect();
            let names: Vec<_> = chunk.iter().map(|stream| stream.name().clone()).collect();
            let heads = self.log.heads(&names).await?;
            for ((stream, head), request) in chunk.iter().zip(heads.heads).zip(requests) {
                self.apply(stream, &heads.epoch, head, request, Source::Sweep);
            }
        }
        Ok(())
    }

    /// Returns whether the stream is complete: no copy can have been lost since the log last confirmed it.
    pub(crate) fn is_confirmed(&self, stream: &LocalStream) -> bool {
        self.trust.is_trusted()
            && stream.is_subscribed()
            && stream.confirmed() == Some(self.trust.generation())
    }

    /// Returns whether the sweep should read the stream's head before its next full round.
    pub(crate) fn is_due(&self, stream: &LocalStream) -> bool {
        let confirmed = stream.confirmed() == Some(self.trust.generation());
        !stream.is_open() || (!confirmed && stream.is_subscribed())
    }

    fn request(&self, stream: &LocalStream) -> Request {
        let generation = stream.is_subscribed().then(|| self.trust.generation());
        Request { known: stream.known_head(), generation }
    }

    fn apply(&self, stream: &Arc<LocalStream>, epoch: &Epoch, head: Head, request: Request, source: Source) {
        match stream.apply_head(epoch, head, request.known, request.generation) {
            HeadChange::Unchanged => {}
            HeadChange::Opened | HeadChange::Behind => self.gaps.fill_if_missing(stream, source),
            HeadChange::WentBack => self.losses.report(epoch, stream, Loss::Head),
        }
    }
}
