//! What users see while the store is down, and that it passes by itself.

use std::collections::BTreeSet;

use common::Code;
use serde_json::json;
use testkit::{RawRequest, RawSocket, token, wait};

use crate::{
    DEADLINE,
    failing_store::FailingStore,
    harness::{Disk, Server, ask, create},
};

#[tokio::test]
async fn commands_are_refused_at_once_and_safe_to_repeat() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[("COMMANDS_PER_SECOND", "10000")]).await;
    let (mut phone, welcome) = server.connect("alice", "device=phone").await;
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    create(&mut phone, "d", json!({ "a": 1 })).await;
    store.set_down(true);

    let update = json!({ "draftId": "d", "baseVersion": 1, "patch": { "a": 2 } });
    for (kind, id, payload) in [
        ("DRAFT_UPDATE", "u", update.clone()),
        ("DRAFT_UPDATE", "u", update.clone()),
        ("DRAFT_CREATE", "c", json!({ "content": {} })),
        ("DRAFT_DELETE", "x", json!({ "draftId": "d" })),
        ("DRAFT_LIST", "l", json!({})),
    ] {
        let answer = ask(&mut phone, kind, id, payload).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("ERROR"), &json!("unavailable")), "{kind}");
        let message = answer["message"].as_str().unwrap();
        assert!(!message.contains("a test"), "what the database said is not for clients: {message}");
    }
    // What needs no store goes on.
    assert_eq!(ask(&mut phone, "PING", "p", json!({})).await["type"], "PONG");

    for (method, path) in [("GET", "/v1/drafts"), ("GET", "/v1/drafts/d"), ("DELETE", "/v1/drafts/d")] {
        let answer = server.api("alice", method, path, &[], None).await;
        assert_eq!((answer.status, &answer.json["code"]), (503, &json!("unavailable")), "{method} {path}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let health = testkit::http::get(&format!("http://{}/healthz", server.addr)).await.unwrap();
    assert_eq!((health.status, &health.json["store"]["ok"]), (503, &json!(false)));
    assert_eq!(health.json["status"], "down");
    assert!(health.json["reasons"][0].as_str().unwrap().contains("store"), "{}", health.text);
    // A user that is known here is followed from memory; another one cannot be.
    let (_laptop, welcome) = server.connect("alice", &format!("device=laptop&cursor={epoch}:1")).await;
    assert_eq!(welcome["seq"], 1);
    let stranger = RawRequest::new(server.socket_url()).token(&token::good("bob"));
    assert_eq!(server.refused(stranger).await.0, 1013);

    store.set_down(false);
    let answer = wait::until("the store to be found again", DEADLINE, || async {
        let answer = server.api("alice", "GET", "/v1/drafts", &[], None).await;
        if answer.status == 200 { Ok(answer) } else { Err(answer.text) }
    })
    .await;
    assert_eq!(answer.json["seq"], 1, "nothing refused was applied");
    loop {
        let answer = ask(&mut phone, "DRAFT_UPDATE", "u", update.clone()).await;
        if answer["code"] != "unavailable" {
            assert_eq!(answer["payload"]["version"], 2, "{answer}");
            break;
        }
    }
}

/// Each error code is provoked by a test; a new one is not forgotten here.
#[test]
fn every_error_code_is_provoked_by_a_test() {
    let provoked = [
        (Code::BadRequest, "bad_input, drafts, http"),
        (Code::Unauthorized, "handshake, session"),
        (Code::Forbidden, "session"),
        (Code::NotFound, "drafts, http"),
        (Code::Conflict, "drafts, http"),
        (Code::TooLarge, "drafts, http"),
        (Code::RateLimited, "event_stream"),
        (Code::Unavailable, "unavailable"),
    ];
    let known: BTreeSet<&str> = provoked.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(known, Code::ALL.iter().map(|code| code.as_str()).collect());
}

#[tokio::test]
async fn a_change_that_the_store_cannot_keep_harms_no_other() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[("WRITE_SHARDS", "1")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    let (mut other, _) = server.connect("alice", "").await;
    store.set_rejects(true);
    store.hold_commits();
    let create = |id: &str, content: serde_json::Value| {
        let payload = json!({ "draftId": id, "content": content });
        json!({ "type": "DRAFT_CREATE", "id": id, "payload": payload })
    };
    let contents = [json!({}), json!({ "poison": true }), json!({}), json!({ "damaged": true })];
    for (id, content) in ["a", "b", "c", "d"].into_iter().zip(contents) {
        socket.send(&create(id, content)).await.unwrap();
    }
    // What the same connection sends behind the damaged one has to wait for it.
    other.send(&create("e", json!({}))).await.unwrap();
    store.let_commits_go();
    let answer = other.answer("e", DEADLINE).await.unwrap();
    let mut answers =
        BTreeSet::from([("e".to_owned(), answer["code"].as_str().unwrap_or("done").to_owned())]);
    while answers.len() < 5 {
        let message = socket.next(DEADLINE).await.unwrap();
        if let Some(id) = message["id"].as_str() {
            answers.insert((id.to_owned(), message["code"].as_str().unwrap_or("done").to_owned()));
        }
    }
    let expected = [("a", "done"), ("b", "bad_request"), ("c", "done"), ("d", "unavailable"), ("e", "done")];
    assert_eq!(answers, expected.map(|(id, code)| (id.to_owned(), code.to_owned())).into());
}

/// A right or a table is missing: no write of a large batch can succeed, and few are tried one by one.
#[tokio::test]
async fn a_store_that_fails_everything_is_not_asked_for_each_write() {
    const WRITES: usize = 64;
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server =
        Server::on(&Disk::over(store.clone()), &[("WRITE_SHARDS", "1"), ("COMMANDS_PER_SECOND", "1000")])
            .await;
    let (mut socket, _) = server.connect("alice", "").await;
    store.set_rejects(true);
    store.hold_commits();
    for i in 0..WRITES {
        let payload = json!({ "draftId": format!("d{i}"), "content": { "damaged": true } });
        let create = json!({ "type": "DRAFT_CREATE", "id": format!("c{i}"), "payload": payload });
        socket.send(&create).await.unwrap();
    }
    store.let_commits_go();
    let mut answered = BTreeSet::new();
    while answered.len() < WRITES {
        let message = socket.next(DEADLINE).await.unwrap();
        if let Some(id) = message["id"].as_str() {
            assert_eq!(message["code"], "unavailable", "{message}");
            answered.insert(id.to_owned());
        }
    }
    let tried = store.batches().len();
    assert!(tried < WRITES / 2, "{tried} commits for {WRITES} writes");
}

/// Objects take up to a hundred times their text: it is memory that is bounded while changes wait.
#[tokio::test]
async fn changes_that_are_small_as_text_and_large_in_memory_do_not_pile_up() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    store.hold_commits();
    let heavy = format!(r#"{{"a":[{}0]}}"#, r#"{"":0},"#.repeat(100_000));
    for id in ["first", "second"] {
        let create = format!(
            r#"{{"type":"DRAFT_CREATE","id":"{id}","payload":{{"draftId":"{id}","content":{heavy}}}}}"#
        );
        socket.send_text(&create).await.unwrap();
    }
    assert_eq!(socket.answer("second", DEADLINE).await.unwrap()["code"], "unavailable");
    store.let_commits_go();
    assert_eq!(socket.answer("first", DEADLINE).await.unwrap()["code"], "too_large");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing_of_the_store() {
    let disk = Disk::with_event_bytes(64 << 10).await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let (mut filling, _) = server.connect("alice", "device=filling").await;
    const DRAFTS: usize = 15;
    for i in 0..DRAFTS {
        create(&mut filling, &format!("d{i}"), json!({ "text": "x".repeat(40_000) })).await;
    }
    // Lists of 600 KB each, far more of them than fit into the buffers of a socket.
    const LISTS: usize = 60;
    let request =
        RawRequest::new(server.socket_url()).token(&token::good("alice")).receive_buffer_bytes(4096);
    let mut deaf = RawSocket::connect(&request).await.unwrap();
    for i in 0..LISTS {
        deaf.send(&json!({ "type": "DRAFT_LIST", "id": format!("l{i}") })).await.unwrap();
    }
    // Everybody else is served meanwhile.
    for i in 0..20 {
        let (mut other, _) = server.connect(&format!("user-{i}"), "").await;
        create(&mut other, "d", json!({})).await;
        let list = ask(&mut other, "DRAFT_LIST", "l", json!({})).await;
        assert_eq!(list["payload"]["drafts"].as_array().map(Vec::len), Some(1));
    }
    // What it has not read is not there yet.
    let lists = store.lists() - 20;
    assert!(lists < LISTS / 2, "{lists} lists are read for it");
    let mut listed = BTreeSet::new();
    while listed.len() < LISTS {
        let message = deaf.next(DEADLINE).await.unwrap();
        if message["type"] == "ACK" {
            assert_eq!(message["payload"]["drafts"].as_array().map(Vec::len), Some(DRAFTS));
            listed.insert(message["id"].as_str().unwrap().to_owned());
        }
    }
}
