//! Gap-fill: reads the events that a stream misses from the log.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use metrics::counter;
use tracing::debug;

use super::{
    log_reader::LogReader,
    loss::{Loss, LossReport},
};
use crate::{
    LiveSettings,
    log::Read,
    stream::{LocalStream, Registry, Source},
    supervise::catch_panic,
};

/// Events that a gap-fill reads at a time.
const FILL_EVENTS: u32 = 256;

/// Fills gaps, in one task per stream. Over all streams, at most [`Settings::fills_max`](crate::Settings::fills_max) reads are in flight.
pub(crate) struct GapFill {
    registry: Arc<Registry>,
    log: Arc<LogReader>,
    losses: Arc<LossReport>,
    settings: LiveSettings,
    stopped: AtomicBool,
}

impl GapFill {
    pub(crate) fn new(
        settings: LiveSettings,
        registry: Arc<Registry>,
        log: Arc<LogReader>,
        losses: Arc<LossReport>,
    ) -> Self {
        Self { registry, log, losses, settings, stopped: AtomicBool::new(false) }
    }

    /// Ends the tasks that wait for a store that does not answer.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Starts the gap-fill of a stream, unless nothing is missing or one is in flight.
    pub(crate) fn fill_if_missing(self: &Arc<Self>, stream: &Arc<LocalStream>, source: Source) {
        if stream.missing().is_none() || !stream.begin_fill() {
            return;
        }
        let (gaps, stream) = (self.clone(), stream.clone());
        tokio::spawn(async move {
            // Copies overtake each other, and heads overtake copies, by moments: most gaps close by
            // themselves. What no node has committed has no copies.
            if source != Source::Notice {
                let wait = gaps.settings.load().reorder_wait;
                tokio::time::sleep(wait).await;
            }
            if source == Source::Sweep && stream.missing().is_some() {
                // Copies of this stream did not arrive although the bus seems well: perhaps this one
                // subscription is deaf, which no canary shows.
                gaps.registry.resubscribe(&stream);
            }
            // Whatever happens, the stream may be filled again.
            let complete = catch_panic("gap fill", gaps.fill(&stream, source)).await.unwrap_or(false);
            stream.end_fill();
            if complete {
                // A gap that opened between the last look and `end_fill` found the fill still claimed.
                gaps.fill_if_missing(&stream, Source::GapFill);
            }
        });
    }

    /// Reads what is missing until nothing is. Returns whether that was reached; otherwise the log does not
    /// hold what was announced, and the next sweep reads the head again.
    async fn fill(&self, stream: &Arc<LocalStream>, source: Source) -> bool {
        while let Some(missing) = stream.missing() {
            let wanted = missing.up_to.0 - missing.after.0;
            let limit = u32::try_from(wanted).unwrap_or(FILL_EVENTS).min(FILL_EVENTS);
            counter!("draftwire_gap_fills_total", "source" => source.label()).increment(1);
            let read = Read { stream: stream.name().clone(), after: missing.after, limit };
            match self.log.page(&read).await {
                Ok(page) => {
                    // Announced in this history, and not in the log.
                    if page.events.is_empty() && page.floor <= missing.after && stream.is_in(&page.epoch) {
                        self.losses.report(&page.epoch, stream, Loss::Head);
                    }
                    match stream.fill(missing.after, &page, source) {
                        Some(released) => source.count_released(released),
                        None => return false,
                    }
                }
                Err(error) => {
                    debug!(stream = %stream.name(), %error, "the gap cannot be read; trying again");
                    let pause = self.settings.load().sweep_interval_unsure;
                    tokio::time::sleep(pause).await;
                    if self.stopped.load(Ordering::Acquire) {
                        return false;
                    }
                }
            }
        }
        true
    }
}
