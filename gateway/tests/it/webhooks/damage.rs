//! Rows that cannot be read: operators are told, can mend them, and nobody else is kept back.

use serde_json::{Value, json};
use testkit::Receiver;

use super::{Hooked, path, seen};

#[tokio::test]
async fn one_that_cannot_be_read_keeps_no_other_back() {
    let hooked = Hooked::start().await;
    let (receiver, other) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
    let damaged = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.webhook(&other, json!({ "topics": ["t"] })).await;
    // All are claimed again, and together.
    hooked
        .sql(&format!(
            "UPDATE webhooks SET holder = NULL, lease_until = NULL;
             UPDATE webhooks SET secrets = '[{{\"key\": 1}}]' WHERE id = '{}'",
            damaged["id"].as_str().unwrap()
        ))
        .await;
    hooked.server.publish("t", "E", json!(1)).await;
    seen(&other, "topic:t", [1]).await;
    let shown = hooked.until("it to be said", &damaged, |shown| shown["lastError"].is_string()).await;
    let error = shown["lastError"].as_str().unwrap();
    assert!(error.contains("`secrets` in the store cannot be read"), "{error}");
    assert_eq!(hooked.admin("GET", "", Value::Null).await.json["webhooks"].as_array().unwrap().len(), 2);
    assert!(receiver.deliveries().is_empty());
    let answer = hooked.admin("POST", &format!("{}/secret", path(&damaged)), json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    seen(&receiver, "topic:t", [1]).await;
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_is_said_and_mended() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!(1)).await;
    seen(&receiver, "topic:t", [1]).await;
    hooked.sql("UPDATE webhooks SET filter = '{}', generation = generation + 1").await;
    let shown = hooked.until("it to be said", &webhook, |shown| shown["lastError"].is_string()).await;
    let error = shown["lastError"].as_str().unwrap();
    assert!(error.contains("`filter` in the store cannot be read"), "{error}");
    assert!(shown["lag"].is_null(), "{shown}");
    hooked.server.publish("t", "E", json!(2)).await;
    let answer = hooked.admin("PATCH", &path(&webhook), json!({ "filter": { "topics": ["t"] } })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // It goes on where it stopped.
    seen(&receiver, "topic:t", [1, 2]).await;
}
