//! Nodes, devices and faults, and the dice that drive them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{Seq, Signal, Stream, protocol};
use fanout::{Hub, Settings};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::{
    connection::Habits,
    device::Device,
    log::{ModelLog, Naming},
    network::{FaultyBus, Handle, Network},
    seen::{signal_body, users},
};

pub(crate) struct World {
    rng: StdRng,
    log: Arc<ModelLog>,
    network: Arc<Network>,
    nodes: Vec<Node>,
    next_node: usize,
    next_signal: u64,
    streams: Vec<Stream>,
    devices: Vec<Device>,
    settings: Settings,
    /// How likely the log fails over when its turn comes: some plans have many, most have none.
    fail_over: f64,
}

struct Node {
    hub: Arc<Hub>,
    bus: Arc<FaultyBus>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.hub.stop();
        self.bus.leave();
    }
}

/// Small, so that plans reach every bound.
fn settings(presence_list_max: usize) -> Settings {
    Settings {
        linger: Duration::from_secs(2),
        recent_events_max: 16,
        recent_bytes_max: 20_000,
        fills_max: 2,
        presence_list_max,
        ..Settings::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let naming = if seed.is_multiple_of(2) { Naming::Timeline } else { Naming::Row };
        let log = ModelLog::named(seed ^ 1, naming);
        let network = Network::new(seed ^ 2);
        let streams: Vec<Stream> = ["user:alice", "user:bob", "topic:match", "topic:chat", "all"]
            .map(|key| key.parse().unwrap())
            .into();
        let mut rng = StdRng::seed_from_u64(seed);
        let devices = (0..8)
            .map(|n| {
                let user = ["alice", "bob"][n % 2].parse().unwrap();
                let who = protocol::Device { user_id: Some(user), device: format!("d{n}").parse().unwrap() };
                // More in one topic than in the other.
                Device::new(who, streams[if n < 5 { 2 } else { 3 }].clone(), n % 4 != 3)
            })
            .collect();
        let fail_over = [0.0, 0.0, 0.3, 1.0][rng.random_range(0..4)];
        let settings = settings([1, 2, 3, 100][rng.random_range(0..4)]);
        let (nodes, next_node, next_signal) = (Vec::new(), 0, 0);
        let mut world =
            Self { rng, log, network, nodes, next_node, next_signal, streams, devices, settings, fail_over };
        for _ in 0..3 {
            world.nodes.push(world.new_node());
            world.next_node += 1;
        }
        world
    }

    fn new_node(&self) -> Node {
        let name = format!("n{}", self.next_node).parse().unwrap();
        let bus = self.network.join(self.next_node);
        let hub = Hub::start(name, self.settings.clone(), self.log.clone(), Arc::new(Handle(bus.clone())));
        Node { hub, bus }
    }

    fn stream(&mut self) -> Stream {
        self.streams[self.rng.random_range(0..self.streams.len())].clone()
    }

    fn node(&mut self) -> usize {
        self.rng.random_range(0..self.nodes.len())
    }

    fn connect(&mut self, device: usize) {
        let node = self.node();
        let window = [0, 0, 20, 400][self.rng.random_range(0..4)];
        let bytes_max = [1, 200, usize::MAX][self.rng.random_range(0..3)];
        let habits = Habits { window: Duration::from_millis(window), bytes_max };
        self.devices[device].connect(&self.nodes[node].hub, &self.log, habits);
    }

    /// One random thing happens.
    pub(crate) async fn act(&mut self) {
        let device = self.rng.random_range(0..self.devices.len());
        match self.rng.random_range(0..100) {
            0..36 => self.commit(),
            36..45 => {
                let stream = self.stream();
                self.signal(stream);
            }
            45..60 => self.connect(device),
            60..65 => self.devices[device].disconnect(),
            65..70 => {
                let stalled = self.rng.random_bool(0.5);
                self.devices[device].set_stalled(stalled);
            }
            70..74 => {
                let node = self.node();
                let one_in = [0, 1, 2, 3, 10][self.rng.random_range(0..5)];
                self.nodes[node].bus.set_lossy(one_in);
            }
            74..76 => {
                let node = self.node();
                self.nodes[node].bus.set_deaf(true);
            }
            76..80 => {
                let node = self.node();
                self.nodes[node].bus.disconnect();
            }
            80..84 => {
                let node = self.node();
                self.nodes[node].bus.reconnect();
            }
            84..87 => self.log.set_down(true),
            87..91 => self.log.set_down(false),
            91..94 => {
                let stream = self.stream();
                self.log.retain(&stream);
            }
            94..96 if self.rng.random_bool(self.fail_over) => {
                self.log.fail_over();
                if self.rng.random_bool(0.3) {
                    // Nobody is left who remembers.
                    (0..self.nodes.len()).for_each(|node| self.restart(node));
                }
            }
            96..98 => self.kill_a_node(),
            _ => sleep(Duration::from_millis(self.rng.random_range(0..4000))).await,
        }
        sleep(Duration::from_millis(self.rng.random_range(0..30))).await;
        for device in &mut self.devices {
            device.check().await;
        }
    }

    /// A node commits a burst on a stream. Now and then it dies before it can publish.
    fn commit(&mut self) {
        let (node, stream) = (self.node(), self.stream());
        let burst = if self.rng.random_bool(0.1) { self.rng.random_range(1..60) } else { 1 };
        let events: Vec<_> = (0..burst).map(|_| self.log.append(&stream)).collect();
        if self.rng.random_bool(0.95) {
            self.nodes[node].hub.committed(&self.log.epoch(), &events);
        }
    }

    /// Somebody says something on a stream. Returns its number.
    fn signal(&mut self, stream: Stream) -> u64 {
        let node = self.node();
        self.next_signal += 1;
        let body = RawValue::from_string(signal_body(&stream, self.next_signal)).unwrap();
        let (kind, origin) = ("TYPING".parse().unwrap(), "device".parse().unwrap());
        self.nodes[node].hub.signal(Arc::new(Signal::new(stream, kind, origin, body)));
        self.next_signal
    }

    fn kill_a_node(&mut self) {
        let killed = self.node();
        self.restart(killed);
    }

    fn restart(&mut self, node: usize) {
        self.nodes[node] = self.new_node();
        self.next_node += 1;
        // Its devices notice at some time; here at once, each finding another node.
        for device in 0..self.devices.len() {
            self.connect(device);
        }
    }

    /// Everything works again: then all devices reach the heads, without another event to help them,
    /// know who is here, and hear what is said.
    pub(crate) async fn heal_and_check(mut self) {
        self.log.set_down(false);
        for node in &self.nodes {
            node.bus.heal();
        }
        for device in &self.devices {
            device.set_stalled(false);
        }
        // A canary's patience, the sweep's interval or a lease after it, and what answers may take.
        self.all_become(Duration::from_secs(20), |world, device| {
            world.where_behind(device).or_else(|| world.unknown(device))
        })
        .await;
        for device in &self.devices {
            self.check_events(device);
        }
        for stream in self.streams.clone() {
            let number = self.signal(stream.clone());
            self.all_become(Duration::from_secs(1), |_, device| {
                let follows = device.streams.contains(&stream);
                let heard = device.seen().signals.contains(&number);
                (follows && !heard).then(|| format!("has not heard signal {number} of {stream}"))
            })
            .await;
        }
    }

    /// Waits until no device has a complaint.
    async fn all_become(&mut self, bound: Duration, complaint: impl Fn(&Self, &Device) -> Option<String>) {
        let bound = Instant::now() + bound;
        loop {
            for device in 0..self.devices.len() {
                self.devices[device].check().await;
                if !self.devices[device].is_connected() {
                    self.connect(device);
                }
            }
            let complaint = self.devices.iter().find_map(|device| {
                complaint(self, device).map(|complaint| format!("{:?} {complaint}", device.who))
            });
            match complaint {
                None => return,
                Some(complaint) => assert!(Instant::now() < bound, "{complaint}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// What a device has seen since it began anew is what the log holds: no number was used again unnoticed.
    fn check_events(&self, device: &Device) {
        for (stream, place) in device.streams.iter().zip(&device.seen().places) {
            let floor = self.log.floor(stream);
            let bodies = self.log.bodies(stream, Seq(0));
            for (seq, body) in place.events.iter().filter(|(seq, _)| **seq > floor) {
                let kept = seq.0.checked_sub(1).and_then(|index| bodies.get(usize::try_from(index).unwrap()));
                assert_eq!(Some(body), kept, "{:?} has seen another event {seq} of {stream}", device.who);
            }
        }
    }

    fn where_behind(&self, device: &Device) -> Option<String> {
        device.streams.iter().zip(&device.seen().places).find_map(|(stream, place)| {
            let (epoch, head) = (self.log.epoch(), self.log.head(stream));
            let there =
                place.cursor.as_ref().is_some_and(|cursor| cursor.epoch == epoch && cursor.seq == head);
            (!there || place.awaits_synced)
                .then(|| format!("stays at {:?} of {stream}, the head is {epoch}:{head}", place.cursor))
        })
    }

    /// What the device does not know of those who attend its topic.
    fn unknown(&self, device: &Device) -> Option<String> {
        if !device.attends {
            return None;
        }
        let attends = |other: &&Device| other.attends && other.topic() == device.topic();
        let truth: BTreeSet<_> = self.devices.iter().filter(attends).map(|other| other.who.clone()).collect();
        let view = &device.seen().view;
        let known = match &view.members {
            Some(members) => *members == truth,
            // Of users with devices on several nodes, some count more than once.
            None => {
                truth.len() > self.settings.presence_list_max
                    && view.devices == truth.len() as u64
                    && (users(&truth)..=view.devices).contains(&view.users)
            }
        };
        (!known).then(|| format!("knows {:?} and {} of {truth:?}", view.members, view.devices))
    }
}
