//! The rooms of a node. Each has a task, which announces the room's members over the bus and lets leases end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{Stream, ids::NodeId, protocol::Device};
use metrics::{counter, gauge};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::{
    announcement::{self, Announcement, Counts},
    attendance::Attendance,
    membership::Heard,
    room::Room,
    room_state::{RoomState, Settling},
};
use crate::{
    LiveSettings,
    bus::{Bus, Channel},
    repair::{BusTrust, LogReader},
    stream::{LocalStream, Mailbox, MailboxSlot, Registry},
    supervise::restart_on_panic,
};

/// Who is present in a stream at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceList {
    /// Their devices, in order; `None` when they are more than [`Settings::presence_list_max`](crate::Settings::presence_list_max).
    pub members: Option<Vec<Device>>,
    /// How many users they are. A device without a user counts as one.
    pub users: u64,
    /// How many devices.
    pub devices: u64,
    /// Every node that can be heard has had the time to announce its members. Otherwise members of other nodes may be
    /// missing, or may have left.
    pub complete: bool,
    /// How long the answer was held back so that they could.
    pub waited: Duration,
}

/// The most time that a look takes.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Keeps a room for somebody who looks.
struct Observation(Arc<Room>);

impl Drop for Observation {
    fn drop(&mut self) {
        self.0.state().members.unobserve();
        self.0.wake();
    }
}

/// Every stream that somebody on this node attends. Lock order: the map before a room; neither is held
/// while the bus is called, which may deliver before it returns.
pub(crate) struct Rooms {
    sender: NodeId,
    settings: LiveSettings,
    bus: Arc<dyn Bus>,
    registry: Arc<Registry>,
    trust: Arc<BusTrust>,
    log: Arc<LogReader>,
    map: Mutex<BTreeMap<Stream, Arc<Room>>>,
    /// Numbers the announcements of this process, over all streams: a room that is left and entered
    /// again goes on where it ended.
    version: AtomicU64,
    stopped: AtomicBool,
}

impl Rooms {
    /// `sender` is whom announcements name as theirs.
    pub(crate) fn new(
        sender: NodeId,
        settings: LiveSettings,
        bus: Arc<dyn Bus>,
        registry: Arc<Registry>,
        trust: Arc<BusTrust>,
        log: Arc<LogReader>,
    ) -> Arc<Self> {
        Arc::new(Self {
            sender,
            settings,
            bus,
            registry,
            trust,
            log,
            map: Mutex::default(),
            version: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// Ends the tasks of all rooms.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<Stream, Arc<Room>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, stream: &Stream) -> Option<Arc<Room>> {
        self.map().get(stream).cloned()
    }

    /// Wakes the task of every room: the bus may be trusted again.
    pub(crate) fn wake_all(&self) {
        self.map().values().for_each(|room| room.wake());
    }

    /// Makes a device present in a stream. See [`crate::Hub::attend`].
    pub(crate) fn attend(
        self: &Arc<Self>,
        stream: &Arc<LocalStream>,
        device: Device,
        mailbox: Arc<Mailbox>,
        slot: u32,
    ) -> Attendance {
        let mut map = self.map();
        let room = self.room(&mut map, stream);
        let mut state = room.state();
        let watcher = state.watchers.insert(MailboxSlot::new(mailbox.clone(), slot));
        if state.members.join(&device, Instant::now()) {
            gauge!("draftwire_presence_members").increment(1.0);
        }
        state.wake_watchers();
        drop(state);
        drop(map);
        mailbox.mark(slot);
        room.wake();
        Attendance::new(room, device, watcher)
    }

    /// Looks into the room of a stream, without being present in it. See [`crate::Hub::presence`].
    pub(crate) async fn look(self: &Arc<Self>, stream: &Arc<LocalStream>) -> PresenceList {
        let observation = {
            let mut map = self.map();
            let room = self.room(&mut map, stream);
            room.state().members.observe();
            Observation(room)
        };
        let room = &observation.0;
        let began = Instant::now();
        // Again where messages may have been lost meanwhile: then the others are asked once more.
        let settled = async {
            loop {
                let settling = room.wait_for(|| match room.state().members.settling(self.trust.now()) {
                    Settling::Asking => None,
                    other => Some(other),
                });
                match settling.await {
                    Settling::At(settled) if settled > Instant::now() => sleep_until(settled).await,
                    other => return matches!(other, Settling::At(_)),
                }
            }
        };
        room.wake();
        let settled = timeout_at(began + LOOK_MAX, settled).await.unwrap_or(false);
        let (members, Counts { users, devices }) = room.state().members.members();
        let complete = settled && stream.is_subscribed();
        PresenceList { members, users, devices, complete, waited: began.elapsed() }
    }

    fn room(self: &Arc<Self>, map: &mut BTreeMap<Stream, Arc<Room>>, stream: &Arc<LocalStream>) -> Arc<Room> {
        if let Some(room) = map.get(stream.name()) {
            return room.clone();
        }
        let room = self.open(stream);
        map.insert(stream.name().clone(), room.clone());
        room
    }

    fn open(self: &Arc<Self>, stream: &Arc<LocalStream>) -> Arc<Room> {
        let settings = self.settings.load();
        let (list_max, lease) =
            (settings.presence_list_max.min(announcement::LIST_MAX), settings.presence_lease);
        let members = RoomState::new(stream.name().wire_name(), list_max, lease, self.trust.now());
        // Events do not concern the room: nobody reads this mailbox.
        let registration = stream.register(MailboxSlot::new(Arc::default(), 0));
        let room = Arc::new(Room::new(registration, members));
        tokio::spawn({
            let (rooms, room) = (Arc::downgrade(self), room.clone());
            restart_on_panic("presence room", move || run(rooms.clone(), room.clone()))
        });
        room
    }

    /// The streams that somebody attends through this node.
    pub(crate) fn attended(&self) -> Vec<Stream> {
        let rooms: Vec<Arc<Room>> = self.map().values().cloned().collect();
        let attended = rooms.iter().filter(|room| room.state().members.has_members());
        attended.map(|room| room.stream().name().clone()).collect()
    }

    /// Takes what another node announced, if anybody here watches.
    pub(crate) fn announced(&self, stream: &Stream, sender: NodeId, body: &[u8]) {
        let Some(room) = self.get(stream) else { return };
        let announcement = match announcement::decode(body) {
            Ok(announcement) => announcement,
            Err(error) => {
                counter!("draftwire_bus_messages_rejected_total", "reason" => error.label()).increment(1);
                debug!(%stream, %sender, %error, "rejected an announcement");
                return;
            }
        };
        counter!("draftwire_presence_announcements_total", "direction" => "received").increment(1);
        let mut state = room.state();
        let heard = state.members.hear(sender, announcement, Instant::now());
        state.wake_watchers();
        drop(state);
        if heard == Heard::TooManyNodes {
            counter!("draftwire_bus_messages_rejected_total", "reason" => "nodes").increment(1);
        }
        room.wake();
    }

    /// The channel of a stream is subscribed from now on.
    pub(crate) fn subscribed(&self, stream: &Stream) {
        let Some(room) = self.get(stream) else { return };
        room.state().members.subscribed();
        room.wake();
    }

    /// Lets time pass in a room, and tells those who look. Returns when to tick again; `None` when the room has ended.
    fn tick(&self, room: &Room) -> Option<Instant> {
        let trust = self.trust.now();
        let mut state = room.state();
        let tick = state.members.tick(Instant::now(), trust);
        state.wake_watchers();
        drop(state);
        room.ticked();
        counter!("draftwire_presence_expired_total").increment(tick.expired as u64);
        let stream = room.stream().name();
        if tick.resubscribe {
            debug!(%stream, "no other node is heard; subscribing to the channel again");
            self.registry.resubscribe(room.stream());
        }
        // The epoch is known: the stream of a room is open, or was.
        if let Some((members, asks)) = tick.announce
            && let Some(epoch) = self.log.epoch()
        {
            let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
            let message =
                announcement::encode(&self.sender, &epoch, &Announcement { version, asks, members });
            self.bus.publish(Channel::Stream(stream.clone()), message);
            counter!("draftwire_presence_announcements_total", "direction" => "sent").increment(1);
        }
        if tick.next.is_none() {
            // A device may have come meanwhile, which is seen either here or, later, in `attend`.
            let mut map = self.map();
            if room.state().members.is_empty() {
                map.remove(stream);
                return None;
            }
        }
        Some(tick.next.unwrap_or_else(Instant::now))
    }
}

/// Runs a room until it is empty or the hub is gone.
async fn run(rooms: Weak<Rooms>, room: Arc<Room>) {
    loop {
        let Some(rooms) = rooms.upgrade().filter(|rooms| !rooms.stopped.load(Ordering::Acquire)) else {
            return;
        };
        let Some(next) = rooms.tick(&room) else { return };
        drop(rooms);
        room.woken(next).await;
    }
}
