//! Who attends topics: webhooks are told when the first one comes, and when the last one has gone.

use serde_json::{Value, json};
use testkit::{Receiver, wait};

use super::Hooked;
use crate::{DEADLINE, harness::subscribe};

/// Leases of nodes end sooner than production needs.
const LEASE: (&str, &str) = ("PRESENCE_LEASE", "1s");

/// What a receiver was told of who attends, in order: topics with what was said.
fn told(receiver: &Receiver) -> Vec<String> {
    let deliveries = receiver.deliveries();
    let entries =
        deliveries.iter().flat_map(|one| one.json["presence"].as_array().cloned().unwrap_or_default());
    let text =
        |entry: &Value| format!("{} {}", entry["topic"].as_str().unwrap(), entry["type"].as_str().unwrap());
    let (mut told, mut last) = (Vec::new(), 0);
    for entry in entries {
        let number = entry["number"].as_u64().unwrap();
        assert!(number == last + 1, "{number} comes behind {last}");
        last = number;
        told.push(text(&entry));
    }
    told
}

async fn is_told(receiver: &Receiver, expected: &[&str]) {
    wait::until("the webhook to be told", DEADLINE, || async {
        // What changes at once is told in any order.
        let (mut told, mut expected) = (told(receiver), expected.to_vec());
        told.sort_unstable();
        expected.sort_unstable();
        if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

#[tokio::test]
async fn rooms_are_occupied_and_vacated() {
    let hooked = Hooked::with(&[LEASE]).await;
    let receiver = Receiver::start().await.unwrap();
    hooked.webhook(&receiver, json!({ "presence": ["room:*"] })).await;
    let (mut first, _) = hooked.server.connect_to_topics("alice", "device=phone").await;
    let (mut second, _) = hooked.server.connect_to_topics("bob", "device=laptop").await;
    subscribe(&mut first, json!({ "topic": "other", "presence": true })).await;
    subscribe(&mut first, json!({ "topic": "room:1", "presence": true })).await;
    is_told(&receiver, &["room:1 OCCUPIED"]).await;
    subscribe(&mut second, json!({ "topic": "room:1", "presence": true })).await;
    // Who only reads attends nothing.
    subscribe(&mut second, json!({ "topic": "room:2" })).await;
    drop(first);
    subscribe(&mut second, json!({ "topic": "room:3", "presence": true })).await;
    is_told(&receiver, &["room:1 OCCUPIED", "room:3 OCCUPIED"]).await;
    drop(second);
    is_told(&receiver, &["room:1 OCCUPIED", "room:3 OCCUPIED", "room:1 VACATED", "room:3 VACATED"]).await;
    assert_eq!(receiver.wrong(), [] as [String; 0]);
}

#[tokio::test]
async fn what_a_dead_node_has_written_ends_with_its_lease() {
    let hooked = Hooked::with(&[LEASE]).await;
    let receiver = Receiver::start().await.unwrap();
    hooked.sql("INSERT INTO occupancy_leases VALUES ('dead', 9000000000000); INSERT INTO occupancy VALUES ('room:1', 'dead')").await;
    hooked.webhook(&receiver, json!({ "presence": ["*"] })).await;
    is_told(&receiver, &["room:1 OCCUPIED"]).await;
    hooked.sql("UPDATE occupancy_leases SET lease_until = 0 WHERE node = 'dead'").await;
    is_told(&receiver, &["room:1 OCCUPIED", "room:1 VACATED"]).await;
    wait::until("the dead node to be removed", DEADLINE, || async {
        let left = hooked.sql("SELECT count(*) FROM occupancy").await;
        if left == "0" { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_written_where_nobody_asks() {
    let hooked = Hooked::with(&[LEASE]).await;
    let receiver = Receiver::start().await.unwrap();
    let (mut alice, _) = hooked.server.connect_to_topics("alice", "device=phone").await;
    subscribe(&mut alice, json!({ "topic": "room:1", "presence": true })).await;
    let webhook = hooked.webhook(&receiver, json!({ "presence": ["room:*"] })).await;
    is_told(&receiver, &["room:1 OCCUPIED"]).await;
    let answer = hooked.admin("DELETE", &super::path(&webhook), Value::Null).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    wait::until("what is attended to be taken back", DEADLINE, || async {
        let left = hooked
            .sql("SELECT (SELECT count(*) FROM occupancy) + (SELECT count(*) FROM occupancy_leases)")
            .await;
        if left == "0" { Ok(()) } else { Err(left) }
    })
    .await;
}
