//! Nodes, devices and faults, and the dice that drive them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fanout::bus::{MemoryBus, memory::MemoryNetwork};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use testkit::{Ack, Device, DeviceOptions, Refused, device::drafts_of};
use tokio::{task::JoinSet, time::sleep};

use super::{
    model::{Change, Model},
    network::{FaultyBus, Handle},
};
use crate::{
    DEADLINE,
    harness::{ANY_PORT, Disk, Server, settings},
};

pub(crate) struct World {
    rng: StdRng,
    disk: Arc<Disk>,
    network: Arc<MemoryNetwork>,
    nodes: Vec<Node>,
    started: u64,
    devices: Vec<Arc<Device>>,
    models: [Arc<Mutex<Model>>; USERS.len()],
    /// Changes that wait for their answer.
    asking: JoinSet<()>,
    drafts: [u64; USERS.len()],
}

struct Node {
    server: Server,
    bus: Arc<FaultyBus>,
}

const NODES: usize = 3;
const USERS: [&str; 2] = ["alice", "bob"];
const DEVICES_PER_USER: usize = 3;

/// Short, so that a plan sees many sweeps; small, so that it reaches the bounds.
const SETTINGS: &[(&str, &str)] = &[
    ("SWEEP_INTERVAL", "400ms"),
    ("SWEEP_INTERVAL_UNSURE", "150ms"),
    ("LINGER", "500ms"),
    ("RECENT_EVENTS_MAX", "16"),
    ("FILLS_MAX", "2"),
    ("COMMANDS_PER_SECOND", "10000"),
    ("DRAIN_WINDOW", "50ms"),
];

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            disk: Disk::new().await,
            network: MemoryBus::network(),
            nodes: Vec::new(),
            started: 0,
            devices: Vec::new(),
            models: std::array::from_fn(|_| Arc::default()),
            asking: JoinSet::new(),
            drafts: [0; USERS.len()],
        };
        for _ in 0..NODES {
            let node = world.start_node(ANY_PORT).await;
            world.nodes.push(node);
        }
        let urls: Vec<String> = world.nodes.iter().map(|node| node.server.socket_url()).collect();
        for n in 0..USERS.len() * DEVICES_PER_USER {
            let mut urls = urls.clone();
            urls.rotate_left(n % NODES);
            let options = DeviceOptions {
                backoff_min: Duration::from_millis(10),
                backoff_max: Duration::from_millis(200),
                ..DeviceOptions::new(urls, USERS[n % USERS.len()], &format!("device{n}"))
            };
            world.devices.push(Arc::new(Device::connect(options).await));
        }
        world
    }

    async fn start_node(&mut self, addr: SocketAddr) -> Node {
        self.started += 1;
        let bus = FaultyBus::join(&self.network, self.rng.random());
        let settings = settings(&format!("n{}", self.started), SETTINGS);
        let server = Server::assemble_at(addr, &self.disk, Handle::new(&bus), settings).await;
        Node { server, bus }
    }

    fn node(&mut self) -> &Node {
        let node = self.rng.random_range(0..NODES);
        &self.nodes[node]
    }

    /// One random thing happens.
    pub(crate) async fn act(&mut self) {
        let device = self.rng.random_range(0..self.devices.len());
        match self.rng.random_range(0..100) {
            0..15 => self.create(device),
            15..60 => self.update(device),
            60..66 => self.delete(device),
            // It comes back to the next node.
            66..74 => self.devices[device].drop_connection(),
            74..77 => self.devices[device].go_offline(),
            77..83 => self.devices[device].go_online(),
            83..89 => {
                let one_in = [0, 1, 2, 3, 10][self.rng.random_range(0..5)];
                self.node().bus.set_lossy(one_in);
            }
            89..91 => self.node().bus.set_deaf(true),
            91..94 => self.node().bus.disconnect(),
            94..97 => self.node().bus.reconnect(),
            97..98 => self.drain_a_node().await,
            _ => sleep(Duration::from_millis(self.rng.random_range(0..300))).await,
        }
        sleep(Duration::from_millis(self.rng.random_range(0..10))).await;
    }

    fn create(&mut self, device: usize) {
        let user = device % USERS.len();
        self.drafts[user] += 1;
        let id = format!("d{}", self.drafts[user]);
        let content = json!({ "by": device });
        let change = Change::Create(id.clone(), content.clone());
        let asker = self.devices[device].clone();
        self.ask(device % USERS.len(), change, async move { asker.create(&id, content).await });
    }

    fn update(&mut self, device: usize) {
        let Some((id, version)) = self.known_draft(device) else { return };
        let value = self.rng.random_range(0..4);
        let value = if value == 0 { json!(null) } else { json!(value) };
        let field = ["a", "b", "c", "d"][self.rng.random_range(0..4)];
        let patch = json!({ field: value });
        let change = Change::Update(id.clone(), patch.clone());
        let asker = self.devices[device].clone();
        self.ask(device % USERS.len(), change, async move { asker.update(&id, version, patch).await });
    }

    fn delete(&mut self, device: usize) {
        let Some((id, version)) = self.known_draft(device) else { return };
        let guard = self.rng.random_bool(0.5).then_some(version);
        let change = Change::Delete(id.clone());
        let asker = self.devices[device].clone();
        self.ask(device % USERS.len(), change, async move { asker.delete(&id, guard).await });
    }

    /// A draft as the device knows it, which may be long past.
    fn known_draft(&mut self, device: usize) -> Option<(String, u64)> {
        let drafts = self.devices[device].drafts();
        let chosen = self.rng.random_range(0..drafts.len().max(1));
        drafts.into_iter().nth(chosen).map(|(id, draft)| (id, draft.version))
    }

    /// Awaits the answer to a change, and notes what comes of it, while other things happen.
    fn ask(
        &mut self,
        user: usize,
        change: Change,
        answer: impl Future<Output = Result<Ack, Refused>> + Send + 'static,
    ) {
        let model = self.models[user].clone();
        self.asking.spawn(async move {
            match answer.await {
                // A patch that changes nothing has no event.
                Ok(Ack { seq: None, .. }) => {}
                Ok(Ack { seq: Some(seq), .. }) => model.lock().unwrap().acknowledged(seq, change),
                Err(refused) => {
                    let expected = ["conflict", "not_found", "too_large"];
                    assert!(expected.contains(&refused.code.as_str()), "{change:?}: {refused}");
                }
            }
        });
    }

    /// A node stops as on a signal, and another takes its place at the same address.
    async fn drain_a_node(&mut self) {
        let index = self.rng.random_range(0..NODES);
        let server = &self.nodes[index].server;
        assert_eq!(server.node.drain().await, 0);
        let addr = server.addr;
        self.nodes.remove(index).server.end().await;
        let node = self.start_node(addr).await;
        self.nodes.insert(index, node);
    }

    /// Everything works again: then all devices hold what the store holds, without another change to
    /// help them.
    pub(crate) async fn heal_and_check(mut self) {
        for node in &self.nodes {
            node.bus.heal();
        }
        for device in &self.devices {
            device.go_online();
        }
        let answers = async {
            while let Some(asked) = self.asking.join_next().await {
                asked.expect("every answer is one of those expected");
            }
        };
        tokio::time::timeout(DEADLINE, answers).await.expect("all changes are answered");
        for (user, model) in USERS.into_iter().zip(&self.models) {
            let list = self.disk.store.drafts(&user.parse().unwrap()).await.unwrap();
            let model = model.lock().unwrap();
            assert_eq!(model.head(), list.seq.0, "events of {user} and acknowledgements");
            let stored = drafts_of(&serde_json::to_value(&list.drafts).unwrap());
            assert_eq!(model.drafts(), stored, "the drafts of {user}");
        }
        for (n, device) in self.devices.iter().enumerate() {
            let user = USERS[n % USERS.len()];
            let list = self.disk.store.drafts(&user.parse().unwrap()).await.unwrap();
            let stored = drafts_of(&serde_json::to_value(&list.drafts).unwrap());
            device.wait_until("reach the head", DEADLINE, |replica| replica.seq() == list.seq.0).await;
            assert_eq!(device.drafts(), stored, "{} of {user}", device.name());
            assert_eq!(device.violations(), [], "{} of {user}", device.name());
            assert_eq!(device.counters().snapshots, 0, "nothing is past the log here");
        }
    }
}
