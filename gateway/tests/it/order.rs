//! The order of a connection's commands, whatever is refused for the moment and however often the client
//! comes back.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use testkit::{Device, DeviceOptions, token};

use crate::{
    DEADLINE,
    failing_store::FailingStore,
    harness::{ALL_TOPICS, Disk, Server, ask, create},
    history::history,
};

/// The events of the topic `t` as they were published.
async fn published(server: &Server) -> Vec<Value> {
    let events = history(server, "?limit=1000").await.json["events"].clone();
    events.as_array().unwrap().iter().map(|event| event["payload"].clone()).collect()
}

#[tokio::test]
async fn commands_that_come_too_fast_are_carried_out_in_their_order() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "100")]).await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    ask(&mut socket, "DRAFT_CREATE", "c", json!({ "draftId": "d", "content": {} })).await;
    const CHANGES: u64 = 250;
    for n in 1..=CHANGES {
        let update = json!({ "draftId": "d", "baseVersion": n, "patch": { "n": n } });
        socket
            .send(&json!({ "type": "DRAFT_UPDATE", "id": format!("u{n}"), "payload": update }))
            .await
            .unwrap();
        let publish = json!({ "topic": "t", "event": "E", "data": n });
        socket.send(&json!({ "type": "PUBLISH", "id": format!("p{n}"), "payload": publish })).await.unwrap();
    }
    let mut answers = BTreeMap::new();
    while (answers.len() as u64) < 2 * CHANGES {
        let message = socket.next(DEADLINE).await.unwrap();
        if let Some(id) = message["id"].as_str() {
            answers.insert(id.to_owned(), message);
        }
    }
    for n in 1..=CHANGES {
        assert_eq!(answers[&format!("u{n}")]["payload"]["version"], n + 1, "{}", answers[&format!("u{n}")]);
    }
    let expected: Vec<Value> = (1..=CHANGES).map(Value::from).collect();
    assert_eq!(published(&server).await, expected);
}

/// A client that repeats what was refused whenever it likes, and sends other commands in between.
#[tokio::test]
async fn nothing_overtakes_a_command_that_was_refused_for_the_moment() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    create(&mut socket, "d", json!({})).await;
    let update = |n: u64| json!({ "draftId": "d", "baseVersion": n, "patch": { "n": n } });
    store.set_down(true);
    let answer = ask(&mut socket, "DRAFT_UPDATE", "u1", update(1)).await;
    assert_eq!(answer["code"], "unavailable", "{answer}");
    store.set_down(false);
    // Sent before the refusal has arrived, as far as the server knows; and again, too early.
    for (id, n) in [("u2", 2), ("u3", 3), ("u2", 2)] {
        let answer = ask(&mut socket, "DRAFT_UPDATE", id, update(n)).await;
        assert_eq!(answer["code"], "unavailable", "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("u1"), "{answer}");
    }
    // What changes nothing has no part in it.
    let mut list = ask(&mut socket, "DRAFT_LIST", "l", json!({})).await;
    while list["code"] == "unavailable" {
        // The shard has not seen yet that the store is back.
        list = ask(&mut socket, "DRAFT_LIST", "l", json!({})).await;
    }
    assert_eq!(list["payload"]["drafts"][0]["version"], 1, "{list}");
    for (id, n, code) in
        [("u1", 1, None), ("u3", 3, Some("unavailable")), ("u2", 2, None), ("u3", 3, None), ("u4", 4, None)]
    {
        let answer = ask(&mut socket, "DRAFT_UPDATE", id, update(n)).await;
        assert_eq!(answer["code"].as_str(), code, "{id}: {answer}");
    }
}

/// One that gives up what was refused says so.
#[tokio::test]
async fn a_refused_command_that_is_given_up_holds_nothing_back() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    store.set_down(true);
    for id in ["a", "b"] {
        let answer = ask(&mut socket, "DRAFT_CREATE", id, json!({ "draftId": id, "content": {} })).await;
        assert_eq!(answer["code"], "unavailable", "{answer}");
    }
    store.set_down(false);
    assert_eq!(ask(&mut socket, "PING", "a", json!({})).await["type"], "PONG");
    loop {
        let answer = ask(&mut socket, "DRAFT_CREATE", "b", json!({ "draftId": "b", "content": {} })).await;
        if answer["code"] != "unavailable" {
            assert_eq!(answer["type"], "ACK", "{answer}");
            break;
        }
    }
    let answer = ask(&mut socket, "DRAFT_CREATE", "c", json!({ "draftId": "c", "content": {} })).await;
    assert_eq!(answer["type"], "ACK", "{answer}");
}

/// Any rate, any refusals, any reconnects: a client that does what docs/protocol.md asks of it has nothing
/// refused for good, and everything is carried out in the order in which it was asked for.
#[tokio::test]
async fn the_order_is_kept_whatever_is_refused_and_however_often_the_client_comes_back() {
    for seed in 1..=6 {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = Disk::new().await;
        let store = FailingStore::over(&disk);
        let rate = ["300", "1000", "10000"][random.random_range(0..3)];
        let server = Server::on(&Disk::over(store.clone()), &[("COMMANDS_PER_SECOND", rate)]).await;
        let device = Device::connect(DeviceOptions {
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(50),
            token: std::sync::Arc::new(|| token::scoped("alice", ALL_TOPICS)),
            answer_wait: DEADLINE,
            ..DeviceOptions::new(vec![server.socket_url()], "alice", "phone")
        })
        .await;
        device.create("d", json!({})).await.unwrap();
        store.set_chance(seed);
        const CHANGES: u64 = 40;
        let device = &device;
        let changes = join_all((1..=CHANGES).map(|n| async move {
            let done = device.update("d", n, json!({ "n": n })).await;
            assert!(done.is_ok(), "seed {seed}, change {n}: {done:?}, {:?}", device.counters());
        }));
        let publishes = join_all((1..=CHANGES).map(|n| async move {
            let done = device.publish("t", "E", json!(n)).await;
            assert!(done.is_ok(), "seed {seed}, event {n}: {done:?}, {:?}", device.counters());
        }));
        let reconnects = async {
            let mut seen = 1;
            for _ in 0..random.random_range(0..8) {
                seen = (seen + random.random_range(0..10)).min(CHANGES);
                device.wait_until("get on", DEADLINE, |replica| replica.version("d") >= seen).await;
                device.drop_connection();
            }
        };
        tokio::join!(changes, publishes, reconnects);
        store.set_chance(0);
        let expected: Vec<Value> = (1..=CHANGES).map(Value::from).collect();
        assert_eq!(published(&server).await, expected, "seed {seed}");
        device
            .wait_until("have seen all changes", DEADLINE, |replica| replica.version("d") == CHANGES + 1)
            .await;
        assert_eq!(device.violations(), [], "seed {seed}");
    }
}
