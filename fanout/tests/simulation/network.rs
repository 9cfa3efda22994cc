//! A bus that drops, repeats, delays and reorders, disconnects, and goes deaf without saying so.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use common::Stream;
use fanout::bus::{Bus, Channel, Inbox, Unsure};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What connects the nodes.
pub(crate) struct Network {
    rng: Mutex<StdRng>,
    members: Mutex<BTreeMap<usize, Arc<FaultyBus>>>,
}

/// One node's end of it.
pub(crate) struct FaultyBus {
    id: usize,
    network: Arc<Network>,
    inbox: OnceLock<Weak<dyn Inbox>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    subscribed: HashSet<Channel>,
    connected: bool,
    /// Nothing is heard, and nobody is told.
    deaf: bool,
    /// One in so many copies is lost; zero for none.
    lossy: u32,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { rng: Mutex::new(StdRng::seed_from_u64(seed)), members: Mutex::default() })
    }

    pub(crate) fn join(self: &Arc<Self>, id: usize) -> Arc<FaultyBus> {
        let state = Mutex::new(State { connected: true, ..State::default() });
        let bus = Arc::new(FaultyBus { id, network: self.clone(), inbox: OnceLock::new(), state });
        self.members.lock().unwrap().insert(id, bus.clone());
        bus
    }

    fn random(&self, below: u32) -> u32 {
        self.rng.lock().unwrap().random_range(0..below)
    }
}

impl FaultyBus {
    pub(crate) fn set_lossy(&self, one_in: u32) {
        self.state.lock().unwrap().lossy = one_in;
    }

    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.state.lock().unwrap().deaf = deaf;
    }

    /// The subscription to one stream is lost, and nobody is told.
    pub(crate) fn forget(&self, stream: &Stream) {
        self.state.lock().unwrap().subscribed.remove(&Channel::Stream(stream.clone()));
    }

    pub(crate) fn disconnect(&self) {
        self.state.lock().unwrap().connected = false;
        self.tell(|inbox| inbox.unsure(Unsure::Disconnected));
    }

    pub(crate) fn reconnect(&self) {
        let channels: Vec<Channel> = {
            let mut state = self.state.lock().unwrap();
            state.connected = true;
            state.subscribed.iter().cloned().collect()
        };
        for channel in channels {
            self.tell(|inbox| inbox.subscribed(&channel));
        }
        self.tell(|inbox| inbox.unsure(Unsure::Reconnected));
    }

    pub(crate) fn hears(&self, stream: &Stream) -> bool {
        self.state.lock().unwrap().subscribed.contains(&Channel::Stream(stream.clone()))
    }

    pub(crate) fn heal(&self) {
        self.set_lossy(0);
        self.set_deaf(false);
        if !self.is_connected() {
            self.reconnect();
        }
    }

    /// The node is gone.
    pub(crate) fn leave(&self) {
        self.network.members.lock().unwrap().remove(&self.id);
    }

    fn tell(&self, what: impl FnOnce(&dyn Inbox)) {
        if let Some(inbox) = self.inbox.get().and_then(Weak::upgrade) {
            what(&*inbox);
        }
    }

    fn hear(self: &Arc<Self>, channel: &Channel, copy: &Bytes) {
        let lossy = self.state.lock().unwrap().lossy;
        if lossy > 0 && self.network.random(lossy) == 0 {
            return;
        }
        // Repeated now and then; each on its own way, so that copies overtake each other.
        let times = if self.network.random(10) == 0 { 2 } else { 1 };
        for _ in 0..times {
            let wait = match self.network.random(20) {
                0 => self.network.random(500),
                _ => self.network.random(4),
            };
            let (bus, channel, copy) = (self.clone(), channel.clone(), copy.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wait.into())).await;
                let hears = {
                    let state = bus.state.lock().unwrap();
                    state.connected && !state.deaf && state.subscribed.contains(&channel)
                };
                if hears {
                    bus.tell(|inbox| inbox.message(&channel, copy));
                }
            });
        }
    }
}

/// The handle that a hub owns.
pub(crate) struct Handle(pub(crate) Arc<FaultyBus>);

impl Bus for Handle {
    fn attach(&self, inbox: Weak<dyn Inbox>) {
        let _ = self.0.inbox.set(inbox);
    }

    fn publish(&self, channel: Channel, copy: Bytes) {
        if !self.0.is_connected() {
            return;
        }
        let members: Vec<_> = self.0.network.members.lock().unwrap().values().cloned().collect();
        for member in members {
            member.hear(&channel, &copy);
        }
    }

    fn subscribe(&self, channels: &[Channel]) {
        self.0.state.lock().unwrap().subscribed.extend(channels.iter().cloned());
        let (bus, channels) = (self.0.clone(), channels.to_vec());
        let wait = self.0.network.random(300);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wait.into())).await;
            for channel in channels {
                if bus.is_connected() {
                    bus.tell(|inbox| inbox.subscribed(&channel));
                }
            }
        });
    }

    fn unsubscribe(&self, channels: &[Channel]) {
        let mut state = self.0.state.lock().unwrap();
        for channel in channels {
            state.subscribed.remove(channel);
        }
    }

    fn resubscribe_all(&self) {
        // What a new connection mends.
        self.0.set_deaf(false);
        self.0.reconnect();
    }

    fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    fn close(&self) {
        self.0.leave();
    }
}

impl FaultyBus {
    fn is_connected(&self) -> bool {
        self.state.lock().unwrap().connected
    }
}
