//! A bus that drops, repeats, delays and reorders, disconnects, and goes deaf without saying so.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use fanout::bus::{Bus, Channel, Inbox, MemoryBus, Unsure, memory::MemoryNetwork};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// One node's end of a network in memory, with faults between that and the node.
pub(crate) struct FaultyBus {
    line: Arc<MemoryBus>,
    ear: Arc<Ear>,
}

/// Where the network delivers, and what becomes of it on the way to the node.
struct Ear {
    node: OnceLock<Weak<dyn Inbox>>,
    rng: Mutex<StdRng>,
    state: Mutex<State>,
}

struct State {
    channels: HashSet<Channel>,
    connected: bool,
    /// Nothing is heard, and nobody is told.
    deaf: bool,
    /// One in so many copies is lost; zero for none, one for all.
    lossy: u32,
}

impl FaultyBus {
    pub(crate) fn join(network: &Arc<MemoryNetwork>, seed: u64) -> Arc<Self> {
        let state = State { channels: HashSet::new(), connected: true, deaf: false, lossy: 0 };
        let ear = Arc::new(Ear {
            node: OnceLock::new(),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            state: Mutex::new(state),
        });
        Arc::new(Self { line: network.join(), ear })
    }

    pub(crate) fn set_lossy(&self, one_in: u32) {
        self.ear.state.lock().unwrap().lossy = one_in;
    }

    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.ear.state.lock().unwrap().deaf = deaf;
    }

    pub(crate) fn disconnect(&self) {
        self.ear.state.lock().unwrap().connected = false;
        self.ear.tell(|node| node.unsure(Unsure::Disconnected));
    }

    pub(crate) fn reconnect(&self) {
        let channels: Vec<Channel> = {
            let mut state = self.ear.state.lock().unwrap();
            state.connected = true;
            state.channels.iter().cloned().collect()
        };
        for channel in channels {
            self.ear.tell(|node| node.subscribed(&channel));
        }
        self.ear.tell(|node| node.unsure(Unsure::Reconnected));
    }

    pub(crate) fn heal(&self) {
        self.set_lossy(0);
        self.set_deaf(false);
        if !self.is_connected() {
            self.reconnect();
        }
    }
}

impl Ear {
    fn tell(&self, what: impl FnOnce(&dyn Inbox)) {
        if let Some(node) = self.node.get().and_then(Weak::upgrade) {
            what(&*node);
        }
    }

    fn random(&self, below: u32) -> u32 {
        self.rng.lock().unwrap().random_range(0..below)
    }
}

/// What the network delivers to: it holds the ear weakly, and a copy may be under way for a while.
struct Delivery(Weak<Ear>);

impl Inbox for Delivery {
    fn message(&self, channel: &Channel, message: Bytes) {
        let Some(ear) = self.0.upgrade() else { return };
        let lossy = ear.state.lock().unwrap().lossy;
        if lossy > 0 && ear.random(lossy) == 0 {
            return;
        }
        // Each on its own way, so that copies overtake each other.
        let times = if ear.random(10) == 0 { 2 } else { 1 };
        for _ in 0..times {
            let wait = if ear.random(20) == 0 { ear.random(300) } else { ear.random(4) };
            let (ear, channel, message) = (ear.clone(), channel.clone(), message.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wait.into())).await;
                let hears = {
                    let state = ear.state.lock().unwrap();
                    state.connected && !state.deaf
                };
                if hears {
                    ear.tell(|node| node.message(&channel, message));
                }
            });
        }
    }

    fn subscribed(&self, channel: &Channel) {
        let Some(ear) = self.0.upgrade() else { return };
        if ear.state.lock().unwrap().connected {
            ear.tell(|node| node.subscribed(channel));
        }
    }

    fn unsure(&self, why: Unsure) {
        if let Some(ear) = self.0.upgrade() {
            ear.tell(|node| node.unsure(why));
        }
    }
}

/// The handle that a node owns.
pub(crate) struct Handle(pub(crate) Arc<FaultyBus>, OnceLock<Arc<Delivery>>);

impl Handle {
    pub(crate) fn new(bus: &Arc<FaultyBus>) -> Arc<Self> {
        Arc::new(Self(bus.clone(), OnceLock::new()))
    }
}

impl Bus for Handle {
    fn attach(&self, inbox: Weak<dyn Inbox>) {
        let _ = self.0.ear.node.set(inbox);
        let delivery = self.1.get_or_init(|| Arc::new(Delivery(Arc::downgrade(&self.0.ear)))).clone();
        let delivery: Arc<dyn Inbox> = delivery;
        self.0.line.attach(Arc::downgrade(&delivery));
    }

    fn publish(&self, channel: Channel, copy: Bytes) {
        if self.is_connected() {
            self.0.line.publish(channel, copy);
        }
    }

    fn subscribe(&self, channels: &[Channel]) {
        self.0.ear.state.lock().unwrap().channels.extend(channels.iter().cloned());
        self.0.line.subscribe(channels);
    }

    fn unsubscribe(&self, channels: &[Channel]) {
        self.0.ear.state.lock().unwrap().channels.retain(|channel| !channels.contains(channel));
        self.0.line.unsubscribe(channels);
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
        self.0.line.close();
    }
}

impl FaultyBus {
    fn is_connected(&self) -> bool {
        self.ear.state.lock().unwrap().connected
    }
}
