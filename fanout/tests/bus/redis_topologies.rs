//! Redis as Sentinel and as Cluster.

use std::{fmt::Write, path::Path};

use fanout::bus::{Channel, Unsure};
use testkit::{Redis, Service, ports};

use crate::{
    contract, redis_bus,
    support::{Node, cli, topic, until, until_live},
};

/// The primary crashes for good; Sentinel makes its replica the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_failover() {
    let mut primary = Redis::start().await.unwrap();
    let follow = format!("127.0.0.1 {}", primary.port());
    let replica = Redis::start_with(&["--replicaof", &follow]).await.unwrap();
    until("the replica follows", || cli(&replica, &["INFO", "replication"]).contains("link_status:up")).await;
    let folder = tempfile::tempdir().unwrap();
    let sentinel = start_sentinel(&primary, folder.path()).await;
    until("the sentinel knows the replica", || {
        cli(&sentinel, &["SENTINEL", "REPLICAS", "main"]).contains(&replica.port().to_string())
    })
    .await;
    let url = format!("redis-sentinel://127.0.0.1:{}?sentinelServiceName=main", sentinel.port());
    let (a, b) = (Node::connected(redis_bus(&url)).await, Node::connected(redis_bus(&url)).await);
    let channel = topic("t");
    b.subscribe(std::slice::from_ref(&channel)).await;
    until_live(&a, &b, &channel).await;

    primary.kill9();
    until("the subscriptions are back", || b.was_unsure(Unsure::Reconnected)).await;
    until_live(&a, &b, &channel).await;
    assert!(cli(&replica, &["ROLE"]).starts_with("master"));
}

/// It keeps what it learns in a folder of ours.
async fn start_sentinel(primary: &Redis, folder: &Path) -> Redis {
    let config = folder.join("sentinel.conf");
    let text = format!(
        "sentinel monitor main 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds main 1000\n\
         sentinel failover-timeout main 5000\n",
        primary.port()
    );
    std::fs::write(&config, text).unwrap();
    Redis::start_with(&[config.to_str().unwrap(), "--sentinel"]).await.unwrap()
}

struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    const SLOTS: usize = 16_384;

    async fn start(size: usize) -> Self {
        let mut nodes = Vec::new();
        let mut bus_ports = Vec::new();
        for _ in 0..size {
            // Otherwise 10,000 above its own, where another may be.
            let bus_port = ports::free().unwrap().to_string();
            let clustered = ["--cluster-enabled", "yes", "--cluster-port", &bus_port];
            nodes.push(Redis::start_with(&clustered).await.unwrap());
            bus_ports.push(bus_port);
        }
        for (n, node) in nodes.iter().enumerate() {
            let (first, end) = (Self::SLOTS * n / size, Self::SLOTS * (n + 1) / size);
            cli(node, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]);
            cli(node, &["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port().to_string(), &bus_ports[0]]);
        }
        let cluster = Self { nodes };
        until("the cluster is complete", || {
            cluster.nodes.iter().all(|node| {
                let info = cli(node, &["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{size}"))
            })
        })
        .await;
        cluster
    }

    fn url(&self) -> String {
        let mut url = format!("redis-cluster://127.0.0.1:{}?", self.nodes[0].port());
        for node in &self.nodes[1..] {
            write!(url, "node=127.0.0.1:{}&", node.port()).unwrap();
        }
        url.trim_end_matches('&').to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_the_contract() {
    let cluster = Cluster::start(3).await;
    let join = || redis_bus(&cluster.url());
    assert_eq!(join().canaries(), 16);
    contract::a_copy_reaches_every_subscriber_and_the_sender(&join).await;
    contract::every_kind_of_channel_is_carried(&join).await;
    contract::unsubscribing_ends_and_subscribing_resumes(&join).await;
    contract::copies_of_one_publisher_keep_their_order(&join).await;
    contract::thousands_of_channels_are_heard(&join).await;
    for node in &cluster.nodes {
        assert!(cli(node, &["INFO", "commandstats"]).contains("ssubscribe"), "a shard was left out");
    }
}

/// The command of docs/operations.md that makes the user, with a password.
fn documented_user() -> Vec<String> {
    let page = include_str!("../../../docs/operations.md");
    let command = page.lines().find(|line| line.starts_with("ACL SETUSER draftwire ")).unwrap();
    command.replace("PASSWORD", "hunter2").split(' ').map(str::to_owned).collect()
}

/// Makes that user, and nobody else may do anything.
fn restrict(server: &Redis) {
    let command = documented_user();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    assert_eq!(cli(server, &command), "OK");
    assert_eq!(cli(server, &["ACL", "LOG", "RESET"]), "OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let single = Redis::start().await.unwrap();
    restrict(&single);
    let url = format!("redis://draftwire:hunter2@127.0.0.1:{}/1", single.port());
    let cluster = Cluster::start(2).await;
    cluster.nodes.iter().for_each(restrict);
    let clustered = cluster.url().replace("://", "://draftwire:hunter2@");
    for url in [&url, &clustered] {
        let join = || redis_bus(url);
        contract::a_copy_reaches_every_subscriber_and_the_sender(&join).await;
        contract::every_kind_of_channel_is_carried(&join).await;
        contract::unsubscribing_ends_and_subscribing_resumes(&join).await;
    }
    for server in std::iter::once(&single).chain(&cluster.nodes) {
        assert_eq!(cli(server, &["ACL", "LOG"]), "", "something was refused");
    }
}

/// A slot moves to another node: its subscriptions are ended there, with nothing that fred would tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start(2).await;
    let (a, b) =
        (Node::connected(redis_bus(&cluster.url())).await, Node::connected(redis_bus(&cluster.url())).await);
    let channels: Vec<Channel> = (0..50).map(|n| topic(&n.to_string())).collect();
    b.subscribe(&channels).await;
    b.forget();

    let slot = cli(&cluster.nodes[0], &["CLUSTER", "KEYSLOT", "draftwire:topic:7"]);
    let half = Cluster::SLOTS / 2;
    let (from, to) = if slot.parse::<usize>().unwrap() < half { (0, 1) } else { (1, 0) };
    let new_owner = cli(&cluster.nodes[to], &["CLUSTER", "MYID"]);
    // The new owner first: the old one learns of it from there.
    for node in [&cluster.nodes[to], &cluster.nodes[from]] {
        cli(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &new_owner]);
    }
    until_live(&a, &b, &topic("7")).await;
    assert!(b.was_unsure(Unsure::Reconnected), "what was lost on the way is looked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_that_restarts() {
    let mut cluster = Cluster::start(2).await;
    let (a, b) =
        (Node::connected(redis_bus(&cluster.url())).await, Node::connected(redis_bus(&cluster.url())).await);
    let channels: Vec<Channel> = (0..20).map(|n| topic(&n.to_string())).collect();
    b.subscribe(&channels).await;
    b.forget();
    cluster.nodes[1].kill9();
    until("the loss is noticed", || b.was_unsure(Unsure::Disconnected)).await;
    cluster.nodes[1].start_again().await.unwrap();
    until("the subscriptions are back", || b.was_unsure(Unsure::Reconnected)).await;
    for channel in &channels {
        until_live(&a, &b, channel).await;
    }
}
