//! Nodes, devices and faults, and the dice that drive them.

use std::{sync::Arc, time::Duration};

use common::Stream;
use fanout::{Hub, Settings};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::{
    device::Device,
    log::ModelLog,
    network::{FaultyBus, Handle, Network},
};

pub(crate) struct World {
    rng: StdRng,
    log: Arc<ModelLog>,
    network: Arc<Network>,
    nodes: Vec<Node>,
    next_node: usize,
    streams: Vec<Stream>,
    devices: Vec<Device>,
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
fn settings() -> Settings {
    Settings {
        linger: Duration::from_secs(2),
        recent_events_max: 16,
        recent_bytes_max: 20_000,
        fills_max: 2,
        ..Settings::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let log = ModelLog::new(seed ^ 1);
        let network = Network::new(seed ^ 2);
        let streams: Vec<Stream> =
            ["user:alice", "user:bob", "topic:match", "all"].map(|key| key.parse().unwrap()).into();
        let devices = streams.iter().cycle().take(10).cloned().map(Device::new).collect();
        let mut rng = StdRng::seed_from_u64(seed);
        let fail_over = [0.0, 0.0, 0.3, 1.0][rng.random_range(0..4)];
        let nodes = Vec::new();
        let mut world = Self { rng, log, network, nodes, next_node: 0, streams, devices, fail_over };
        for _ in 0..3 {
            world.nodes.push(world.new_node());
            world.next_node += 1;
        }
        world
    }

    fn new_node(&self) -> Node {
        let name = format!("n{}", self.next_node);
        let bus = self.network.join(self.next_node);
        let hub =
            Hub::start(name.parse().unwrap(), settings(), self.log.clone(), Arc::new(Handle(bus.clone())));
        Node { hub, bus }
    }

    fn stream(&mut self) -> Stream {
        self.streams[self.rng.random_range(0..self.streams.len())].clone()
    }

    fn node(&mut self) -> usize {
        self.rng.random_range(0..self.nodes.len())
    }

    /// One random thing happens.
    pub(crate) async fn act(&mut self) {
        let device = self.rng.random_range(0..self.devices.len());
        match self.rng.random_range(0..100) {
            0..45 => self.commit(),
            45..60 => {
                let node = self.node();
                self.devices[device].connect(&self.nodes[node].hub, &self.log);
            }
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
            91..93 => {
                let stream = self.stream();
                self.log.retain(&stream);
            }
            93..96 if self.rng.random_bool(self.fail_over) => self.log.fail_over(),
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

    fn kill_a_node(&mut self) {
        let killed = self.node();
        self.nodes[killed] = self.new_node();
        self.next_node += 1;
        // Its devices notice at some time; here at once, each finding another node.
        for device in 0..self.devices.len() {
            let node = self.node();
            self.devices[device].connect(&self.nodes[node].hub, &self.log);
        }
    }

    /// Everything works again: then all devices reach the head, without another event to help them.
    pub(crate) async fn heal_and_check(mut self) {
        self.log.set_down(false);
        for node in &self.nodes {
            node.bus.heal();
        }
        for device in 0..self.devices.len() {
            self.devices[device].set_stalled(false);
            if !self.devices[device].is_connected() {
                let node = self.node();
                self.devices[device].connect(&self.nodes[node].hub, &self.log);
            }
        }
        // The sweep's interval, what answers may take, and a canary's patience before it.
        let bound = Instant::now() + Duration::from_secs(20);
        loop {
            for device in 0..self.devices.len() {
                self.devices[device].check().await;
                if !self.devices[device].is_connected() {
                    let node = self.node();
                    self.devices[device].connect(&self.nodes[node].hub, &self.log);
                }
            }
            let behind = self.devices.iter().find(|device| {
                device.cursor().is_none_or(|cursor| {
                    cursor.epoch != self.log.epoch() || cursor.seq != self.log.head(&device.stream)
                })
            });
            match behind {
                None => return,
                Some(device) => assert!(
                    Instant::now() < bound,
                    "a device of {} stays at {:?}, the head is {}",
                    device.stream,
                    device.cursor(),
                    self.log.head(&device.stream),
                ),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
