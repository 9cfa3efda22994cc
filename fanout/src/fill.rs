//! Gap-fill: reading from the log what a stream misses. One at a time per stream, and over all streams
//! no more reads than the node's budget.

use std::sync::{Arc, Weak};

use metrics::counter;
use tracing::debug;

use crate::{Source, followed::Followed, hub::Hub, log::Read};

/// Events that a gap-fill reads at a time.
const FILL_EVENTS: u32 = 256;

impl Hub {
    /// Starts the gap-fill of a stream, unless nothing is missing or one is under way.
    pub(crate) fn fill_if_missing(&self, followed: &Arc<Followed>, source: Source) {
        if followed.missing().is_none() || !followed.begin_fill() {
            return;
        }
        let Some(hub) = self.myself.get().and_then(Weak::upgrade) else {
            followed.end_fill();
            return;
        };
        let followed = followed.clone();
        tokio::spawn(async move {
            // Copies overtake each other, and are overtaken by heads, by moments: most holes close by
            // themselves.
            tokio::time::sleep(hub.settings().reorder_wait).await;
            if source == Source::Sweep && followed.missing().is_some() {
                // Copies of this stream did not come although the bus seems well: perhaps this one
                // subscription is deaf, which no canary shows.
                hub.streams.subscribe_again(&followed);
            }
            let complete = hub.fill(&followed, source).await;
            followed.end_fill();
            if complete {
                // A hole that opened between the last look and `end_fill` found the fill still claimed.
                hub.fill_if_missing(&followed, Source::GapFill);
            }
        });
    }

    /// Reads what is missing until nothing is. Returns whether that was reached; otherwise the log
    /// does not hold what was announced, and the sweep looks again in its time.
    async fn fill(&self, followed: &Followed, source: Source) -> bool {
        while let Some(missing) = followed.missing() {
            let wanted = missing.up_to.0 - missing.after.0;
            let limit = u32::try_from(wanted).unwrap_or(FILL_EVENTS).min(FILL_EVENTS);
            counter!("draftwire_gap_fills_total", "source" => source.label()).increment(1);
            let read = Read { stream: followed.stream.clone(), after: missing.after, limit };
            match self.page(&read).await {
                Ok(page) => match followed.fill(missing.after, &page, source) {
                    Some(released) => source.released(released),
                    None => return false,
                },
                Err(error) => {
                    debug!(stream = %followed.stream, %error, "the gap cannot be read; trying again");
                    tokio::time::sleep(self.settings().sweep_interval_unsure).await;
                    if self.is_stopped() {
                        return false;
                    }
                }
            }
        }
        true
    }
}
