//! Retention on whole nodes: logs are cut while clients come and go, and one node does it.

use serde_json::json;
use testkit::wait;

use crate::{
    DEADLINE,
    harness::{ANY_PORT, Disk, Server, create, settings},
};

const SETTINGS: [(&str, &str); 2] = [("RETENTION_USER_EVENTS", "5"), ("RETENTION_INTERVAL", "10ms")];

#[tokio::test]
async fn who_was_away_for_too_long_gets_the_state_instead_of_events() {
    let server = Server::with(&SETTINGS).await;
    let (mut phone, welcome) = server.connect("alice", "device=phone").await;
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    for i in 0..12 {
        create(&mut phone, &format!("d{i}"), json!({ "i": i })).await;
    }
    server.is_cut_at("user:alice", 7).await;
    // On a node that has nothing of it in memory.
    let other = Server::on(&server.disk, &SETTINGS).await;
    let (mut late, _) = other.connect("alice", &format!("device=late&cursor={epoch}:6")).await;
    let snapshot = late.next(DEADLINE).await.unwrap();
    assert_eq!((&snapshot["type"], &snapshot["seq"]), (&json!("SNAPSHOT"), &json!(12)));
    assert_eq!(snapshot["payload"]["drafts"].as_array().map(Vec::len), Some(12), "drafts are not cut");
    let (mut soon, _) = other.connect("alice", &format!("device=soon&cursor={epoch}:7")).await;
    for seq in 8..=12 {
        assert_eq!(soon.next(DEADLINE).await.unwrap()["seq"], seq);
    }
    // Those who follow live have not noticed.
    assert_eq!(create(&mut phone, "next", json!({})).await, 13);
    server.is_cut_at("user:alice", 8).await;
}

#[tokio::test]
async fn what_is_older_than_its_time_goes() {
    let server = Server::with(&[("RETENTION_INTERVAL", "10ms")]).await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    create(&mut phone, "old", json!({})).await;
    create(&mut phone, "older", json!({})).await;
    server.disk.sql("UPDATE events SET ts = 1; UPDATE commands SET ts = 1").await;
    create(&mut phone, "new", json!({})).await;
    server.is_cut_at("user:alice", 2).await;
    // What was forgotten is decided anew under the same id, and what was not is still known.
    let create = |id: &'static str| json!({ "draftId": id, "content": {} });
    wait::until("the old command to be forgotten", DEADLINE, || async {
        let device = [("idempotency-key", "create-old")];
        let answer =
            server.api("alice", "POST", "/v1/drafts?device=phone", &device, Some(create("old"))).await;
        if answer.status == 409 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let device = [("idempotency-key", "create-new")];
    let answer = server.api("alice", "POST", "/v1/drafts?device=phone", &device, Some(create("new"))).await;
    assert_eq!((answer.status, &answer.json["seq"]), (201, &json!(3)));
}

#[tokio::test]
async fn one_node_does_it_until_it_stops() {
    let disk = Disk::new().await;
    let bus = fanout::bus::MemoryBus::new();
    let mut servers = Vec::new();
    for name in ["n1", "n2"] {
        servers.push(Server::assemble_at(ANY_PORT, &disk, bus.clone(), settings(name, &SETTINGS)).await);
    }
    let holders = |servers: &[Server]| -> Vec<bool> {
        servers.iter().map(|server| server.node.retention.is_leader()).collect()
    };
    let held = wait::until("one to do it", DEADLINE, || async {
        let held = holders(&servers);
        if held.contains(&true) { Ok(held) } else { Err("nobody does".to_owned()) }
    })
    .await;
    assert_eq!(held.iter().filter(|held| **held).count(), 1, "{held:?}");
    let first = held.iter().position(|held| *held).unwrap();
    servers[first].node.retention.stop();
    wait::until("the other to take over", DEADLINE, || async {
        let held = holders(&servers);
        if held[1 - first] && !held[first] { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
}
