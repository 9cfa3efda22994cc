//! The settings of the fan-out.

use std::time::Duration;

use super::{
    reader::Reader,
    setting::{DAY, GIB, Group, HOUR, KIB, MINUTE, MS, SECOND, Setting, Value, count, duration, size},
    text::show_duration,
};

pub(super) static GROUP: Group = Group {
    title: "Fan-out",
    settings: &[
        &SWEEP_INTERVAL,
        &SWEEP_INTERVAL_UNSURE,
        &LINGER,
        &STREAMS_MAX,
        &REORDER_WAIT,
        &FILLS_MAX,
        &RECENT_EVENTS_MAX,
        &RECENT_EVENTS_AGE,
        &RECENT_BYTES_MAX,
        &PRESENCE_LEASE,
        &PRESENCE_LIST_MAX,
    ],
};

static SWEEP_INTERVAL: Setting<Duration> = Setting {
    env: "SWEEP_INTERVAL",
    takes: duration(MS.saturating_mul(10), MINUTE.saturating_mul(10)).at_run_time(),
    default: Value("5s"),
    help: "How often the heads of followed streams are compared with the store: the bound on how late an event is that no live copy announced.",
};

static SWEEP_INTERVAL_UNSURE: Setting<Duration> = Setting {
    env: "SWEEP_INTERVAL_UNSURE",
    takes: duration(MS.saturating_mul(10), MINUTE.saturating_mul(10)).at_run_time(),
    default: Value("1s"),
    help: "The same while the bus is unsure. At most SWEEP_INTERVAL.",
};

static LINGER: Setting<Duration> = Setting {
    env: "LINGER",
    takes: duration(Duration::ZERO, HOUR).at_run_time(),
    default: Value("30s"),
    help: "How long a stream with events is kept up after its last follower left, for those that soon come back.",
};

static STREAMS_MAX: Setting<usize> = Setting {
    env: "STREAMS_MAX",
    takes: count(1, 10_000_000).at_run_time(),
    default: Value("200000"),
    help: "The most streams that this node follows at once. Who wants another one is answered that it is unavailable.",
};

static REORDER_WAIT: Setting<Duration> = Setting {
    env: "REORDER_WAIT",
    takes: duration(Duration::ZERO, SECOND).at_run_time(),
    default: Value("30ms"),
    help: "How long a gap may be only a matter of order before it is read from the store.",
};

static FILLS_MAX: Setting<usize> = Setting {
    env: "FILLS_MAX",
    takes: count(1, 1000),
    default: Value("3"),
    help: "The most queries for missed events that this node has under way, each for up to 64 followers or streams.",
};

static RECENT_EVENTS_MAX: Setting<usize> = Setting {
    env: "RECENT_EVENTS_MAX",
    takes: count(1, 100_000).at_run_time(),
    default: Value("1024"),
    help: "The most recent events kept in memory per followed stream.",
};

static RECENT_EVENTS_AGE: Setting<Duration> = Setting {
    env: "RECENT_EVENTS_AGE",
    takes: duration(SECOND, DAY).at_run_time(),
    default: Value("60s"),
    help: "How long events are kept in memory for clients that come back, at least; all but 16 of a stream are dropped before twice that. A client that was away for longer reads the log.",
};

static RECENT_BYTES_MAX: Setting<usize> = Setting {
    env: "RECENT_BYTES_MAX",
    takes: size(64 * KIB, 64 * GIB).at_run_time(),
    default: Value("64MiB"),
    help: "The most memory that recent events take on this node.",
};

static PRESENCE_LEASE: Setting<Duration> = Setting {
    env: "PRESENCE_LEASE",
    takes: duration(SECOND, HOUR),
    default: Value("10s"),
    help: "How long a node that has fallen silent counts as having the members it last announced; heartbeats come three times as often. A bus that has gone deaf is noticed within 4s: with less than 7s members may come and go then.",
};

static PRESENCE_LIST_MAX: Setting<usize> = Setting {
    env: "PRESENCE_LIST_MAX",
    takes: count(1, 1000).at_run_time(),
    default: Value("100"),
    help: "The most members of a topic whose presence is told by name; of more only their number is told.",
};

/// Reads the limits and timers of the fan-out.
pub(super) fn read(reader: &Reader<'_>) -> fanout::Settings {
    let sweep_interval = reader.value(&SWEEP_INTERVAL);
    let sweep_interval_unsure = reader.value(&SWEEP_INTERVAL_UNSURE);
    if sweep_interval_unsure > sweep_interval && !reader.is_wrong(&SWEEP_INTERVAL) {
        reader.wrong(
            &SWEEP_INTERVAL_UNSURE,
            format!("give at most SWEEP_INTERVAL, which is {}", show_duration(sweep_interval)),
        );
    }
    fanout::Settings {
        sweep_interval,
        sweep_interval_unsure,
        linger: reader.value(&LINGER),
        streams_max: reader.value(&STREAMS_MAX),
        reorder_wait: reader.value(&REORDER_WAIT),
        fills_max: reader.value(&FILLS_MAX),
        recent_events_max: reader.value(&RECENT_EVENTS_MAX),
        recent_events_age: reader.value(&RECENT_EVENTS_AGE),
        recent_bytes_max: reader.value(&RECENT_BYTES_MAX),
        presence_lease: reader.value(&PRESENCE_LEASE),
        presence_list_max: reader.value(&PRESENCE_LIST_MAX),
    }
}
