//! Bounds and times of connections, of writes and of the fan-out.

use std::time::Duration;

use super::{reader::Reader, text::show_duration};

/// What one connection, and all of them together, may do.
#[derive(Debug, Clone)]
pub struct WebSocket {
    /// How often a connection is pinged.
    pub ping_interval: Duration,
    /// After how long without a sign of life it is closed; more than the ping interval.
    pub pong_timeout: Duration,
    /// The largest message from a client.
    pub message_bytes_max: usize,
    /// How many commands a second one connection may send on average.
    pub commands_per_second: u32,
    /// The most connections of one user to this node.
    pub connections_per_user: usize,
    /// The most connections to this node.
    pub connections_max: usize,
    /// The most commands of one connection that wait for their answer.
    pub pending_commands_max: usize,
    /// How long before its token expires a client is told so.
    pub token_warning: Duration,
    /// Over how long a stopping node sends its clients elsewhere.
    pub drain_window: Duration,
}

impl WebSocket {
    /// How many commands a connection that was quiet may send at once.
    pub fn commands_burst(&self) -> u32 {
        self.commands_per_second.saturating_mul(2)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let ping_interval = reader.duration("WS_PING_INTERVAL");
        let pong_timeout = reader.duration("WS_PONG_TIMEOUT");
        // Zero is what is left of one that could not be read, and was complained about.
        if pong_timeout <= ping_interval && !pong_timeout.is_zero() {
            reader.wrong(
                "WS_PONG_TIMEOUT",
                format!("give more than WS_PING_INTERVAL, which is {}", show_duration(ping_interval)),
            );
        }
        Self {
            ping_interval,
            pong_timeout,
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
        reorder_wait: reader.duration("REORDER_WAIT"),
        fills_max: reader.count("FILLS_MAX"),
        recent_events_max: reader.count("RECENT_EVENTS_MAX"),
        recent_bytes_max: bytes(reader, "RECENT_BYTES_MAX"),
        presence_lease: reader.duration("PRESENCE_LEASE"),
        presence_list_max: reader.count("PRESENCE_LIST_MAX"),
    }
}

/// A size in memory.
fn bytes(reader: &mut Reader<'_>, env: &str) -> usize {
    usize::try_from(reader.size(env)).unwrap_or(usize::MAX)
}
