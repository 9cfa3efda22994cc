//! What clients should not send: each is refused by name, and only repeated misuse ends a connection.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    DEADLINE,
    harness::{Server, ask},
};

/// A message, the id that its refusal names, and a part of the reason.
fn malformed() -> Vec<(String, Option<&'static str>, &'static str)> {
    let deep = format!(
        r#"{{"type":"DRAFT_CREATE","id":"deep","payload":{{"content":{}1{}}}}}"#,
        r#"{"a":"#.repeat(1000),
        "}".repeat(1000)
    );
    let long_id = json!({ "type": "DRAFT_LIST", "id": "x".repeat(65) }).to_string();
    let long_type = json!({ "type": "X".repeat(5000), "id": "c" }).to_string();
    let long_draft =
        json!({ "type": "DRAFT_DELETE", "id": "c", "payload": { "draftId": "d".repeat(65) } }).to_string();
    let update =
        |payload: Value| json!({ "type": "DRAFT_UPDATE", "id": "c", "payload": payload }).to_string();
    let mut cases = vec![
        (String::new(), None, "is empty"),
        ("{".to_owned(), None, "ends too early"),
        ("not JSON".to_owned(), None, "unexpected 'o' at byte 1"),
        ("[]".to_owned(), None, "must be an object, not an array"),
        ("null".to_owned(), None, "must be an object, not null"),
        ("\"PING\"".to_owned(), None, "must be an object, not a string"),
        ("{}".to_owned(), None, "type is missing"),
        (r#"{"type":7,"id":"c"}"#.to_owned(), Some("c"), "type must be a string"),
        (r#"{"type":"NO_SUCH","id":"c"}"#.to_owned(), Some("c"), "is no command"),
        (r#"{"type":"ping","id":"c"}"#.to_owned(), Some("c"), "is no command"),
        (r#"{"type":"WELCOME","id":"c"}"#.to_owned(), Some("c"), "is no command"),
        (long_type, Some("c"), "is no command"),
        (r#"{"type":"DRAFT_LIST"}"#.to_owned(), None, "id is missing"),
        (r#"{"type":"DRAFT_LIST","id":7}"#.to_owned(), None, "id must be a string"),
        (r#"{"type":"DRAFT_LIST","id":""}"#.to_owned(), None, "id must be"),
        (long_id, None, "id must be"),
        (r#"{"type":"DRAFT_LIST","id":"a\u0000b"}"#.to_owned(), None, "id must be"),
        (r#"{"type":"DRAFT_LIST","id":"a\nb"}"#.to_owned(), None, "id must be"),
        (
            r#"{"type":"DRAFT_LIST","id":"c","extra":1}"#.to_owned(),
            Some("c"),
            "the message has no field \"extra\"",
        ),
        (
            r#"{"type":"DRAFT_LIST","id":"c","payload":{"x":1}}"#.to_owned(),
            Some("c"),
            "payload has no field \"x\"",
        ),
        (r#"{"type":"DRAFT_LIST","id":"c"} {}"#.to_owned(), Some("c"), "unexpected '{'"),
        (r#"{"type":"AUTH","id":"c"}"#.to_owned(), Some("c"), "payload.token is missing"),
        (
            r#"{"type":"AUTH","id":"c","payload":{"token":1}}"#.to_owned(),
            Some("c"),
            "payload.token must be a string, not a number",
        ),
        (r#"{"type":"DRAFT_CREATE","id":"c"}"#.to_owned(), Some("c"), "payload.content is missing"),
        (long_draft, Some("c"), "draftId must be"),
        (deep, Some("deep"), "nested deeper than 100 levels"),
    ];
    for (payload, reason) in [
        (json!({ "draftId": "d", "patch": {} }), "payload.baseVersion is missing"),
        (
            json!({ "draftId": "d", "baseVersion": "1", "patch": {} }),
            "payload.baseVersion must be a whole number, not a string",
        ),
        (
            json!({ "draftId": "d", "baseVersion": 1.5, "patch": {} }),
            "payload.baseVersion must be a whole number",
        ),
        (
            json!({ "draftId": "d", "baseVersion": -1, "patch": {} }),
            "payload.baseVersion must be a whole number",
        ),
        (
            json!({ "draftId": "d", "baseVersion": 1, "patch": [] }),
            "payload.patch must be an object, not an array",
        ),
        (
            json!({ "draftId": "d", "baseVersion": 1, "patch": null }),
            "payload.patch must be an object, not null",
        ),
        (json!({ "draftId": "a/b", "baseVersion": 1, "patch": {} }), "draftId must be"),
        (json!({ "draftId": "d\u{0}", "baseVersion": 1, "patch": {} }), "draftId must be"),
        (
            json!({ "draftId": "d", "baseVersion": 1, "patch": {}, "force": true }),
            "payload has no field \"force\"",
        ),
        (json!([]), "payload must be an object, not an array"),
    ] {
        cases.push((update(payload), Some("c"), reason));
    }
    cases
}

#[tokio::test]
async fn malformed_messages_are_named_and_the_connection_lives() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "10000")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    for (text, id, reason) in malformed() {
        let shown: String = text.chars().take(100).collect();
        socket.send_text(&text).await.unwrap();
        let answer = socket.next(DEADLINE).await.unwrap();
        assert_eq!((&answer["type"], &answer["code"]), (&json!("ERROR"), &json!("bad_request")), "{shown}");
        assert_eq!(answer.get("id").and_then(Value::as_str), id, "{shown}: {answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(reason), "{shown}: {message}");
        assert!(message.len() < 500, "{shown}: {message}");
        // A good message in between: what is counted is misuse in a row.
        assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG", "{shown}");
    }
    socket.send_binary(b"\x81\xa4type\xa4PING").await.unwrap();
    let answer = socket.next(DEADLINE).await.unwrap();
    assert_eq!(answer["code"], "bad_request");
    assert!(answer["message"].as_str().unwrap().contains("binary"));
    assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
}

#[tokio::test]
async fn contents_are_kept_as_they_are() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "").await;
    let content = json!({
        "": "an empty name", "a/b~c": 1, "nul": "\u{0}", "astral": "𝄞", "__proto__": { "x": 1 },
        "large": 9_007_199_254_740_993_u64, "float": 0.1, "nested": { "list": [1, [2, { "x": null }]] },
    });
    let made = ask(&mut socket, "DRAFT_CREATE", "c", json!({ "draftId": "d", "content": content })).await;
    assert_eq!(made["type"], "ACK", "{made}");
    let list = ask(&mut socket, "DRAFT_LIST", "l", json!({})).await;
    assert_eq!(list["payload"]["drafts"][0]["content"], content);
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() {
    let server = Server::start().await;
    let (mut socket, welcome) = server.connect("alice", "").await;
    let limit = usize::try_from(welcome["maxMessageBytes"].as_u64().unwrap()).unwrap();
    let text = json!({ "type": "DRAFT_LIST", "id": "x", "payload": "y".repeat(2 * limit) }).to_string();
    // The server may close before it has taken all of it.
    let _ = socket.send_text(&text).await;
    assert_eq!(socket.close_code(DEADLINE).await.unwrap(), Some(1009));
    // One that just fits is read.
    let (mut socket, _) = server.connect("alice", "").await;
    let frame = json!({ "type": "NO", "id": "c", "payload": "" }).to_string().len();
    let text = json!({ "type": "NO", "id": "c", "payload": "y".repeat(limit - frame) }).to_string();
    socket.send_text(&text).await.unwrap();
    assert_eq!(socket.answer("c", DEADLINE).await.unwrap()["code"], "bad_request");
}

#[tokio::test]
async fn ten_malformed_messages_in_a_row_close_with_4400() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "").await;
    for _ in 0..10 {
        socket.send_text("nonsense").await.unwrap();
    }
    for _ in 0..9 {
        assert_eq!(socket.next(DEADLINE).await.unwrap()["code"], "bad_request");
    }
    assert_eq!(socket.close_code(DEADLINE).await.unwrap(), Some(4400));
}

/// Frames that RFC 6455 forbids. The mask is zero, so that the payload is what it says.
fn forbidden_frames() -> Vec<(&'static str, Vec<u8>)> {
    let masked = |head: &[u8], payload: &[u8]| [head, &[0; 4], payload].concat();
    vec![
        ("text that is not UTF-8", masked(&[0x81, 0x82], &[0xff, 0xfe])),
        ("an unmasked frame", vec![0x81, 0x02, b'{', b'}']),
        ("a reserved opcode", masked(&[0x83, 0x80], &[])),
        ("a reserved bit", masked(&[0xc1, 0x82], b"{}")),
        ("a fragmented ping", masked(&[0x09, 0x80], &[])),
        ("a ping of 126 bytes", masked(&[0x89, 0xfe, 0, 126], &[0; 126])),
        ("a continuation of nothing", masked(&[0x80, 0x80], &[])),
    ]
}

#[tokio::test]
async fn frames_that_are_none_close_with_4400() {
    let server = Server::start().await;
    for (what, frame) in forbidden_frames() {
        let (mut socket, _) = server.connect("alice", "").await;
        socket.send_bytes(&frame).await.unwrap();
        assert_eq!(socket.close_code(DEADLINE).await.unwrap(), Some(4400), "{what}");
    }
    // Garbage, until the server has had enough.
    let (mut socket, _) = server.connect("alice", "").await;
    let garbage: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let _ = socket.send_bytes(&garbage).await;
    socket.close_code(DEADLINE).await.unwrap();
}

/// How long a test's server takes at least to read what it is sent too fast. A busy machine only takes longer.
async fn takes_at_least(seconds: u64, reading: impl Future<Output = ()>) {
    let began = Instant::now();
    reading.await;
    assert!(began.elapsed() >= Duration::from_secs(seconds), "{:?}", began.elapsed());
}

#[tokio::test]
async fn commands_that_come_too_fast_are_read_at_the_rate_and_none_is_refused() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "20")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    takes_at_least(1, async {
        for n in 0..65 {
            socket.send(&json!({ "type": "PING", "id": format!("p{n}") })).await.unwrap();
        }
        for n in 0..65 {
            let answer = socket.next(DEADLINE).await.unwrap();
            assert_eq!((&answer["type"], &answer["id"]), (&json!("PONG"), &json!(format!("p{n}"))));
        }
    })
    .await;
}

#[tokio::test]
async fn pings_count_against_the_rate_as_well() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "20")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    takes_at_least(1, async {
        for _ in 0..65 {
            socket.send_ping().await.unwrap();
        }
        assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
    })
    .await;
}

#[tokio::test]
async fn large_messages_count_more() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "20")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    takes_at_least(1, async {
        // On credit.
        let payload = json!({ "topic": "t", "event": "E", "data": "x".repeat(1_000_000) });
        socket.send(&json!({ "type": "PUBLISH", "id": "p", "payload": payload })).await.unwrap();
        assert_eq!(socket.answer("p", DEADLINE).await.unwrap()["code"], "forbidden");
        assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
    })
    .await;
}

/// Not reading is not silence: what a client has sent is still to be looked at.
#[tokio::test]
async fn a_connection_that_is_not_read_for_its_rate_is_not_given_up() {
    let intervals = [("WS_PING_INTERVAL", "1s"), ("WS_PING_INTERVAL_MIN", "1s"), ("WS_PONG_TIMEOUT", "2s")];
    let server = Server::with(&[&intervals[..], &[("COMMANDS_PER_SECOND", "10")]].concat()).await;
    let (mut socket, _) = server.connect("alice", "").await;
    let payload = json!({ "topic": "t", "event": "E", "data": "x".repeat(1_000_000) });
    socket.send(&json!({ "type": "PUBLISH", "id": "p", "payload": payload })).await.unwrap();
    assert_eq!(ask(&mut socket, "PING", "q", json!({})).await["type"], "PONG");
}

#[tokio::test]
async fn a_message_over_the_rate_is_answered_once() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "2")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    for _ in 0..6 {
        socket.send_binary(b"x").await.unwrap();
    }
    socket.send(&json!({ "type": "PING", "id": "p" })).await.unwrap();
    let mut answers = 0;
    while socket.next(DEADLINE).await.unwrap().get("id").is_none() {
        answers += 1;
    }
    assert_eq!(answers, 6);
}
