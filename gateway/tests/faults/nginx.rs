//! Nginx in front: a user's devices meet on one node, and move only when that one is gone.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use testkit::{Cluster, DeviceOptions, Nginx, Node, NodeOptions, Service, http, token};

use crate::{
    DEADLINE, cluster,
    load::{Fleet, Load},
    turn,
};

async fn fleet_behind_nginx(cluster: &Cluster, users: usize, devices: usize) -> Fleet {
    let url = cluster.nginx.as_ref().unwrap().ws_url();
    Fleet::connect_with(users, devices, |user, device, _| DeviceOptions::new(vec![url.clone()], user, device))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_users_of_a_dead_node_move() {
    let _turn = turn().await;
    let mut cluster = cluster().nodes(3).nginx().start().await.unwrap();
    let fleet = fleet_behind_nginx(&cluster, 12, 2).await;
    let mut nodes = BTreeSet::new();
    for user in &fleet.users {
        let at: BTreeSet<_> = user.devices.iter().map(|device| device.node().unwrap()).collect();
        assert_eq!(at.len(), 1, "{} is spread over {at:?}", user.name);
        nodes.extend(at);
    }
    assert!(nodes.len() > 1, "all users are on {nodes:?}");
    let load = Load::start(&fleet, Duration::from_millis(100));
    load.progress(5).await;

    let victim = fleet.users[0].devices[0].node().unwrap();
    let connections = |on_victim: bool| {
        let devices = fleet.devices().filter(|device| (device.node().unwrap() == victim) == on_victim);
        devices.map(|device| (device.clone(), device.connection_id())).collect::<Vec<_>>()
    };
    let (moved, stayed) = (connections(true), connections(false));
    cluster.nodes.iter_mut().find(|node| node.name() == victim).unwrap().kill9();
    for (device, _) in &moved {
        device.wait_connected(DEADLINE, |node| node != victim).await;
    }
    load.progress(5).await;
    for (device, connection) in &stayed {
        assert_eq!(device.connection_id(), *connection, "{} had no reason to move", device.name());
    }
    load.finish(&fleet, &cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_failures_are_survived_and_tokens_stay_out_of_logs() {
    let _turn = turn().await;
    let mut cluster = cluster().nodes(2).nginx().start().await.unwrap();
    let fleet = fleet_behind_nginx(&cluster, 4, 2).await;
    let load = Load::start(&fleet, Duration::from_millis(100));
    load.progress(5).await;

    let connections: Vec<_> = fleet.devices().map(|device| device.connection_id()).collect();
    cluster.nginx.as_ref().unwrap().reload();
    load.progress(5).await;
    let after: Vec<_> = fleet.devices().map(|device| device.connection_id()).collect();
    assert_eq!(after, connections, "a reload has cost connections");

    // A WebSocket is logged when it ends.
    fleet.devices().for_each(|device| device.drop_connection());
    load.progress(5).await;
    let nginx = cluster.nginx.as_mut().unwrap();
    let drafts = nginx.http_url(&format!("/v1/drafts?token={}", token::good("user0")));
    assert_eq!(http::get(&drafts).await.unwrap().status, 200);

    nginx.kill9();
    nginx.start_again().await.unwrap();
    load.progress(5).await;
    load.finish(&fleet, &cluster).await;

    let logs = cluster.nodes.iter().map(|node| node.log().unwrap());
    let logs: String = logs.chain([cluster.nginx.as_ref().unwrap().log().unwrap()]).collect();
    assert!(logs.contains("/ws/realtime") && logs.contains("/v1/drafts"), "Nginx logs requests: {logs}");
    // Every JWT begins with `{"` in base64.
    assert!(!logs.contains("eyJ"), "a token was logged: {logs}");
}

/// A 502 tells a client to come back with the same token, and a page to show that the server is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_large_body_is_answered_by_the_node() {
    const TRIES: usize = 20;
    let _turn = turn().await;
    let node = Node::start(NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"))).await.unwrap();
    let nginx = Nginx::start(&[node.port()]).await.unwrap();
    let expired = format!("Bearer {}", token::sign(&json!({ "sub": "alice", "exp": 1 }), token::SECRET));
    let alice = format!("Bearer {}", token::good("alice"));
    for bytes in [60_000, 300_000, 900_000] {
        let body = " ".repeat(bytes);
        for (path, token, status) in [
            ("/v1/drafts", &expired, 401),
            ("/v1/topics/t/events", &alice, 403),
            ("/v1/nothing", &alice, 404),
            ("/v1/drafts?what=ever", &alice, 400),
        ] {
            let url = nginx.http_url(path);
            for _ in 0..TRIES {
                let headers = [("authorization", token.as_str())];
                let answer = http::request_text("POST", &url, &headers, &body).await.unwrap();
                assert_eq!(answer.status, status, "{path} with {bytes} bytes: {}", answer.text);
            }
        }
    }
}
