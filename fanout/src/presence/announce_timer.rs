//! When a node announces its members of a stream. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two announcements about one stream. The next one covers all changes meanwhile.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Heartbeats in a lease: one may be lost.
const HEARTBEATS: u32 = 3;

/// Lets a node announce at once, then not again within [`PAUSE`], and at the latest a third of the lease later.
#[derive(Debug)]
pub(crate) struct AnnounceTimer {
    lease: Duration,
    /// When the node last announced; `None` before the first time.
    last: Option<Instant>,
    /// The members have changed since, or another node has asked.
    due: bool,
    /// The next announcement asks the other nodes for theirs.
    asks: bool,
}

impl AnnounceTimer {
    /// Nothing is known of the other nodes yet, so the first announcement asks.
    pub(crate) fn new(lease: Duration) -> Self {
        Self { lease, last: None, due: true, asks: true }
    }

    /// The members have changed, or another node asks for them.
    pub(crate) fn request(&mut self) {
        self.due = true;
    }

    /// Announcements of other nodes may have been lost.
    pub(crate) fn ask_others(&mut self) {
        self.due = true;
        self.asks = true;
    }

    /// When the next announcement is due; `None` when there is none. Without members there is no heartbeat.
    pub(crate) fn next(&self, has_members: bool, now: Instant) -> Option<Instant> {
        match self.last {
            None => Some(now),
            Some(last) if self.due => Some(last + PAUSE),
            Some(last) => has_members.then(|| last + self.lease / HEARTBEATS),
        }
    }

    /// Returns whether the announcement asks the other nodes, if one is due; `None` otherwise. The caller
    /// announces.
    pub(crate) fn take(&mut self, has_members: bool, now: Instant) -> Option<bool> {
        if self.next(has_members, now).is_none_or(|next| next > now) {
            return None;
        }
        self.last = Some(now);
        self.due = false;
        Some(std::mem::take(&mut self.asks))
    }
}
