//! What is acknowledged is what is kept: the text of every number, wherever it is sent or read.

use serde_json::json;
use testkit::{RawRequest, RawSocket, device::message_pack, token};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Server, problem, service},
};

/// Numbers that a double or a 64-bit integer would alter, in value or in notation.
const NUMBERS: [&str; 18] = [
    "0",
    "-0",
    "-0.0",
    "1",
    "1.0",
    "1.50",
    "1e2",
    "1E+2",
    "100e-2",
    "12345678901234567890123",
    "-12345678901234567890123",
    "18446744073709551616",
    "100000000000000000000.01",
    "0.1000000000000000055511151231257827",
    "9007199254740993",
    "1e308",
    "1e-400",
    "3.14159265358979323846264338327950288",
];

fn content() -> String {
    let members: Vec<_> =
        NUMBERS.iter().enumerate().map(|(n, number)| format!(r#""n{n:02}":{number}"#)).collect();
    format!("{{{}}}", members.join(","))
}

#[tokio::test]
async fn numbers_of_drafts_keep_their_text() {
    let server = Server::start().await;
    let alice = token::good("alice");
    let (mut socket, welcome) = server.connect("alice", "device=phone").await;
    let content = content();
    // Made over the socket.
    let create =
        format!(r#"{{"type":"DRAFT_CREATE","id":"c","payload":{{"draftId":"a","content":{content}}}}}"#);
    socket.send_text(&create).await.unwrap();
    let mut told = [socket.next_text(DEADLINE).await.unwrap(), socket.next_text(DEADLINE).await.unwrap()];
    told.sort_by_key(|text| text.contains(r#""type":"DRAFT_CREATED""#));
    assert!(told[1].contains(&format!(r#""content":{content}"#)), "{}", told[1]);
    // Changed over HTTP, in one field: the others stay as they were written.
    let patch = r#"{"n01":12345678901234567890124,"z":{"deep":[1.10,-0]}}"#;
    let changed = server.call(&alice, "PATCH", "/v1/drafts/a?baseVersion=1", &[], patch).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let event = socket.next_text(DEADLINE).await.unwrap();
    assert!(event.contains(&format!(r#""patch":{patch}"#)), "{event}");
    let merged = content.replace(r#""n01":-0,"#, r#""n01":12345678901234567890124,"#);
    let merged = format!(r#"{},"z":{{"deep":[1.10,-0]}}}}"#, merged.strip_suffix('}').unwrap());
    let list = server.call(&alice, "GET", "/v1/drafts", &[], "").await;
    assert!(list.text.contains(&format!(r#""content":{merged}"#)), "{}", list.text);
    let one = server.call(&alice, "GET", "/v1/drafts/a", &[], "").await;
    assert!(one.text.contains(&format!(r#""content":{merged}"#)), "{}", one.text);
    socket.send_text(r#"{"type":"DRAFT_LIST","id":"l"}"#).await.unwrap();
    let list = socket.next_text(DEADLINE).await.unwrap();
    assert!(list.contains(&format!(r#""content":{merged}"#)), "{list}");
    // The delta after a cursor, and the snapshot for a cursor of another history.
    let cursor = format!("cursor={}:0", welcome["epoch"].as_str().unwrap());
    let (mut resumed, _) = server.connect("alice", &cursor).await;
    let delta = resumed.next_text(DEADLINE).await.unwrap();
    assert!(delta.contains(&format!(r#""content":{content}"#)), "{delta}");
    let (mut restored, _) = server.connect("alice", "cursor=other:1").await;
    let snapshot = restored.next_text(DEADLINE).await.unwrap();
    assert!(snapshot.contains(&format!(r#""content":{merged}"#)), "{snapshot}");
    // The conflict says what stands there.
    let refused = server.call(&alice, "PATCH", "/v1/drafts/a?baseVersion=1", &[], r#"{"n01":3}"#).await;
    problem(&refused, 409, "conflict");
    assert!(refused.text.contains(&format!(r#""content":{merged}"#)), "{}", refused.text);
}

#[tokio::test]
async fn another_notation_of_a_number_is_no_change_and_the_same_command() {
    let server = Server::start().await;
    let alice = token::good("alice");
    let create = |number| format!(r#"{{"draftId":"d","content":{{"n":{number}}}}}"#);
    let key = [("idempotency-key", "k")];
    let made = server.call(&alice, "POST", "/v1/drafts", &key, &create("1")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    for same in ["1.0", "10e-1", "0.1e1", "1.000"] {
        let again = server.call(&alice, "POST", "/v1/drafts", &key, &create(same)).await;
        assert_eq!((again.status, &again.json), (201, &made.json), "{same}: {}", again.text);
        let patch = format!(r#"{{"n":{same}}}"#);
        let changed = server.call(&alice, "PATCH", "/v1/drafts/d?baseVersion=1", &[], &patch).await;
        assert_eq!(changed.json, json!({ "draftId": "d", "version": 1 }), "{same}: {}", changed.text);
    }
    let other = server.call(&alice, "POST", "/v1/drafts", &key, &create("1.0000000000000000000001")).await;
    problem(&other, 400, "bad_request");
    let events = |number| format!(r#"{{"event":"E","data":[{number}]}}"#);
    let path = "/v1/topics/t/events";
    let first = server.call(&service(), "POST", path, &key, &events("-0")).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let again = server.call(&service(), "POST", path, &key, &events("0.0")).await;
    assert_eq!((again.status, &again.json), (201, &first.json), "{}", again.text);
    problem(&server.call(&service(), "POST", path, &key, &events("1e-400")).await, 400, "bad_request");
}

#[tokio::test]
async fn a_number_beyond_the_doubles_is_refused_with_its_field() {
    let server = Server::start().await;
    for number in ["1e400", "-1e309", "1e99999999999999999999", &"9".repeat(400)] {
        let body = format!(r#"{{"content":{{"list":[1,{number}]}}}}"#);
        let answer = server.call(&token::good("alice"), "POST", "/v1/drafts", &[], &body).await;
        problem(&answer, 400, "bad_request");
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(detail.starts_with("content.list[1] is a number beyond"), "{number}: {detail}");
    }
}

#[tokio::test]
async fn a_whole_number_is_a_version_in_any_notation() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "").await;
    socket
        .send_text(r#"{"type":"DRAFT_CREATE","id":"c","payload":{"draftId":"d","content":{}}}"#)
        .await
        .unwrap();
    socket.answer("c", DEADLINE).await.unwrap();
    for (n, version) in ["1.0", "20e-1", "0.3E+1", "4.000"].into_iter().enumerate() {
        let text = format!(
            r#"{{"type":"DRAFT_UPDATE","id":"u{n}","payload":{{"draftId":"d","baseVersion":{version},"patch":{{"n":{n}}}}}}}"#
        );
        socket.send_text(&text).await.unwrap();
        let answer = socket.answer(&format!("u{n}"), DEADLINE).await.unwrap();
        assert_eq!(
            (&answer["type"], &answer["payload"]["version"]),
            (&json!("ACK"), &json!(n + 2)),
            "{answer}"
        );
    }
    for version in ["1.5", "-1", "1e-1", "18446744073709551616", "1e300", "\"1\"", "true"] {
        let text = format!(
            r#"{{"type":"DRAFT_UPDATE","id":"w","payload":{{"draftId":"d","baseVersion":{version},"patch":{{}}}}}}"#
        );
        socket.send_text(&text).await.unwrap();
        let answer = socket.answer("w", DEADLINE).await.unwrap();
        assert_eq!(answer["code"], "bad_request", "{version}: {answer}");
        assert!(answer["message"].as_str().unwrap().starts_with("payload.baseVersion must be"), "{answer}");
        socket.send_text(r#"{"type":"PING","id":"p"}"#).await.unwrap();
        socket.answer("p", DEADLINE).await.unwrap();
    }
    // MessagePack of languages that have only one kind of number: a double.
    let request = RawRequest::new(server.socket_url())
        .bearer(&token::scoped("alice", ALL_TOPICS))
        .subprotocol("draftwire.v1.msgpack");
    let mut packed = RawSocket::connect(&request).await.unwrap();
    packed.next_binary(DEADLINE).await.unwrap();
    let delete = b"\x83\xa4type\xacDRAFT_DELETE\xa2id\xa1x\xa7payload\x82\xa7draftId\xa1d\
        \xabbaseVersion\xcb\x40\x14\0\0\0\0\0\0";
    packed.send_binary(delete).await.unwrap();
    let mut types = Vec::new();
    for _ in 0..2 {
        let message = message_pack(&packed.next_binary(DEADLINE).await.unwrap()).unwrap();
        types.push(message["type"].as_str().unwrap().to_owned());
    }
    types.sort();
    assert_eq!(types, ["ACK", "DRAFT_DELETED"]);
}
