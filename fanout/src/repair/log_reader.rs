//! The log as this node reads it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{Epoch, Stream};
use metrics::counter;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    histories::{Histories, Origin},
    log_batcher::LogBatcher,
    trust::BusTrust,
};
use crate::{
    Settings,
    log::{Head, Heads, Log, LogError, Page, Read},
    stream::Registry,
};

/// Reads the log, and notes the epoch of every answer: when it changes, all streams are closed, and the
/// sweep opens them again.
pub(crate) struct LogReader {
    log: LogBatcher,
    registry: Arc<Registry>,
    trust: Arc<BusTrust>,
    /// The histories that the log was seen in, and those that the bus has told of.
    histories: Mutex<Histories>,
    /// Until when a client's cursor may show a loss.
    doubted_until: Mutex<Option<Instant>>,
}

/// For how long after the node has started, or the log was last away, a client's cursor beyond the log counts as
/// a loss. A client can make a cursor up, and a new name costs every follower a fresh start: so one cursor at a
/// time counts.
const DOUBT: Duration = Duration::from_secs(60);

/// The first and the longest pause between attempts to read a page.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

impl LogReader {
    pub(crate) fn start(
        log: Arc<dyn Log>,
        settings: &Settings,
        registry: Arc<Registry>,
        trust: Arc<BusTrust>,
    ) -> Self {
        let log = LogBatcher::start(log, settings.fills_max);
        let doubted_until = Mutex::new(Some(Instant::now() + DOUBT));
        Self { log, registry, trust, histories: Mutex::default(), doubted_until }
    }

    /// Reads a page until the store answers. Cancel-safe.
    pub(crate) async fn page_with_retries(&self, read: &Read) -> Page {
        let (mut pause, pause_max) = RETRY_PAUSE;
        loop {
            match self.page(read).await {
                Ok(page) => return page,
                Err(error) => debug!(stream = %read.stream, %error, "the page cannot be read; trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(pause_max);
        }
    }

    /// Reads a page. Concurrent calls share queries.
    pub(super) async fn page(&self, read: &Read) -> Result<Page, LogError> {
        let page = self.log.page(read).await.inspect_err(|_| self.doubt())?;
        self.observe_epoch(&page.epoch);
        Ok(page)
    }

    /// Reads the head of a stream. Concurrent calls share queries.
    pub(crate) async fn head(&self, stream: &Stream) -> Result<(Epoch, Head), LogError> {
        let (epoch, head) = self.log.head(stream).await.inspect_err(|_| self.doubt())?;
        self.observe_epoch(&epoch);
        Ok((epoch, head))
    }

    /// Reads the heads of many streams in a query of their own.
    pub(super) async fn heads(&self, streams: &[Stream]) -> Result<Heads, LogError> {
        let heads = self.log.heads(streams).await.inspect_err(|_| self.doubt())?;
        self.observe_epoch(&heads.epoch);
        Ok(heads)
    }

    /// Notes the epoch that the store was just seen in. When it is another one, every stream is closed, and
    /// followers are sent the state once the stream is open again.
    pub(crate) fn observe_epoch(&self, epoch: &Epoch) {
        let before = self.histories().observe(epoch);
        if let Some(before) = before {
            warn!(%before, now = %epoch, "the epoch of the store changed; every stream is opened again");
            counter!("draftwire_epoch_changes_total").increment(1);
            for stream in self.registry.all() {
                if stream.position().is_some_and(|position| position.epoch != *epoch) {
                    stream.close();
                }
            }
            self.trust.request_sweep();
        }
    }

    /// The history that the log was last seen in; `None` before the first answer.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.histories().current().cloned()
    }

    /// Returns where a message on a stream's channel comes from, by the history that it names. One that is not
    /// known makes the log be asked.
    pub(crate) fn origin(self: &Arc<Self>, epoch: &Epoch, stream: &Stream) -> Origin {
        let (origin, ask) = self.histories().judge(epoch);
        if ask {
            let (log, epoch, stream) = (self.clone(), epoch.clone(), stream.clone());
            tokio::spawn(async move {
                let answered = log.head(&stream).await.is_ok();
                let is_stranger = log.histories().settle(&epoch, answered);
                if is_stranger {
                    warn!(
                        stranger = %epoch,
                        "rejecting messages of another cluster on the same Redis channels; give each cluster \
                         a REDIS_PREFIX of its own, because channels do not depend on the database number"
                    );
                }
            });
        }
        origin
    }

    fn histories(&self) -> MutexGuard<'_, Histories> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the history another name, for every node; see [`Log::rename_history`].
    pub(super) async fn rename_history(&self, epoch: &Epoch) -> Result<(), LogError> {
        self.log.rename_history(epoch).await.inspect_err(|_| self.doubt())
    }

    /// The log does not answer: what answers next may be another one.
    fn doubt(&self) {
        *self.doubted_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + DOUBT);
    }

    /// Returns whether a client's cursor may show a loss. The next one may not, until the log was away again.
    pub(super) fn take_doubt(&self) -> bool {
        let mut until = self.doubted_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.take().is_some_and(|until| Instant::now() < until)
    }

    /// Updates the gauges of waiting reads.
    pub(super) fn measure(&self) {
        self.log.measure();
    }
}
