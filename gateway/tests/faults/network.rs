//! The network fails between parts that all run on: connections break, or carry nothing while they
//! look alive.

use std::time::Duration;

use testkit::{Cluster, DeviceOptions, Proxy, wait};

use crate::{
    DEADLINE, cluster,
    load::{Fleet, Load},
    turn,
};

/// The devices' connections break again and again, whatever is on its way: commands, answers, events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_lose_and_repeat_nothing() {
    let _turn = turn().await;
    let cluster = cluster().nodes(2).env("COMMANDS_PER_SECOND", "100000").start().await.unwrap();
    let (proxies, fleet) = fleet_behind_proxies(&cluster, 4, 3).await;
    let load = Load::start(&fleet, Duration::from_millis(1));
    for _ in 0..15 {
        load.progress(15).await;
        for proxy in &proxies {
            proxy.cut();
            proxy.restore();
        }
    }
    load.progress(15).await;
    let resent: u64 = fleet.devices().map(|device| device.counters().resent).sum();
    assert!(resent > 10, "no connection broke before an answer: {resent}");
    load.finish(&fleet, &cluster).await;
}

/// The way to one node swallows everything; neither side is told. Devices find out by its silence, and
/// what they had sent may arrive much later, after its repetition on another node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_leave_a_connection_that_carries_nothing() {
    let _turn = turn().await;
    let cluster = cluster().nodes(2).start().await.unwrap();
    let (proxies, fleet) = fleet_behind_proxies(&cluster, 4, 2).await;
    let load = Load::start(&fleet, Duration::from_millis(5));
    load.progress(20).await;
    let stuck = fleet.on_node("node1");
    proxies[0].pause();
    for device in &stuck {
        device.wait_connected(DEADLINE, |node| node == "node2").await;
    }
    load.progress(20).await;
    proxies[0].resume();
    load.progress(20).await;
    load.finish(&fleet, &cluster).await;
}

/// One node loses Postgres in the middle of its transactions, while Postgres and the others run on: what
/// it had locked must not stop them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_postgres_stops_nobody_else() {
    let _turn = turn().await;
    let mut cluster = cluster().nodes(1).env("COMMANDS_PER_SECOND", "100000").start().await.unwrap();
    let proxy = Proxy::start(cluster.postgres.port()).await.unwrap();
    let through = cluster
        .database_url
        .replace(&format!(":{}/", cluster.postgres.port()), &format!(":{}/", proxy.port()));
    cluster.add_node(&[("DATABASE_URL", &through)]).await.unwrap();

    let fleet = Fleet::connect(&cluster, 4, 2).await;
    let load = Load::start(&fleet, Duration::from_millis(1));
    for _ in 0..3 {
        load.progress(50).await;
        proxy.pause();
        for device in fleet.on_node("node2") {
            let before = device.counters().unavailable;
            wait::until("commands are refused", DEADLINE, || async {
                let counters = device.counters();
                if counters.unavailable > before { Ok(()) } else { Err(format!("{counters:?}")) }
            })
            .await;
        }
        load.progress(20).await;
        proxy.resume();
    }
    load.progress(20).await;
    load.finish(&fleet, &cluster).await;
}

/// One node loses Redis without being told: what it commits reaches the others, and what they commit
/// reaches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_redis_misses_nothing() {
    let _turn = turn().await;
    let mut cluster = cluster().nodes(1).start().await.unwrap();
    let proxy = Proxy::start(cluster.redis.port()).await.unwrap();
    cluster.add_node(&[("REDIS_URL", &format!("redis://127.0.0.1:{}", proxy.port()))]).await.unwrap();

    let fleet = Fleet::connect(&cluster, 4, 2).await;
    let load = Load::start_with_listeners(&fleet, Duration::from_millis(20));
    load.progress(30).await;
    proxy.pause();
    load.progress(30).await;
    fleet.everybody_catches_up().await;
    proxy.resume();
    load.progress(30).await;
    proxy.cut();
    load.progress(30).await;
    fleet.everybody_catches_up().await;
    proxy.restore();
    load.progress(30).await;
    load.finish(&fleet, &cluster).await;
}

/// A proxy in front of each node, and devices that connect through them in turn.
async fn fleet_behind_proxies(cluster: &Cluster, users: usize, devices: usize) -> (Vec<Proxy>, Fleet) {
    let mut proxies = Vec::new();
    for node in &cluster.nodes {
        proxies.push(Proxy::start(node.port()).await.unwrap());
    }
    let urls: Vec<String> =
        proxies.iter().map(|proxy| format!("ws://127.0.0.1:{}/ws/realtime", proxy.port())).collect();
    let fleet = Fleet::connect_with(users, devices, |user, device, number| {
        let mut urls = urls.clone();
        urls.rotate_left(number % proxies.len());
        DeviceOptions::new(urls, user, device)
    })
    .await;
    (proxies, fleet)
}
