//! Publishing, over the socket and over HTTP, and what can be read of it afterwards.

use std::sync::Arc;

use fanout::bus::{Bus, MemoryBus};
use serde_json::{Value, json};
use testkit::{RawSocket, http::Answer, token};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, ANY_PORT, Disk, Server, ask, problem, refused, service, settings, subscribe},
    history::history,
};

/// What the stores of these tests take as an event's data, bytes.
const EVENT_BYTES_MAX: usize = 4096;

async fn next(socket: &mut RawSocket) -> Value {
    socket.next(DEADLINE).await.unwrap()
}

/// Nodes that share a store and a bus.
async fn pair() -> [Server; 2] {
    let disk = Disk::new().await;
    let network = MemoryBus::network();
    let start = async |name| {
        let bus: Arc<dyn Bus> = network.join();
        Server::assemble_at(ANY_PORT, &disk, bus, settings(name, &[])).await
    };
    [start("n1").await, start("n2").await]
}

async fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    server.call(&service(), "POST", path, headers, body).await
}

const TOPIC: &str = "/v1/topics/t/events";
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

#[tokio::test]
async fn an_event_is_acknowledged_by_its_number() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect_to_topics("alice", "device=phone").await;
    let (mut other, _) = server.connect_to_topics("bob", "").await;
    subscribe(&mut other, json!({ "topic": "t" })).await;
    let publish = json!({ "topic": "t", "event": "GOAL", "data": { "minute": 61 } });
    let ack = ask(&mut phone, "PUBLISH", "p1", publish).await;
    assert_eq!(ack, json!({ "type": "ACK", "id": "p1", "seq": 1 }));
    let event = next(&mut other).await;
    assert_eq!((&event["type"], &event["origin"]), (&json!("GOAL"), &json!("phone")));
    assert_eq!((&event["payload"], event.get("priority")), (&json!({ "minute": 61 }), None));
    // Whoever follows sees its own events too.
    subscribe(&mut phone, json!({ "topic": "t" })).await;
    for (n, priority) in [(2, "high"), (3, "critical"), (4, "normal")] {
        let publish = json!({ "topic": "t", "event": "GOAL", "priority": priority });
        phone.send(&json!({ "type": "PUBLISH", "id": format!("p{n}"), "payload": publish })).await.unwrap();
        let event = other.next(DEADLINE).await.unwrap();
        assert_eq!((&event["seq"], &event["payload"]), (&json!(n), &Value::Null));
        assert_eq!(event.get("priority"), (n < 4).then_some(&json!(priority)));
        assert_eq!(phone.next_of("GOAL", DEADLINE).await.unwrap(), event);
    }
}

#[tokio::test]
async fn data_is_kept_as_it_was_written() {
    let server = Server::start().await;
    let data = r#"{"b": 1.50, "a":[1E2, -0,  12345678901234567890123, "\u00e9\/"],"b":null}"#;
    let body = format!(r#"{{"event":"E","data":{data}}}"#);
    assert_eq!(post(&server, TOPIC, &[], &body).await.status, 201);
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    let publish =
        format!(r#"{{"type":"PUBLISH","id":"p","payload":{{"topic":"t","event":"E","data":{data}}}}}"#);
    socket.send_text(&publish).await.unwrap();
    assert_eq!(socket.answer("p", DEADLINE).await.unwrap()["seq"], 2);
    let kept = history(&server, "").await.text;
    assert_eq!(kept.matches(data).count(), 2, "{kept}");
}

#[tokio::test]
async fn repeating_a_publication_anywhere_publishes_nothing_twice() {
    let [one, two] = pair().await;
    let publish = json!({ "topic": "t", "event": "GOAL", "data": 1 });
    let (mut socket, _) = one.connect_to_topics("alice", "device=phone").await;
    let first = ask(&mut socket, "PUBLISH", "p1", publish.clone()).await;
    assert_eq!(first["seq"], 1);
    let (mut again, _) = one.connect_to_topics("alice", "device=phone").await;
    let (mut elsewhere, _) = two.connect_to_topics("alice", "device=phone").await;
    for socket in [&mut socket, &mut again, &mut elsewhere] {
        assert_eq!(ask(socket, "PUBLISH", "p1", publish.clone()).await, first);
    }
    // Over HTTP with the same device, the key is the id.
    let key = [("idempotency-key", "p1")];
    let token = token::scoped("alice", ALL_TOPICS);
    let path = "/v1/topics/t/events?device=phone";
    let answer = two.call(&token, "POST", path, &key, r#"{"event":"GOAL","data":1}"#).await;
    assert_eq!((answer.status, &answer.json), (201, &json!({ "seq": 1, "first": 1 })), "{}", answer.text);
    // Another command under the id is none that was carried out.
    let others = [
        ("PUBLISH", json!({ "topic": "t", "event": "GOAL", "data": 2 })),
        ("PUBLISH", json!({ "topic": "t", "event": "MISS", "data": 1 })),
        ("PUBLISH", json!({ "topic": "u", "event": "GOAL", "data": 1 })),
        ("PUBLISH", json!({ "topic": "t", "event": "GOAL", "data": 1, "priority": "high" })),
        ("DRAFT_CREATE", json!({ "content": {} })),
    ];
    for (kind, payload) in others {
        refused(&ask(&mut elsewhere, kind, "p1", payload).await, "bad_request");
    }
    // The same id of another device, or of another user, is another command.
    let (mut laptop, _) = two.connect_to_topics("alice", "device=laptop").await;
    assert_eq!(ask(&mut laptop, "PUBLISH", "p1", publish.clone()).await["seq"], 2);
    let (mut bob, _) = two.connect_to_topics("bob", "device=phone").await;
    assert_eq!(ask(&mut bob, "PUBLISH", "p1", publish).await["seq"], 3);
}

#[tokio::test]
async fn publications_that_make_no_sense_are_refused() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    let cases = [
        json!({}),
        json!({ "topic": "t" }),
        json!({ "event": "E" }),
        json!({ "topic": "t", "event": "E", "priority": "urgent" }),
        json!({ "topic": "t", "event": "E", "priority": 1 }),
        json!({ "topic": "t", "event": "E", "signal": "true" }),
        json!({ "topic": "t", "event": "E", "payload": {} }),
        json!({ "topic": "t", "event": "E", "seq": 7 }),
        json!([]),
    ];
    for payload in cases {
        let answer = ask(&mut socket, "PUBLISH", "p", payload.clone()).await;
        assert_eq!(answer["code"], "bad_request", "{payload}: {answer}");
        ask(&mut socket, "PING", "ping", json!({})).await;
    }
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for data in [deep.as_str(), "1e999", r#""\ud800""#, "{", "nul"] {
        let text =
            format!(r#"{{"type":"PUBLISH","id":"d","payload":{{"topic":"t","event":"E","data":{data}}}}}"#);
        socket.send_text(&text).await.unwrap();
        let answer = next(&mut socket).await;
        assert_eq!(answer["code"], "bad_request", "{data:.20}: {answer}");
        ask(&mut socket, "PING", "ping", json!({})).await;
    }
    assert_eq!(history(&server, "").await.json["head"], 0);
}

#[tokio::test]
async fn an_event_has_a_largest_size() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    // Two quotation marks belong to it.
    let data = |bytes: usize| json!("x".repeat(bytes - 2));
    let publish = |bytes| json!({ "topic": "t", "event": "E", "data": data(bytes) });
    assert_eq!(ask(&mut socket, "PUBLISH", "p1", publish(EVENT_BYTES_MAX)).await["seq"], 1);
    refused(&ask(&mut socket, "PUBLISH", "p2", publish(EVENT_BYTES_MAX + 1)).await, "too_large");
    let mut signal = publish(EVENT_BYTES_MAX + 1);
    signal["signal"] = json!(true);
    refused(&ask(&mut socket, "PUBLISH", "p3", signal).await, "too_large");
    // All or nothing.
    let events = json!([{ "event": "E" }, { "event": "E", "data": data(EVENT_BYTES_MAX + 1) }]).to_string();
    problem(&post(&server, TOPIC, &[], &events).await, 413, "too_large");
    assert_eq!(history(&server, "").await.json["head"], 1);
}

#[tokio::test]
async fn a_signal_reaches_those_who_follow_now_and_is_kept_nowhere() {
    let [one, two] = pair().await;
    let (mut phone, welcome) = one.connect_to_topics("alice", "device=phone").await;
    let (mut near, _) = one.connect_to_topics("bob", "").await;
    let (mut far, _) = two.connect_to_topics("carol", "").await;
    for socket in [&mut phone, &mut near, &mut far] {
        subscribe(socket, json!({ "topic": "t" })).await;
    }
    let signal = json!({ "topic": "t", "event": "TYPING", "data": { "in": "title" }, "signal": true });
    phone.send(&json!({ "type": "PUBLISH", "id": "p", "payload": signal })).await.unwrap();
    let expected = json!({ "type": "SIGNAL", "stream": "topic:t", "event": "TYPING", "origin": "phone",
                           "payload": { "in": "title" } });
    for socket in [&mut near, &mut far] {
        assert_eq!(next(socket).await, expected);
    }
    let mut own = [next(&mut phone).await, next(&mut phone).await];
    own.sort_by_key(|message| message["type"].to_string());
    assert_eq!(own, [json!({ "type": "ACK", "id": "p" }), expected.clone()]);
    let answer = post(&two, TOPIC, &[], r#"[{"event":"A","signal":true},{"event":"B","signal":true}]"#).await;
    assert_eq!((answer.status, answer.text.as_str()), (202, ""));
    for socket in [&mut phone, &mut near, &mut far] {
        for event in ["A", "B"] {
            let message = next(socket).await;
            assert_eq!((&message["type"], &message["event"]), (&json!("SIGNAL"), &json!(event)));
        }
    }
    // Nothing of it is a number, or comes later.
    assert_eq!(one.publish("t", "E", json!(1)).await, 1);
    assert_eq!(next(&mut far).await["seq"], 1);
    let (mut late, _) = one.connect_to_topics("dan", "").await;
    let cursor = format!("{}:0", welcome["epoch"].as_str().unwrap());
    subscribe(&mut late, json!({ "topic": "t", "cursor": cursor })).await;
    assert_eq!(next(&mut late).await["seq"], 1);
    assert_eq!(next(&mut late).await["type"], "SYNCED");
}

#[tokio::test]
async fn signals_reach_users_and_all_as_well() {
    let server = Server::start().await;
    let (mut alice, _) = server.connect("alice", "").await;
    let (mut bob, _) = server.connect("bob", "").await;
    let signal = r#"{"event":"LOOK","data":1,"signal":true}"#;
    assert_eq!(post(&server, "/v1/users/alice/events?device=desk", &[], signal).await.status, 202);
    let expected =
        json!({ "type": "SIGNAL", "stream": "user", "event": "LOOK", "origin": "desk", "payload": 1 });
    assert_eq!(next(&mut alice).await, expected);
    assert_eq!(post(&server, "/v1/broadcast", &[], signal).await.status, 202);
    for socket in [&mut alice, &mut bob] {
        let signal = next(socket).await;
        assert_eq!((&signal["type"], &signal["stream"]), (&json!("SIGNAL"), &json!("all")));
    }
}

#[tokio::test]
async fn several_events_are_published_together() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    subscribe(&mut socket, json!({ "topic": "t" })).await;
    let one = post(&server, &format!("{TOPIC}?device=desk-2"), &[], r#"{"event":"A","data":1}"#).await;
    assert_eq!((one.status, &one.json), (201, &json!({ "seq": 1, "first": 1 })));
    let array =
        post(&server, TOPIC, &[], r#" [{"event":"B"},{"event":"C","priority":"high"},{"event":"D"}]"#).await;
    assert_eq!((array.status, &array.json), (201, &json!({ "seq": 4, "first": 2 })));
    // Blank lines, carriage returns, and no end of line at the end.
    let lines = "{\"event\":\"E\"}\r\n\n  {\"event\":\"F\",\"data\":[1]}  \n{\"event\":\"G\"}";
    let lines = post(&server, TOPIC, &[("content-type", "application/x-ndjson; charset=utf-8")], lines).await;
    assert_eq!((lines.status, &lines.json), (201, &json!({ "seq": 7, "first": 5 })));
    for (n, kind) in (1..).zip(["A", "B", "C", "D", "E", "F", "G"]) {
        let event = next(&mut socket).await;
        assert_eq!((&event["type"], &event["seq"]), (&json!(kind), &json!(n)));
        assert_eq!(event["origin"], if n == 1 { "desk-2" } else { "http" });
    }
    let thousand = vec![json!({ "event": "E" }); 1000];
    assert_eq!(post(&server, TOPIC, &[], &json!(thousand).to_string()).await.json["seq"], 1007);
    let more = [&thousand[..], &thousand[..1]].concat();
    problem(&post(&server, TOPIC, &[], &json!(more).to_string()).await, 413, "too_large");
    let more: String = more.iter().map(|event| format!("{event}\n")).collect();
    problem(&post(&server, TOPIC, &[NDJSON], &more).await, 413, "too_large");
    assert_eq!(history(&server, "").await.json["head"], 1007);
}

#[tokio::test]
async fn an_idempotency_key_makes_it_safe_to_repeat() {
    let [one, two] = pair().await;
    for (n, (path, body)) in [
        (TOPIC, r#"[{"event":"A"},{"event":"B"}]"#),
        ("/v1/users/alice/events", r#"[{"event":"A"},{"event":"B"}]"#),
        ("/v1/broadcast", r#"[{"event":"A"},{"event":"B"}]"#),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{n}");
        let key = [("idempotency-key", key.as_str())];
        for node in [&one, &two, &one] {
            let answer = post(node, path, &key, body).await;
            assert_eq!((answer.status, &answer.json), (201, &json!({ "seq": 2, "first": 1 })), "{path}");
        }
        problem(&post(&one, path, &key, r#"[{"event":"A"}]"#).await, 400, "bad_request");
        problem(&post(&one, "/v1/topics/u/events", &key, body).await, 400, "bad_request");
        let another = post(&one, &format!("{path}?device=d"), &key, body).await;
        assert_eq!(another.json, json!({ "seq": 4, "first": 3 }), "another device's key");
        let without = post(&one, path, &[], body).await;
        assert_eq!(without.json, json!({ "seq": 6, "first": 5 }));
    }
    // A refusal is not remembered.
    let key = [("idempotency-key", "later")];
    problem(&post(&one, TOPIC, &key, r#"{"event":"lower"}"#).await, 400, "bad_request");
    assert_eq!(post(&one, TOPIC, &key, r#"{"event":"UPPER"}"#).await.status, 201);
    for key in ["", &"k".repeat(65)] {
        problem(
            &post(&one, TOPIC, &[("idempotency-key", key)], r#"{"event":"E"}"#).await,
            400,
            "bad_request",
        );
    }
}

#[tokio::test]
async fn a_backend_reaches_one_user_on_all_devices() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    let (mut laptop, _) = server.connect("alice", "device=laptop").await;
    let (mut bob, _) = server.connect("bob", "").await;
    ask(&mut phone, "DRAFT_CREATE", "c", json!({ "draftId": "d", "content": {} })).await;
    assert_eq!(laptop.next_of("DRAFT_CREATED", DEADLINE).await.unwrap()["seq"], 1);
    let body = r#"{"event":"ORDER_SHIPPED","data":{"order":7},"priority":"high"}"#;
    let answer = post(&server, "/v1/users/alice/events?device=shop", &[], body).await;
    assert_eq!(answer.json, json!({ "seq": 2, "first": 2 }), "the drafts' events and these are one log");
    for socket in [&mut phone, &mut laptop] {
        let event = socket.next_of("ORDER_SHIPPED", DEADLINE).await.unwrap();
        assert_eq!((&event["stream"], &event["seq"]), (&json!("user"), &json!(2)));
        assert_eq!((&event["origin"], &event["priority"]), (&json!("shop"), &json!("high")));
    }
    let list = ask(&mut phone, "DRAFT_LIST", "l", json!({})).await;
    assert_eq!(
        (&list["payload"]["seq"], list["payload"]["drafts"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    post(&server, "/v1/users/bob/events", &[], r#"{"event":"OTHER"}"#).await;
    assert_eq!(next(&mut bob).await["type"], "OTHER", "nothing of what was alice's");
    // A user need not have been here before; a name that cannot be one is refused.
    assert_eq!(post(&server, "/v1/users/j%C3%BCrgen/events", &[], r#"{"event":"E"}"#).await.status, 201);
    let long = format!("/v1/users/{}/events", "u".repeat(256));
    for path in ["/v1/users/a%00b/events", "/v1/users/%ff/events", &long] {
        problem(&post(&server, path, &[], r#"{"event":"E"}"#).await, 400, "bad_request");
    }
}

#[tokio::test]
async fn bodies_that_are_no_events_are_refused() {
    let server = Server::with(&[("MAX_MESSAGE_BYTES", "8KiB")]).await;
    let bodies = [
        "",
        " ",
        "null",
        "7",
        "\"E\"",
        "{}",
        "[]",
        "[[]]",
        "[null]",
        "{\"event\":\"E\"",
        "{\"event\":\"E\"} x",
        "{\"event\":\"E\"}{\"event\":\"E\"}",
        "{\"event\":\"E\"}\n{\"event\":\"E\"}",
        "[{\"event\":\"E\"},{}]",
        "[{\"event\":\"E\"},]",
        "{\"event\":\"E\",\"topic\":\"t\"}",
        "{\"event\":\"E\",\"priority\":\"LOW\"}",
        "{\"event\":\"E\",\"signal\":1}",
        "{\"event\":\"E\",\"event\":\"F\"}",
        "{\"data\":1}",
        "{\"event\":\"E\",\"data\":1e999}",
        "{\"event\":\"E\",\"data\":\"\\ud800\"}",
        "\u{feff}{\"event\":\"E\"}",
        "[{\"event\":\"E\"},{\"event\":\"E\",\"signal\":true}]",
    ];
    for path in [TOPIC, "/v1/users/alice/events", "/v1/broadcast"] {
        for body in bodies {
            let answer = post(&server, path, &[], body).await;
            assert_eq!(answer.status, 400, "{path} {body:?}: {}", answer.text);
            problem(&answer, 400, "bad_request");
        }
        let lines = [
            "",
            "\n\n",
            "{\"event\":\"E\"}\n{",
            "[{\"event\":\"E\"}]",
            "{\"event\":\"E\"} {\"event\":\"E\"}",
            "{\"event\":\"E\"}\n{\"event\":\"E\",\"signal\":true}",
            "{\"event\":\n\"E\"}",
        ];
        for body in lines {
            let answer = post(&server, path, &[NDJSON], body).await;
            assert_eq!(answer.status, 400, "{path} lines {body:?}: {}", answer.text);
        }
        let large = json!({ "event": "E", "data": "x".repeat(9000) }).to_string();
        problem(&post(&server, path, &[], &large).await, 413, "too_large");
        for query in ["limit=1", "device=", "cursor=e:1"] {
            let answer = post(&server, &format!("{path}?{query}"), &[], r#"{"event":"E"}"#).await;
            problem(&answer, 400, "bad_request");
        }
        problem(&server.call(&service(), "PUT", path, &[], r#"{"event":"E"}"#).await, 405, "bad_request");
    }
    assert_eq!(history(&server, "").await.json["head"], 0);
    // The line that is wrong is named.
    let answer = post(&server, TOPIC, &[NDJSON], "{\"event\":\"E\"}\n\n{\"event\":\"e\"}\n").await;
    assert!(answer.json["detail"].as_str().unwrap().contains("line 3"), "{}", answer.text);
}
