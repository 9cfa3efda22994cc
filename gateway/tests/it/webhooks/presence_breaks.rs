//! Who attends, where something breaks in between: what a webhook was told holds, and nobody seems gone who is not.

use std::sync::Arc;

use serde_json::{Value, json};
use testkit::{Receiver, receiver::Behaviour, wait};

use super::{
    Hooked, path,
    presence::{LEASE, is_told, told},
};
use crate::{
    DEADLINE,
    failing_store::{FailingStore, Lost},
    harness::{Disk, service, subscribe},
};

fn attends(topic: &str) -> Value {
    json!({ "topic": topic, "presence": true })
}

/// Waits until a query of the database has this answer.
async fn answers(hooked: &Hooked, query: &str, expected: &str) {
    wait::until(query, DEADLINE, || async {
        let answer = hooked.sql(query).await;
        if answer == expected { Ok(()) } else { Err(answer) }
    })
    .await;
}

/// The receiver may have got the batch that was given up, and has remembered its numbers.
#[tokio::test]
async fn what_a_batch_was_to_tell_outlives_it() {
    let hooked = Hooked::with(&[LEASE]).await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"], "presence": ["room:*"] })).await;
    receiver.behaves(Behaviour::Answers(500, Vec::new()));
    let (mut alice, _) = hooked.server.connect_to_topics("alice", "device=phone").await;
    subscribe(&mut alice, attends("room:1")).await;
    let sent = wait::until("the room to be sent", DEADLINE, || async {
        receiver.deliveries().pop().ok_or("nothing was sent")
    })
    .await;
    assert_eq!(sent.json["presence"][0]["number"], 1);
    drop(alice);
    answers(&hooked, "SELECT count(*) FROM occupancy", "0").await;
    let replay = json!({ "from": "floor" });
    let answer = hooked.admin("POST", &format!("{}/replay", path(&webhook)), replay).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let filter = json!({ "filter": { "topics": ["u"], "presence": ["room:*"] } });
    let answer = hooked.admin("PATCH", &path(&webhook), filter).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    receiver.behaves(Behaviour::Takes);
    is_told(&receiver, &["room:1 OCCUPIED", "room:1 VACATED"]).await;
    let first = receiver.deliveries().into_iter().find(|delivery| delivery.taken).unwrap();
    assert_eq!(first.json["presence"], sent.json["presence"], "the same numbers");
}

/// As after a database was restored: the history has another name, and what nodes have written is gone.
#[tokio::test]
async fn in_another_history_all_is_told_anew() {
    let hooked = Hooked::with(&[LEASE]).await;
    let receiver = Receiver::start().await.unwrap();
    hooked.webhook(&receiver, json!({ "presence": ["room:*"] })).await;
    let (mut alice, _) = hooked.server.connect_to_topics("alice", "device=phone").await;
    let (mut bob, _) = hooked.server.connect_to_topics("bob", "device=phone").await;
    subscribe(&mut alice, attends("room:1")).await;
    subscribe(&mut bob, attends("room:2")).await;
    is_told(&receiver, &["room:1 OCCUPIED", "room:2 OCCUPIED"]).await;
    answers(&hooked, "SELECT count(*) FROM webhook_occupancy", "2").await;
    hooked
        .sql(
            "UPDATE history SET source = 'row', name = 'restored', started = pg_postmaster_start_time();
             DELETE FROM occupancy",
        )
        .await;
    drop(bob);
    is_told(&receiver, &["room:1 OCCUPIED", "room:2 OCCUPIED", "room:1 OCCUPIED"]).await;
    let last = receiver.deliveries().pop().unwrap();
    let expected = json!([{ "topic": "room:1", "type": "OCCUPIED", "number": 1 }]);
    assert_eq!(last.json["presence"], expected, "numbers begin anew");
    assert_ne!(last.json["epoch"], receiver.deliveries()[0].json["epoch"]);
    answers(&hooked, "SELECT string_agg(topic, ' ') FROM webhook_occupancy", "room:1").await;
    drop(alice);
    is_told(&receiver, &["room:1 OCCUPIED", "room:2 OCCUPIED", "room:1 OCCUPIED", "room:1 VACATED"]).await;
}

/// The node has taken back what it had written, and cannot write it again for longer than a topic has to be empty.
#[tokio::test]
async fn nobody_seems_gone_where_a_webhook_asks_again() {
    let hooked = Hooked::with(&[("PRESENCE_LEASE", "4s")]).await;
    let (receiver, other) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
    let webhook = hooked.webhook(&receiver, json!({ "presence": ["room:*"] })).await;
    hooked.webhook(&other, json!({ "presence": ["lobby:*"] })).await;
    let (mut alice, _) = hooked.server.connect_to_topics("alice", "device=phone").await;
    subscribe(&mut alice, attends("room:1")).await;
    subscribe(&mut alice, attends("lobby:1")).await;
    is_told(&receiver, &["room:1 OCCUPIED"]).await;
    is_told(&other, &["lobby:1 OCCUPIED"]).await;
    let change = async |change: Value| {
        let answer = hooked.admin("PATCH", &path(&webhook), change).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    // A paused webhook is written for as before.
    change(json!({ "paused": true })).await;
    subscribe(&mut alice, attends("lobby:2")).await;
    is_told(&other, &["lobby:1 OCCUPIED", "lobby:2 OCCUPIED"]).await;
    answers(&hooked, "SELECT count(*) FROM occupancy WHERE topic = 'room:1'", "1").await;
    change(json!({ "paused": false, "filter": { "topics": ["t"] } })).await;
    answers(&hooked, "SELECT count(*) FROM occupancy WHERE topic = 'room:1'", "0").await;
    let held = hooked.sql("LOCK TABLE occupancy IN EXCLUSIVE MODE; SELECT pg_sleep(3)");
    let asks_again = async {
        answers(
            &hooked,
            "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'occupancy'::regclass",
            "1",
        )
        .await;
        change(json!({ "filter": { "presence": ["room:*"] } })).await;
    };
    tokio::join!(held, asks_again);
    answers(&hooked, "SELECT count(*) FROM occupancy WHERE topic = 'room:1'", "1").await;
    assert_eq!(told(&receiver), ["room:1 OCCUPIED"]);
    drop(alice);
    is_told(&receiver, &["room:1 OCCUPIED", "room:1 VACATED"]).await;
}

/// A call that has failed may have been carried out: what it has written is not kept alive.
#[tokio::test]
async fn what_was_written_by_a_call_whose_outcome_is_lost_is_taken_back() {
    let mut store = None;
    let wrap = |disk: &Arc<Disk>| Disk::over(store.insert(FailingStore::over(disk)).clone());
    let hooked = Hooked::over(wrap, &[LEASE]).await;
    let store = store.unwrap();
    let receiver = Receiver::start().await.unwrap();
    hooked.webhook(&receiver, json!({ "presence": ["room:*"] })).await;
    let (mut alice, _) = hooked.server.connect_to_topics("alice", "device=phone").await;
    subscribe(&mut alice, attends("room:1")).await;
    is_told(&receiver, &["room:1 OCCUPIED"]).await;
    for lost in [Lost::Answer, Lost::Caller] {
        store.set_lost(Some(lost));
        let (mut bob, _) = hooked.server.connect_to_topics("bob", "device=phone").await;
        subscribe(&mut bob, attends("room:2")).await;
        answers(&hooked, "SELECT count(*) > 0 FROM occupancy WHERE topic = 'room:2'", "t").await;
        drop(bob);
        wait::until("the node to notice that nobody is left", DEADLINE, || async {
            let path = "/v1/topics/room:2/presence";
            let answer = hooked.server.call(&service(), "GET", path, &[], "").await;
            if answer.json["members"] == json!([]) { Ok(()) } else { Err(answer.text) }
        })
        .await;
        store.set_lost(None);
        answers(&hooked, "SELECT string_agg(topic, ' ') FROM occupancy", "room:1").await;
    }
    drop(alice);
    wait::until("the first room to be told empty, once", DEADLINE, || async {
        // The other one may have been seen while it was attended.
        let mut told = told(&receiver);
        told.retain(|told| told.starts_with("room:1"));
        if told == ["room:1 OCCUPIED", "room:1 VACATED"] { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}
