//! The HTTP API.

use fanout::bus::{RedisBus, RedisOptions};
use serde_json::{Value, json};
use testkit::token;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    DEADLINE,
    harness::{ANY_PORT, Disk, Server, create, problem, settings},
};

#[tokio::test]
async fn a_draft_is_made_read_changed_and_deleted() {
    let server = Server::start().await;
    let body = json!({ "draftId": "d", "kind": "note", "content": { "a": 1 } });
    let made = server.api("alice", "POST", "/v1/drafts", &[], Some(body)).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json, json!({ "draftId": "d", "version": 1, "seq": 1 }));
    assert_eq!((made.header("location"), made.header("etag")), (Some("/v1/drafts/d"), Some("\"1\"")));
    assert_eq!(made.header("draftwire-node"), Some("n1"));

    let got = server.api("alice", "GET", "/v1/drafts/d", &[], None).await;
    assert_eq!((got.status, got.header("etag")), (200, Some("\"1\"")));
    assert_eq!((&got.json["kind"], &got.json["content"]), (&json!("note"), &json!({ "a": 1 })));
    assert!(got.json["updatedAt"].as_u64().is_some());

    let changed = server
        .api("alice", "PATCH", "/v1/drafts/d?baseVersion=1", &[], Some(json!({ "a": null, "b": 2 })))
        .await;
    assert_eq!(changed.json, json!({ "draftId": "d", "version": 2, "seq": 2 }));
    assert_eq!(changed.header("etag"), Some("\"2\""));

    let list = server.api("alice", "GET", "/v1/drafts", &[], None).await;
    assert_eq!((list.status, &list.json["seq"]), (200, &json!(2)));
    assert_eq!(list.json["drafts"][0]["content"], json!({ "b": 2 }));
    assert!(!list.json["epoch"].as_str().unwrap().is_empty());

    let deleted = server.api("alice", "DELETE", "/v1/drafts/d", &[("if-match", "\"2\"")], None).await;
    assert_eq!(deleted.json, json!({ "draftId": "d", "version": 3, "seq": 3 }));
    problem(&server.api("alice", "GET", "/v1/drafts/d", &[], None).await, 404, "not_found");
    problem(&server.api("alice", "DELETE", "/v1/drafts/d", &[], None).await, 404, "not_found");
    let list = server.api("alice", "GET", "/v1/drafts", &[], None).await;
    assert_eq!(list.json["drafts"], json!([]));
}

#[tokio::test]
async fn nobody_reads_or_changes_the_drafts_of_others() {
    let server = Server::start().await;
    let body = json!({ "draftId": "d", "content": {} });
    server.api("alice", "POST", "/v1/drafts", &[], Some(body)).await;
    problem(&server.api("bob", "GET", "/v1/drafts/d", &[], None).await, 404, "not_found");
    let patch = server.api("bob", "PATCH", "/v1/drafts/d?baseVersion=1", &[], Some(json!({}))).await;
    problem(&patch, 404, "not_found");
    let list = server.api("bob", "GET", "/v1/drafts", &[], None).await;
    assert_eq!(list.json["drafts"], json!([]));
}

#[tokio::test]
async fn what_is_known_already_is_not_sent_again() {
    let server = Server::start().await;
    server.api("alice", "POST", "/v1/drafts", &[], Some(json!({ "draftId": "d", "content": {} }))).await;
    for (tags, status) in
        [("\"1\"", 304), ("W/\"1\"", 304), ("\"7\", \"1\"", 304), ("\"2\"", 200), ("1", 200)]
    {
        let got = server.api("alice", "GET", "/v1/drafts/d", &[("if-none-match", tags)], None).await;
        assert_eq!((got.status, got.header("etag")), (status, Some("\"1\"")), "{tags}");
        assert_eq!(got.text.is_empty(), status == 304);
    }
}

#[tokio::test]
async fn if_match_demands_the_version_and_base_version_merges() {
    let server = Server::start().await;
    let body = json!({ "draftId": "d", "content": { "a": 1, "b": 1 } });
    server.api("alice", "POST", "/v1/drafts", &[], Some(body)).await;
    let patch = |path: &'static str, headers: &'static [(&str, &str)], patch: Value| {
        server.api("alice", "PATCH", path, headers, Some(patch))
    };
    let ok = patch("/v1/drafts/d", &[("if-match", "\"1\"")], json!({ "a": 2 })).await;
    assert_eq!((ok.status, ok.header("etag")), (200, Some("\"2\"")));

    let stale = patch("/v1/drafts/d", &[("if-match", "\"1\"")], json!({ "b": 2 })).await;
    problem(&stale, 412, "conflict");
    assert_eq!(stale.json["payload"], json!({ "draftId": "d", "version": 2 }));
    let stale = server.api("alice", "DELETE", "/v1/drafts/d", &[("if-match", "\"1\"")], None).await;
    problem(&stale, 412, "conflict");

    let merged = patch("/v1/drafts/d?baseVersion=1", &[], json!({ "b": 2 })).await;
    assert_eq!((merged.status, merged.header("etag")), (200, Some("\"3\"")));
    let conflict = patch("/v1/drafts/d?baseVersion=1", &[], json!({ "a": 9, "b": 2 })).await;
    problem(&conflict, 409, "conflict");
    assert_eq!(conflict.json["payload"]["fields"], json!(["/a"]));
    assert_eq!(conflict.json["payload"]["draft"]["version"], 3);
    let conflict = server.api("alice", "DELETE", "/v1/drafts/d?baseVersion=1", &[], None).await;
    problem(&conflict, 409, "conflict");

    problem(&patch("/v1/drafts/d", &[], json!({ "a": 3 })).await, 428, "bad_request");
    problem(&patch("/v1/drafts/d?baseVersion=9", &[], json!({ "a": 3 })).await, 400, "bad_request");
    let both = patch("/v1/drafts/d?baseVersion=3", &[("if-match", "\"3\"")], json!({ "a": 3 })).await;
    problem(&both, 400, "bad_request");
    for (tag, status, code) in [
        ("3", 400, "bad_request"),
        ("\"x\"", 412, "conflict"),
        ("\"+3\"", 412, "conflict"),
        // Weak tags never match in the strong comparison that If-Match asks for.
        ("W/\"3\"", 412, "conflict"),
    ] {
        let headers = [("if-match", tag)];
        let refused = server.api("alice", "DELETE", "/v1/drafts/d", &headers, None).await;
        problem(&refused, status, code);
    }
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let server = Server::with(&[("MAX_MESSAGE_BYTES", "8KiB")]).await;
    server.api("alice", "POST", "/v1/drafts", &[], Some(json!({ "draftId": "d", "content": {} }))).await;
    let ask = |method: &'static str, path: &'static str| server.api("alice", method, path, &[], None);
    problem(&ask("GET", "/v1/drafts/none").await, 404, "not_found");
    problem(&ask("GET", "/v1/nothing").await, 404, "not_found");
    problem(&ask("GET", "/v1/drafts/a%20b").await, 400, "bad_request");
    problem(&ask("GET", "/v1/drafts/d%00").await, 400, "bad_request");
    problem(&ask("GET", "/v1/drafts/%ff").await, 400, "bad_request");
    problem(&ask("GET", "/v1/drafts?limit=1").await, 400, "bad_request");
    problem(&ask("DELETE", "/v1/drafts/d?baseversion=1").await, 400, "bad_request");
    problem(&ask("DELETE", "/v1/drafts/d?baseVersion=-1").await, 400, "bad_request");
    problem(&ask("GET", "/v1/drafts?device=").await, 400, "bad_request");
    for path in ["/v1/drafts?baseVersion=1", "/v1/drafts/d?baseVersion=1"] {
        problem(&ask("GET", path).await, 400, "bad_request");
    }
    let create = server.api("alice", "POST", "/v1/drafts?baseVersion=1", &[], Some(json!({ "content": {} })));
    problem(&create.await, 400, "bad_request");
    for (method, path) in [("PUT", "/v1/drafts"), ("POST", "/v1/drafts/d"), ("POST", "/healthz")] {
        let refused = ask(method, path).await;
        problem(&refused, 405, "bad_request");
        assert!(refused.header("allow").is_some_and(|allow| allow.contains("GET")), "{method} {path}");
    }
    let bodies = [
        ("", 400, "bad_request"),
        ("{", 400, "bad_request"),
        ("[]", 400, "bad_request"),
        ("{\"content\":[]}", 400, "bad_request"),
        ("{\"content\":{},\"contents\":{}}", 400, "bad_request"),
        ("{\"content\":{},\"draftId\":\"a/b\"}", 400, "bad_request"),
        // Its Location would lead elsewhere.
        ("{\"content\":{},\"draftId\":\".\"}", 400, "bad_request"),
        ("{\"content\":{},\"draftId\":\"..\"}", 400, "bad_request"),
    ];
    let bearer = format!("Bearer {}", token::good("alice"));
    let url = format!("http://{}/v1/drafts", server.addr);
    let headers = [("authorization", bearer.as_str())];
    for (body, status, code) in bodies {
        problem(&testkit::http::request_text("POST", &url, &headers, body).await.unwrap(), status, code);
    }
    let large = json!({ "content": { "a": "x".repeat(9000) } }).to_string();
    problem(&testkit::http::request_text("POST", &url, &headers, &large).await.unwrap(), 413, "too_large");
    let key = [("authorization", bearer.as_str()), ("idempotency-key", "")];
    let refused = testkit::http::request_text("POST", &url, &key, "{\"content\":{}}").await.unwrap();
    problem(&refused, 400, "bad_request");
}

/// Whoever never ends what is sent takes room in memory, and that is bounded.
#[tokio::test]
async fn bodies_that_do_not_end_do_not_pile_up() {
    let server = Server::with(&[("MAX_MESSAGE_BYTES", "16KiB")]).await;
    let max = 16 << 10;
    let mut senders = Vec::new();
    for _ in 0..128 {
        let mut sender = TcpStream::connect(server.addr).await.unwrap();
        let head = format!(
            "POST /v1/drafts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {max}\r\n\r\n",
            token::good("alice")
        );
        sender.write_all(head.as_bytes()).await.unwrap();
        sender.write_all(&vec![b' '; max - 1]).await.unwrap();
        senders.push(sender);
    }
    let post = || server.api("bob", "POST", "/v1/drafts", &[], Some(json!({ "content": {} })));
    testkit::wait::until("no room to be left", DEADLINE, || async {
        let answer = post().await;
        if answer.status == 503 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let refused = post().await;
    problem(&refused, 503, "unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(senders);
    testkit::wait::until("there to be room again", DEADLINE, || async {
        let answer = post().await;
        if answer.status == 201 { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

#[tokio::test]
async fn changes_over_http_reach_the_devices() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    create(&mut phone, "d", json!({ "a": 1 })).await;
    server.api("alice", "PATCH", "/v1/drafts/d?baseVersion=1", &[], Some(json!({ "a": 2 }))).await;
    server.api("alice", "DELETE", "/v1/drafts/d?device=backend", &[], None).await;
    let updated = phone.next(DEADLINE).await.unwrap();
    assert_eq!((&updated["type"], &updated["seq"]), (&json!("DRAFT_UPDATED"), &json!(2)));
    assert_eq!(updated["origin"], "http");
    assert_eq!(updated["payload"]["patch"], json!({ "a": 2 }));
    let deleted = phone.next(DEADLINE).await.unwrap();
    assert_eq!((&deleted["type"], &deleted["origin"]), (&json!("DRAFT_DELETED"), &json!("backend")));
}

/// Nothing listens where it looks for Redis.
#[tokio::test]
async fn a_node_without_its_bus_is_degraded_and_not_down() {
    let bus = RedisBus::new(RedisOptions::new("redis://127.0.0.1:1")).unwrap();
    let settings = settings("n1", &[("SWEEP_INTERVAL_UNSURE", "250ms")]);
    let server = Server::assemble_at(ANY_PORT, &Disk::new().await, bus, settings).await;
    let health = testkit::http::get(&format!("http://{}/healthz", server.addr)).await.unwrap();
    assert_eq!((health.status, &health.json["status"]), (200, &json!("degraded")), "{}", health.text);
    assert_eq!((&health.json["store"]["ok"], &health.json["bus"]["ok"]), (&json!(true), &json!(false)));
    let reasons = health.json["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    let reason = reasons[0].as_str().unwrap();
    assert!(reason.contains("bus") && reason.contains("every 250ms"), "{reason}");
}

#[tokio::test]
async fn health_says_how_the_node_is() {
    let server = Server::start().await;
    let (_phone, _) = server.connect("alice", "").await;
    let url = |path: &str| format!("http://{}{path}", server.addr);
    testkit::wait::until("the bus to be trusted", DEADLINE, || async {
        let health = testkit::http::get(&url("/healthz")).await.unwrap();
        if health.json["status"] == "ok" { Ok(()) } else { Err(health.text) }
    })
    .await;
    let health = testkit::http::get(&url("/healthz")).await.unwrap();
    assert_eq!((health.status, &health.json["node"]), (200, &json!("n1")));
    assert_eq!(health.json["reasons"], json!([]));
    assert_eq!((&health.json["connections"], &health.json["users"]), (&json!(1), &json!(1)));
    assert_eq!(health.json["store"], json!({ "kind": "sqlite", "ok": true }));
    assert_eq!(testkit::http::get(&url("/readyz")).await.unwrap().status, 200);
    assert_eq!(testkit::http::get(&url("/livez")).await.unwrap().status, 200);
}
