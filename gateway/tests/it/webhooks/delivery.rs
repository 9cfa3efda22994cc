//! What is delivered: everything that the filter takes, in order, once the receiver takes it.

use serde_json::{Value, json};
use testkit::{Receiver, receiver::Behaviour, token, wait};

use super::{Hooked, path, seen};
use crate::{DEADLINE, harness::service};

#[tokio::test]
async fn events_are_delivered_signed_and_in_order() {
    let hooked = Hooked::start().await;
    hooked.server.publish("match:1", "BEFORE", json!(0)).await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["match:*"] })).await;
    for number in 1..=30 {
        hooked.server.publish("match:1", "GOAL", json!(number)).await;
        hooked.server.publish("match:2", "GOAL", json!(number)).await;
        hooked.server.publish("news", "GOAL", json!(number)).await;
    }
    // Of a topic that was there before, what came after; of a new one, everything.
    seen(&receiver, "topic:match:1", 2..=31).await;
    seen(&receiver, "topic:match:2", 1..=30).await;
    seen(&receiver, "topic:news", []).await;
    assert_eq!(receiver.repeated(), 0);
    let secret = webhook["secret"].as_str().unwrap();
    let mut ids: Vec<String> = Vec::new();
    for delivery in receiver.deliveries() {
        assert_eq!(delivery.valid_by(secret), 1, "{delivery:?}");
        assert_eq!(delivery.json["webhook"], webhook["id"]);
        assert!(!ids.contains(&delivery.id), "each batch has an id of its own");
        ids.push(delivery.id);
    }
    let first = &receiver.deliveries()[0].json["events"][0];
    assert_eq!(first["type"], "GOAL");
    assert!(first["payload"].is_u64() && first["origin"] == "http" && first["timestamp"].is_u64(), "{first}");
    let shown = hooked.until("nothing to be due", &webhook, |shown| shown["lag"]["events"] == 0).await;
    assert!(shown["lastDeliveryAt"].is_u64() && shown["secret"].is_null(), "{shown}");
}

#[tokio::test]
async fn more_than_a_batch_holds_comes_in_several() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    hooked.webhook(&receiver, json!({ "topics": ["*"] })).await;
    let events: Vec<Value> = (0..700).map(|number| json!({ "event": "E", "data": number })).collect();
    for topic in ["a", "b"] {
        let path = format!("/v1/topics/{topic}/events");
        let answer = hooked.server.call(&service(), "POST", &path, &[], &json!(events).to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    seen(&receiver, "topic:a", 1..=700).await;
    seen(&receiver, "topic:b", 1..=700).await;
    let largest = receiver.deliveries().iter().map(|one| one.json["events"].as_array().unwrap().len()).max();
    assert!(largest.unwrap() <= 500, "{largest:?}");
}

#[tokio::test]
async fn drafts_are_delivered_by_their_kind() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    hooked.webhook(&receiver, json!({ "drafts": ["order"] })).await;
    let alice = token::good("alice");
    for (id, kind) in [("o", "order"), ("n", "note")] {
        let draft = json!({ "draftId": id, "kind": kind, "content": { "a": 1 } });
        let answer = hooked.server.call(&alice, "POST", "/v1/drafts", &[], &draft.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let path = format!("/v1/drafts/{id}?baseVersion=1");
        assert_eq!(hooked.server.call(&alice, "PATCH", &path, &[], r#"{"a":2}"#).await.status, 200);
        let path = format!("/v1/drafts/{id}");
        assert_eq!(hooked.server.call(&alice, "DELETE", &path, &[], "").await.status, 200);
    }
    let answer =
        hooked.server.call(&service(), "POST", "/v1/users/alice/events", &[], r#"{"event":"NUDGE"}"#).await;
    assert_eq!(answer.status, 201);
    let draft = json!({ "draftId": "o2", "kind": "order", "content": {} });
    hooked.server.call(&alice, "POST", "/v1/drafts", &[], &draft.to_string()).await;
    seen(&receiver, "user:alice", [1, 2, 3, 8]).await;
    let events: Vec<Value> =
        receiver.deliveries().iter().flat_map(|one| one.json["events"].as_array().unwrap().clone()).collect();
    assert!(events.iter().all(|event| event["kind"] == "order"), "{events:?}");
    assert_eq!(events[2]["type"], "DRAFT_DELETED");
}

#[tokio::test]
async fn nothing_is_skipped_while_the_receiver_is_down() {
    let hooked = Hooked::start().await;
    let mut receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t*"] })).await;
    hooked.server.publish("t", "E", json!(0)).await;
    seen(&receiver, "topic:t", [1]).await;
    receiver.stop().await;
    for number in 1..=100 {
        hooked.server.publish("t", "E", json!(number)).await;
    }
    let failing =
        hooked.until("attempts to fail", &webhook, |shown| shown["attempts"].as_u64() > Some(2)).await;
    assert!(failing["failingSince"].is_u64() && failing["nextAttemptAt"].is_u64(), "{failing}");
    assert!(failing["lastError"].as_str().unwrap().contains("refused"), "{failing}");
    assert_eq!(failing["lag"]["events"], 100);
    receiver.start_again().await.unwrap();
    seen(&receiver, "topic:t", 1..=101).await;
    assert_eq!(receiver.repeated(), 0);
    let after = hooked.until("it to be well", &webhook, |shown| shown["attempts"] == 0).await;
    assert!(after["failingSince"].is_null(), "{after}");
}

#[tokio::test]
async fn attempts_at_a_batch_have_one_id_and_one_body() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(Behaviour::Answers(500, Vec::new()));
    hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    let attempted = |attempts: usize| {
        let receiver = &receiver;
        wait::until("attempts", DEADLINE, move || async move {
            let deliveries = receiver.deliveries();
            if deliveries.len() >= attempts { Ok(()) } else { Err(format!("{deliveries:?}")) }
        })
    };
    attempted(1).await;
    // What comes meanwhile is left to the next batch.
    hooked.server.publish("t", "E", json!(2)).await;
    attempted(3).await;
    // Another node goes on with the same batch.
    let other = hooked.another().await;
    hooked.server.node.close().await;
    let before = receiver.deliveries().len();
    attempted(before + 2).await;
    receiver.behaves(Behaviour::Takes);
    seen(&receiver, "topic:t", [1, 2]).await;
    let deliveries = receiver.deliveries();
    let (first, last) = (&deliveries[0], &deliveries[deliveries.len() - 1]);
    for delivery in &deliveries[..deliveries.len() - 1] {
        assert_eq!((&delivery.id, &delivery.body), (&first.id, &first.body));
    }
    assert_ne!(last.id, first.id);
    drop(other);
}

/// The lease would end after 41 s, which is beyond the deadline of this test.
#[tokio::test]
async fn a_node_that_stops_gives_its_webhooks_back_although_a_receiver_hangs() {
    let hooked = Hooked::with(&[("WEBHOOK_TIMEOUT", "20s")]).await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(Behaviour::Hangs);
    hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    wait::until("an attempt", DEADLINE, || async {
        if receiver.deliveries().is_empty() { Err("none") } else { Ok(()) }
    })
    .await;
    let other = hooked.another().await;
    hooked.server.node.close().await;
    receiver.behaves(Behaviour::Takes);
    seen(&receiver, "topic:t", [1]).await;
    let deliveries = receiver.deliveries();
    assert!(deliveries.iter().all(|one| one.id == deliveries[0].id), "{deliveries:?}");
    drop(other);
}

#[tokio::test]
async fn retention_wins_and_the_receiver_is_told() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.admin("PATCH", &path(&webhook), json!({ "paused": true })).await;
    for number in 1..=5 {
        hooked.server.publish("t", "E", json!(number)).await;
    }
    hooked
        .sql("UPDATE streams SET floor = 3 WHERE name = 'topic:t'; DELETE FROM events WHERE seq <= 3")
        .await;
    hooked.admin("PATCH", &path(&webhook), json!({ "paused": false })).await;
    seen(&receiver, "topic:t", [4, 5]).await;
    let part = &receiver.deliveries()[0].json["streams"][0];
    assert_eq!(part, &json!({ "stream": "topic:t", "after": 3, "seq": 5, "missedBefore": 4 }));
}

#[tokio::test]
async fn a_history_of_another_name_is_gone_on_with_or_told() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["*"] })).await;
    for topic in ["same", "lost"] {
        for number in 1..=3 {
            hooked.server.publish(topic, "E", json!(number)).await;
        }
    }
    seen(&receiver, "topic:same", 1..=3).await;
    seen(&receiver, "topic:lost", 1..=3).await;
    hooked.until("the cursors to have moved", &webhook, |shown| shown["lag"]["events"] == 0).await;
    // As after a failover that has lost two events: other ones have their numbers now.
    hooked
        .sql(
            "UPDATE webhook_cursors SET epoch = 'before';
             UPDATE events SET payload = '\"other\"' WHERE stream = 'topic:lost' AND seq > 1",
        )
        .await;
    hooked.server.publish("same", "E", json!(4)).await;
    seen(&receiver, "topic:same", 1..=4).await;
    // Delivered again from the first one that is kept, because nothing tells where the histories part.
    wait::until("the restored stream to come", DEADLINE, || async {
        let deliveries = receiver.deliveries();
        let parts = deliveries.iter().flat_map(|one| one.json["streams"].as_array().unwrap());
        let restored: Vec<&Value> = parts.filter(|part| part["restored"] == true).collect();
        let expected = json!({ "stream": "topic:lost", "after": 0, "seq": 3, "restored": true });
        if restored == [&expected] { Ok(()) } else { Err(format!("{restored:?}")) }
    })
    .await;
    seen(&receiver, "topic:lost", [1, 2, 3, 1, 2, 3]).await;
}

/// Each look takes as long as somebody holds the table of cursors, and all of them together longer than a lease.
#[tokio::test]
async fn a_round_may_take_longer_than_a_lease() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let topics: Vec<String> = (0..24).map(|number| format!("t{number:02}")).collect();
    let webhook = hooked.webhook(&receiver, json!({ "topics": topics })).await;
    hooked.until("a node to hold it", &webhook, |shown| shown["node"].is_string()).await;
    let generation = "SELECT generation FROM webhooks";
    let before = hooked.sql(generation).await;
    let held = "DO $$ BEGIN FOR turn IN 1..20 LOOP
                    LOCK TABLE draftwire.webhook_cursors; PERFORM pg_sleep(0.25); COMMIT;
                END LOOP; END $$";
    let published = async {
        wait::until("the cursors to be held", DEADLINE, || async {
            let held = hooked.sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'").await;
            if held == "0" { Err(held) } else { Ok(()) }
        })
        .await;
        hooked.server.publish("t23", "E", json!(1)).await;
        seen(&receiver, "topic:t23", [1]).await;
    };
    tokio::join!(hooked.plain_sql(held), published);
    assert_eq!(hooked.sql(generation).await, before, "the lease was lost");
}
