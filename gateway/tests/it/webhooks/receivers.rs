//! Receivers that misbehave: each costs bounded time and room, is said to operators, and is tried again or paused.

use serde_json::{Value, json};
use testkit::{Receiver, receiver::Behaviour};

use super::{Hooked, path, seen};

/// What operators are told of a receiver that behaves so.
async fn error_of(behaviour: Behaviour) -> Value {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(behaviour);
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    let failing =
        hooked.until("two attempts to fail", &webhook, |shown| shown["attempts"].as_u64() >= Some(2)).await;
    // It comes to its senses.
    receiver.behaves(Behaviour::Takes);
    seen(&receiver, "topic:t", [1]).await;
    failing["lastError"].clone()
}

#[tokio::test]
async fn what_is_no_success_is_tried_again() {
    let elsewhere = Receiver::start().await.unwrap();
    let redirect = vec![("location", elsewhere.url())];
    let error = error_of(Behaviour::Answers(307, redirect)).await;
    assert_eq!(error, "it redirects with status 307, which is not followed");
    assert!(elsewhere.deliveries().is_empty());
    let error = error_of(Behaviour::Answers(500, Vec::new())).await;
    assert_eq!(error, "it answers with status 500: a test wants it so");
    let error = error_of(Behaviour::Hangs).await;
    assert_eq!(error, "no answer within 500ms");
}

#[tokio::test]
async fn a_status_counts_however_the_answer_goes_on() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    for (number, behaviour) in [Behaviour::Drips, Behaviour::Floods, Behaviour::Takes].into_iter().enumerate()
    {
        receiver.behaves(behaviour);
        hooked.server.publish("t", "E", json!(number)).await;
        seen(&receiver, "topic:t", 1..=number as u64 + 1).await;
    }
    assert_eq!(receiver.repeated(), 0);
}

#[tokio::test]
async fn a_receiver_may_ask_to_be_left_alone() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(Behaviour::Answers(503, vec![("retry-after", "3000".to_owned())]));
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    let shown = hooked.until("an attempt to fail", &webhook, |shown| shown["attempts"] == 1).await;
    let pause = shown["nextAttemptAt"].as_u64().unwrap() - shown["lastErrorAt"].as_u64().unwrap();
    assert_eq!(pause, 3_000_000);
    // An operator does not wait for it.
    receiver.behaves(Behaviour::Takes);
    let answer = hooked.admin("PATCH", &path(&webhook), json!({ "paused": false })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    seen(&receiver, "topic:t", [1]).await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_paused_and_loses_nothing() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(Behaviour::Answers(410, Vec::new()));
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    let shown = hooked.until("it to be paused", &webhook, |shown| shown["paused"] == true).await;
    assert_eq!((&shown["pausedBecause"], &shown["version"]), (&json!("gone"), &json!(2)));
    hooked.server.publish("t", "E", json!(2)).await;
    receiver.behaves(Behaviour::Takes);
    hooked.admin("PATCH", &path(&webhook), json!({ "paused": false })).await;
    seen(&receiver, "topic:t", [1, 2]).await;
}

#[tokio::test]
async fn after_a_time_of_failures_it_is_paused() {
    let hooked = Hooked::with(&[("WEBHOOK_GIVE_UP_AFTER", "1s")]).await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(Behaviour::Answers(500, Vec::new()));
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    let shown = hooked.until("it to be paused", &webhook, |shown| shown["paused"] == true).await;
    assert_eq!(shown["pausedBecause"], "gave_up");
    assert!(shown["lastError"].as_str().unwrap().contains("500"), "{shown}");
}

/// Ten attempts at least: nodes that were stopped for long have tried nothing meanwhile.
#[tokio::test]
async fn a_first_failure_of_long_ago_does_not_give_a_webhook_up() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(Behaviour::Answers(500, Vec::new()));
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    hooked.until("an attempt to fail", &webhook, |shown| shown["attempts"].as_u64() >= Some(1)).await;
    hooked.sql("UPDATE webhooks SET attempts = 1, failing_since = 1").await;
    let shown = hooked.until("it to be paused", &webhook, |shown| shown["paused"] == true).await;
    assert_eq!((&shown["pausedBecause"], &shown["attempts"]), (&json!("gave_up"), &json!(10)), "{shown}");
}

#[tokio::test]
async fn whatever_an_operator_changes_failures_before_it_do_not_count() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    receiver.behaves(Behaviour::Answers(503, vec![("retry-after", "3000".to_owned())]));
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    let url = receiver.url();
    let changes = [
        ("PATCH", "", json!({ "filter": { "topics": ["t", "u"] } })),
        ("PATCH", "", json!({ "url": url })),
        ("PATCH", "", json!({ "paused": false })),
        ("POST", "/secret", json!({})),
    ];
    for (method, below, change) in changes {
        // With `Retry-After` it is not tried again before the change.
        hooked.until("an attempt to fail", &webhook, |shown| shown["attempts"] == 1).await;
        let answer = hooked.admin(method, &format!("{}{below}", path(&webhook)), change.clone()).await;
        let left = ["failingSince", "nextAttemptAt"].map(|field| answer.json[field].is_null());
        assert_eq!((&answer.json["attempts"], left), (&json!(0), [true, true]), "{change}: {}", answer.text);
    }
}

#[tokio::test]
async fn private_addresses_are_refused() {
    let hooked = Hooked::with(&[("WEBHOOKS_ALLOW_PRIVATE", "false")]).await;
    for url in ["http://127.0.0.1:1/", "https://127.0.0.1:1/", "https://[::1]:1/", "https://2130706433/"] {
        let body = json!({ "url": url, "filter": { "topics": ["t"] } });
        let answer = hooked.admin("POST", "", body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(
            answer.json["detail"].as_str().unwrap().contains("WEBHOOKS_ALLOW_PRIVATE"),
            "{}",
            answer.text
        );
    }
    // What a name leads to shows when it is looked up.
    let body = json!({ "url": "https://localhost:1/", "filter": { "topics": ["t"] } });
    let webhook = hooked.admin("POST", "", body).await;
    assert_eq!(webhook.status, 201, "{}", webhook.text);
    hooked.server.publish("t", "E", json!(1)).await;
    let shown =
        hooked.until("an attempt to fail", &webhook.json, |shown| shown["lastError"].is_string()).await;
    assert!(shown["lastError"].as_str().unwrap().contains("is a private address"), "{shown}");
}
