//! A panic in a task that a node cannot live without, caused by a store that panics: the task goes on, or begins
//! anew, as soon as the cause is gone.

use std::sync::Arc;

use serde_json::json;
use testkit::wait;

use crate::{
    DEADLINE,
    failing_store::FailingStore,
    harness::{Disk, Server, ask, create},
};

async fn panicking(some: &[(&str, &str)]) -> (Server, Arc<FailingStore>, Arc<Disk>) {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    (Server::on(&Disk::over(store.clone()), some).await, store, disk)
}

/// Lets the store panic until `count` calls of it have.
async fn panic_until(store: &FailingStore, count: usize) {
    store.set_panics(true);
    wait::until("the store to panic", DEADLINE, || async {
        let panicked = store.panicked();
        if panicked >= count { Ok(()) } else { Err(format!("{panicked} panics")) }
    })
    .await;
    store.set_panics(false);
}

#[tokio::test]
async fn commands_are_unavailable_and_health_says_so_until_the_shard_goes_on() {
    let (server, store, _disk) = panicking(&[("WRITE_SHARDS", "1")]).await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    create(&mut phone, "d", json!({})).await;
    store.set_panics(true);
    let update = json!({ "draftId": "d", "baseVersion": 1, "patch": { "a": 2 } });
    let answer = ask(&mut phone, "DRAFT_UPDATE", "u", update.clone()).await;
    assert_eq!(answer["code"], "unavailable", "{answer}");
    let health = testkit::http::get(&format!("http://{}/healthz", server.addr)).await.unwrap();
    assert_eq!((health.status, &health.json["status"]), (503, &json!("down")), "{}", health.text);
    store.set_panics(false);
    loop {
        let answer = ask(&mut phone, "DRAFT_UPDATE", "u", update.clone()).await;
        if answer["code"] != "unavailable" {
            assert_eq!(answer["payload"]["version"], 2, "{answer}");
            break;
        }
    }
    let health = testkit::http::get(&format!("http://{}/healthz", server.addr)).await.unwrap();
    assert_eq!(health.status, 200, "{}", health.text);
}

#[tokio::test]
async fn retention_is_claimed_again_after_a_panic() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    store.set_panics(true);
    let server = Server::on(&Disk::over(store.clone()), &[("RETENTION_INTERVAL", "10ms")]).await;
    // The sweep asks the store as well, but not so soon.
    panic_until(&store, 1).await;
    wait::until("the node to lead retention", DEADLINE, || async {
        if server.node.retention.is_leader() { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn the_sweep_goes_on_after_a_panic() {
    let some = [("SWEEP_INTERVAL", "50ms"), ("SWEEP_INTERVAL_UNSURE", "50ms"), ("RETENTION_INTERVAL", "1h")];
    let (server, store, disk) = panicking(&some).await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    panic_until(&store, 2).await;
    // Committed by another node, of which no message arrives.
    let other = Server::on(&disk, &[]).await;
    let (mut laptop, _) = other.connect("alice", "device=laptop").await;
    create(&mut laptop, "d", json!({})).await;
    assert_eq!(phone.next(DEADLINE).await.unwrap()["seq"], 1);
}
