//! Events held back for company, and those that are not.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::RawSocket;

use crate::{
    DEADLINE,
    harness::{Server, service, subscribe},
};

/// The longest window. What comes in half of that was not waiting for its end.
const LONG_MS: u32 = 10_000;

async fn next(socket: &mut RawSocket) -> Value {
    socket.next(DEADLINE).await.unwrap()
}

/// The next frame, which waits for the end of no long window.
async fn soon(socket: &mut RawSocket) -> Value {
    socket.next(Duration::from_millis(u64::from(LONG_MS / 2))).await.expect("not held back")
}

/// Where an answer to a command comes next, no event has been sent before it.
async fn nothing_came(socket: &mut RawSocket) {
    socket.send(&json!({ "type": "PING", "id": "nothing" })).await.unwrap();
    let answer = next(socket).await;
    assert_eq!(answer["type"], "PONG", "held back, but sent: {answer}");
}

fn seqs(frame: &Value) -> Vec<u64> {
    let events = frame.as_array().cloned().unwrap_or_else(|| vec![frame.clone()]);
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// A node, and a connection in array frames that follows `t` with a window.
async fn follower(server: &Server, ms: u32, max: u32) -> RawSocket {
    let (mut socket, _) = server.connect_to_topics("alice", "batch=1").await;
    subscribe(&mut socket, json!({ "topic": "t", "batchMs": ms, "batchMax": max })).await;
    socket
}

/// Publishes and waits until another follower of the node has the event: it is due everywhere.
async fn publish(server: &Server, witness: &mut RawSocket, events: Value) {
    let body = events.to_string();
    let answer = server.call(&service(), "POST", "/v1/topics/t/events", &[], &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let last = answer.json["seq"].as_u64().unwrap();
    while *seqs(&next(witness).await).last().unwrap() < last {}
}

async fn witness(server: &Server) -> RawSocket {
    let (mut socket, _) = server.connect_to_topics("witness", "").await;
    subscribe(&mut socket, json!({ "topic": "t" })).await;
    socket
}

#[tokio::test]
async fn a_window_holds_until_its_time_is_over() {
    let server = Server::start().await;
    let mut witness = witness(&server).await;
    let mut socket = follower(&server, 2000, 1000).await;
    publish(&server, &mut witness, json!({ "event": "E" })).await;
    publish(&server, &mut witness, json!([{ "event": "E" }, { "event": "E" }])).await;
    nothing_came(&mut socket).await;
    assert_eq!(seqs(&next(&mut socket).await), [1, 2, 3], "all of them together");
    // The next window begins with the next event.
    publish(&server, &mut witness, json!({ "event": "E" })).await;
    nothing_came(&mut socket).await;
    assert_eq!(seqs(&next(&mut socket).await), [4]);
}

#[tokio::test]
async fn so_many_events_end_the_window() {
    let server = Server::start().await;
    let mut witness = witness(&server).await;
    let mut socket = follower(&server, LONG_MS, 3).await;
    for _ in 0..2 {
        publish(&server, &mut witness, json!({ "event": "E" })).await;
        nothing_came(&mut socket).await;
    }
    publish(&server, &mut witness, json!({ "event": "E" })).await;
    assert_eq!(seqs(&soon(&mut socket).await), [1, 2, 3]);
    publish(&server, &mut witness, json!({ "event": "E" })).await;
    nothing_came(&mut socket).await;
    let five = vec![json!({ "event": "E" }); 5];
    publish(&server, &mut witness, json!(five)).await;
    let mut came = Vec::new();
    while came.len() < 6 {
        came.extend(seqs(&soon(&mut socket).await));
    }
    assert_eq!(came, [4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn an_urgent_event_ends_the_window_and_the_order_stays() {
    let server = Server::start().await;
    let mut witness = witness(&server).await;
    let mut socket = follower(&server, LONG_MS, 1000).await;
    for (n, priority) in [(0, "high"), (3, "critical")] {
        publish(&server, &mut witness, json!([{ "event": "E" }, { "event": "E" }])).await;
        nothing_came(&mut socket).await;
        publish(&server, &mut witness, json!({ "event": "E", "priority": priority })).await;
        assert_eq!(seqs(&soon(&mut socket).await), [n + 1, n + 2, n + 3], "{priority}");
    }
}

#[tokio::test]
async fn without_batch_frames_the_window_holds_as_well() {
    let server = Server::start().await;
    let mut witness = witness(&server).await;
    let (mut socket, _) = server.connect_to_topics("bob", "").await;
    subscribe(&mut socket, json!({ "topic": "t", "batchMs": LONG_MS, "batchMax": 2 })).await;
    publish(&server, &mut witness, json!({ "event": "E" })).await;
    nothing_came(&mut socket).await;
    publish(&server, &mut witness, json!({ "event": "E" })).await;
    for seq in 1..=2 {
        assert_eq!(soon(&mut socket).await["seq"], seq, "a message a frame");
    }
}

#[tokio::test]
async fn other_streams_are_not_held_back() {
    let server = Server::start().await;
    let mut witness = witness(&server).await;
    let mut socket = follower(&server, LONG_MS, 1000).await;
    subscribe(&mut socket, json!({ "topic": "u" })).await;
    publish(&server, &mut witness, json!({ "event": "E" })).await;
    server.publish("u", "OTHER", json!(1)).await;
    assert_eq!(soon(&mut socket).await["type"], "OTHER");
    let create = json!({ "type": "DRAFT_CREATE", "id": "c", "payload": { "content": {} } });
    socket.send(&create).await.unwrap();
    let mut came = Vec::new();
    while came.len() < 2 {
        let frame = soon(&mut socket).await;
        came.extend(frame.as_array().cloned().unwrap_or_else(|| vec![frame]));
    }
    came.sort_by_key(|message| message["type"].to_string());
    assert_eq!((&came[0]["type"], &came[1]["type"]), (&json!("ACK"), &json!("DRAFT_CREATED")));
    nothing_came(&mut socket).await;
}

/// The backlog waits in windows of connections of every kind, the urgent word for everybody does not.
#[tokio::test]
async fn what_is_critical_for_all_goes_ahead_of_what_waits() {
    let server = Server::with(&[("PUBLIC_TOPICS", "t"), ("RECENT_EVENTS_MAX", "1000")]).await;
    let mut witness = witness(&server).await;
    let mut sockets = vec![follower(&server, LONG_MS, 1000).await];
    for query in ["", "batch=1"] {
        let (mut nobody, _) = server.connect_as("", query).await;
        subscribe(&mut nobody, json!({ "topic": "t", "batchMs": LONG_MS, "batchMax": 1000 })).await;
        sockets.push(nobody);
    }
    let backlog = vec![json!({ "event": "E" }); 200];
    publish(&server, &mut witness, json!(backlog)).await;
    let drop_cache = r#"{"event":"CACHE_INVALIDATED","priority":"critical","data":{"keys":["prices"]}}"#;
    let answer = server.call(&service(), "POST", "/v1/broadcast", &[], drop_cache).await;
    assert_eq!(answer.status, 201);
    for socket in &mut sockets {
        let message = soon(socket).await;
        assert_eq!((&message["type"], &message["stream"]), (&json!("CACHE_INVALIDATED"), &json!("all")));
        assert_eq!(message["priority"], "critical");
        nothing_came(socket).await;
    }
    // The rest comes when something urgent in the topic asks for it, whole and in order.
    publish(&server, &mut witness, json!({ "event": "E", "priority": "high" })).await;
    for socket in &mut sockets {
        let mut came = Vec::new();
        while came.len() < 201 {
            came.extend(seqs(&soon(socket).await));
        }
        assert_eq!(came, (1..=201).collect::<Vec<u64>>());
    }
}

#[tokio::test]
async fn a_resume_is_not_held_back() {
    let server = Server::start().await;
    for n in 1..=3 {
        server.publish("t", "E", json!(n)).await;
    }
    let (mut socket, welcome) = server.connect_to_topics("alice", "batch=1").await;
    let cursor = format!("{}:1", welcome["epoch"].as_str().unwrap());
    subscribe(&mut socket, json!({ "topic": "t", "cursor": cursor, "batchMs": LONG_MS })).await;
    let mut came = Vec::new();
    while came.last().is_none_or(|message: &Value| message["type"] != "SYNCED") {
        let frame = soon(&mut socket).await;
        came.extend(frame.as_array().cloned().unwrap_or_else(|| vec![frame]));
    }
    let seqs: Vec<_> = came.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [2, 3, 3]);
}

#[tokio::test]
async fn a_window_that_is_over_lets_everything_go_however_large() {
    let server = Server::roomy(&[]).await;
    let mut witness = witness(&server).await;
    let mut follower = follower(&server, LONG_MS, 4).await;
    // More than is handed out at a time: what is left over must not wait for a window of its own.
    let events = vec![json!({ "event": "E", "data": "x".repeat(30_000) }); 4];
    publish(&server, &mut witness, json!(events)).await;
    let mut came = Vec::new();
    while came.len() < 4 {
        came.extend(seqs(&soon(&mut follower).await));
    }
    assert_eq!(came, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_window_ends_before_what_waits_leaves_the_memory() {
    let server = Server::with(&[("RECENT_EVENTS_MAX", "40")]).await;
    let mut witness = witness(&server).await;
    let mut follower = follower(&server, LONG_MS, 1000).await;
    let events = |count| json!(vec![json!({ "event": "E" }); count]);
    publish(&server, &mut witness, events(10)).await;
    nothing_came(&mut follower).await;
    publish(&server, &mut witness, events(10)).await;
    let mut came = seqs(&soon(&mut follower).await);
    // Far more at once than is kept: the log is read, and nothing of that is held back either.
    publish(&server, &mut witness, events(300)).await;
    while came.len() < 320 {
        came.extend(seqs(&soon(&mut follower).await));
    }
    assert_eq!(came, (1..=320).collect::<Vec<u64>>());
}
