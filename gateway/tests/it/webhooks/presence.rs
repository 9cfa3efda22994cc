//! Who attends topics: webhooks are told when the first one comes, and when the last one has gone.

use serde_json::{Value, json};
use testkit::{Receiver, wait};

use super::Hooked;
use crate::{DEADLINE, harness::subscribe};

/// Leases of nodes end sooner than production needs.
pub(super) const LEASE: (&str, &str) = ("PRESENCE_LEASE", "1s");

/// What a receiver has taken of who attends, in order: topics with what was said. Numbers count in an epoch.
pub(super) fn told(receiver: &Receiver) -> Vec<String> {
    let (mut told, mut last, mut epoch) = (Vec::new(), 0, Value::Null);
    for delivery in receiver.deliveries().into_iter().filter(|delivery| delivery.taken) {
        let entries = delivery.json["presence"].as_array().cloned().unwrap_or_default();
        if !entries.is_empty() && epoch != delivery.json["epoch"] {
            (last, epoch) = (0, delivery.json["epoch"].clone());
        }
        for entry in entries {
            let number = entry["number"].as_u64().unwrap();
            assert!(number == last + 1, "{number} comes behind {last}");
            last = number;
            told.push(format!("{} {}", entry["topic"].as_str().unwrap(), entry["type"].as_str().unwrap()));
        }
    }
    told
}

pub(super) async fn is_told(receiver: &Receiver, expected: &[&str]) {
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
    // It lives until it has been seen. Its last lease ends where a clock that was put back says: the others cut that.
    hooked.webhook(&receiver, json!({ "presence": ["*"] })).await;
    wait::until("the room of the node to be told", DEADLINE, || async {
        hooked
            .sql(
                "INSERT INTO occupancy_leases VALUES ('dead', 9000000000000)
                     ON CONFLICT (node) DO UPDATE SET lease_until = excluded.lease_until;
                 INSERT INTO occupancy VALUES ('room:1', 'dead') ON CONFLICT DO NOTHING",
            )
            .await;
        if told(&receiver).is_empty() { Err("nothing") } else { Ok(()) }
    })
    .await;
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
