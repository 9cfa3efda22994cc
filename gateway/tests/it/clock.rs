//! A wall clock that is put right while clients are connected.

use common::time::unix_ms;
use serde_json::json;
use testkit::{Node, NodeOptions, RawRequest, RawSocket, WallClock, token};
use tokio::time::timeout;

use crate::DEADLINE;

const HOUR_SECONDS: i64 = 3600;

/// A node whose clock was an hour slow has taken a token that had ended, and timers do not notice that the
/// clock is put right.
#[tokio::test]
async fn a_token_ends_by_the_wall_clock_also_when_that_jumps() {
    let clock = WallClock::new(-HOUR_SECONDS).unwrap();
    let mut options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"))
        .env("WS_PING_INTERVAL", "100ms")
        .env("WS_PING_INTERVAL_MAX", "100ms")
        .env("SSE_HEARTBEAT", "100ms");
    options.env.extend(clock.env());
    let node = Node::start(options).await.unwrap();
    let ended_half_an_hour_ago =
        token::sign(&json!({ "sub": "alice", "exp": unix_ms() / 1000 - 1800 }), token::SECRET);

    let request = RawRequest::new(node.ws_url()).token(&ended_half_an_hour_ago);
    let mut socket = RawSocket::connect(&request).await.unwrap();
    socket.next_of("WELCOME", DEADLINE).await.unwrap();
    let client = testkit::http::builder().build().unwrap();
    let url = node.http_url("/v1/stream");
    let mut events = client.get(url).bearer_auth(&ended_half_an_hour_ago).send().await.unwrap();
    assert_eq!(events.status(), 200);
    assert!(events.chunk().await.unwrap().is_some());

    clock.set(0).unwrap();
    let (code, reason) = socket.closed(DEADLINE).await.unwrap().unwrap();
    assert_eq!((code, reason.contains("expired")), (4401, true), "{reason}");
    let ended = timeout(DEADLINE, async { while let Ok(Some(_)) = events.chunk().await {} }).await;
    assert!(ended.is_ok(), "the event stream lives on");
}
