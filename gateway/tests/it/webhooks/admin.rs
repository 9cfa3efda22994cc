//! What operators do with webhooks.

use serde_json::{Value, json};
use testkit::{Receiver, receiver::Behaviour, token, wait};

use super::{Hooked, admin, path, seen};
use crate::{
    DEADLINE,
    harness::{Server, problem},
};

#[tokio::test]
async fn only_operators_may_and_only_over_postgres() {
    let server = Server::start().await;
    let path = "/v1/admin/webhooks";
    problem(&server.call("", "GET", path, &[], "").await, 401, "unauthorized");
    problem(&server.call(&token::scoped("b", "service"), "GET", path, &[], "").await, 403, "forbidden");
    let answer = server.call(&admin(), "GET", path, &[], "").await;
    problem(&answer, 501, "bad_request");
    assert!(answer.json["detail"].as_str().unwrap().contains("Postgres"), "{}", answer.text);
}

#[tokio::test]
async fn a_webhook_is_changed_on_the_version_that_was_read() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    let url = format!("/v1/admin/webhooks{}", path(&webhook));
    let call = async |method: &str, headers: &[(&str, &str)], body: &str| {
        hooked.server.call(&admin(), method, &url, headers, body).await
    };
    let answer = call("GET", &[], "").await;
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert_eq!(call("PATCH", &[], r#"{"paused":true}"#).await.status, 428);
    let answer = call("PATCH", &[("if-match", "\"1\"")], r#"{"paused":true}"#).await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"2\"")), "{}", answer.text);
    assert_eq!((&answer.json["paused"], &answer.json["pausedBecause"]), (&json!(true), &json!("operator")));
    let answer = call("PATCH", &[("if-match", "\"1\"")], r#"{"paused":false}"#).await;
    problem(&answer, 412, "conflict");
    assert_eq!(answer.json["payload"], json!({ "id": webhook["id"], "version": 2 }));
    assert_eq!(call("DELETE", &[("if-match", "\"1\"")], "").await.status, 412);
    assert_eq!(call("DELETE", &[("if-match", "\"2\"")], "").await.status, 204);
    assert_eq!(call("GET", &[], "").await.status, 404);
    assert_eq!(hooked.sql("SELECT count(*) FROM webhook_cursors").await, "0");
}

#[tokio::test]
async fn a_new_filter_begins_with_what_the_old_one_lacked() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    for topic in ["a", "b", "c"] {
        hooked.server.publish(topic, "E", json!(1)).await;
    }
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["a", "b"] })).await;
    hooked.admin("PATCH", &path(&webhook), json!({ "paused": true })).await;
    for topic in ["a", "b", "c"] {
        hooked.server.publish(topic, "E", json!(2)).await;
    }
    let answer = hooked.admin("PATCH", &path(&webhook), json!({ "filter": { "topics": ["b", "c"] } })).await;
    assert_eq!(
        answer.json["filter"],
        json!({ "topics": ["b", "c"], "drafts": [], "presence": [] }),
        "{}",
        answer.text
    );
    for topic in ["a", "b", "c"] {
        hooked.server.publish(topic, "E", json!(3)).await;
    }
    hooked.admin("PATCH", &path(&webhook), json!({ "paused": false })).await;
    seen(&receiver, "topic:b", [2, 3]).await;
    seen(&receiver, "topic:c", [3]).await;
    seen(&receiver, "topic:a", []).await;
}

#[tokio::test]
async fn what_was_delivered_is_delivered_again_on_demand() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t", "u"] })).await;
    for number in 1..=4 {
        hooked.server.publish("t", "E", json!(number)).await;
        hooked.server.publish("u", "E", json!(number)).await;
    }
    seen(&receiver, "topic:t", 1..=4).await;
    seen(&receiver, "topic:u", 1..=4).await;
    let epoch = receiver.deliveries()[0].json["epoch"].as_str().unwrap().to_owned();
    let replay = async |body: Value| hooked.admin("POST", &format!("{}/replay", path(&webhook)), body).await;
    let repeated = async |times: u64| {
        wait::until("repetitions", DEADLINE, || async {
            let repeated = receiver.repeated();
            if repeated == times { Ok(()) } else { Err(format!("{repeated} of {times}")) }
        })
        .await;
    };
    let answer = replay(json!({ "stream": "topic:t", "cursor": format!("{epoch}:2") })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    repeated(2).await;
    assert_eq!(replay(json!({ "stream": "topic:u", "from": "floor" })).await.status, 202);
    repeated(6).await;
    assert_eq!(replay(json!({ "from": "floor" })).await.status, 202);
    repeated(14).await;
    for cursor in [format!("{epoch}:5"), "other:1".to_owned()] {
        let answer = replay(json!({ "stream": "topic:t", "cursor": cursor })).await;
        problem(&answer, 409, "conflict");
        assert_eq!(answer.json["payload"], json!({ "epoch": epoch, "head": 4, "floor": 0 }));
    }
    for body in [json!({}), json!({ "stream": "topic:v", "from": "floor" }), json!({ "from": "now" })] {
        problem(&replay(body).await, 400, "bad_request");
    }
}

#[tokio::test]
async fn a_secret_is_replaced_without_a_gap() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    let rotate = async |body: Value| hooked.admin("POST", &format!("{}/secret", path(&webhook)), body).await;
    let rotated = rotate(json!({})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    hooked.server.publish("t", "E", json!(1)).await;
    seen(&receiver, "topic:t", [1]).await;
    let secret = |answer: &Value| answer["secret"].as_str().unwrap().to_owned();
    let mut secrets = vec![secret(&webhook), secret(&rotated.json)];
    let valid = |secrets: &[String]| {
        let delivery = receiver.deliveries().pop().unwrap();
        secrets.iter().map(|secret| delivery.valid_by(secret)).collect::<Vec<_>>()
    };
    assert_eq!(valid(&secrets), [1, 1]);
    // Each signs until it ends, however often the secret is replaced.
    for _ in 0..3 {
        secrets.push(secret(&rotate(json!({})).await.json));
    }
    hooked.server.publish("t", "E", json!(2)).await;
    seen(&receiver, "topic:t", [1, 2]).await;
    assert_eq!(valid(&secrets), [1, 1, 1, 1, 1]);
    let answer = rotate(json!({})).await;
    problem(&answer, 413, "too_large");
    assert!(answer.json["detail"].as_str().unwrap().contains("overlapSeconds"), "{}", answer.text);
    let chosen = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let rotated = rotate(json!({ "secret": chosen, "overlapSeconds": 0 })).await;
    assert_eq!(rotated.json["secret"], chosen, "{}", rotated.text);
    hooked.server.publish("t", "E", json!(3)).await;
    seen(&receiver, "topic:t", [1, 2, 3]).await;
    secrets.push(chosen.to_owned());
    assert_eq!(valid(&secrets), [0, 0, 0, 0, 0, 1]);
    problem(&rotate(json!({ "secret": "short" })).await, 400, "bad_request");
}

/// A batch that was under way when an operator moved the cursors does not move them on.
#[tokio::test]
async fn a_replay_holds_whatever_was_under_way() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    seen(&receiver, "topic:t", [1]).await;
    receiver.behaves(Behaviour::Hangs);
    hooked.server.publish("t", "E", json!(2)).await;
    wait::until("the second to be under way", DEADLINE, || async {
        let deliveries = receiver.deliveries();
        if deliveries.len() == 2 { Ok(()) } else { Err(format!("{deliveries:?}")) }
    })
    .await;
    let answer =
        hooked.admin("POST", &format!("{}/replay", path(&webhook)), json!({ "from": "floor" })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    receiver.behaves(Behaviour::Takes);
    seen(&receiver, "topic:t", [1, 2]).await;
    assert_eq!(receiver.repeated(), 1);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let hooked = Hooked::start().await;
    let url = "https://app.example.com/hook";
    for body in [
        json!({}),
        json!({ "url": url }),
        json!({ "url": url, "filter": {} }),
        json!({ "url": url, "filter": { "topics": ["a*b"] } }),
        json!({ "url": url, "filter": { "rooms": ["a"] } }),
        json!({ "url": "app.example.com", "filter": { "topics": ["a"] } }),
        json!({ "url": url, "filter": { "topics": ["a"] }, "from": "yesterday" }),
        json!({ "url": url, "filter": { "topics": ["a"] }, "secret": "whsec_AAAA" }),
        json!({ "url": url, "filter": { "topics": ["a"] }, "retries": 3 }),
    ] {
        let answer = hooked.admin("POST", "", body.clone()).await;
        assert_eq!(
            (answer.status, &answer.json["code"]),
            (400, &json!("bad_request")),
            "{body}: {}",
            answer.text
        );
    }
    let answer = hooked.admin("GET", "", Value::Null).await;
    assert_eq!(answer.json, json!({ "webhooks": [] }));
}
