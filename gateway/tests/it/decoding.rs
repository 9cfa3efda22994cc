//! How messages and requests are decoded: objects are objects, refusals speak of the protocol, and none is
//! longer than it has to be.

use serde_json::{Value, json};
use testkit::{RawRequest, RawSocket, device::message_pack, http::Answer, token};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Server, problem, service},
};

/// The longest text of a refusal.
const DETAIL_BYTES_MAX: usize = 512;

/// Messages in which an array stands where an object belongs, in the order of the object's fields.
const ARRAYS: [(&str, &str); 12] = [
    (r#"["DRAFT_CREATE","x",{"draftId":"d1","content":{}}]"#, "the message must be an object, not an array"),
    (r#"{"type":"DRAFT_CREATE","id":"x","payload":["d1","k",{"a":1}]}"#, "payload must be an object"),
    (r#"{"type":"DRAFT_UPDATE","id":"x","payload":["d1",1,{"a":2}]}"#, "payload must be an object"),
    (r#"{"type":"DRAFT_DELETE","id":"x","payload":["d1",1]}"#, "payload must be an object"),
    (r#"{"type":"DRAFT_LIST","id":"x","payload":[]}"#, "payload must be an object"),
    (r#"{"type":"PING","id":"x","payload":[]}"#, "payload must be an object"),
    (
        r#"{"type":"SUBSCRIBE","id":"x","payload":[null,"t",null,true,null,null]}"#,
        "payload must be an object",
    ),
    (
        r#"{"type":"SUBSCRIBE","id":"x","payload":{"topics":[["t",null,true,null,null]]}}"#,
        "payload.topics[0] must be an object",
    ),
    (r#"{"type":"UNSUBSCRIBE","id":"x","payload":["t",null]}"#, "payload must be an object"),
    (r#"{"type":"PUBLISH","id":"x","payload":["t","E",1,"high",false]}"#, "payload must be an object"),
    (r#"{"type":"AUTH","id":"x","payload":["a.b.c"]}"#, "payload must be an object"),
    (r#"{"type":"DRAFT_CREATE","id":"x","payload":{"content":[]}}"#, "payload.content must be an object"),
];

async fn packed(server: &Server) -> RawSocket {
    let request = RawRequest::new(server.socket_url())
        .bearer(&token::scoped("alice", ALL_TOPICS))
        .subprotocol("draftwire.v1.msgpack");
    let mut socket = RawSocket::connect(&request).await.unwrap();
    socket.next_binary(DEADLINE).await.unwrap();
    socket
}

#[tokio::test]
async fn arrays_do_not_stand_for_objects_in_messages() {
    let server = Server::start().await;
    let (mut json_socket, _) = server.connect_to_topics("alice", "").await;
    let mut packed = packed(&server).await;
    for (text, reason) in ARRAYS {
        json_socket.send_text(text).await.unwrap();
        let message: Value = serde_json::from_str(text).unwrap();
        packed.send_binary(&rmp_serde::to_vec(&message).unwrap()).await.unwrap();
        let answers = [
            json_socket.next(DEADLINE).await.unwrap(),
            message_pack(&packed.next_binary(DEADLINE).await.unwrap()).unwrap(),
        ];
        for answer in answers {
            assert_eq!(answer["code"], "bad_request", "{text}: {answer}");
            assert_eq!(answer.get("id").is_some(), message.is_object(), "{text}: {answer}");
            assert!(answer["message"].as_str().unwrap().contains(reason), "{text}: {answer}");
        }
        // What is counted is misuse in a row.
        json_socket.send(&json!({ "type": "PING" })).await.unwrap();
        assert_eq!(json_socket.next(DEADLINE).await.unwrap()["type"], "PONG");
        packed.send_binary(b"\x81\xa4type\xa4PING").await.unwrap();
        packed.next_binary(DEADLINE).await.unwrap();
    }
    let list = server.api("alice", "GET", "/v1/drafts", &[], None).await;
    assert_eq!((&list.json["seq"], &list.json["drafts"]), (&json!(0), &json!([])), "nothing was carried out");
}

#[tokio::test]
async fn arrays_do_not_stand_for_objects_over_http() {
    let server = Server::start().await;
    let call = async |method, path, body| server.call(&token::good("alice"), method, path, &[], body).await;
    for (method, path, body, reason) in [
        ("POST", "/v1/drafts", r#"["d1","k",{"a":1}]"#, "the body must be an object, not an array"),
        ("POST", "/v1/drafts", r#"{"content":["a",1]}"#, "content must be an object, not an array"),
        ("PATCH", "/v1/drafts/d?baseVersion=1", r#"[{"a":1}]"#, "the body must be an object, not an array"),
    ] {
        let answer = call(method, path, body).await;
        problem(&answer, 400, "bad_request");
        assert!(answer.json["detail"].as_str().unwrap().contains(reason), "{body}: {}", answer.text);
    }
    for (headers, body, reason) in [
        (&[][..], r#"[["E",1,"high",false]]"#, "event 1 must be an object, not an array"),
        (&[], r#"["E",1,"high",false]"#, "event 1 must be an object, not a string"),
        (
            &[("content-type", "application/x-ndjson")],
            "\n[\"E\",1]",
            "line 2 must be an object, not an array",
        ),
    ] {
        let answer = server.call(&service(), "POST", "/v1/topics/t/events", headers, body).await;
        problem(&answer, 400, "bad_request");
        assert!(answer.json["detail"].as_str().unwrap().contains(reason), "{body}: {}", answer.text);
    }
}

/// Words that name what the server is made of, and not the protocol.
const INTERNAL: [&str; 22] = [
    "struct",
    "serde",
    "deserializ",
    "Deserializ",
    "variant",
    "tuple",
    "sequence",
    "enum",
    "axum",
    "hyper",
    "RawValue",
    "u64",
    "u32",
    "i64",
    "usize",
    "f64",
    "column",
    "query string",
    "EOF",
    "expected one of",
    "Option",
    "visitor",
];

#[track_caller]
fn speaks_of_the_protocol(what: &str, text: &str) {
    assert!(!text.is_empty() && text.len() <= DETAIL_BYTES_MAX, "{what:.200}: {} bytes", text.len());
    for word in INTERNAL {
        assert!(!text.contains(word), "{what:.200} is answered with {word:?}: {text}");
    }
}

/// Wrong values for a field, of every type there is.
const WRONG: [&str; 9] =
    ["null", "true", "7", "-1", "1.5", "1e40", r#""\u0007 no""#, "[1,{\"a\":[]}]", r#"{"a":{"b":1}}"#];

#[tokio::test]
async fn refusals_of_messages_speak_of_the_protocol() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "10000")]).await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    let fields: [(&str, &[&str]); 9] = [
        ("DRAFT_CREATE", &["draftId", "kind", "content", "noSuch"]),
        ("DRAFT_UPDATE", &["draftId", "baseVersion", "patch", "noSuch"]),
        ("DRAFT_DELETE", &["draftId", "baseVersion", "noSuch"]),
        ("DRAFT_LIST", &["noSuch"]),
        ("SUBSCRIBE", &["topic", "topics", "cursor", "presence", "batchMs", "batchMax", "noSuch"]),
        ("UNSUBSCRIBE", &["topic", "topics", "noSuch"]),
        ("PUBLISH", &["topic", "event", "data", "priority", "signal", "noSuch"]),
        ("AUTH", &["token", "noSuch"]),
        ("PING", &["noSuch"]),
    ];
    let mut texts: Vec<String> = Vec::new();
    for (kind, fields) in fields {
        for wrong in WRONG {
            texts.push(format!(r#"{{"type":"{kind}","id":"c","payload":{wrong}}}"#));
            texts.push(format!(r#"{{"type":"{kind}","id":{wrong}}}"#));
            for field in fields {
                texts.push(format!(r#"{{"type":"{kind}","id":"c","payload":{{"{field}":{wrong}}}}}"#));
                texts.push(format!(
                    r#"{{"type":"{kind}","id":"c","payload":{{"{field}":1,"{field}":{wrong}}}}}"#
                ));
            }
        }
    }
    texts.extend(WRONG.iter().map(|wrong| format!(r#"{{"type":{wrong}}}"#)));
    texts.extend(WRONG.iter().map(|wrong| (*wrong).to_owned()));
    let broken = r#"{"type":"PUBLISH","id":"c","payload":{"topic":"t","event":"E","data":[1e5,"\u00e9"]}}"#;
    texts.extend((0..broken.len()).map(|end| broken[..end].to_owned()));
    texts.extend((0..broken.len()).map(|at| format!("{}{}{}", &broken[..at], '\u{1}', &broken[at..])));
    for text in texts {
        socket.send_text(&text).await.unwrap();
        let answer = socket.next(DEADLINE).await.unwrap();
        if answer["type"] == "ERROR" {
            speaks_of_the_protocol(&text, answer["message"].as_str().unwrap());
        }
        socket.send(&json!({ "type": "PING", "id": "between" })).await.unwrap();
        socket.answer("between", DEADLINE).await.unwrap();
    }
}

#[tokio::test]
async fn refusals_of_requests_speak_of_the_protocol() {
    let server = Server::start().await;
    let bodies = WRONG.into_iter().chain(["", "{", "\u{feff}{}", "{} {}", "not JSON", "[[]]", r#"{"a":1,}"#]);
    let bodies: Vec<&str> = bodies.collect();
    let mut answers: Vec<(String, Answer)> = Vec::new();
    let scope = format!("{ALL_TOPICS} service");
    let token = token::scoped("alice", &scope);
    let headers: [&[(&str, &str)]; 2] = [&[], &[("content-type", "application/x-ndjson")]];
    for body in &bodies {
        for path in ["/v1/drafts", "/v1/topics/t/events", "/v1/users/bob/events", "/v1/broadcast"] {
            for headers in headers {
                answers
                    .push((format!("{path} {body}"), server.call(&token, "POST", path, headers, body).await));
            }
        }
        let path = "/v1/drafts/d?baseVersion=1";
        answers.push((format!("PATCH {body}"), server.call(&token, "PATCH", path, &[], body).await));
    }
    for (method, path) in [
        ("GET", "/v1/drafts?nope=1"),
        ("GET", "/v1/drafts?device="),
        ("GET", "/v1/drafts?device=a&device=b"),
        ("GET", "/v1/drafts/%FF"),
        ("GET", "/v1/drafts/a%20b"),
        ("GET", "/v1/drafts?device=%FF"),
        ("PATCH", "/v1/drafts/d?baseVersion=x"),
        ("PATCH", "/v1/drafts/d?baseVersion="),
        ("PATCH", "/v1/drafts/d?baseVersion=%2B1"),
        ("PATCH", "/v1/drafts/d?baseVersion=-1"),
        ("PATCH", "/v1/drafts/d?baseVersion=99999999999999999999"),
        ("PATCH", "/v1/drafts/d?baseversion=1"),
        ("DELETE", "/v1/drafts/d?baseVersion=1&baseVersion=2"),
        ("GET", "/v1/topics/t/events?limit=x"),
        ("GET", "/v1/topics/t/events?limit=0"),
        ("GET", "/v1/topics/t/events?limit=4294967296"),
        ("GET", "/v1/topics/t/events?cursor=x"),
        ("GET", "/v1/topics/t/events?nope"),
        ("GET", "/v1/topics/%FF/events"),
        ("POST", "/v1/users/%FF/events"),
        ("POST", "/v1/topics/t/events?device=%00"),
        ("GET", "/v1/stream?topics=a%20b"),
        ("GET", "/v1/stream?cursor=x"),
        ("GET", "/v1/stream?nope=1"),
        ("GET", "/v1/stream?topics=a&topics=b"),
    ] {
        answers.push((format!("{method} {path}"), server.call(&token, method, path, &[], "{}").await));
    }
    for (what, answer) in answers {
        if answer.status == 201 || answer.status == 202 {
            continue;
        }
        assert!((400..500).contains(&answer.status), "{what}: {}", answer.text);
        problem(&answer, answer.status, answer.json["code"].as_str().unwrap());
        speaks_of_the_protocol(&what, answer.json["detail"].as_str().unwrap());
    }
}

#[tokio::test]
async fn half_of_a_surrogate_pair_is_refused_with_its_field() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    for (text, field) in [
        (
            r#"{"type":"DRAFT_CREATE","id":"x","payload":{"content":{"title":"a\ud83d"}}}"#,
            "payload.content.title",
        ),
        (
            r#"{"type":"DRAFT_CREATE","id":"x","payload":{"content":{"l":[1,{"t":"\uDE00b"}]}}}"#,
            "payload.content.l[1].t",
        ),
        (r#"{"type":"DRAFT_CREATE","id":"x","payload":{"content":{"\ud83d":1}}}"#, "payload.content"),
        (
            r#"{"type":"PUBLISH","id":"x","payload":{"topic":"t","event":"E","data":"\ud83d\ud83d"}}"#,
            "payload.data",
        ),
        (
            r#"{"type":"PUBLISH","id":"x","payload":{"topic":"t","event":"E","data":["\ud83dA"]}}"#,
            "payload.data[0]",
        ),
        (
            r#"{"payload":{"draftId":"d","baseVersion":1,"patch":{"a":{"b":"\ude00\ud83d"}}},"type":"DRAFT_UPDATE","id":"x"}"#,
            "payload.patch.a.b",
        ),
    ] {
        socket.send_text(text).await.unwrap();
        let answer = socket.next(DEADLINE).await.unwrap();
        assert_eq!(
            (&answer["code"], &answer["id"]),
            (&json!("bad_request"), &json!("x")),
            "{text}: {answer}"
        );
        let message = answer["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{field} ")), "{text}: {message}");
        assert!(message.contains("surrogate") && message.contains("toWellFormed"), "{text}: {message}");
    }
    let body = r#"{"content":{"title":"\ud83d"}}"#;
    let answer = server.call(&token::good("alice"), "POST", "/v1/drafts", &[], body).await;
    problem(&answer, 400, "bad_request");
    let detail = answer.json["detail"].as_str().unwrap();
    assert!(detail.starts_with("content.title ") && detail.contains("toWellFormed"), "{detail}");
    // A whole one is taken, escaped or not.
    let body = r#"{"draftId":"d","content":{"a":"\ud83d\ude00","b":"😀"}}"#;
    assert_eq!(server.call(&token::good("alice"), "POST", "/v1/drafts", &[], body).await.status, 201);
    let list = server.api("alice", "GET", "/v1/drafts", &[], None).await;
    assert_eq!(list.json["drafts"][0]["content"], json!({ "a": "😀", "b": "😀" }));
}

#[tokio::test]
async fn what_is_quoted_is_cut() {
    let server = Server::roomy(&[("COMMANDS_PER_SECOND", "10000")]).await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    let long = "x".repeat(900_000);
    let emoji = "😀".repeat(200_000);
    let nested = format!("{}1{}", r#"{"abcdefgh":"#.repeat(200), "}".repeat(200));
    let texts = [
        format!(r#"{{"type":"DRAFT_LIST","id":"c","{long}":1}}"#),
        format!(r#"{{"type":"DRAFT_LIST","id":"c","payload":{{"{long}":1}}}}"#),
        format!(r#"{{"type":"DRAFT_LIST","id":"c","payload":{{"{emoji}":1}}}}"#),
        format!(r#"{{"type":"{long}","id":"c"}}"#),
        format!(r#"{{"type":"DRAFT_LIST","id":"{long}"}}"#),
        format!(r#"{{"type":"DRAFT_CREATE","id":"c","payload":{{"content":"{long}"}}}}"#),
        format!(r#"{{"type":"DRAFT_CREATE","id":"c","payload":{{"content":{{"{long}":"\ud83d"}}}}}}"#),
        format!(r#"{{"type":"DRAFT_CREATE","id":"c","payload":{{"content":{{"{emoji}":1e999}}}}}}"#),
        format!(r#"{{"type":"DRAFT_CREATE","id":"c","payload":{{"content":{nested}}}}}"#),
        format!(r#"{{"type":"SUBSCRIBE","id":"c","payload":{{"topic":"{long}"}}}}"#),
        format!(r#"{{"type":"SUBSCRIBE","id":"c","payload":{{"topic":"t","cursor":"{long}"}}}}"#),
        format!(r#"{{"type":"PUBLISH","id":"c","payload":{{"topic":"t","event":"{long}"}}}}"#),
        format!(r#"{{"type":"PUBLISH","id":"c","payload":{{"topic":"t","event":"E","priority":"{long}"}}}}"#),
        format!(r#"{{"type":"AUTH","id":"c","payload":{{"token":"{long}"}}}}"#),
    ];
    for text in &texts {
        socket.send_text(text).await.unwrap();
        let answer = socket.next_text(DEADLINE).await.unwrap();
        assert!(answer.len() < 1024, "{text:.80} is answered with {} bytes", answer.len());
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["type"], "ERROR", "{text:.80}: {answer}");
        socket.send(&json!({ "type": "PING" })).await.unwrap();
        socket.next_text(DEADLINE).await.unwrap();
    }
    let body = format!(r#"{{"content":{{}},"{long}":1}}"#);
    let answer = server.call(&token::good("alice"), "POST", "/v1/drafts", &[], &body).await;
    problem(&answer, 400, "bad_request");
    assert!(answer.text.len() < 1024, "{} bytes", answer.text.len());
    for path in
        ["/v1/drafts?", "/v1/drafts?device=", "/v1/drafts/", "/v1/stream?topics=", "/v1/stream?cursor="]
    {
        let path = format!("{path}{}", "x".repeat(20_000));
        let answer = server.call(&token::good("alice"), "GET", &path, &[], "").await;
        assert!(
            (400..500).contains(&answer.status) && answer.text.len() < 1024,
            "{path:.40}: {}",
            answer.status
        );
    }
    // The text of a conflict names some of the fields; its payload names all.
    let fields: serde_json::Map<_, _> = (0..400).map(|n| (format!("field-{n:060}"), json!(1))).collect();
    let api = async |method, path, body| server.api("alice", method, path, &[], Some(body)).await;
    api("POST", "/v1/drafts", json!({ "draftId": "d", "content": {} })).await;
    api("PATCH", "/v1/drafts/d?baseVersion=1", json!(fields)).await;
    let other: serde_json::Map<_, _> = fields.keys().map(|key| (key.clone(), json!(2))).collect();
    let conflict = api("PATCH", "/v1/drafts/d?baseVersion=1", json!(other)).await;
    problem(&conflict, 409, "conflict");
    assert!(
        conflict.json["detail"].as_str().unwrap().len() <= DETAIL_BYTES_MAX,
        "{}",
        conflict.json["detail"]
    );
    assert_eq!(conflict.json["payload"]["fields"].as_array().unwrap().len(), 400);
}
