//! How much of the streams' logs is kept.

use std::time::Duration;

use super::reader::Reader;

/// How much of each kind of streams is kept, and how often the rest is removed.
#[derive(Debug, Clone)]
pub struct Retention {
    /// The users' own streams.
    pub user: Kept,
    /// Topics.
    pub topic: Kept,
    /// The stream of all connections.
    pub all: Kept,
    /// The pause between two rounds over all streams.
    pub interval: Duration,
}

/// What is kept of the log of one stream: events that are within both bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// How long; `None` without end.
    pub age: Option<Duration>,
    /// How many; `None` for all of them.
    pub events: Option<u64>,
}

impl Retention {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut kept = |age, events| Kept {
            age: Some(reader.duration(age)).filter(|age| !age.is_zero()),
            events: Some(reader.count(events)).filter(|events| *events > 0),
        };
        Self {
            user: kept("RETENTION_USER_AGE", "RETENTION_USER_EVENTS"),
            topic: kept("RETENTION_TOPIC_AGE", "RETENTION_TOPIC_EVENTS"),
            all: kept("RETENTION_ALL_AGE", "RETENTION_ALL_EVENTS"),
            interval: reader.duration("RETENTION_INTERVAL"),
        }
    }
}
