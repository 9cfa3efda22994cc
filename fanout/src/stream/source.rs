//! How an event reached this node.

use metrics::counter;

/// How an event came to this node, or to a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Committed by this node.
    Local,
    /// A copy received over the bus.
    Bus,
    /// Read from the log because a later event showed that it was missing.
    GapFill,
    /// Read from the log because an application has committed it there, past all nodes.
    Notice,
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
            Self::Notice => "notice",
            Self::Sweep => "sweep",
            Self::Replay => "replay",
        }
    }

    /// Counts events that a sequencer released.
    pub(crate) fn count_released(self, events: usize) {
        if events > 0 {
            counter!("draftwire_events_sequenced_total", "source" => self.label()).increment(events as u64);
        }
    }
}
