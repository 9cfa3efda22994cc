//! Connections without a token, where the operator has opened topics to everybody.

use std::time::Duration;

use serde_json::json;
use testkit::{RawRequest, token};

use crate::{
    DEADLINE,
    harness::{Server, ask, problem, refused, service, subscribe},
};

const PUBLIC: (&str, &str) = ("PUBLIC_TOPICS", "news:*, open");

#[tokio::test]
async fn without_a_token_public_topics_and_all_can_be_followed_and_nothing_else_done() {
    let server = Server::with(&[PUBLIC]).await;
    let (mut socket, welcome) = server.connect_as("", "device=kiosk").await;
    assert_eq!((welcome.get("userId"), welcome.get("seq")), (None, None), "{welcome}");
    assert_eq!((&welcome["device"], &welcome["allSeq"]), (&json!("kiosk"), &json!(0)));
    for topic in ["news:1", "open"] {
        subscribe(&mut socket, json!({ "topic": topic })).await;
    }
    for topic in ["project:1", "news", "open2", "opem"] {
        refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": topic })).await, "unauthorized");
    }
    let commands = [
        ("PUBLISH", json!({ "topic": "open", "event": "E" })),
        ("PUBLISH", json!({ "topic": "open", "event": "E", "signal": true })),
        ("DRAFT_LIST", json!({})),
        ("DRAFT_CREATE", json!({ "content": {} })),
        ("DRAFT_UPDATE", json!({ "draftId": "d", "baseVersion": 1, "patch": {} })),
        ("DRAFT_DELETE", json!({ "draftId": "d" })),
        ("AUTH", json!({ "token": token::good("alice") })),
    ];
    for (kind, payload) in commands {
        refused(&ask(&mut socket, kind, "x", payload).await, "unauthorized");
    }
    assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
    server.publish("project:1", "E", json!(1)).await;
    server.call(&service(), "POST", "/v1/users/kiosk/events", &[], r#"{"event":"E"}"#).await;
    server.publish("open", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "topic:open");
    server.call(&service(), "POST", "/v1/broadcast", &[], r#"{"event":"NEWS"}"#).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "all");
    ask(&mut socket, "UNSUBSCRIBE", "u", json!({ "topic": "open" })).await;

    // Whoever has a token may follow what everybody may.
    let (mut alice, _) = server.connect("alice", "").await;
    subscribe(&mut alice, json!({ "topic": "news:1" })).await;
    refused(&ask(&mut alice, "SUBSCRIBE", "s", json!({ "topic": "project:1" })).await, "forbidden");
}

/// Nothing vouches for the name of a visitor's device: whoever names the same is counted with it.
#[tokio::test]
async fn visitors_who_name_the_same_device_count_as_one() {
    let server = Server::with(&[PUBLIC]).await;
    let enter = async |query: &str| {
        let (mut socket, _) = server.connect_as("", query).await;
        subscribe(&mut socket, json!({ "topic": "open", "presence": true })).await;
        let here = socket.next_of("PRESENCE", DEADLINE).await.unwrap()["payload"].clone();
        (socket, (here["users"].clone(), here["devices"].clone()))
    };
    let (mut first, here) = enter("device=tv").await;
    assert_eq!(here, (json!(1), json!(1)));
    let (second, here) = enter("device=tv").await;
    assert_eq!(here, (json!(1), json!(1)), "the same name");
    // Those who name none are told apart.
    let (third, here) = enter("").await;
    assert_eq!(here, (json!(2), json!(2)));
    let join = first.next(DEADLINE).await.unwrap();
    assert_eq!((&join["type"], &join["payload"]["devices"]), (&json!("JOIN"), &json!(2)));
    // One of two who share a name goes: the name stays.
    second.drop_connection();
    third.drop_connection();
    let leave = first.next(DEADLINE).await.unwrap();
    assert_eq!((&leave["type"], &leave["payload"]["devices"]), (&json!("LEAVE"), &json!(1)));
    assert_ne!(leave["payload"]["device"], "tv");
}

#[tokio::test]
async fn without_a_token_messages_are_small() {
    let server = Server::with(&[PUBLIC]).await;
    let (_, welcome) = server.connect("alice", "").await;
    assert_eq!(welcome["maxMessageBytes"], 1 << 20);
    let frame = json!({ "type": "NO", "id": "c", "payload": "" }).to_string().len();
    let (mut socket, welcome) = server.connect_as("", "").await;
    assert_eq!(welcome["maxMessageBytes"], 16_384);
    let text = |bytes| json!({ "type": "NO", "id": "c", "payload": "y".repeat(bytes - frame) }).to_string();
    socket.send_text(&text(16_384)).await.unwrap();
    assert_eq!(socket.answer("c", DEADLINE).await.unwrap()["code"], "bad_request");
    socket.send_text(&text(16_385)).await.unwrap();
    assert_eq!(socket.close_code(DEADLINE).await.unwrap(), Some(1009));
}

#[tokio::test]
async fn without_a_token_asking_for_more_again_and_again_closes_with_4400() {
    let server = Server::with(&[PUBLIC]).await;
    let (mut socket, _) = server.connect_as("", "").await;
    let publish = json!({ "topic": "open", "event": "E" });
    for _ in 0..2 {
        for _ in 0..9 {
            refused(&ask(&mut socket, "PUBLISH", "p", publish.clone()).await, "unauthorized");
        }
        assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
    }
    for _ in 0..10 {
        socket.send(&json!({ "type": "PUBLISH", "id": "p", "payload": publish })).await.unwrap();
    }
    assert_eq!(socket.close_code(DEADLINE).await.unwrap(), Some(4400));
}

#[tokio::test]
async fn without_a_token_public_history_can_be_read_over_http() {
    let server = Server::with(&[PUBLIC]).await;
    server.publish("open", "E", json!(1)).await;
    let read = async |path: &str| server.call("", "GET", path, &[], "").await;
    assert_eq!(read("/v1/topics/open/events").await.json["head"], 1);
    problem(&read("/v1/topics/project:1/events").await, 401, "unauthorized");
    problem(&read("/v1/drafts").await, 401, "unauthorized");
    problem(&read("/v1/stream?topics=open,project:1").await, 401, "unauthorized");
    let post = server.call("", "POST", "/v1/topics/open/events", &[], r#"{"event":"E"}"#).await;
    problem(&post, 401, "unauthorized");
    for bad in [token::expired("alice"), token::forged("alice"), "x".to_owned()] {
        for path in ["/v1/topics/open/events", "/v1/stream?topics=open"] {
            problem(&server.call(&bad, "GET", path, &[], "").await, 401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn a_bad_token_is_worse_than_none() {
    let server = Server::with(&[PUBLIC]).await;
    for bad in [token::expired("alice"), token::forged("alice"), token::unsigned("alice"), "x".to_owned()] {
        let (code, _) = server.refused(RawRequest::new(server.socket_url()).token(&bad)).await;
        assert_eq!(code, 4401);
        let url = format!("{}?token={bad}", server.socket_url());
        assert_eq!(server.refused(RawRequest::new(url)).await.0, 4401);
    }
    let header = RawRequest::new(server.socket_url()).header("authorization", "Bearer");
    assert_eq!(server.refused(header).await.0, 4401);
    // Where nothing is public, nobody comes without one.
    let closed = Server::start().await;
    assert_eq!(closed.refused(RawRequest::new(closed.socket_url())).await.0, 4401);
    problem(&closed.call("", "GET", "/v1/stream", &[], "").await, 401, "unauthorized");
}

#[tokio::test]
async fn an_event_stream_that_is_idle_without_a_token_ends() {
    let server = Server::with(&[PUBLIC, ("ANONYMOUS_IDLE", "1s"), ("SSE_HEARTBEAT", "100ms")]).await;
    let url = format!("http://{}/v1/stream?topics=open", server.addr);
    let client = testkit::http::builder().build().unwrap();
    let idle = client.get(&url).send().await.unwrap();
    let text = tokio::time::timeout(DEADLINE, idle.text()).await.expect("it ends").unwrap();
    assert!(
        text.contains("WELCOME") && text.ends_with(":\n\n"),
        "after heartbeats, which do not count: {text}"
    );
}

#[tokio::test]
async fn whoever_is_idle_without_a_token_is_closed() {
    let settings =
        [PUBLIC, ("ANONYMOUS_IDLE", "2s"), ("WS_PING_INTERVAL", "100ms"), ("WS_PING_INTERVAL_MIN", "100ms")];
    let server = Server::with(&settings).await;
    let (mut idle, _) = server.connect_as("", "").await;
    let (mut alice, _) = server.connect("alice", "").await;
    let (mut busy, _) = server.connect_as("", "").await;
    subscribe(&mut busy, json!({ "topic": "open" })).await;
    let closed = idle.closed(DEADLINE);
    tokio::pin!(closed);
    // Being sent something is life too: this goes on until the idle one is closed, and longer.
    let mut n = 0;
    let (code, _) = loop {
        tokio::select! {
            closed = &mut closed => break closed.unwrap().unwrap(),
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                n += 1;
                server.publish("open", "E", json!(n)).await;
                assert_eq!(busy.next(DEADLINE).await.unwrap()["seq"], n);
            }
        }
    };
    assert_eq!(code, 4408);
    assert_eq!(ask(&mut busy, "PING", "p", json!({})).await["type"], "PONG");
    assert_eq!(ask(&mut alice, "PING", "p", json!({})).await["type"], "PONG", "who has a token may be idle");
    assert_eq!(busy.close_code(DEADLINE).await.unwrap(), Some(4408));
}
