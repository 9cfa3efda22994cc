//! Clocks that are wrong or jump: the store's decides, and a jump of it costs a repetition at most.

use common::time::unix_ms;
use serde_json::{Value, json};
use testkit::{Node, NodeOptions, Postgres, Receiver, WallClock, token, wait};

use super::{Hooked, seen};
use crate::DEADLINE;

const HOUR_SECONDS: i64 = 3600;

/// As long as receivers allow.
const TOLERANCE_SECONDS: u64 = 300;

#[tokio::test]
async fn deliveries_are_signed_by_the_clock_of_the_store() {
    let postgres = Postgres::shared().await.unwrap();
    let clock = WallClock::new(-HOUR_SECONDS).unwrap();
    let mut options = NodeOptions {
        database_url: Some(postgres.create_database().await.unwrap()),
        ..NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"))
    }
    .env("WEBHOOKS_ALLOW_PRIVATE", "true")
    .env("WEBHOOK_POLL_INTERVAL", "20ms");
    options.env.extend(clock.env());
    let node = Node::start(options).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let call = async |token: &str, path: &str, body: Value| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let answer =
            testkit::http::request("POST", &node.http_url(path), &headers, Some(&body)).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text);
    };
    let webhook = json!({ "url": receiver.url(), "filter": { "topics": ["t"] } });
    call(&super::admin(), "/v1/admin/webhooks", webhook).await;
    let event = json!({ "event": "E", "data": 1 });
    call(&token::scoped("backend", "service"), "/v1/topics/t/events", event).await;
    seen(&receiver, "topic:t", [1]).await;
    let signed_at = receiver.deliveries()[0].timestamp;
    assert!(signed_at.abs_diff(unix_ms() / 1000) <= TOLERANCE_SECONDS, "signed at {signed_at}");
}

/// As the rows are when the store's clock was put back by many years.
#[tokio::test]
async fn leases_and_waits_of_a_time_to_come_are_not_waited_for() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked
        .sql(
            "UPDATE webhooks SET holder = 'dead', holder_node = 'dead', lease_until = 9000000000000,
                 attempts = 3, last_error = 'an error', last_error_at = 9000000000000,
                 next_attempt_at = 9000000001000",
        )
        .await;
    hooked.server.publish("t", "E", json!(1)).await;
    seen(&receiver, "topic:t", [1]).await;
    wait::until("the webhook to be held", DEADLINE, || async {
        let node = hooked.shown(&webhook).await["node"].clone();
        if node == "n1" { Ok(()) } else { Err(node) }
    })
    .await;
}
