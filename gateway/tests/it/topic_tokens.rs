//! Rights for one topic, by a token in `SUBSCRIBE`.

use common::time::unix_ms;
use serde_json::{Value, json};
use testkit::{RawSocket, token};

use crate::{
    DEADLINE,
    harness::{Server, ask, problem, refused, subscribe},
};

/// A token of one topic, for an hour: with a user, or for whoever has it.
fn of_topic(user: Option<&str>, topic: &str) -> String {
    with(user, topic, &json!({}))
}

/// The same with other claims.
fn with(user: Option<&str>, topic: &str, more: &Value) -> String {
    let mut claims = json!({ "topic": topic, "exp": unix_ms() / 1000 + 3600 });
    if let Some(user) = user {
        claims["sub"] = json!(user);
    }
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    token::sign(&claims, token::SECRET)
}

/// A token of a topic that ends soon, and its end counts.
fn short(user: &str, topic: &str) -> String {
    with(Some(user), topic, &json!({ "exp": unix_ms() / 1000 + 3 }))
}

async fn ping(socket: &mut RawSocket) {
    assert_eq!(ask(socket, "PING", "ping", json!({})).await["type"], "PONG");
}

#[tokio::test]
async fn a_topic_is_joined_with_a_token_of_its_own() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "").await;
    server.publish("room:7", "E", json!(1)).await;
    refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "room:7" })).await, "forbidden");
    let list = json!({ "topics": [
        { "topic": "room:7", "token": of_topic(Some("alice"), "room:7") },
        { "topic": "room:8", "token": of_topic(None, "room:8") },
        { "topic": "room:9", "token": of_topic(Some("alice"), "room:7") },
        { "topic": "room:9a" },
    ]});
    let answer = ask(&mut socket, "SUBSCRIBE", "l", list).await;
    let topics = &answer["payload"]["topics"];
    assert_eq!((&topics[0]["seq"], &topics[1]["seq"]), (&json!(1), &json!(0)), "{answer}");
    assert_eq!((&topics[2]["code"], &topics[3]["code"]), (&json!("forbidden"), &json!("forbidden")));
    for topic in ["room:7", "room:8"] {
        server.publish(topic, "E", json!(2)).await;
        let event = socket.next(DEADLINE).await.unwrap();
        assert_eq!(event["stream"], format!("topic:{topic}"), "{event}");
    }
    // Once followed, no token is asked for again; once left, it is.
    assert_eq!(subscribe(&mut socket, json!({ "topic": "room:7" })).await.1, 2);
    ask(&mut socket, "UNSUBSCRIBE", "u", json!({ "topic": "room:7" })).await;
    refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "room:7" })).await, "forbidden");
}

#[tokio::test]
async fn a_token_of_a_topic_that_does_not_fit_is_refused() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "").await;
    let claims = |more: Value| with(Some("alice"), "room:7", &more);
    for (token, code, message) in [
        (String::new(), "unauthorized", "not a signed JWT"),
        ("x".repeat(16 * 1024 + 1), "unauthorized", "too long"),
        (token::scoped("alice", "subscribe:*"), "unauthorized", "names no topic"),
        (claims(json!({ "topic": "room:*" })), "unauthorized", "must be the name of one topic"),
        (claims(json!({ "topic": ["room:7"] })), "unauthorized", "must be the name of one topic"),
        (claims(json!({ "exp": 1 })), "unauthorized", "expired"),
        (claims(json!({ "exp": null })), "unauthorized", "no expiry"),
        (claims(json!({ "aud": "others" })), "unauthorized", "audience"),
        (claims(json!({ "sub": " alice" })), "unauthorized", "(sub) must be"),
        (
            token::sign(
                &json!({ "topic": "room:7", "exp": 9_999_999_999_u64 }),
                "another secret of thirty-two bytes",
            ),
            "unauthorized",
            "signature",
        ),
        (of_topic(Some("bob"), "room:7"), "forbidden", "another user's"),
        (of_topic(Some("alice"), "room:70"), "forbidden", "another topic"),
    ] {
        let answer = ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "room:7", "token": token })).await;
        refused(&answer, code);
        assert!(answer["message"].as_str().unwrap().contains(message), "{answer}");
    }
    // A token that is refused takes nothing away from a topic that is followed.
    subscribe(&mut socket, json!({ "topic": "room:7", "token": of_topic(None, "room:7") })).await;
    let bad = json!({ "topic": "room:7", "token": of_topic(Some("bob"), "room:7") });
    refused(&ask(&mut socket, "SUBSCRIBE", "b", bad).await, "forbidden");
    server.publish("room:7", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "topic:room:7");
}

#[tokio::test]
async fn a_token_of_a_topic_opens_nothing_else() {
    let server = Server::start().await;
    let token = with(Some("alice"), "room:7", &json!({ "scope": "service subscribe:* publish:*" }));
    let request = testkit::RawRequest::new(server.socket_url()).token(&token);
    let (code, reason) = server.refused(request).await;
    assert!(code == 4401 && reason.contains("for one topic"), "{code} {reason}");
    for path in ["/v1/drafts", "/v1/topics/room:7/events", "/v1/stream?topics=room:7"] {
        problem(&server.call(&token, "GET", path, &[], "").await, 401, "unauthorized");
    }
    let (mut socket, _) = server.connect("alice", "").await;
    let answer = ask(&mut socket, "AUTH", "a", json!({ "token": token })).await;
    refused(&answer, "unauthorized");
}

#[tokio::test]
async fn a_topic_may_be_published_to_while_its_token_says_so() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "").await;
    let publish = |topic: &str| json!({ "topic": topic, "event": "E" });
    let token = |scope: &str| with(Some("alice"), "room:7", &json!({ "scope": scope }));
    for scope in ["", "service", "publish:room:8", "publish:"] {
        subscribe(&mut socket, json!({ "topic": "room:7", "token": token(scope) })).await;
        refused(&ask(&mut socket, "PUBLISH", "p", publish("room:7")).await, "forbidden");
    }
    subscribe(&mut socket, json!({ "topic": "room:7", "token": token("publish:*") })).await;
    assert_eq!(ask(&mut socket, "PUBLISH", "q", publish("room:7")).await["type"], "ACK");
    refused(&ask(&mut socket, "PUBLISH", "p", publish("room:8")).await, "forbidden");
    ask(&mut socket, "UNSUBSCRIBE", "u", json!({ "topic": "room:7" })).await;
    refused(&ask(&mut socket, "PUBLISH", "p", publish("room:7")).await, "forbidden");
}

#[tokio::test]
async fn a_topic_is_left_when_its_token_ends_unless_a_fresh_one_has_come() {
    let server = Server::with(&[("JWT_LEEWAY", "0s")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    for topic in ["kept", "lost"] {
        subscribe(&mut socket, json!({ "topic": topic, "token": short("alice", topic) })).await;
    }
    let mut warned = Vec::new();
    while warned.len() < 2 {
        let expiring = socket.next_of("TOKEN_EXPIRING", DEADLINE).await.unwrap();
        assert!(expiring["payload"]["inMs"].as_u64().unwrap() <= 1500, "{expiring}");
        warned.push(expiring["stream"].as_str().unwrap().to_owned());
    }
    warned.sort();
    assert_eq!(warned, ["topic:kept", "topic:lost"]);
    subscribe(&mut socket, json!({ "topic": "kept", "token": of_topic(Some("alice"), "kept") })).await;
    let ended = socket.next_of("UNSUBSCRIBED", DEADLINE).await.unwrap();
    assert_eq!((&ended["stream"], &ended["payload"]["code"]), (&json!("topic:lost"), &json!("unauthorized")));
    server.publish("lost", "E", json!(1)).await;
    server.publish("kept", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "topic:kept");
    refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "lost" })).await, "forbidden");
    subscribe(&mut socket, json!({ "topic": "lost", "token": of_topic(Some("alice"), "lost") })).await;
}

#[tokio::test]
async fn a_topic_that_the_connection_may_follow_anyway_outlives_its_token() {
    let server = Server::with(&[("JWT_LEEWAY", "0s"), ("PUBLIC_TOPICS", "news")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    subscribe(&mut socket, json!({ "topic": "news", "token": short("alice", "news") })).await;
    subscribe(&mut socket, json!({ "topic": "room", "token": short("alice", "room") })).await;
    let ended = socket.next_of("UNSUBSCRIBED", DEADLINE).await.unwrap();
    assert_eq!(ended["stream"], "topic:room");
    ping(&mut socket).await;
    server.publish("news", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "topic:news");
}

#[tokio::test]
async fn rights_for_a_topic_outlive_the_token_of_the_connection() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect_as(&token::scoped("alice", "subscribe:*"), "").await;
    subscribe(&mut socket, json!({ "topic": "room:7", "token": of_topic(Some("alice"), "room:7") })).await;
    subscribe(&mut socket, json!({ "topic": "room:8" })).await;
    ask(&mut socket, "AUTH", "a", json!({ "token": token::good("alice") })).await;
    assert_eq!(socket.next_of("UNSUBSCRIBED", DEADLINE).await.unwrap()["stream"], "topic:room:8");
    server.publish("room:8", "E", json!(1)).await;
    server.publish("room:7", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "topic:room:7");
}

#[tokio::test]
async fn a_visitor_follows_with_a_token_that_names_nobody() {
    let server = Server::with(&[("PUBLIC_TOPICS", "news")]).await;
    let (mut socket, _) = server.connect_as("", "").await;
    let named = json!({ "topic": "room", "token": of_topic(Some("alice"), "room") });
    refused(&ask(&mut socket, "SUBSCRIBE", "s", named).await, "forbidden");
    subscribe(&mut socket, json!({ "topic": "room", "token": of_topic(None, "room") })).await;
    server.publish("room", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "topic:room");
}
