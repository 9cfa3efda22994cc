//! Bounds and intervals of the fan-out.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

/// The settings that hold at the moment, shared by the parts of a hub, which look each time that they need one.
pub(crate) type LiveSettings = Arc<ArcSwap<Settings>>;

/// Bounds and intervals of the fan-out.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often the heads of all followed streams are compared with the log: the upper bound on the delay
    /// of an event whose message was lost.
    pub sweep_interval: Duration,
    /// The same while the bus is not trusted.
    pub sweep_interval_unsure: Duration,
    /// How long a stream with events is kept after its last follower left, so that a reconnect finds it in
    /// memory.
    pub linger: Duration,
    /// Streams kept at once: each is a subscription on the bus, and a row of every sweep.
    pub streams_max: usize,
    /// How long a gap may close by itself before the log is read.
    pub reorder_wait: Duration,
    /// Reads of the log in flight at once, over all streams.
    pub fills_max: usize,
    /// Newest events kept in memory per stream.
    pub recent_events_max: usize,
    /// How long they are kept, all but a few: a client that comes back within it finds them in memory. They go
    /// before twice that and a sweep.
    pub recent_events_age: Duration,
    /// Bytes that these may take, over all streams.
    pub recent_bytes_max: usize,
    /// How long the members that another node announced count as present after its last announcement.
    pub presence_lease: Duration,
    /// The most members of a stream that are listed; more are only counted. At most 1000.
    pub presence_list_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sweep_interval: Duration::from_secs(5),
            sweep_interval_unsure: Duration::from_secs(1),
            linger: Duration::from_secs(30),
            streams_max: 200_000,
            reorder_wait: Duration::from_millis(30),
            fills_max: 3,
            recent_events_max: 1024,
            recent_events_age: Duration::from_secs(60),
            recent_bytes_max: 64 * 1024 * 1024,
            presence_lease: Duration::from_secs(10),
            presence_list_max: 100,
        }
    }
}

impl Settings {
    /// Returns the sweep interval that applies while the bus is trusted, or while it is not.
    pub(crate) fn sweep_interval_while(&self, trusted: bool) -> Duration {
        if trusted { self.sweep_interval } else { self.sweep_interval_unsure }
    }
}
