//! The presence of one stream on one node, without I/O: who attends, who announces, who is told.

use std::{sync::Arc, time::Duration};

use common::{Message, ids::NodeId, protocol::Device};
use tokio::time::Instant;

use super::{
    announcement::{Announcement, Here},
    census::{Census, Change, Heard},
    herald::Herald,
    news::News,
};

/// Announcements, local members and time in; announcements and news out. It is told when something
/// happens and [ticked](Room::tick) at the times that it asks for.
#[derive(Debug)]
pub(crate) struct Room {
    list_max: usize,
    lease: Duration,
    census: Census,
    herald: Herald,
    news: News,
    /// What [`Trust`] was at the last tick.
    trust: Trust,
    /// When it wanted to be ticked again.
    next: Option<Instant>,
    /// The last lease's end, while that is near and the others have been asked because of it.
    doubted: Option<Instant>,
    /// Watchers are due something.
    fresh: bool,
}

/// What is known of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Copies arrive, as far as anything shows.
    pub(crate) trusted: bool,
    /// Counts the moments at which copies may have been lost.
    pub(crate) generation: u64,
}

/// What a tick wants done.
#[derive(Debug)]
pub(crate) struct Tick {
    /// Announce this, and whether to ask for the others' announcements with it.
    pub(crate) announce: Option<(Here, bool)>,
    /// Before that, subscribe to the stream's channel anew: nobody is heard on it.
    pub(crate) subscribe_again: bool,
    /// Nodes whose lease has ended while they had members.
    pub(crate) expired: usize,
    /// When to tick again; `None` when nobody attends here and everybody has been told so.
    pub(crate) next: Option<Instant>,
}

/// The part of a lease by which a tick is late only when the whole process stood still. Ticks are a third
/// of a lease apart at most, and members that are well have two thirds left, so nobody is taken for gone
/// who could not be heard.
const LATE: u32 = 6;

impl Room {
    /// A room for a stream that clients call `stream`, in which nobody is yet.
    pub(crate) fn new(stream: String, list_max: usize, lease: Duration, trust: Trust) -> Self {
        Self {
            list_max,
            lease,
            census: Census::new(lease),
            herald: Herald::new(lease),
            news: News::new(stream, list_max),
            trust,
            next: None,
            doubted: None,
            fresh: false,
        }
    }

    /// Nobody attends through this node.
    pub(crate) fn is_empty(&self) -> bool {
        self.census.local().is_empty()
    }

    /// A connection attends. Returns whether its device is a new member of this node.
    pub(crate) fn join(&mut self, device: &Device, now: Instant) -> bool {
        let mut changes = Vec::new();
        let new = self.census.join(device, &mut changes);
        self.local_change(new, &changes, now);
        new
    }

    /// A connection no longer attends. Returns whether its device is no longer a member of this node.
    pub(crate) fn leave(&mut self, device: &Device, now: Instant) -> bool {
        let mut changes = Vec::new();
        let gone = self.census.leave(device, &mut changes);
        self.local_change(gone, &changes, now);
        gone
    }

    fn local_change(&mut self, changed: bool, changes: &[Change], now: Instant) {
        if changed {
            self.herald.announce();
        }
        if !changes.is_empty() {
            self.fresh |= self.news.changed(changes, &self.census, now);
        }
    }

    /// Takes what another node announced.
    pub(crate) fn hear(&mut self, node: NodeId, announcement: Announcement, now: Instant) -> Heard {
        let Announcement { version, asks, here } = announcement;
        if asks && !self.is_empty() {
            self.herald.announce();
        }
        let counts = self.census.counts();
        let heard = self.census.hear(node, version, here, now);
        if let Heard::Taken(changes) = &heard
            && (!changes.is_empty() || counts != self.census.counts())
        {
            self.fresh |= self.news.changed(changes, &self.census, now);
        }
        heard
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Instant, trust: Trust) -> Tick {
        let mut expired = 0;
        // This process stood still, or its machine did: what the others have said meanwhile is still to
        // be read. No canary need show it, the last one may have come back before.
        let slept = self.next.is_some_and(|next| now.saturating_duration_since(next) > self.lease / LATE);
        if !trust.trusted {
            self.trust.trusted = false;
        } else if slept || trust != self.trust {
            // What the others have said meanwhile may be lost.
            self.trust = trust;
            self.census.renew_all(now);
            self.herald.ask();
        } else {
            let (mut changes, counts) = (Vec::new(), self.census.counts());
            expired = self.census.expire(now, &mut changes);
            if !changes.is_empty() || counts != self.census.counts() {
                self.fresh |= self.news.changed(&changes, &self.census, now);
            }
        }
        self.fresh |= self.news.tell(now);
        let doubt = self.next_doubt().filter(|_| trust.trusted && !self.is_empty());
        let subscribe_again = doubt.is_some_and(|doubt| doubt <= now);
        if subscribe_again {
            self.doubted = self.census.last_expiry();
            self.herald.ask();
        }
        let doubt = doubt.filter(|_| !subscribe_again);
        let has_members = !self.is_empty();
        let announce = self.herald.take(has_members, now).map(|asks| (self.here(), asks));
        let expiry = if trust.trusted { self.census.next_expiry() } else { None };
        let announcement = self.herald.next(has_members, now);
        let next = match announcement {
            Some(announcement) => [expiry, doubt, self.news.next(now)]
                .into_iter()
                .flatten()
                .fold(announcement, Instant::min)
                .into(),
            None => None,
        };
        self.next = next;
        Tick { announce, subscribe_again, expired, next }
    }

    /// The stream's channel is subscribed. What others said before may be lost.
    pub(crate) fn subscribed(&mut self) {
        if self.doubted.is_some() && self.doubted == self.census.last_expiry() {
            self.herald.ask();
        }
    }

    /// When to doubt that the channel is heard: a third of the lease before nobody else would be left. A
    /// single subscription can be deaf while canaries return, as when a Redis Cluster moves its slot;
    /// several nodes do not die at once as often.
    fn next_doubt(&self) -> Option<Instant> {
        let last = self.census.last_expiry().filter(|last| self.doubted != Some(*last))?;
        last.checked_sub(self.lease / 3)
    }

    /// Whether watchers are due something that they have not been woken for.
    pub(crate) fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    /// What a watcher is due, who was last told number `seen`.
    pub(crate) fn due(&mut self, seen: &mut Option<u64>) -> Vec<Arc<Message>> {
        self.news.due(seen, &self.census)
    }

    fn here(&self) -> Here {
        let local = self.census.local();
        if local.len() > self.list_max { Here::Counted(local.counts()) } else { Here::Listed(local.list()) }
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
