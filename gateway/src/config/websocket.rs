//! The settings of connections.

use std::time::Duration;

use common::Pattern;

use super::{
    reader::Reader,
    setting::{
        DAY, Group, HOUR, KIB, MIB, MS, Optional, Otherwise, Setting, Value, count, duration, size, text,
        yes_or_no,
    },
    text::show_duration,
};

pub(super) static GROUP: Group = Group {
    title: "WebSocket",
    settings: &[
        &WS_PING_INTERVAL,
        &WS_PING_INTERVAL_MIN,
        &WS_PING_INTERVAL_MAX,
        &WS_PONG_TIMEOUT,
        &ADAPTIVE_HEARTBEAT,
        &ANONYMOUS_IDLE,
        &PUBLIC_TOPICS,
        &TOPICS_PER_CONNECTION,
        &DEFLATE,
        &DEFLATE_MIN_BYTES,
        &BATCHING,
        &SSE_HEARTBEAT,
        &MAX_MESSAGE_BYTES,
        &COMMANDS_PER_SECOND,
        &CONNECTIONS_PER_USER,
        &CONNECTIONS_MAX,
        &PENDING_COMMANDS_MAX,
        &TOKEN_WARNING,
        &DRAIN_WINDOW,
    ],
};

static WS_PING_INTERVAL: Setting<Duration> = Setting {
    env: "WS_PING_INTERVAL",
    takes: duration(MS.saturating_mul(10), HOUR).for_new_connections(),
    default: Value("25s"),
    help: "How often a new connection is pinged. From then on the interval follows the connection's health.",
};

static WS_PING_INTERVAL_MIN: Optional<Duration> = Setting {
    env: "WS_PING_INTERVAL_MIN",
    takes: duration(MS.saturating_mul(10), HOUR).for_new_connections(),
    default: Otherwise("10s, or WS_PING_INTERVAL if that is less"),
    help: "How often a connection is pinged whose answers fail to come, or come unsteadily.",
};

static WS_PING_INTERVAL_MAX: Optional<Duration> = Setting {
    env: "WS_PING_INTERVAL_MAX",
    takes: duration(MS.saturating_mul(10), HOUR).for_new_connections(),
    default: Otherwise("55s, or WS_PING_INTERVAL if that is more"),
    help: "How often a connection is pinged that is well. Proxies on the way end connections that are silent, often after 60s.",
};

static WS_PONG_TIMEOUT: Setting<Duration> = Setting {
    env: "WS_PONG_TIMEOUT",
    takes: duration(MS.saturating_mul(10), DAY).for_new_connections(),
    default: Value("60s"),
    help: "For how long a ping may be followed by no sign of life before the connection is closed with 4408.",
};

static ADAPTIVE_HEARTBEAT: Setting<bool> = Setting {
    env: "ADAPTIVE_HEARTBEAT",
    takes: yes_or_no().for_new_connections(),
    default: Value("true"),
    help: "Whether the interval between pings follows the connection's health; otherwise it stays WS_PING_INTERVAL.",
};

static ANONYMOUS_IDLE: Setting<Duration> = Setting {
    env: "ANONYMOUS_IDLE",
    takes: duration(MS.saturating_mul(10), DAY).for_new_connections(),
    default: Value("5m"),
    help: "After how long a connection without a token, that has sent nothing and was sent nothing, is closed with 4408. Heartbeats do not count.",
};

static PUBLIC_TOPICS: Optional<Vec<Pattern>> = Setting {
    env: "PUBLIC_TOPICS",
    takes: text(patterns).at_run_time(),
    default: Otherwise("none: every connection needs a token"),
    help: "Topics that everybody may follow, with or without a token: names, or beginnings of names followed by *, separated by commas (match:*,news).",
};

static TOPICS_PER_CONNECTION: Setting<usize> = Setting {
    env: "TOPICS_PER_CONNECTION",
    takes: count(1, 10_000).for_new_connections(),
    default: Value("100"),
    help: "The most topics that one connection follows.",
};

static DEFLATE: Setting<bool> = Setting {
    env: "DEFLATE",
    takes: yes_or_no().for_new_connections(),
    default: Value("true"),
    help: "Whether permessage-deflate is negotiated with clients that offer it.",
};

static DEFLATE_MIN_BYTES: Setting<usize> = Setting {
    env: "DEFLATE_MIN_BYTES",
    takes: size(1, 64 * MIB).for_new_connections(),
    default: Value("1KiB"),
    help: "The smallest message that is compressed, for connections that take that. An event is compressed once for all of them.",
};

static BATCHING: Setting<bool> = Setting {
    env: "BATCHING",
    takes: yes_or_no().for_new_connections(),
    default: Value("true"),
    help: "Whether clients that ask for it are sent several messages in one frame, and subscriptions with a batch window let events wait; otherwise each message is sent by itself, at once.",
};

static SSE_HEARTBEAT: Setting<Duration> = Setting {
    env: "SSE_HEARTBEAT",
    takes: duration(MS.saturating_mul(10), HOUR).for_new_connections(),
    default: Value("15s"),
    help: "The longest silence on an event stream (GET /v1/stream); then a comment line is sent.",
};

static MAX_MESSAGE_BYTES: Setting<usize> = Setting {
    env: "MAX_MESSAGE_BYTES",
    takes: size(KIB, 64 * MIB).at_run_time(),
    default: Value("1MiB"),
    help: "The largest message that a client may send; a larger one closes with 1009.",
};

static COMMANDS_PER_SECOND: Setting<u32> = Setting {
    env: "COMMANDS_PER_SECOND",
    takes: count(1, 1_000_000).for_new_connections(),
    default: Value("50"),
    help: "How many commands a second are read from one connection on average; twice as many in a burst. What comes faster waits in the socket.",
};

static CONNECTIONS_PER_USER: Setting<usize> = Setting {
    env: "CONNECTIONS_PER_USER",
    takes: count(1, 1_000_000).at_run_time(),
    default: Value("50"),
    help: "The most connections of one user to this node; one more closes with 4429, unless its device has one already, whose place it takes.",
};

static CONNECTIONS_MAX: Setting<usize> = Setting {
    env: "CONNECTIONS_MAX",
    takes: count(1, 10_000_000).at_run_time(),
    default: Value("50000"),
    help: "The most connections to this node; one more closes with 1013.",
};

static PENDING_COMMANDS_MAX: Setting<usize> = Setting {
    env: "PENDING_COMMANDS_MAX",
    takes: count(1, 10_000).for_new_connections(),
    default: Value("64"),
    help: "The most commands of one connection that wait for their answer; beyond it the connection is not read.",
};

static TOKEN_WARNING: Setting<Duration> = Setting {
    env: "TOKEN_WARNING",
    takes: duration(MS, HOUR).for_new_connections(),
    default: Value("60s"),
    help: "How long before its token expires a client is told so (TOKEN_EXPIRING).",
};

static DRAIN_WINDOW: Setting<Duration> = Setting {
    env: "DRAIN_WINDOW",
    takes: duration(MS, HOUR).at_run_time(),
    default: Value("10s"),
    help: "Over how long a stopping node sends its clients elsewhere.",
};

/// The shortest interval between pings, unless WS_PING_INTERVAL_MIN is given.
const PING_INTERVAL_MIN: Duration = Duration::from_secs(10);

/// The longest interval between pings, unless WS_PING_INTERVAL_MAX is given: less than the minute after which
/// proxies often close a silent connection.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(55);

/// The largest message of a client without a token, in bytes: it has nothing to send but the topics that it
/// follows.
const ANONYMOUS_MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// The limits and timers of connections.
#[derive(Debug, Clone)]
pub struct WebSocket {
    /// How often a connection is pinged, and when it is dead.
    pub heartbeat: Intervals,
    /// How long a connection without a token may be silent before it is closed.
    pub anonymous_idle: Duration,
    /// The largest message from a client, or the largest body of a request. Of connections that have no
    /// token, see [`Self::connection_message_bytes_max`].
    pub message_bytes_max: usize,
    /// How many commands a second one connection may send on average.
    pub commands_per_second: u32,
    /// The most connections of one user to this node.
    pub connections_per_user: usize,
    /// The most connections to this node.
    pub connections_max: usize,
    /// The most topics that one connection follows.
    pub topics_per_connection: usize,
    /// Topics that everybody may follow, with or without a token.
    pub public_topics: Vec<Pattern>,
    /// Whether compression is negotiated with clients that offer it.
    pub deflate: bool,
    /// The smallest message that is compressed, in bytes.
    pub deflate_bytes_min: usize,
    /// Whether several messages may be sent as one, and batch windows hold events back.
    pub batching: bool,
    /// The longest silence on an event stream.
    pub sse_heartbeat: Duration,
    /// The most commands of one connection that wait for their answer.
    pub pending_commands_max: usize,
    /// How long before the expiry of its token a client is warned.
    pub token_warning: Duration,
    /// Over how long a stopping node tells its clients to reconnect elsewhere.
    pub drain_window: Duration,
}

/// How often a connection is pinged, depending on its health, and when it is dead.
#[derive(Debug, Clone)]
pub struct Intervals {
    /// The interval of a new connection.
    pub start: Duration,
    /// The shortest interval, for connections whose answers are missing or irregular.
    pub min: Duration,
    /// The longest interval, for healthy connections.
    pub max: Duration,
    /// How long after a ping a connection without a sign of life is dead.
    pub timeout: Duration,
}

impl WebSocket {
    /// Returns how many commands a connection that was quiet may send at once.
    pub(crate) fn commands_burst(&self) -> u32 {
        self.commands_per_second.saturating_mul(2)
    }

    /// Returns the largest message that a connection may send, with a token or without, in bytes.
    pub fn connection_message_bytes_max(&self, has_token: bool) -> usize {
        if has_token {
            self.message_bytes_max
        } else {
            self.message_bytes_max.min(ANONYMOUS_MESSAGE_BYTES_MAX)
        }
    }

    pub(super) fn read(reader: &Reader<'_>) -> Self {
        Self {
            heartbeat: intervals(reader),
            anonymous_idle: reader.value(&ANONYMOUS_IDLE),
            topics_per_connection: reader.value(&TOPICS_PER_CONNECTION),
            public_topics: reader.optional(&PUBLIC_TOPICS).unwrap_or_default(),
            deflate: reader.value(&DEFLATE),
            deflate_bytes_min: reader.value(&DEFLATE_MIN_BYTES),
            batching: reader.value(&BATCHING),
            sse_heartbeat: reader.value(&SSE_HEARTBEAT),
            message_bytes_max: reader.value(&MAX_MESSAGE_BYTES),
            commands_per_second: reader.value(&COMMANDS_PER_SECOND),
            connections_per_user: reader.value(&CONNECTIONS_PER_USER),
            connections_max: reader.value(&CONNECTIONS_MAX),
            pending_commands_max: reader.value(&PENDING_COMMANDS_MAX),
            token_warning: reader.value(&TOKEN_WARNING),
            drain_window: reader.value(&DRAIN_WINDOW),
        }
    }
}

/// Reads how often to ping. A bound that is not given is widened to a first interval outside of it.
fn intervals(reader: &Reader<'_>) -> Intervals {
    let start = reader.value(&WS_PING_INTERVAL);
    let min = reader.optional(&WS_PING_INTERVAL_MIN).unwrap_or(PING_INTERVAL_MIN.min(start));
    let max = reader.optional(&WS_PING_INTERVAL_MAX).unwrap_or(PING_INTERVAL_MAX.max(start));
    if start < min {
        let min = show_duration(min);
        reader.wrong(&WS_PING_INTERVAL, format!("give at least WS_PING_INTERVAL_MIN, which is {min}"));
    }
    if start > max {
        let max = show_duration(max);
        reader.wrong(&WS_PING_INTERVAL, format!("give at most WS_PING_INTERVAL_MAX, which is {max}"));
    }
    let (min, max) = if reader.value(&ADAPTIVE_HEARTBEAT) { (min, max) } else { (start, start) };
    Intervals { start, min, max, timeout: reader.value(&WS_PONG_TIMEOUT) }
}

/// Reads patterns of topics, separated by commas.
fn patterns(text: &str) -> Result<Vec<Pattern>, String> {
    let list = text.split(',').map(str::trim).filter(|text| !text.is_empty());
    list.map(|text| text.parse().map_err(|error| format!("{error}; {text:?} is not"))).collect()
}
