//! Who may follow and publish what. Nothing that a client writes widens what its token says.

use serde_json::{Value, json};
use testkit::{RawRequest, RawSocket, token};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Server, ask, problem, refused, service, subscribe},
};

/// What is no topic's name, and would mean more than one topic, or another, if it were taken for one.
fn no_names() -> Vec<String> {
    let names = [
        "",
        "*",
        "match:*",
        "match:1*",
        "ma*tch:1",
        "match:?",
        "match:1\n",
        "match:1\0",
        "\u{7f}match:1",
        " match:1",
        "match:1 ",
        "match:1,project:1",
        "match:1 project:1",
        "match%3A1",
        "project%3A1",
        "match:%2a",
        "match:1/../project:1",
        "../project:1",
        "match:1/",
        "match:1#project:1",
        // Look-alikes: fullwidth, Cyrillic, with a combining mark, with a zero-width space.
        "ｍatch:1",
        "mаtch:1",
        "match:1\u{301}",
        "match\u{200b}:1",
        "match：1",
        "MATCH\u{130}:1",
        "\"match:1\"",
    ];
    let mut names: Vec<String> = names.map(str::to_owned).into();
    names.push("m".repeat(129));
    names
}

/// What would follow, or be read, if a topic of that name could be.
async fn publish_everywhere(server: &Server) {
    for topic in ["match:1", "match:2", "project:1"] {
        server.publish(topic, "E", json!({ "in": topic })).await;
    }
}

/// OpenID Connect Core section 2: up to 255 ASCII characters.
#[tokio::test]
async fn users_are_as_long_as_the_standard_allows_and_hide_nothing() {
    let server = Server::start().await;
    let long = format!("auth0|{}", "u".repeat(249));
    let (mut socket, welcome) = server.connect(&long, "").await;
    assert_eq!(welcome["userId"], long.as_str());
    let path = format!("/v1/users/{}/events", long.replace('|', "%7C"));
    let sent = server.call(&service(), "POST", &path, &[], r#"{"event":"E","data":1}"#).await;
    assert_eq!(sent.status, 201, "{}", sent.text);
    assert_eq!(socket.next(DEADLINE).await.unwrap()["type"], "E");
    for (user, query) in [
        ("u".repeat(256).as_str(), ""),
        (" alice", ""),
        ("alice\u{202e}", ""),
        ("alice", "device=%20phone"),
        ("alice", "device=pho%E2%80%AEne"),
    ] {
        let request = RawRequest::new(format!("{}?{query}", server.socket_url())).token(&token::good(user));
        let (code, reason) = server.refused(request).await;
        assert_eq!(code, if query.is_empty() { 4401 } else { 4400 }, "{user:?} {query}: {reason}");
        assert!(reason.contains(if query.is_empty() { "(sub) must be" } else { "device must be without" }));
    }
}

#[tokio::test]
async fn a_token_for_some_topics_is_for_no_others() {
    let server = Server::start().await;
    publish_everywhere(&server).await;
    let token = token::scoped("alice", "subscribe:match:*");
    let (mut socket, _) = server.connect_as(&token, "").await;
    for topic in ["match:1", "match:", "match:2:chat", "match:-._"] {
        subscribe(&mut socket, json!({ "topic": topic })).await;
    }
    for topic in ["project:1", "match", "matc:1", "Match:1", "xmatch:1", "topic:match:1", "all", "user:alice"]
    {
        refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": topic })).await, "forbidden");
        let list = ask(&mut socket, "SUBSCRIBE", "l", json!({ "topics": [{ "topic": topic }] })).await;
        assert_eq!(list["payload"]["topics"][0]["code"], "forbidden", "{topic}");
        let path = format!("/v1/topics/{topic}/events");
        problem(&server.call(&token, "GET", &path, &[], "").await, 403, "forbidden");
        let path = format!("/v1/stream?topics=match:1,{topic}");
        problem(&server.call(&token, "GET", &path, &[], "").await, 403, "forbidden");
    }
    // It is no right to publish, even where it is one to follow.
    let publish = json!({ "topic": "match:1", "event": "E" });
    refused(&ask(&mut socket, "PUBLISH", "p", publish).await, "forbidden");
    server.publish("project:1", "E", json!(2)).await;
    server.publish("match:1", "E", json!(2)).await;
    let event = socket.next(DEADLINE).await.unwrap();
    assert_eq!(event["stream"], "topic:match:1", "{event}");
}

#[tokio::test]
async fn no_spelling_widens_a_right_over_the_socket() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "10000")]).await;
    publish_everywhere(&server).await;
    let (mut socket, _) =
        server.connect_as(&token::scoped("alice", "subscribe:match:* publish:match:*"), "").await;
    for name in no_names() {
        for (kind, payload) in [
            ("SUBSCRIBE", json!({ "topic": name })),
            ("SUBSCRIBE", json!({ "topics": [{ "topic": "match:1" }, { "topic": name }] })),
            ("UNSUBSCRIBE", json!({ "topic": name })),
            ("PUBLISH", json!({ "topic": name, "event": "E" })),
            ("PUBLISH", json!({ "topic": name, "event": "E", "signal": true })),
        ] {
            let answer = ask(&mut socket, kind, "x", payload).await;
            assert_eq!(answer["code"], "bad_request", "{kind} {name:?}: {answer}");
            // Ten in a row would close the connection.
            ask(&mut socket, "PING", "p", json!({})).await;
        }
    }
    server.publish("match:1", "E", json!("nobody follows")).await;
    let (mut other, _) = server.connect_to_topics("bob", "").await;
    let (_, seq) = subscribe(&mut other, json!({ "topic": "match:1" })).await;
    assert_eq!(seq, 2, "nothing was published under a wrong name");
    // Nothing has come: the answer to this is next.
    socket.send(&json!({ "type": "PING", "id": "end" })).await.unwrap();
    assert_eq!(socket.next(DEADLINE).await.unwrap()["type"], "PONG");
}

#[tokio::test]
async fn no_spelling_widens_a_right_over_http() {
    let server = Server::start().await;
    publish_everywhere(&server).await;
    let token = token::scoped("alice", "subscribe:match:* publish:match:*");
    let event = r#"{"event":"E"}"#;
    // What a client may escape, it may: the name counts, not its spelling.
    let escaped = server.call(&token, "GET", "/v1/topics/match%3A1/events", &[], "").await;
    assert_eq!((escaped.status, &escaped.json["head"]), (200, &json!(1)));
    for path in ["/v1/topics/project%3A1/events", "/v1/topics/%70roject:1/events"] {
        problem(&server.call(&token, "GET", path, &[], "").await, 403, "forbidden");
        problem(&server.call(&token, "POST", path, &[], event).await, 403, "forbidden");
    }
    let long = "m".repeat(129);
    for name in [
        "*",
        "match:*",
        "match:%2A",
        "match:%2a",
        "match%253A1",
        "match:1%00",
        "match:1%0A",
        "match:1%ff",
        "%ff",
        "match:1%20",
        "%20match:1",
        "match:1,project:1",
        "match:1%2C",
        "match:1%2F..%2Fproject:1",
        "%EF%BD%8Datch:1",
        "m%D0%B0tch:1",
        "match%E2%80%8B:1",
        long.as_str(),
    ] {
        for (method, body) in [("GET", ""), ("POST", event)] {
            let path = format!("/v1/topics/{name}/events");
            problem(&server.call(&token, method, &path, &[], body).await, 400, "bad_request");
        }
        // A comma separates names here.
        if !name.contains(',') && !name.contains("%2C") {
            let stream = server.call(&token, "GET", &format!("/v1/stream?topics={name}"), &[], "").await;
            problem(&stream, 400, "bad_request");
        }
    }
    for topics in ["match:1,project:1", "project:1", "match:1%2Cproject:1", "match%3A1,project%3A1"] {
        let stream = server.call(&token, "GET", &format!("/v1/stream?topics={topics}"), &[], "").await;
        problem(&stream, 403, "forbidden");
    }
}

#[tokio::test]
async fn words_that_are_no_rights_give_none() {
    let server = Server::start().await;
    let words = [
        "",
        " ",
        "subscribe",
        "subscribe:",
        "subscribe:**",
        "subscribe:m*1",
        "subscribe:*:1",
        "subscribe:match:1*1",
        "subscribe *",
        "subscribe:\tmatch",
        "Subscribe:*",
        "SUBSCRIBE:*",
        "xsubscribe:*",
        "subscribe::match:1",
        "subscribe:match:1,news",
        "subscribe:%6datch:1",
        "subscribe:match:1\0",
        "*",
        "match:1",
        "publishh:*",
        "publish",
        "publish:",
        "publish:**",
        "Publish:*",
        "services",
        "Service",
        "service:*",
        "subscribe:.*",
        "subscribe:match:?",
        "admin",
        "read:*",
    ];
    for word in words {
        let token = token::scoped("alice", word);
        let (mut socket, _) = server.connect_as(&token, "").await;
        refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "match:1" })).await, "forbidden");
        let publish = json!({ "topic": "match:1", "event": "E" });
        refused(&ask(&mut socket, "PUBLISH", "p", publish).await, "forbidden");
        let path = "/v1/topics/match:1/events";
        problem(&server.call(&token, "GET", path, &[], "").await, 403, "forbidden");
        problem(&server.call(&token, "POST", path, &[], r#"{"event":"E"}"#).await, 403, "forbidden");
        problem(
            &server.call(&token, "POST", "/v1/broadcast", &[], r#"{"event":"E"}"#).await,
            403,
            "forbidden",
        );
    }
    // No scope at all.
    let (mut socket, _) = server.connect("alice", "").await;
    refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "match:1" })).await, "forbidden");
}

#[tokio::test]
async fn who_may_publish_where() {
    let server = Server::start().await;
    let event = |topic: &str| json!({ "topic": topic, "event": "E" });
    let token = token::scoped("alice", "publish:match:* publish:news");
    let (mut socket, _) = server.connect_as(&token, "").await;
    for (n, topic) in ["match:1", "match:2", "news"].into_iter().enumerate() {
        let answer = ask(&mut socket, "PUBLISH", &format!("p{n}"), event(topic)).await;
        assert_eq!((&answer["type"], &answer["seq"]), (&json!("ACK"), &json!(1)), "{answer}");
    }
    for (n, topic) in ["project:1", "match", "news2", "new"].into_iter().enumerate() {
        let id = format!("q{n}");
        refused(&ask(&mut socket, "PUBLISH", &id, event(topic)).await, "forbidden");
        let signal = json!({ "topic": topic, "event": "E", "signal": true });
        refused(&ask(&mut socket, "PUBLISH", &id, signal).await, "forbidden");
        for body in [r#"{"event":"E"}"#, r#"{"event":"E","signal":true}"#] {
            let answer = server.call(&token, "POST", &format!("/v1/topics/{topic}/events"), &[], body).await;
            problem(&answer, 403, "forbidden");
        }
    }
    // It is no right to follow.
    refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "match:1" })).await, "forbidden");
    problem(&server.call(&token, "GET", "/v1/topics/match:1/events", &[], "").await, 403, "forbidden");
}

#[tokio::test]
async fn backends_publish_to_all_and_nobody_else_does() {
    let server = Server::start().await;
    let body = r#"{"event":"E"}"#;
    let paths = ["/v1/users/bob/events", "/v1/broadcast"];
    for path in paths {
        for token in [token::scoped("alice", "publish:* subscribe:*"), token::scoped("bob", "publish:*")] {
            problem(&server.call(&token, "POST", path, &[], body).await, 403, "forbidden");
        }
        let nobody = server.call("", "POST", path, &[], body).await;
        problem(&nobody, 401, "unauthorized");
        assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
        assert_eq!(server.call(&service(), "POST", path, &[], body).await.status, 201, "{path}");
    }
    let (mut backend, _) = server.connect_as(&service(), "").await;
    let answer = ask(&mut backend, "PUBLISH", "p", json!({ "topic": "anything", "event": "E" })).await;
    assert_eq!(answer["type"], "ACK", "{answer}");
    refused(&ask(&mut backend, "SUBSCRIBE", "s", json!({ "topic": "anything" })).await, "forbidden");
}

#[tokio::test]
async fn a_narrower_token_ends_what_it_does_not_allow() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect_as(&token::scoped("alice", "subscribe:* publish:*"), "").await;
    for topic in ["match:1", "match:2", "project:1"] {
        subscribe(&mut socket, json!({ "topic": topic, "presence": true })).await;
        assert_eq!(socket.next(DEADLINE).await.unwrap()["type"], "PRESENCE");
    }
    let (mut watcher, _) = server.connect_to_topics("bob", "device=tv").await;
    subscribe(&mut watcher, json!({ "topic": "project:1", "presence": true })).await;
    assert_eq!(watcher.next(DEADLINE).await.unwrap()["payload"]["devices"], 2);
    assert_eq!(socket.next_of("JOIN", DEADLINE).await.unwrap()["stream"], "topic:project:1");

    let narrow = token::scoped("alice", "subscribe:match:*");
    let answer = ask(&mut socket, "AUTH", "a", json!({ "token": narrow })).await;
    assert_eq!(answer["type"], "ACK", "{answer}");
    let ended = socket.next_of("UNSUBSCRIBED", DEADLINE).await.unwrap();
    assert_eq!(
        (&ended["stream"], &ended["payload"]["code"]),
        (&json!("topic:project:1"), &json!("forbidden"))
    );
    assert!(ended["payload"]["message"].as_str().unwrap().contains("project:1"));
    let left = watcher.next(DEADLINE).await.unwrap();
    assert_eq!((&left["type"], &left["payload"]["userId"]), (&json!("LEAVE"), &json!("alice")));
    server.publish("project:1", "E", json!(1)).await;
    assert_eq!(watcher.next(DEADLINE).await.unwrap()["seq"], 1);
    server.publish("match:2", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "topic:match:2", "nothing of the other");
    refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "project:1" })).await, "forbidden");
    refused(
        &ask(&mut socket, "PUBLISH", "p", json!({ "topic": "match:1", "event": "E" })).await,
        "forbidden",
    );
    // A token that is refused takes nothing away, and a wider one gives it back.
    let bad = ask(&mut socket, "AUTH", "b", json!({ "token": token::expired("alice") })).await;
    refused(&bad, "unauthorized");
    server.publish("match:1", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "topic:match:1");
    ask(&mut socket, "AUTH", "c", json!({ "token": token::scoped("alice", "subscribe:*") })).await;
    assert_eq!(subscribe(&mut socket, json!({ "topic": "project:1" })).await.1, 1);
}

/// Names that would be taken for the server's own messages, and such as are none.
fn no_events() -> Vec<Value> {
    let own = [
        "ACK",
        "ERROR",
        "PONG",
        "WELCOME",
        "SYNCED",
        "SNAPSHOT",
        "SIGNAL",
        "PRESENCE",
        "JOIN",
        "LEAVE",
        "UNSUBSCRIBED",
        "TOKEN_EXPIRING",
        "RECONNECT",
        "DRAFT_CREATED",
        "DRAFT_UPDATED",
        "DRAFT_DELETED",
    ];
    let none = ["", "goal", "Goal", "GO AL", "GO-AL", "GOAL\n", "GOAL\0", "ＧOAL", "TOR\u{c4}"];
    let long = "G".repeat(65);
    let texts = own.into_iter().chain(none).chain([long.as_str()]).map(|name| json!(name));
    texts.chain([json!(7), Value::Null, json!(["GOAL"])]).collect()
}

#[tokio::test]
async fn the_names_of_the_servers_messages_are_its_own() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "10000")]).await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    for event in no_events() {
        let answer = ask(&mut socket, "PUBLISH", "p", json!({ "topic": "t", "event": event })).await;
        assert_eq!(answer["code"], "bad_request", "{event}: {answer}");
        ask(&mut socket, "PING", "p", json!({})).await;
        for path in ["/v1/topics/t/events", "/v1/users/alice/events", "/v1/broadcast"] {
            for signal in [false, true] {
                let body = json!({ "event": event, "signal": signal }).to_string();
                problem(&server.call(&service(), "POST", path, &[], &body).await, 400, "bad_request");
            }
        }
    }
    let long = "G".repeat(64);
    let answer = ask(&mut socket, "PUBLISH", "ok", json!({ "topic": "t", "event": long })).await;
    assert_eq!(answer["seq"], 1, "{answer}");
}

/// A connection of one user cannot be turned into another's.
#[tokio::test]
async fn the_rights_of_another_users_token_are_not_taken_over() {
    let server = Server::start().await;
    let mut socket =
        RawSocket::connect(&RawRequest::new(server.socket_url()).token(&token::scoped("alice", "")))
            .await
            .unwrap();
    let bobs = token::scoped("bob", "subscribe:*");
    refused(&ask(&mut socket, "AUTH", "a", json!({ "token": bobs })).await, "forbidden");
    refused(&ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "t" })).await, "forbidden");
}

#[tokio::test]
async fn what_is_sent_behind_auth_has_the_rights_of_its_token() {
    let server = Server::start().await;
    let (less, more) = (token::good("alice"), token::scoped("alice", ALL_TOPICS));
    // Several times: the verification of the token and what comes behind it would race.
    for n in 0..10 {
        for (first, then, code) in [(&less, &more, None), (&more, &less, Some("forbidden"))] {
            let (mut socket, _) = server.connect_as(first, "").await;
            for command in [
                json!({ "type": "AUTH", "id": "a", "payload": { "token": then } }),
                json!({ "type": "PUBLISH", "id": "p", "payload": { "topic": format!("t{n}"), "event": "E" } }),
                json!({ "type": "SUBSCRIBE", "id": "s", "payload": { "topic": "t" } }),
            ] {
                socket.send(&command).await.unwrap();
            }
            for _ in ["a", "p", "s"] {
                let answer = socket.next(DEADLINE).await.unwrap();
                let code = code.filter(|_| answer["id"] != "a");
                assert_eq!(answer.get("code").and_then(Value::as_str), code, "{answer}");
            }
        }
    }
}
