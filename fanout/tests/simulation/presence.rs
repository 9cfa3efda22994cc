//! Presence over the bus: who is told of whom, and when.

use std::{sync::Arc, time::Duration};

use common::{Stream, protocol::Device};
use fanout::{Attendance, Hub, Mailbox, Settings, StreamReader};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    log::ModelLog,
    marked,
    network::{FaultyBus, Handle, Network},
};

fn topic() -> Stream {
    "topic:t".parse().unwrap()
}

struct Node {
    hub: Arc<Hub>,
    bus: Arc<FaultyBus>,
}

impl Node {
    fn start(network: &Arc<Network>, id: usize) -> Self {
        let bus = network.join(id);
        let name = format!("n{id}").parse().unwrap();
        let hub = Hub::start(name, Settings::default(), ModelLog::new(1), Arc::new(Handle(bus.clone())));
        Self { hub, bus }
    }
}

impl Drop for Node {
    /// As `kill -9` does.
    fn drop(&mut self) {
        self.hub.stop();
    }
}

struct Member {
    // First, as a connection leaves before it ceases to follow.
    attendance: Attendance,
    _follower: StreamReader,
    mailbox: Arc<Mailbox>,
}

impl Member {
    async fn join(node: &Node, name: &str) -> Self {
        let mailbox = Arc::<Mailbox>::default();
        let follower = node.hub.follow(topic(), None, Arc::default(), 0).await.unwrap();
        let device = Device { user_id: None, device: name.parse().unwrap() };
        let attendance = node.hub.attend(&follower, device, mailbox.clone(), 7);
        Self { attendance, _follower: follower, mailbox }
    }

    /// What is told next: its type, and the names in it.
    async fn told(&mut self) -> Vec<(String, String)> {
        loop {
            let due = self.attendance.due();
            if !due.is_empty() {
                return due.iter().map(|message| short(message.json())).collect();
            }
            assert_eq!(marked(&self.mailbox).await, [7]);
        }
    }

    /// The same, and that it comes within a time that is simulated.
    async fn told_within(&mut self, time: Duration) -> Vec<(String, String)> {
        timeout(time, self.told()).await.expect("it is told in time")
    }

    async fn told_nothing_for(&mut self, time: Duration) {
        let told = timeout(time, self.told()).await;
        assert!(told.is_err(), "{told:?}");
    }
}

fn short(json: &[u8]) -> (String, String) {
    let message: serde_json::Value = serde_json::from_slice(json).unwrap();
    let payload = &message["payload"];
    let names = match payload["members"].as_array() {
        Some(members) => {
            members.iter().map(|member| member["device"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
        }
        None => payload["device"].as_str().unwrap().to_owned(),
    };
    (message["type"].as_str().unwrap().to_owned(), names)
}

fn told(kind: &str, names: &str) -> Vec<(String, String)> {
    vec![(kind.to_owned(), names.to_owned())]
}

/// What an announcement takes on a bus that delays, and after the one before it.
const SOON: Duration = Duration::from_secs(1);

const LEASE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn members_of_all_nodes_are_told_at_once() {
    let network = Network::new(1);
    let nodes = [0, 1].map(|id| Node::start(&network, id));
    let mut phone = Member::join(&nodes[0], "phone").await;
    assert_eq!(phone.told().await, told("PRESENCE", "phone"));
    let mut laptop = Member::join(&nodes[1], "laptop").await;
    assert_eq!(laptop.told().await, told("PRESENCE", "laptop"));
    assert_eq!(laptop.told_within(SOON).await, told("JOIN", "phone"));
    assert_eq!(phone.told_within(SOON).await, told("JOIN", "laptop"));
    drop(laptop);
    assert_eq!(phone.told_within(SOON).await, told("LEAVE", "laptop"));
    phone.told_nothing_for(10 * LEASE).await;
}

#[tokio::test(start_paused = true)]
async fn a_device_is_present_while_any_of_its_connections_is() {
    let network = Network::new(2);
    let nodes = [0, 1].map(|id| Node::start(&network, id));
    let mut watcher = Member::join(&nodes[0], "watcher").await;
    watcher.told().await;
    let once = Member::join(&nodes[1], "phone").await;
    assert_eq!(watcher.told_within(SOON).await, told("JOIN", "phone"));
    let twice = Member::join(&nodes[1], "phone").await;
    let elsewhere = Member::join(&nodes[0], "phone").await;
    drop(once);
    drop(twice);
    watcher.told_nothing_for(2 * LEASE).await;
    drop(elsewhere);
    assert_eq!(watcher.told_within(SOON).await, told("LEAVE", "phone"));
}

#[tokio::test(start_paused = true)]
async fn the_members_of_a_killed_node_leave_within_the_lease() {
    let network = Network::new(3);
    let [first, second, third] = [0, 1, 2].map(|id| Node::start(&network, id));
    let mut phone = Member::join(&first, "phone").await;
    phone.told().await;
    let laptop = Member::join(&second, "laptop").await;
    phone.told_within(SOON).await;
    let _tv = Member::join(&third, "tv").await;
    phone.told_within(SOON).await;
    sleep(5 * LEASE).await;
    let killed = Instant::now();
    drop(second);
    assert_eq!(phone.told_within(LEASE + SOON).await, told("LEAVE", "laptop"));
    assert!(killed.elapsed() >= LEASE / 2, "it may only be slow");
    phone.told_nothing_for(5 * LEASE).await;
    drop(laptop);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_attends_is_let_go() {
    let network = Network::new(5);
    let node = Node::start(&network, 0);
    let Member { attendance, _follower: follower, .. } = Member::join(&node, "phone").await;
    drop(follower);
    sleep(10 * Settings::default().linger).await;
    assert!(node.bus.hears(&topic()), "whoever attends must hear of others");
    drop(attendance);
    sleep(2 * Settings::default().linger).await;
    assert!(!node.bus.hears(&topic()));
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_or_goes_when_the_bus_goes_away() {
    let network = Network::new(4);
    let nodes = [0, 1].map(|id| Node::start(&network, id));
    let mut phone = Member::join(&nodes[0], "phone").await;
    phone.told().await;
    let mut laptop = Member::join(&nodes[1], "laptop").await;
    phone.told_within(SOON).await;
    sleep(LEASE).await;
    nodes.iter().for_each(|node| node.bus.disconnect());
    phone.told_nothing_for(5 * LEASE).await;
    let tablet = Member::join(&nodes[1], "tablet").await;
    // One is back before the other.
    nodes[0].bus.reconnect();
    phone.told_nothing_for(LEASE / 2).await;
    nodes[1].bus.reconnect();
    assert_eq!(phone.told_within(SOON).await, told("JOIN", "tablet"));
    phone.told_nothing_for(5 * LEASE).await;
    // It looks healthy and hears nothing, until the canary notices.
    nodes[0].bus.set_deaf(true);
    drop(tablet);
    assert_eq!(phone.told_within(LEASE).await, told("LEAVE", "tablet"));
    laptop.told().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_goes_when_a_single_subscription_is_lost() {
    let network = Network::new(6);
    let nodes = [0, 1].map(|id| Node::start(&network, id));
    let mut phone = Member::join(&nodes[0], "phone").await;
    phone.told().await;
    let _laptop = Member::join(&nodes[1], "laptop").await;
    phone.told_within(SOON).await;
    for _ in 0..10 {
        sleep(LEASE / 4).await;
        nodes[0].bus.forget(&topic());
        phone.told_nothing_for(2 * LEASE).await;
        assert!(nodes[0].bus.hears(&topic()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_bus_in_memory_carries_needs_no_waiting() {
    let (log, network) = (ModelLog::new(1), fanout::bus::MemoryBus::network());
    let [one, other] = ["a", "b"]
        .map(|name| Hub::start(name.parse().unwrap(), Settings::default(), log.clone(), network.join()));
    let mailbox = Arc::<Mailbox>::default();
    let mut members = Vec::new();
    for (hub, name) in [(&one, "phone"), (&other, "laptop")] {
        let follower = hub.follow(topic(), None, Arc::default(), 0).await.unwrap();
        let device = Device { user_id: None, device: name.parse().unwrap() };
        let attendance = hub.attend(&follower, device, mailbox.clone(), 7);
        members.push(Member { attendance, _follower: follower, mailbox: mailbox.clone() });
    }
    assert_eq!(members[0].told().await, told("PRESENCE", "phone"));
    assert_eq!(members[0].told_within(SOON).await, told("JOIN", "laptop"));
}
