//! When a node announces who attends through it. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two announcements about one stream: whoever comes and goes meanwhile is in
/// the next one.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Heartbeats in a lease: one may be lost.
const HEARTBEATS: u32 = 3;

/// Announces at once, then not again within [`PAUSE`], and at the latest a third of the lease later.
#[derive(Debug)]
pub(crate) struct Herald {
    lease: Duration,
    /// When it last did; `None` before the first time.
    last: Option<Instant>,
    /// Something has changed since, or somebody has asked.
    due: bool,
    /// The next announcement asks the others for theirs.
    asks: bool,
}

impl Herald {
    /// Nothing is known of the others: the first announcement asks.
    pub(crate) fn new(lease: Duration) -> Self {
        Self { lease, last: None, due: true, asks: true }
    }

    /// Who attends has changed, or somebody asks who does.
    pub(crate) fn announce(&mut self) {
        self.due = true;
    }

    /// Announcements of others may have been lost.
    pub(crate) fn ask(&mut self) {
        self.due = true;
        self.asks = true;
    }

    /// When the next announcement is due; `None` when there is nothing to say. Without members there is no
    /// heartbeat.
    pub(crate) fn next(&self, has_members: bool, now: Instant) -> Option<Instant> {
        match self.last {
            None => Some(now),
            Some(last) if self.due => Some(last + PAUSE),
            Some(last) => has_members.then(|| last + self.lease / HEARTBEATS),
        }
    }

    /// Announces, if it is time. Returns whether to ask with it.
    pub(crate) fn take(&mut self, has_members: bool, now: Instant) -> Option<bool> {
        if self.next(has_members, now).is_none_or(|next| next > now) {
            return None;
        }
        self.last = Some(now);
        self.due = false;
        Some(std::mem::take(&mut self.asks))
    }
}
