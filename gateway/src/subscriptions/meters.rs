//! Metrics of what is handed out.

use common::operations::Tally;
use fanout::Source;
use metrics::{Counter, Histogram, counter, histogram};

/// Metrics of deliveries. They are touched for every one, so each is looked up once.
pub(crate) struct Meters {
    delivered: [Counter; 6],
    /// From the commit of a live event to its hand-over to a socket.
    pub(crate) commit_to_delivery: Histogram,
}

const SOURCES: [Source; 6] =
    [Source::Local, Source::Bus, Source::GapFill, Source::Sweep, Source::Replay, Source::Notice];

impl Default for Meters {
    fn default() -> Self {
        let delivered =
            SOURCES.map(|source| counter!("draftwire_events_delivered_total", "source" => source.label()));
        Self { delivered, commit_to_delivery: histogram!("draftwire_commit_to_delivery_seconds") }
    }
}

impl Meters {
    /// Counts events handed to a socket.
    pub(crate) fn delivered(&self, source: Source, events: u64) {
        let index = match source {
            Source::Local => 0,
            Source::Bus => 1,
            Source::GapFill => 2,
            Source::Sweep => 3,
            Source::Replay => 4,
            Source::Notice => 5,
        };
        self.delivered[index].increment(events);
        Tally::MessagesOut.add(events);
    }
}
