//! The rooms of a node: a task for each stream that somebody here attends, which announces over the bus
//! and lets time pass.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{Stream, ids::NodeId, protocol::Device};
use metrics::{counter, gauge};
use slab::Slab;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tracing::debug;

use super::{
    announcement::{self, Announcement},
    attendance::Attendance,
    census::Heard,
    room::Room,
};
use crate::{bus::Channel, followed::Followed, follower::Follower, hub::Hub, mailbox::Mailbox};

/// Every stream that somebody on this node attends. Lock order: this map before a room; neither is held
/// while the bus is called, which may deliver before it returns.
#[derive(Default)]
pub(crate) struct Rooms {
    attended: Mutex<BTreeMap<Stream, Arc<Attended>>>,
    /// Numbers the announcements of this process, over all streams: a room that is left and entered
    /// again goes on where it ended.
    version: AtomicU64,
}

/// A stream that somebody on this node attends.
pub(crate) struct Attended {
    followed: Arc<Followed>,
    /// Keeps the stream followed, and so its channel subscribed, for as long as the room exists.
    seat: u32,
    state: Mutex<State>,
    /// Asks the room's task to look.
    notify: Notify,
}

/// A room and those who watch it.
pub(crate) struct State {
    pub(crate) room: Room,
    pub(crate) watchers: Slab<Watcher>,
}

/// An attendance, as its room sees it.
pub(crate) struct Watcher {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) slot: u32,
}

impl Attended {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }
}

impl State {
    /// Marks the mailboxes of all watchers, if they are due something.
    pub(crate) fn wake_watchers(&mut self) {
        if self.room.take_fresh() {
            for (_, watcher) in &self.watchers {
                watcher.mailbox.mark(watcher.slot);
            }
        }
    }
}

impl Rooms {
    fn attended(&self) -> MutexGuard<'_, BTreeMap<Stream, Arc<Attended>>> {
        self.attended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every room look at the bus: it may be trusted again.
    pub(crate) fn wake_all(&self) {
        for attended in self.attended().values() {
            attended.wake();
        }
    }
}

impl Hub {
    /// Makes a device present in the stream that the follower follows, for as long as the attendance
    /// lives, and tells it who else is: `mailbox` is marked with `slot` whenever
    /// [`Attendance::due`] has something, which is so at once.
    ///
    /// A device may attend several times, through several connections and nodes: it is present once,
    /// while any of them remains. Called on the Tokio runtime that the hub runs on.
    pub fn attend(
        &self,
        follower: &Follower,
        device: Device,
        mailbox: Arc<Mailbox>,
        slot: u32,
    ) -> Attendance {
        let mut rooms = self.rooms.attended();
        let attended = match rooms.get(follower.stream()) {
            Some(attended) => attended.clone(),
            None => {
                let attended = self.open_room(follower.followed());
                rooms.insert(follower.stream().clone(), attended.clone());
                attended
            }
        };
        let mut state = attended.state();
        let watcher = state.watchers.insert(Watcher { mailbox: mailbox.clone(), slot });
        if state.room.join(&device, Instant::now()) {
            gauge!("draftwire_presence_members").increment(1.0);
        }
        state.wake_watchers();
        drop(state);
        drop(rooms);
        mailbox.mark(slot);
        attended.wake();
        Attendance::new(attended, device, watcher)
    }

    fn open_room(&self, followed: &Arc<Followed>) -> Arc<Attended> {
        let settings = self.settings();
        let list_max = settings.presence_list_max.min(announcement::LIST_MAX);
        let room = Room::new(followed.stream.wire_name(), list_max, settings.presence_lease, self.trust());
        let attended = Arc::new(Attended {
            followed: followed.clone(),
            // Events do not concern the room: nobody reads this mailbox.
            seat: followed.sit(Arc::default(), 0),
            state: Mutex::new(State { room, watchers: Slab::new() }),
            notify: Notify::new(),
        });
        if let Some(hub) = self.myself.get() {
            tokio::spawn(run(hub.clone(), attended.clone()));
        }
        attended
    }

    /// Takes what another node announced, if anybody here watches.
    pub(crate) fn announced(&self, stream: &Stream, sender: NodeId, body: &[u8]) {
        let Some(attended) = self.rooms.attended().get(stream).cloned() else { return };
        let announcement = match announcement::decode(body) {
            Ok(announcement) => announcement,
            Err(error) => {
                counter!("draftwire_bus_messages_rejected_total", "reason" => error.label()).increment(1);
                debug!(%stream, %sender, %error, "rejected an announcement");
                return;
            }
        };
        counter!("draftwire_presence_announcements_total", "direction" => "received").increment(1);
        let mut state = attended.state();
        let heard = state.room.hear(sender, announcement, Instant::now());
        state.wake_watchers();
        drop(state);
        if heard == Heard::Full {
            counter!("draftwire_bus_messages_rejected_total", "reason" => "nodes").increment(1);
        }
        attended.wake();
    }

    /// The channel of a stream is subscribed from now on.
    pub(crate) fn subscribed_room(&self, stream: &Stream) {
        let Some(attended) = self.rooms.attended().get(stream).cloned() else { return };
        attended.state().room.subscribed();
        attended.wake();
    }

    /// Lets time pass in a room. Returns when to do so again; `None` when the room is no more.
    fn tick(&self, attended: &Arc<Attended>) -> Option<Instant> {
        let trust = self.trust();
        let mut state = attended.state();
        let tick = state.room.tick(Instant::now(), trust);
        state.wake_watchers();
        drop(state);
        counter!("draftwire_presence_expired_total").increment(tick.expired as u64);
        let stream = &attended.followed.stream;
        if tick.subscribe_again {
            debug!(%stream, "no other node is heard; subscribing to the channel again");
            self.streams.subscribe_again(&attended.followed);
        }
        if let Some((here, asks)) = tick.announce {
            let version = self.rooms.version.fetch_add(1, Ordering::Relaxed) + 1;
            let copy = announcement::encode(&self.sender, &Announcement { version, asks, here });
            self.publish(Channel::Stream(stream.clone()), copy);
            counter!("draftwire_presence_announcements_total", "direction" => "sent").increment(1);
        }
        if tick.next.is_none() {
            // Somebody may have come in meanwhile, which is seen here or, later, in `attend`.
            let mut rooms = self.rooms.attended();
            if attended.state().room.is_empty() {
                rooms.remove(stream);
                drop(rooms);
                attended.followed.leave(attended.seat);
                return None;
            }
        }
        Some(tick.next.unwrap_or_else(Instant::now))
    }
}

/// Runs a room until it is empty or the hub is gone.
async fn run(hub: Weak<Hub>, attended: Arc<Attended>) {
    loop {
        let Some(hub) = hub.upgrade().filter(|hub| !hub.is_stopped()) else { return };
        let Some(next) = hub.tick(&attended) else { return };
        drop(hub);
        // Whichever comes first.
        let _ = timeout_at(next, attended.notify.notified()).await;
    }
}
