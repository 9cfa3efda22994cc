//! Nodes that stop, and others that go on.

use std::sync::Arc;

use draftwire_client::{Client, ConnectionState, NewDraft, NewEvent, TopicItem};
use fanout::bus::MemoryBus;
use serde_json::json;
use testkit::Proxy;

use super::{builder, in_time};
use crate::harness::{ANY_PORT, Disk, Server, settings};

/// Two nodes over one store and one bus, and an address that leads to the first.
struct Cluster {
    nodes: [Server; 2],
    proxy: Proxy,
}

impl Cluster {
    async fn start() -> Self {
        let (disk, bus) = (Disk::new().await, MemoryBus::new());
        let node = async |name: &str| {
            let settings = settings(name, &[("DRAIN_WINDOW", "300ms")]);
            Server::assemble_at(ANY_PORT, &disk, Arc::clone(&bus) as _, settings).await
        };
        let nodes = [node("n1").await, node("n2").await];
        let proxy = Proxy::start(nodes[0].addr.port()).await.unwrap();
        Self { nodes, proxy }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy.port())
    }
}

fn node_of(client: &Client) -> Option<String> {
    match &*client.state().borrow() {
        ConnectionState::Connected { node, .. } => Some(node.clone()),
        _ => None,
    }
}

/// Waits until the client is on a node.
async fn is_on(client: &Client, name: &str) {
    let is_there =
        |state: &ConnectionState| matches!(state, ConnectionState::Connected { node, .. } if node == name);
    in_time("the node", client.state().wait_for(is_there)).await.unwrap();
}

/// Publishes through the second node until told to stop; the topic's numbers then go up to what is returned.
async fn publish(client: Client, mut stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    let mut last = 0;
    while !*stop.borrow_and_update() {
        last = client.publish("t", NewEvent::new("E")).await.unwrap().seq.unwrap();
    }
    last
}

/// Moves a client from the first node to the second by `how`, while events are published and a draft is edited.
async fn moves_without_loss(how: impl AsyncFnOnce(&Cluster)) -> (Client, Cluster) {
    let cluster = Cluster::start().await;
    let client = builder(&cluster.url(), "alice").device("phone").connect().await.unwrap();
    let other = builder(&cluster.nodes[1].socket_url(), "alice").device("laptop").connect().await.unwrap();
    let mut topic = client.topic("t").subscribe().await.unwrap();
    let created = client.drafts().create(NewDraft::new(&json!({ "n": 0 })).unwrap().id("d")).await.unwrap();
    assert_eq!(node_of(&client).as_deref(), Some("n1"));

    let stop = tokio::sync::watch::Sender::new(false);
    let publishing = tokio::spawn(publish(other.clone(), stop.subscribe()));
    let editor = client.clone();
    let editing = tokio::spawn(async move {
        let mut version = created.version;
        for n in 1..=50 {
            let changed = editor.drafts().update("d", version, &json!({ "n": n })).await.unwrap();
            assert_eq!(changed.version, version + 1, "each change is made once");
            version = changed.version;
        }
    });
    how(&cluster).await;
    is_on(&client, "n2").await;
    in_time("the edits", editing).await.unwrap();
    stop.send_replace(true);
    let last = in_time("the publisher", publishing).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        match in_time("the next event", topic.next()).await.unwrap() {
            TopicItem::Event(event) => seen.push(event.seq),
            TopicItem::Synced => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (1..=last).collect::<Vec<_>>(), "each event once, in order");
    for client in [&client, &other] {
        let reached = |replica: &draftwire_client::Replica| {
            replica.drafts().get("d").is_some_and(|draft| json!(draft.content) == json!({ "n": 50 }))
        };
        in_time("the last edit", client.drafts().wait_for(reached)).await.unwrap();
    }
    (client, cluster)
}

#[tokio::test]
async fn a_client_whose_node_is_gone_goes_on_with_another_one() {
    let (_client, cluster) = moves_without_loss(async |cluster: &Cluster| {
        cluster.proxy.lead_to(cluster.nodes[1].addr.port());
        cluster.proxy.cut();
        cluster.proxy.restore();
    })
    .await;
    for node in cluster.nodes {
        node.stop().await;
    }
}

/// Asked to move, a client does so by itself and in its own time: the connection does not break.
#[tokio::test]
async fn a_client_moves_when_its_node_asks_for_it() {
    let (_client, cluster) = moves_without_loss(async |cluster: &Cluster| {
        cluster.proxy.lead_to(cluster.nodes[1].addr.port());
        let left = in_time("the drain", cluster.nodes[0].node.drain()).await;
        assert_eq!(left, 0, "connections left over");
    })
    .await;
    let [first, second] = cluster.nodes;
    first.end().await;
    second.stop().await;
}
