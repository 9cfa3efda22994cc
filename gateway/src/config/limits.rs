//! Bounds and times of connections, of writes and of the fan-out.

use std::time::Duration;

use common::Pattern;

use super::{reader::Reader, text::show_duration};

/// The largest message of a client without a token, in bytes: all that it has to say are the topics
/// that it follows.
const ANONYMOUS_MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// What one connection, and all of them together, may do.
#[derive(Debug, Clone)]
pub struct WebSocket {
    /// How often a connection is pinged, and when it is dead.
    pub heartbeat: Intervals,
    /// After how long of silence a connection without a token is closed.
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
    /// The longest silence on an event stream.
    pub sse_heartbeat: Duration,
    /// The most commands of one connection that wait for their answer.
    pub pending_commands_max: usize,
    /// How long before its token expires a client is told so.
    pub token_warning: Duration,
    /// Over how long a stopping node sends its clients elsewhere.
    pub drain_window: Duration,
}

/// How often a connection is pinged, depending on its health, and when it is dead.
#[derive(Debug, Clone)]
pub struct Intervals {
    /// At first.
    pub start: Duration,
    /// While answers fail to come, or come unsteadily.
    pub min: Duration,
    /// While all is well.
    pub max: Duration,
    /// For how long a ping may be followed by no sign of life.
    pub timeout: Duration,
}

impl WebSocket {
    /// How many commands a connection that was quiet may send at once.
    pub fn commands_burst(&self) -> u32 {
        self.commands_per_second.saturating_mul(2)
    }

    /// The largest message that a connection may send, with a token or without, in bytes.
    pub fn connection_message_bytes_max(&self, has_token: bool) -> usize {
        if has_token {
            self.message_bytes_max
        } else {
            self.message_bytes_max.min(ANONYMOUS_MESSAGE_BYTES_MAX)
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            heartbeat: intervals(reader),
            anonymous_idle: reader.duration("ANONYMOUS_IDLE"),
            topics_per_connection: reader.count("TOPICS_PER_CONNECTION"),
            public_topics: patterns(reader, "PUBLIC_TOPICS"),
            deflate: reader.choice("DEFLATE") == Some("true"),
            deflate_bytes_min: bytes(reader, "DEFLATE_MIN_BYTES"),
            sse_heartbeat: reader.duration("SSE_HEARTBEAT"),
            message_bytes_max: bytes(reader, "MAX_MESSAGE_BYTES"),
            commands_per_second: reader.count("COMMANDS_PER_SECOND"),
            connections_per_user: reader.count("CONNECTIONS_PER_USER"),
            connections_max: reader.count("CONNECTIONS_MAX"),
            pending_commands_max: reader.count("PENDING_COMMANDS_MAX"),
            token_warning: reader.duration("TOKEN_WARNING"),
            drain_window: reader.duration("DRAIN_WINDOW"),
        }
    }
}

/// How writes are collected, and what users may keep.
#[derive(Debug, Clone)]
pub struct Writes {
    /// Transactions that this node runs side by side.
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
    /// The largest content of one draft, as JSON.
    pub draft_bytes_max: usize,
    /// The largest data of one published event, as JSON.
    pub event_bytes_max: usize,
    /// How long a command is remembered.
    pub command_memory: Duration,
}

impl Writes {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            shards: reader.count("WRITE_SHARDS"),
            queue_max: reader.count("WRITE_QUEUE_MAX"),
            batch_max: reader.count("WRITE_BATCH_MAX"),
            window: reader.duration("WRITE_WINDOW"),
            wait_max: reader.duration("WRITE_WAIT_MAX"),
            drafts_per_user_max: reader.count("DRAFTS_PER_USER_MAX"),
            draft_bytes_max: bytes(reader, "DRAFT_BYTES_MAX"),
            event_bytes_max: bytes(reader, "EVENT_BYTES_MAX"),
            command_memory: reader.duration("COMMAND_MEMORY"),
        }
    }
}

/// The bounds and intervals of the fan-out.
pub(super) fn fanout(reader: &mut Reader<'_>) -> fanout::Settings {
    let sweep_interval = reader.duration("SWEEP_INTERVAL");
    let sweep_interval_unsure = reader.duration("SWEEP_INTERVAL_UNSURE");
    if sweep_interval_unsure > sweep_interval && !sweep_interval.is_zero() {
        reader.wrong(
            "SWEEP_INTERVAL_UNSURE",
            format!("give at most SWEEP_INTERVAL, which is {}", show_duration(sweep_interval)),
        );
    }
    fanout::Settings {
        sweep_interval,
        sweep_interval_unsure,
        linger: reader.duration("LINGER"),
        streams_max: reader.count("STREAMS_MAX"),
        reorder_wait: reader.duration("REORDER_WAIT"),
        fills_max: reader.count("FILLS_MAX"),
        recent_events_max: reader.count("RECENT_EVENTS_MAX"),
        recent_bytes_max: bytes(reader, "RECENT_BYTES_MAX"),
        presence_lease: reader.duration("PRESENCE_LEASE"),
        presence_list_max: reader.count("PRESENCE_LIST_MAX"),
    }
}

/// How often to ping. The bounds give way to a first interval outside of them, unless they are given.
fn intervals(reader: &mut Reader<'_>) -> Intervals {
    let start = reader.duration("WS_PING_INTERVAL");
    let min = match reader.given("WS_PING_INTERVAL_MIN") {
        Some(_) => reader.duration("WS_PING_INTERVAL_MIN"),
        None => PING_INTERVAL_MIN.min(start),
    };
    let max = match reader.given("WS_PING_INTERVAL_MAX") {
        Some(_) => reader.duration("WS_PING_INTERVAL_MAX"),
        None => PING_INTERVAL_MAX.max(start),
    };
    // Zero is what is left of one that could not be read, and was complained about.
    if start < min && !start.is_zero() {
        let min = show_duration(min);
        reader.wrong("WS_PING_INTERVAL", format!("give at least WS_PING_INTERVAL_MIN, which is {min}"));
    }
    if start > max && !max.is_zero() {
        let max = show_duration(max);
        reader.wrong("WS_PING_INTERVAL", format!("give at most WS_PING_INTERVAL_MAX, which is {max}"));
    }
    Intervals { start, min, max, timeout: reader.duration("WS_PONG_TIMEOUT") }
}

/// The shortest interval between pings, unless another is given.
const PING_INTERVAL_MIN: Duration = Duration::from_secs(10);

/// The longest, under the minute after which proxies often end what is silent.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(55);

/// Patterns of topics, separated by commas.
fn patterns(reader: &mut Reader<'_>, env: &str) -> Vec<Pattern> {
    let Some(list) = reader.text(env) else { return Vec::new() };
    let mut patterns = Vec::new();
    for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match text.parse() {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => reader.wrong(env, format!("{error}; {text:?} is not")),
        }
    }
    patterns
}

/// A size in memory.
fn bytes(reader: &mut Reader<'_>, env: &str) -> usize {
    usize::try_from(reader.size(env)).unwrap_or(usize::MAX)
}
