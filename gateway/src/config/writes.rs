//! The settings of writes.

use std::time::Duration;

use super::{
    reader::Reader,
    setting::{DAY, Group, KIB, MIB, MINUTE, MS, SECOND, Setting, Value, count, duration, size},
};

pub(super) static GROUP: Group = Group {
    title: "Writes",
    settings: &[
        &WRITE_SHARDS,
        &WRITE_QUEUE_MAX,
        &WRITE_BATCH_MAX,
        &WRITE_WINDOW,
        &WRITE_WAIT_MAX,
        &DRAFTS_PER_USER_MAX,
        &DRAFT_BYTES_MAX,
        &EVENT_BYTES_MAX,
        &COMMAND_MEMORY,
    ],
};

static WRITE_SHARDS: Setting<usize> = Setting {
    env: "WRITE_SHARDS",
    takes: count(1, 64),
    default: Value("1"),
    help: "How many transactions of collected writes this node runs side by side. Writes to one stream always take the same one. One has the largest batches, and so the least work for the database.",
};

static WRITE_QUEUE_MAX: Setting<usize> = Setting {
    env: "WRITE_QUEUE_MAX",
    takes: count(1, 1_000_000),
    default: Value("16384"),
    help: "The most writes that wait per shard; one more is answered unavailable.",
};

static WRITE_BATCH_MAX: Setting<usize> = Setting {
    env: "WRITE_BATCH_MAX",
    takes: count(1, 10_000).at_run_time(),
    default: Value("800"),
    help: "The most writes in one transaction; an append of several events counts as so many.",
};

static WRITE_WINDOW: Setting<Duration> = Setting {
    env: "WRITE_WINDOW",
    takes: duration(Duration::ZERO, SECOND).at_run_time(),
    default: Value("5ms"),
    help: "How far apart the transactions of a shard begin while writes keep coming, so that they share one. A lone write does not wait, and neither does a batch of 16.",
};

static WRITE_WAIT_MAX: Setting<Duration> = Setting {
    env: "WRITE_WAIT_MAX",
    takes: duration(MS.saturating_mul(10), MINUTE).at_run_time(),
    default: Value("5s"),
    help: "How long a write may wait for its transaction to begin; then it is answered unavailable. With one STORE_TIMEOUT for the transaction, that is the longest that a client waits for an answer.",
};

static DRAFTS_PER_USER_MAX: Setting<u64> = Setting {
    env: "DRAFTS_PER_USER_MAX",
    takes: count(1, 1_000_000).at_run_time(),
    default: Value("500"),
    help: "The most drafts of one user, deleted ones not counted.",
};

static DRAFT_BYTES_MAX: Setting<usize> = Setting {
    env: "DRAFT_BYTES_MAX",
    takes: size(KIB, 16 * MIB).at_run_time(),
    default: Value("64KiB"),
    help: "The largest content of one draft, as JSON. All drafts of a user are read together, within STORE_TIMEOUT.",
};

static EVENT_BYTES_MAX: Setting<usize> = Setting {
    env: "EVENT_BYTES_MAX",
    takes: size(KIB, 16 * MIB).at_run_time(),
    default: Value("64KiB"),
    help: "The largest data of one published event, as JSON.",
};

static COMMAND_MEMORY: Setting<Duration> = Setting {
    env: "COMMAND_MEMORY",
    takes: duration(MINUTE, DAY.saturating_mul(365)).at_run_time(),
    default: Value("24h"),
    help: "How long a command is remembered, so that its repetition gets the same answer.",
};

/// How writes are collected, and the limits of what users store.
#[derive(Debug, Clone)]
pub struct Writes {
    /// The number of transactions that this node runs side by side.
    pub shards: usize,
    /// The most writes that wait per shard.
    pub queue_max: usize,
    /// The most writes in one transaction.
    pub batch_max: usize,
    /// How long writes are collected before they are committed together; zero does not wait.
    pub window: Duration,
    /// How long a write may wait for its commit to begin.
    pub wait_max: Duration,
    /// The most drafts of one user, deleted ones not counted.
    pub drafts_per_user_max: u64,
    /// The largest content of one draft, in bytes of JSON.
    pub draft_bytes_max: usize,
    /// The largest data of one published event, in bytes of JSON.
    pub event_bytes_max: usize,
    /// How long a command is remembered, so that its repetition gets the same answer.
    pub command_memory: Duration,
}

impl Writes {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        Self {
            shards: reader.value(&WRITE_SHARDS),
            queue_max: reader.value(&WRITE_QUEUE_MAX),
            batch_max: reader.value(&WRITE_BATCH_MAX),
            window: reader.value(&WRITE_WINDOW),
            wait_max: reader.value(&WRITE_WAIT_MAX),
            drafts_per_user_max: reader.value(&DRAFTS_PER_USER_MAX),
            draft_bytes_max: reader.value(&DRAFT_BYTES_MAX),
            event_bytes_max: reader.value(&EVENT_BYTES_MAX),
            command_memory: reader.value(&COMMAND_MEMORY),
        }
    }
}
