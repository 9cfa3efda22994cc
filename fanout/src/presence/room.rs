//! A room: a stream that somebody on this node attends, and those who watch who is there.

use std::{
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use slab::Slab;
use tokio::{sync::Notify, time::Instant};

use super::room_state::RoomState;
use crate::stream::{LocalStream, MailboxSlot, Registration};

/// A stream that somebody on this node attends.
pub(super) struct Room {
    /// Keeps the stream followed, and so its channel subscribed, for as long as the room exists.
    registration: Registration,
    state: Mutex<State>,
    /// Wakes the room's task.
    changed: Notify,
    /// Wakes those who look, after each tick.
    ticked: Notify,
}

/// The members of a room and its watchers.
pub(super) struct State {
    pub(super) members: RoomState,
    /// One for each attendance.
    pub(super) watchers: Slab<MailboxSlot>,
}

impl Room {
    pub(super) fn new(registration: Registration, members: RoomState) -> Self {
        let state = Mutex::new(State { members, watchers: Slab::new() });
        Self { registration, state, changed: Notify::new(), ticked: Notify::new() }
    }

    pub(super) fn stream(&self) -> &LocalStream {
        self.registration.stream()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the room's task tick now.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Wakes those who wait for a tick.
    pub(super) fn ticked(&self) {
        self.ticked.notify_waiters();
    }

    /// Waits until `condition` returns something. It is asked again after each tick. Cancel-safe.
    pub(super) async fn wait_for<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut ticked = pin!(self.ticked.notified());
            // Before the condition is asked: no tick in between is missed.
            ticked.as_mut().enable();
            if let Some(result) = condition() {
                return result;
            }
            ticked.await;
        }
    }

    /// Waits for [`Room::wake`], until `deadline` at most.
    pub(super) async fn woken(&self, deadline: Instant) {
        // Whichever comes first.
        let _ = tokio::time::timeout_at(deadline, self.changed.notified()).await;
    }
}

impl State {
    /// Marks the mailboxes of all watchers, if there is something new for them.
    pub(super) fn wake_watchers(&mut self) {
        if self.members.take_updated() {
            self.watchers.iter().for_each(|(_, watcher)| watcher.mark_for_task());
        }
    }
}
