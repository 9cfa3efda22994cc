//! What a node says of itself: the same in what it sends to the others and in what operators are shown.
//!
//! Every field may be absent in what a node of another version sends, and is then zero or empty; fields that are not
//! known are ignored.

use common::operations::Tally;
use serde::{Deserialize, Serialize};

use crate::operations::rounded;

/// How a node is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Facts {
    /// Its name.
    pub(crate) node: String,
    /// Its version.
    pub(crate) version: String,
    /// When it began, Unix milliseconds, by its clock.
    pub(crate) started_at: u64,
    /// When it said this, Unix milliseconds, by its clock.
    pub(crate) as_of: u64,
    /// Whether it stops.
    pub(crate) stopping: bool,
    /// Its connections.
    pub(crate) connections: ConnectionCounts,
    /// Users with at least one connection to it.
    pub(crate) users: u64,
    /// Streams that are followed through it.
    pub(crate) streams: u64,
    /// How fast things happen.
    pub(crate) rates: Rates,
    /// How often things have happened since it began.
    pub(crate) totals: Totals,
    /// How many processors it uses: 1 is one of them, all the time.
    pub(crate) processors: f64,
    /// Memory in use.
    pub(crate) memory_bytes: u64,
    /// What waits.
    pub(crate) queues: Queues,
    /// The bus, as it sees it.
    pub(crate) bus: Part,
    /// The store, as it sees it.
    pub(crate) store: Part,
    /// How late an event can be at most that no copy announced.
    pub(crate) sweep_interval_ms: u64,
    /// What it remembers.
    pub(crate) caches: Vec<CacheFacts>,
    /// The version of the settings that it uses; zero while none was changed at run time.
    pub(crate) settings_version: u64,
}

/// The connections of a node, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConnectionCounts {
    /// All of them.
    pub(crate) total: u64,
    /// WebSockets.
    pub(crate) web_sockets: u64,
    /// Event streams.
    pub(crate) event_streams: u64,
    /// Those whose client has sent something else than heartbeats within the last minute.
    pub(crate) active: u64,
    /// The others.
    pub(crate) idle: u64,
    /// How many there may be.
    pub(crate) max: u64,
}

/// How often things happen in a second, over the last ten of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rates {
    /// Messages of clients over WebSockets, and requests of the API that change something.
    pub(crate) messages_in: f64,
    /// Events handed to connections, and answers over WebSockets.
    pub(crate) messages_out: f64,
    /// Bytes from clients.
    pub(crate) bytes_in: f64,
    /// Bytes to clients.
    pub(crate) bytes_out: f64,
    /// Connections that were opened.
    pub(crate) connections: f64,
    /// Connections of clients that had been connected before; within the last minute, not in a second.
    pub(crate) reconnections_per_minute: f64,
}

/// How often things have happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Totals {
    /// As in [`Rates`].
    pub(crate) messages_in: u64,
    /// As in [`Rates`].
    pub(crate) messages_out: u64,
    /// As in [`Rates`].
    pub(crate) bytes_in: u64,
    /// As in [`Rates`].
    pub(crate) bytes_out: u64,
    /// Connections that clients have tried to open.
    pub(crate) attempts: u64,
    /// Connections that were opened.
    pub(crate) connections: u64,
    /// Those of clients that had been connected before.
    pub(crate) reconnections: u64,
    /// Copies and repeated commands that had no effect because they had had it already.
    pub(crate) duplicates_suppressed: u64,
    /// Times that a client was told that events are gone.
    pub(crate) gaps_reported: u64,
    /// Signs that the store lacks events that were acknowledged.
    pub(crate) history_losses: u64,
}

/// What waits in a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Queues {
    /// Writes that wait for their commit.
    pub(crate) writes: u64,
    /// How many may wait.
    pub(crate) writes_max: u64,
    /// Bytes of the writes that wait or are being committed.
    pub(crate) write_bytes: u64,
    /// Subscriptions whose events wait in a batch window.
    pub(crate) pending_batches: u64,
    /// The connections to Postgres; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<PoolFacts>,
}

/// The connections of a node to Postgres.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PoolFacts {
    /// Those that are open.
    pub(crate) open: u64,
    /// Those that a call uses.
    pub(crate) busy: u64,
    /// Calls that wait for one.
    pub(crate) waiting: u64,
    /// How many there may be.
    pub(crate) max: u64,
}

/// The store or the bus of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Part {
    /// Which one there is.
    pub(crate) kind: String,
    /// Of the store, whether it answers; of the bus, whether it is known to deliver.
    pub(crate) ok: bool,
}

/// What a node remembers so that it need not ask.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CacheFacts {
    /// `tokens`, `answers` (of the application's backend), `drafts`, or `events`.
    pub(crate) name: String,
    /// How often it was of use, since the node began.
    pub(crate) hits: u64,
    /// How often it was not.
    pub(crate) misses: u64,
    /// The share of hits, 0 to 1; 0 where it was never asked.
    pub(crate) hit_rate: f64,
    /// How much it holds; absent where that is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entries: Option<u64>,
}

impl CacheFacts {
    /// A cache, with its share of hits.
    pub(crate) fn new(name: &str, hits: u64, misses: u64, entries: Option<u64>) -> Self {
        let mut cache = Self { name: name.to_owned(), hits, misses, hit_rate: 0.0, entries };
        cache.rate();
        cache
    }

    fn rate(&mut self) {
        let asked = self.hits.saturating_add(self.misses);
        self.hit_rate = if asked == 0 { 0.0 } else { rounded(self.hits as f64 / asked as f64) };
    }

    /// Adds that of another node.
    pub(super) fn add(&mut self, other: &Self) {
        self.hits = self.hits.saturating_add(other.hits);
        self.misses = self.misses.saturating_add(other.misses);
        self.entries = match (self.entries, other.entries) {
            (None, None) => None,
            (own, other) => Some(own.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        self.rate();
    }
}

/// Adds numbers field by field.
macro_rules! add_fields {
    ($to:expr, $from:expr, $($field:ident),*) => { $($to.$field = $to.$field.saturating_add($from.$field);)* };
}

impl ConnectionCounts {
    pub(super) fn add(&mut self, other: &Self) {
        add_fields!(self, other, total, web_sockets, event_streams, active, idle, max);
    }
}

impl Totals {
    /// Those of this process.
    pub(super) fn now() -> Self {
        Self {
            messages_in: Tally::MessagesIn.total(),
            messages_out: Tally::MessagesOut.total(),
            bytes_in: Tally::BytesIn.total(),
            bytes_out: Tally::BytesOut.total(),
            attempts: Tally::Attempts.total(),
            connections: Tally::Connections.total(),
            reconnections: Tally::Reconnections.total(),
            duplicates_suppressed: Tally::Duplicates.total(),
            gaps_reported: Tally::Gaps.total(),
            history_losses: Tally::Losses.total(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        add_fields!(self, other, messages_in, messages_out, bytes_in, bytes_out, attempts, connections);
        add_fields!(self, other, reconnections, duplicates_suppressed, gaps_reported, history_losses);
    }
}

impl PoolFacts {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, open, busy, waiting, max);
    }
}

impl Queues {
    pub(super) fn add(&mut self, other: &Self) {
        add_fields!(self, other, writes, writes_max, write_bytes, pending_batches);
        if let Some(pool) = &other.pool {
            self.pool.get_or_insert_default().add(pool);
        }
    }
}

impl Rates {
    pub(super) fn add(&mut self, other: &Self) {
        for (own, other) in [
            (&mut self.messages_in, other.messages_in),
            (&mut self.messages_out, other.messages_out),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.connections, other.connections),
            (&mut self.reconnections_per_minute, other.reconnections_per_minute),
        ] {
            *own = rounded(*own + other);
        }
    }
}
