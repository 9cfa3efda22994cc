//! The presence of one stream on one node, without I/O.

use std::{sync::Arc, time::Duration};

use common::{Message, ids::NodeId, protocol::Device};
use tokio::time::Instant;

use super::{
    announce_timer::{AnnounceTimer, PAUSE},
    announcement::{Announcement, Counts, LocalMembers},
    membership::{Change, Heard, Membership},
    updates::PresenceUpdates,
};
use crate::repair::Trust;

/// Takes the joins and leaves of this node, the announcements of others, and time; returns announcements and
/// messages for watchers. The owner [ticks](RoomState::tick) it at the times that it asks for.
#[derive(Debug)]
pub(crate) struct RoomState {
    list_max: usize,
    lease: Duration,
    membership: Membership,
    timer: AnnounceTimer,
    updates: PresenceUpdates,
    /// The trust in the bus at the last tick that used it.
    trust: Trust,
    /// When the next tick was due.
    next: Option<Instant>,
    /// The end of the last lease, once the other nodes were asked because it was near.
    rechecked: Option<Instant>,
    /// There is something to send to watchers.
    updated: bool,
    /// Those who look without being present.
    observers: usize,
    /// When the other nodes were last asked for their members.
    asked: Option<Instant>,
}

/// Whether all members are known, as far as this node can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    /// From this moment on: the other nodes were asked, and have had [`SETTLE`] to announce.
    At(Instant),
    /// The other nodes are about to be asked, at the next tick.
    Asking,
    /// The bus is not trusted, so announcements may be missing.
    Unsure,
}

/// How long other nodes have to announce their members once they were asked. A node that has just announced waits
/// for [`PAUSE`] before it does so again; the rest is for the way.
const SETTLE: Duration = PAUSE.saturating_mul(3);

/// What the owner has to do after a tick.
#[derive(Debug)]
pub(crate) struct Tick {
    /// Announce these members, and whether to ask the other nodes for theirs.
    pub(crate) announce: Option<(LocalMembers, bool)>,
    /// Before that, subscribe to the stream's channel again: no other node is heard on it.
    pub(crate) resubscribe: bool,
    /// Nodes whose lease has ended while they had members.
    pub(crate) expired: usize,
    /// When to tick again; `None` when nobody attends through this node and that has been announced, and nobody looks.
    pub(crate) next: Option<Instant>,
}

/// A tick that is late by this part of a lease shows that the whole process stood still. Ticks are at most a
/// third of a lease apart, and members of healthy nodes have two thirds left, so nobody's lease ends because
/// this process did not run.
const LATE: u32 = 6;

impl RoomState {
    /// An empty room; `stream` is the stream's name in the protocol.
    pub(crate) fn new(stream: String, list_max: usize, lease: Duration, trust: Trust) -> Self {
        Self {
            list_max,
            lease,
            membership: Membership::new(lease),
            timer: AnnounceTimer::new(lease),
            updates: PresenceUpdates::new(stream, list_max),
            trust,
            next: None,
            rechecked: None,
            updated: false,
            observers: 0,
            asked: None,
        }
    }

    /// Returns whether nobody attends through this node, and nobody looks.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_members() && self.observers == 0
    }

    /// Returns whether somebody attends through this node.
    pub(crate) fn has_members(&self) -> bool {
        !self.membership.local().is_empty()
    }

    /// Somebody looks who is not present, until [`RoomState::unobserve`].
    pub(crate) fn observe(&mut self) {
        self.observers += 1;
    }

    pub(crate) fn unobserve(&mut self) {
        self.observers -= 1;
    }

    /// Returns when all members are known, while the bus is trusted like this.
    pub(crate) fn settling(&self, trust: Trust) -> Settling {
        match self.asked {
            _ if !trust.trusted => Settling::Unsure,
            Some(asked) if trust == self.trust => Settling::At(asked + SETTLE),
            _ => Settling::Asking,
        }
    }

    /// Returns the members, unless they are too many to list, and how many they are.
    pub(crate) fn members(&self) -> (Option<Vec<Device>>, Counts) {
        let listed = (!self.updates.is_counted()).then(|| self.membership.listed().list());
        (listed, self.membership.counts())
    }

    /// A connection attends. Returns whether its device is a new member of this node.
    pub(crate) fn join(&mut self, device: &Device, now: Instant) -> bool {
        let mut changes = Vec::new();
        let new = self.membership.join(device, &mut changes);
        self.local_change(new, &changes, now);
        new
    }

    /// A connection no longer attends. Returns whether its device has left this node.
    pub(crate) fn leave(&mut self, device: &Device, now: Instant) -> bool {
        let mut changes = Vec::new();
        let gone = self.membership.leave(device, &mut changes);
        self.local_change(gone, &changes, now);
        gone
    }

    fn local_change(&mut self, changed: bool, changes: &[Change], now: Instant) {
        if changed {
            self.timer.request();
        }
        if !changes.is_empty() {
            self.updated |= self.updates.add(changes, &self.membership, now);
        }
    }

    /// Takes what another node announced.
    pub(crate) fn hear(&mut self, node: NodeId, announcement: Announcement, now: Instant) -> Heard {
        let Announcement { version, asks, members } = announcement;
        if asks && self.has_members() {
            self.timer.request();
        }
        let counts = self.membership.counts();
        let heard = self.membership.hear(node, version, members, now);
        if let Heard::Applied(changes) = &heard
            && (!changes.is_empty() || counts != self.membership.counts())
        {
            self.updated |= self.updates.add(changes, &self.membership, now);
        }
        heard
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Instant, trust: Trust) -> Tick {
        let mut expired = 0;
        // This process stood still, or its machine did: the announcements of the others are still to be read.
        // No canary need show it: the last one may have returned before.
        let slept = self.next.is_some_and(|next| now.saturating_duration_since(next) > self.lease / LATE);
        if !trust.trusted {
            self.trust.trusted = false;
        } else if slept || trust != self.trust {
            // Announcements may have been lost meanwhile.
            self.trust = trust;
            self.membership.renew_all(now);
            self.timer.ask_others();
        } else {
            let (mut changes, counts) = (Vec::new(), self.membership.counts());
            expired = self.membership.expire(now, &mut changes);
            if !changes.is_empty() || counts != self.membership.counts() {
                self.updated |= self.updates.add(&changes, &self.membership, now);
            }
        }
        self.updated |= self.updates.send_state(now);
        let recheck = self.next_recheck().filter(|_| trust.trusted && !self.is_empty());
        let resubscribe = recheck.is_some_and(|recheck| recheck <= now);
        if resubscribe {
            self.rechecked = self.membership.last_expiry();
            self.timer.ask_others();
        }
        let recheck = recheck.filter(|_| !resubscribe);
        let has_members = self.has_members();
        let announce = self.timer.take(has_members, now).map(|asks| (self.local_members(), asks));
        if matches!(announce, Some((_, true))) {
            self.asked = Some(now);
        }
        let expiry = if trust.trusted { self.membership.next_expiry() } else { None };
        let observed = (self.observers > 0).then(|| now + self.lease);
        let next = match self.timer.next(has_members, now).or(observed) {
            Some(announcement) => [expiry, recheck, self.updates.next_state(now)]
                .into_iter()
                .flatten()
                .fold(announcement, Instant::min)
                .into(),
            None => None,
        };
        self.next = next;
        Tick { announce, resubscribe, expired, next }
    }

    /// The stream's channel is subscribed. Earlier announcements may have been lost.
    pub(crate) fn subscribed(&mut self) {
        if self.rechecked.is_some() && self.rechecked == self.membership.last_expiry() {
            self.timer.ask_others();
        }
    }

    /// When to check that the channel is still heard: a third of the lease before the last other node would be
    /// gone. A single subscription can be deaf while canaries return, as when a Redis Cluster moves its slot;
    /// it is less likely that all nodes died at once.
    fn next_recheck(&self) -> Option<Instant> {
        let last = self.membership.last_expiry().filter(|last| self.rechecked != Some(*last))?;
        last.checked_sub(self.lease / 3)
    }

    /// Returns whether there is something to send to watchers that they have not been woken for.
    pub(crate) fn take_updated(&mut self) -> bool {
        std::mem::take(&mut self.updated)
    }

    /// Returns the messages for a watcher that was last sent number `seen`.
    pub(crate) fn due(&mut self, seen: &mut Option<u64>) -> Vec<Arc<Message>> {
        self.updates.due(seen, &self.membership)
    }

    fn local_members(&self) -> LocalMembers {
        let local = self.membership.local();
        if local.len() > self.list_max {
            LocalMembers::Counted(local.counts())
        } else {
            LocalMembers::Listed(local.list())
        }
    }
}

#[cfg(test)]
#[path = "room_state_tests.rs"]
mod tests;
