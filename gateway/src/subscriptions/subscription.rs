//! One stream of a connection.

use std::{convert::Infallible, time::Duration};

use common::{Seq, Stream, TopicName, message::Message};
use fanout::{Attendance, Pending, StreamReader, log::Page};
use tokio::{sync::oneshot, time::Instant};

use super::{At, Outbox};
use crate::store::DraftList;

/// A stream that a connection follows.
pub(super) struct Subscription {
    /// What the mailbox calls it. Not used again while what was asked for under it may still come.
    pub(super) id: u32,
    pub(super) follower: StreamReader,
    /// A page or a snapshot is on its way; until then the follower is left alone. Dropping it ends the
    /// read.
    pub(super) reading: Option<oneshot::Sender<Infallible>>,
    /// It has come.
    pub(super) arrived: Option<Box<Arrived>>,
    /// It has once stood at the head: needing the log from then on means that the client is slow, and
    /// only from then on are events held back.
    pub(super) live: bool,
    window: Option<Window>,
    pub(super) attendance: Option<Box<Attendance>>,
}

/// What was read for a slot.
pub(super) enum Arrived {
    /// Events.
    Page(Page),
    /// The state instead of events; `None` when it could not be had.
    Snapshot(Option<DraftList>),
}

/// How long events wait for company before they are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    wait: Duration,
    events_max: usize,
    /// When what waits now is sent.
    until: Option<Instant>,
    /// The event up to which everything is sent without waiting again: what had come when a window ended.
    released: Seq,
}

impl Window {
    /// Events wait for `wait`, counted from the first, or until there are `events_max`.
    pub(crate) fn new(wait: Duration, events_max: usize) -> Self {
        Self { wait, events_max, until: None, released: Seq(0) }
    }
}

impl Subscription {
    pub(super) fn new(
        id: u32,
        follower: StreamReader,
        live: bool,
        window: Option<Window>,
        attendance: Option<Box<Attendance>>,
    ) -> Self {
        Self { id, follower, reading: None, arrived: None, live, window, attendance }
    }

    pub(super) fn topic(&self) -> Option<&TopicName> {
        match self.follower.stream() {
            Stream::Topic(topic) => Some(topic),
            Stream::User(_) | Stream::All | Stream::Control => None,
        }
    }

    /// Hands a message of this stream to the outbox; the client stands at `seq` after it.
    pub(super) fn push(&self, outbox: &mut impl Outbox, message: &Message, seq: Seq) {
        let at = At { stream: self.follower.stream(), epoch: self.follower.epoch(), seq };
        outbox.push(message, Some(at));
    }

    /// Until when what is due is held back; `None` to send it now.
    ///
    /// Nothing is put aside for that: the follower is not asked, and its events wait where they are. The clock
    /// is read only where there is a window, because every delivery comes by here.
    pub(super) fn hold(&mut self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        let window = self.window.as_mut().filter(|_| self.live)?;
        let now = now();
        let Pending { events, urgent, near_overflow, live, tip } = self.follower.pending();
        let stands_at = tip.0.saturating_sub(events as u64);
        if live && (events == 0 || stands_at < window.released.0) {
            window.until = None;
            return None;
        }
        let full = events >= window.events_max || near_overflow;
        // What is no longer in memory is not waited for.
        if !live || urgent || full || window.until.is_some_and(|until| until <= now) {
            window.until = None;
            window.released = tip;
            return None;
        }
        Some(*window.until.get_or_insert(now + window.wait))
    }

    /// Returns whether its events wait for more on purpose.
    pub(super) fn has_window(&self) -> bool {
        self.window.is_some()
    }

    /// Forgets what a window has released: the numbers may be others now.
    pub(super) fn restarted(&mut self) {
        self.live = true;
        if let Some(window) = &mut self.window {
            window.released = Seq(0);
        }
    }
}
