//! The settings of retention.

use std::time::Duration;

use super::{
    reader::Reader,
    setting::{DAY, Group, MS, Setting, Value, count, duration},
};

/// The longest age of events that can be asked for: ten years.
const AGE_MAX: Duration = DAY.saturating_mul(3650);

pub(super) static GROUP: Group = Group {
    title: "Retention",
    settings: &[
        &RETENTION_USER_AGE,
        &RETENTION_USER_EVENTS,
        &RETENTION_TOPIC_AGE,
        &RETENTION_TOPIC_EVENTS,
        &RETENTION_ALL_AGE,
        &RETENTION_ALL_EVENTS,
        &RETENTION_CONTROL_AGE,
        &RETENTION_CONTROL_EVENTS,
        &RETENTION_INTERVAL,
    ],
};

static RETENTION_USER_AGE: Setting<Duration> = Setting {
    env: "RETENTION_USER_AGE",
    takes: duration(Duration::ZERO, AGE_MAX).at_run_time(),
    default: Value("7d"),
    help: "How long an event of a user's stream is kept; 0s without end.",
};

static RETENTION_USER_EVENTS: Setting<u64> = Setting {
    env: "RETENTION_USER_EVENTS",
    takes: count(0, 1_000_000_000_000).at_run_time(),
    default: Value("10000"),
    help: "How many of the newest events of a user's stream are kept; 0 for all. What is older or beyond the number goes.",
};

static RETENTION_TOPIC_AGE: Setting<Duration> = Setting {
    env: "RETENTION_TOPIC_AGE",
    takes: duration(Duration::ZERO, AGE_MAX).at_run_time(),
    default: Value("7d"),
    help: "How long an event of a topic is kept; 0s without end.",
};

static RETENTION_TOPIC_EVENTS: Setting<u64> = Setting {
    env: "RETENTION_TOPIC_EVENTS",
    takes: count(0, 1_000_000_000_000).at_run_time(),
    default: Value("100000"),
    help: "How many of the newest events of a topic are kept; 0 for all. What is older or beyond the number goes.",
};

static RETENTION_ALL_AGE: Setting<Duration> = Setting {
    env: "RETENTION_ALL_AGE",
    takes: duration(Duration::ZERO, AGE_MAX).at_run_time(),
    default: Value("7d"),
    help: "How long an event of the stream of all connections is kept; 0s without end.",
};

static RETENTION_ALL_EVENTS: Setting<u64> = Setting {
    env: "RETENTION_ALL_EVENTS",
    takes: count(0, 1_000_000_000_000).at_run_time(),
    default: Value("10000"),
    help: "How many of the newest events of the stream of all connections are kept; 0 for all. What is older or beyond the number goes.",
};

static RETENTION_CONTROL_AGE: Setting<Duration> = Setting {
    env: "RETENTION_CONTROL_AGE",
    takes: duration(Duration::ZERO, AGE_MAX).at_run_time(),
    default: Value("7d"),
    help: "How long an event of the stream of the nodes (`control`) is kept; 0s without end.",
};

static RETENTION_CONTROL_EVENTS: Setting<u64> = Setting {
    env: "RETENTION_CONTROL_EVENTS",
    takes: count(0, 1_000_000_000_000).at_run_time(),
    default: Value("10000"),
    help: "How many of the newest events of the stream of the nodes are kept; 0 for all. What is older or beyond the number goes.",
};

static RETENTION_INTERVAL: Setting<Duration> = Setting {
    env: "RETENTION_INTERVAL",
    takes: duration(MS.saturating_mul(10), DAY).at_run_time(),
    default: Value("1m"),
    help: "The pause between two rounds in which one of the nodes removes what is no longer kept, and commands older than COMMAND_MEMORY.",
};

/// How much of the log of each kind of stream is kept, and how often the rest is removed.
#[derive(Debug, Clone)]
pub struct Retention {
    /// The users' own streams.
    pub user: Kept,
    /// Topics.
    pub topic: Kept,
    /// The stream of all connections.
    pub all: Kept,
    /// The stream of the nodes.
    pub control: Kept,
    /// The pause between two rounds over all streams.
    pub interval: Duration,
}

/// How much of the log of one stream is kept: the events that are within both limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The longest age of an event; `None` keeps events without end.
    pub age: Option<Duration>,
    /// The number of the newest events; `None` keeps all of them.
    pub events: Option<u64>,
}

impl Retention {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let kept = |age: &Setting<Duration>, events: &Setting<u64>| Kept {
            age: Some(reader.value(age)).filter(|age| !age.is_zero()),
            events: Some(reader.value(events)).filter(|events| *events > 0),
        };
        Self {
            user: kept(&RETENTION_USER_AGE, &RETENTION_USER_EVENTS),
            topic: kept(&RETENTION_TOPIC_AGE, &RETENTION_TOPIC_EVENTS),
            all: kept(&RETENTION_ALL_AGE, &RETENTION_ALL_EVENTS),
            control: kept(&RETENTION_CONTROL_AGE, &RETENTION_CONTROL_EVENTS),
            interval: reader.value(&RETENTION_INTERVAL),
        }
    }
}
