//! What makes an event that was committed on one node reach the followers of every node: all, once,
//! in order.
//!
//! The [`log`] is the truth, the [`bus`] carries copies that may get lost. The [`hub`] keeps the streams
//! complete that somebody on this node follows; each has a [`sequencer`] that turns copies into the gapless
//! sequence and asks the log for what is missing. A [`Follower`] is a cursor; it reads the newest
//! events from memory and older ones from the log. The sweep finds what no copy announced, and the
//! [`canary`] a subscription that is deaf.

mod batch;
mod block;
pub mod bus;
pub mod canary;
pub mod envelope;
mod fill;
mod followed;
mod follower;
pub mod hub;
mod inbox;
pub mod log;
mod mailbox;
pub mod presence;
mod recent;
pub mod sequencer;
mod shared_log;
mod signals;
mod streams;
mod sweep;
#[cfg(test)]
mod testing;
mod wire;

use std::time::Duration;

pub use block::{Block, Due};
pub use follower::{Follower, Pending, Step};
pub use hub::Hub;
pub use mailbox::Mailbox;
use metrics::counter;
pub use presence::Attendance;
pub use recent::Delivery;

/// Bounds and intervals of the fan-out.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often the heads of all followed streams are compared with the log: the bound on how late
    /// an event can be that no copy announced.
    pub sweep_interval: Duration,
    /// The same while the bus is known to lose copies or to be gone.
    pub sweep_interval_unsure: Duration,
    /// How long a stream with events that nobody follows any more is kept, so that a reconnect finds it.
    pub linger: Duration,
    /// Streams kept at once: each is a subscription on the bus, and a row of every sweep.
    pub streams_max: usize,
    /// How long a hole may close by itself before the log is read.
    pub reorder_wait: Duration,
    /// Reads of the log under way at once, over all streams.
    pub fills_max: usize,
    /// Newest events kept in memory per stream.
    pub recent_events_max: usize,
    /// Bytes that these may take, over all streams.
    pub recent_bytes_max: usize,
    /// How long a node that is not heard of any more counts as having the members that it last
    /// announced.
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
            recent_bytes_max: 64 * 1024 * 1024,
            presence_lease: Duration::from_secs(10),
            presence_list_max: 100,
        }
    }
}

/// How an event came to this node, or to a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Committed here.
    Local,
    /// A copy over the bus.
    Bus,
    /// Read from the log because a later copy showed that it was missing.
    GapFill,
    /// Read from the log because the sweep found it.
    Sweep,
    /// Read from the log for a follower that came back or fell behind.
    Replay,
}

impl Source {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Bus => "bus",
            Self::GapFill => "gap_fill",
            Self::Sweep => "sweep",
            Self::Replay => "replay",
        }
    }

    fn released(self, events: usize) {
        if events > 0 {
            counter!("draftwire_events_sequenced_total", "source" => self.label()).increment(events as u64);
        }
    }
}
