//! What operators are shown of connections, streams and health, by one node.

use serde_json::{Value, json};
use testkit::{RawRequest, RawSocket, token, wait};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Server, ask, create, problem, service},
};

fn admin() -> String {
    token::scoped("operator", "admin")
}

async fn get(server: &Server, path: &str) -> Value {
    let answer = server.call(&admin(), "GET", path, &[], "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json
}

#[tokio::test]
async fn connections_are_listed_with_where_they_stand() {
    let server = Server::start().await;
    let (mut phone, welcome) = server.connect_to_topics("alice", "device=phone").await;
    ask(&mut phone, "SUBSCRIBE", "s", json!({ "topic": "match:1" })).await;
    create(&mut phone, "d1", json!({ "a": 1 })).await;
    let (_laptop, _) = server.connect("alice", "device=laptop").await;
    let (_tv, _) = server.connect("bob", "device=tv").await;
    let of_alice = get(&server, "/v1/admin/connections?user=alice").await;
    assert_eq!((&of_alice["missing"], of_alice["connections"].as_array().unwrap().len()), (&json!([]), 2));
    let list = of_alice["connections"].as_array().unwrap();
    let own = list.iter().find(|one| one["device"] == "phone").unwrap();
    assert_eq!(
        (&own["connection"], &own["user"], &own["node"]),
        (&welcome["connectionId"], &json!("alice"), &json!("n1"))
    );
    assert_eq!((&own["transport"], &own["encoding"]), (&json!("websocket"), &json!("json")));
    let cursors = own["cursors"].as_array().unwrap();
    let of = |stream: &str| cursors.iter().find(|cursor| cursor["stream"] == stream).unwrap();
    assert_eq!(of("user:alice"), &json!({ "stream": "user:alice", "seq": 1, "head": 1, "behind": 0 }));
    assert_eq!((&of("topic:match:1")["behind"], &of("all")["head"]), (&json!(0), &json!(0)));
    assert!(own["since"].as_u64() > Some(0) && own["heardAt"].as_u64() >= own["since"].as_u64(), "{own}");
    assert_eq!(get(&server, "/v1/admin/connections?node=n2").await["connections"], json!([]));
}

#[tokio::test]
async fn pages_hold_every_connection_once() {
    let server = Server::with(&[("PUBLIC_TOPICS", "open")]).await;
    let mut sockets = Vec::new();
    for n in 0..5 {
        sockets.push(server.connect(&format!("user{n}"), "").await.0);
    }
    sockets.push(server.connect_as("", "").await.0);
    let (mut found, mut path) = (Vec::new(), "/v1/admin/connections?limit=2".to_owned());
    loop {
        let page = get(&server, &path).await;
        let list = page["connections"].as_array().unwrap();
        assert!(list.len() <= 2);
        found.extend(list.iter().map(|one| one["user"].as_str().unwrap_or("nobody").to_owned()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/v1/admin/connections?limit=2&cursor={cursor}");
    }
    found.sort_unstable();
    assert_eq!(found, ["nobody", "user0", "user1", "user2", "user3", "user4"]);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_seen_to_be_behind() {
    let server = Server::roomy(&[]).await;
    let request = RawRequest::new(format!("{}?device=slow", server.socket_url()));
    let request = request.token(&token::scoped("alice", ALL_TOPICS)).receive_buffer_bytes(4096);
    let mut slow = RawSocket::connect(&request).await.unwrap();
    ask(&mut slow, "SUBSCRIBE", "s", json!({ "topic": "t" })).await;
    let large = "x".repeat(200_000);
    wait::until("it is behind, and bytes wait", DEADLINE, || async {
        server.publish("t", "E", json!(large)).await;
        let list = get(&server, "/v1/admin/connections?user=alice").await;
        let own = &list["connections"][0];
        let cursor =
            own["cursors"].as_array().and_then(|all| all.iter().find(|one| one["stream"] == "topic:t"));
        let behind = cursor.and_then(|cursor| cursor["behind"].as_u64());
        let waits = own["bytesWaiting"].as_u64() > Some(0);
        if waits && behind > Some(0) { Ok(()) } else { Err(own.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn names_that_hide_something_are_refused_by_name() {
    let server = Server::start().await;
    for (query, word) in [
        ("user=a%0Ab", "control characters"),
        ("user=", "user must be"),
        ("user=a%E2%80%AEb", "user must be"),
        ("node=a%20b", "node"),
        ("cursor=%00", "connection"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("usr=alice", "usr"),
    ] {
        let answer = server.call(&admin(), "GET", &format!("/v1/admin/connections?{query}"), &[], "").await;
        problem(&answer, 400, "bad_request");
        assert!(answer.json["detail"].as_str().unwrap().contains(word), "{query}: {}", answer.text);
    }
    for path in
        ["/v1/admin/streams/room:1", "/v1/admin/streams/topic:a%20b", "/v1/admin/streams/all?limit=101"]
    {
        problem(&server.call(&admin(), "GET", path, &[], "").await, 400, "bad_request");
    }
}

#[tokio::test]
async fn a_stream_is_shown_without_what_it_carries_unless_the_token_allows_it() {
    let server = Server::start().await;
    let (mut viewer, _) = server.connect_to_topics("alice", "").await;
    ask(&mut viewer, "SUBSCRIBE", "s", json!({ "topic": "match:1" })).await;
    for goal in 1..=30 {
        server.publish("match:1", "GOAL", json!({ "goal": goal })).await;
    }
    let path = "/v1/admin/streams/topic:match:1";
    let stream = get(&server, path).await;
    assert_eq!((&stream["head"], &stream["floor"]), (&json!(30), &json!(0)));
    assert_eq!(stream["followers"], json!([{ "node": "n1", "count": 1 }]));
    assert_eq!(stream["eventsPerSecond"], 0.5, "thirty in the last minute");
    let newest = stream["newest"].as_array().unwrap();
    assert_eq!((newest.len(), &newest[0]["seq"], &newest[19]["seq"]), (20, &json!(11), &json!(30)));
    assert_eq!((&newest[19]["type"], &newest[19]["bytes"]), (&json!("GOAL"), &json!(11)));
    assert!(newest[19].get("payload").is_none());
    let with_payload = format!("{path}?payload=true&limit=1");
    problem(&server.call(&admin(), "GET", &with_payload, &[], "").await, 403, "forbidden");
    let may_see = token::scoped("operator", "admin admin:payload");
    let answer = server.call(&may_see, "GET", &with_payload, &[], "").await;
    assert_eq!(answer.json["newest"][0]["payload"], json!({ "goal": 30 }), "{}", answer.text);
    problem(&server.call(&service(), "GET", path, &[], "").await, 403, "forbidden");
    let nothing = get(&server, "/v1/admin/streams/topic:never").await;
    assert_eq!((&nothing["head"], &nothing["newest"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn health_shows_the_whole_picture_of_the_node() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "").await;
    create(&mut socket, "d1", json!({})).await;
    let health = wait::until("the figures of the last second", DEADLINE, || async {
        let health = server.call("", "GET", "/healthz", &[], "").await.json;
        if health["connectionCounts"]["active"] == 1 { Ok(health) } else { Err(health.to_string()) }
    })
    .await;
    assert_eq!((&health["connections"], &health["connectionCounts"]["webSockets"]), (&json!(1), &json!(1)));
    assert!(health["streams"].as_u64() >= Some(3), "alice's, all and control: {health}");
    let caches: Vec<_> = health["caches"].as_array().unwrap().iter().map(|cache| &cache["name"]).collect();
    assert_eq!(caches, ["tokens", "answers", "drafts", "events"]);
    assert!(health["latency"]["count"].is_u64() && health["queues"]["pendingBatches"].is_u64(), "{health}");
    assert!(health["duplicatesSuppressed"].is_u64() && health["regressions"] == json!([]), "{health}");
}
