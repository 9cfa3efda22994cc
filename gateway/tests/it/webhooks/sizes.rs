//! How large batches are: within the setting, and within what a receiver takes.

use serde_json::{Value, json};
use testkit::{Receiver, receiver::Behaviour};

use super::{Hooked, path, seen};
use crate::harness::service;

/// An event that takes 3 KiB.
fn event() -> Value {
    json!({ "event": "E", "data": "x".repeat(3 * 1024) })
}

async fn publish(hooked: &Hooked, topic: &str, events: usize) {
    let events = vec![event(); events];
    let path = format!("/v1/topics/{topic}/events");
    for together in events.chunks(100) {
        let body = json!(together).to_string();
        let answer = hooked.server.call(&service(), "POST", &path, &[], &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_batch_has_half_a_mebibyte() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t*"] })).await;
    hooked.admin("PATCH", &path(&webhook), json!({ "paused": true })).await;
    // A read of one stream is bounded as well.
    for topic in ["t1", "t2", "t3", "t4"] {
        publish(&hooked, topic, 100).await;
    }
    hooked.admin("PATCH", &path(&webhook), json!({ "paused": false })).await;
    for topic in ["t1", "t2", "t3", "t4"] {
        seen(&receiver, &format!("topic:{topic}"), 1..=100).await;
    }
    let largest = receiver.deliveries().iter().map(|one| one.body.len()).max().unwrap();
    assert!((256 * 1024..=512 * 1024).contains(&largest), "{largest} bytes");
}

#[tokio::test]
async fn a_receiver_that_refuses_large_bodies_gets_smaller_ones() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(Behaviour::TakesUpTo(20_000));
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.admin("PATCH", &path(&webhook), json!({ "paused": true })).await;
    publish(&hooked, "t", 100).await;
    hooked.admin("PATCH", &path(&webhook), json!({ "paused": false })).await;
    seen(&receiver, "topic:t", 1..=100).await;
    assert_eq!(receiver.repeated(), 0);
    let shown = hooked.until("all to be delivered", &webhook, |shown| shown["lag"]["events"] == 0).await;
    let most = shown["batchBytesMax"].as_u64().unwrap();
    assert!((5000..=20_000).contains(&most), "{shown}");
    assert!(shown["lastError"].as_str().unwrap().contains("413"), "{shown}");
    // An operator may have mended the receiver.
    let answer = hooked.admin("PATCH", &path(&webhook), json!({ "url": receiver.url() })).await;
    assert!(answer.json["batchBytesMax"].is_null(), "{}", answer.text);
}

#[tokio::test]
async fn one_event_that_is_too_large_waits_and_can_be_passed_over() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(Behaviour::TakesUpTo(2000));
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    publish(&hooked, "t", 2).await;
    hooked.server.publish("t", "E", json!(3)).await;
    let single = |shown: &Value| {
        let error = shown["lastError"].as_str().unwrap_or_default();
        error.contains("a single event of topic:t") && shown["attempts"].as_u64() >= Some(3)
    };
    hooked.until("it to be said", &webhook, single).await;
    assert!(receiver.seen("topic:t").is_empty());
    let epoch = receiver.deliveries()[0].json["epoch"].as_str().unwrap().to_owned();
    let behind = json!({ "stream": "topic:t", "cursor": format!("{epoch}:2") });
    let answer = hooked.admin("POST", &format!("{}/replay", path(&webhook)), behind).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    seen(&receiver, "topic:t", [3]).await;
}
