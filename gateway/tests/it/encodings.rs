//! One topic, followed in every encoding there is: everybody is sent the same events.

use std::sync::Arc;

use serde_json::{Value, json};
use testkit::{
    Device, Encoding, RawRequest, RawSocket, SseFollower, SseOptions, Topic,
    device::{Track, message_pack},
    token,
};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Server, ask, problem, service},
};

/// Data that encodings could get wrong.
fn data() -> Vec<Value> {
    let numbers = json!([
        0,
        -1,
        127,
        128,
        255,
        256,
        -128,
        -129,
        65_535,
        65_536,
        4_294_967_296_u64,
        u64::MAX,
        i64::MIN,
        1.5,
        -0.1,
        1e300,
        5e-324
    ]);
    let many: Value = (0..70_000).map(|n| n % 7).collect();
    let wide: Value =
        (0..40).map(|n| (format!("key{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
    let texts = json!(["", "é", "\u{10348}", "\0\n\"\\", "x".repeat(31), "x".repeat(32), "y".repeat(300)]);
    let nested = (0..50).fold(json!("deep"), |inner, _| json!({ "a": [inner] }));
    vec![
        Value::Null,
        json!(true),
        json!({}),
        json!([]),
        numbers,
        texts,
        wide,
        nested,
        many,
        json!("z".repeat(70_000)),
    ]
}

fn length(track: Option<&Track>) -> usize {
    track.map_or(0, |track| track.messages().len())
}

#[tokio::test]
async fn everybody_is_sent_the_same_events() {
    let server = Server::roomy(&[("DEFLATE_MIN_BYTES", "200")]).await;
    let mut devices = Vec::new();
    for encoding in
        [Encoding::Json, Encoding::MessagePack, Encoding::JsonDeflate, Encoding::MessagePackDeflate]
    {
        for batch in [false, true] {
            let name = format!("{encoding:?}-{batch}");
            let mut options = server.follower("alice", &name).encoding(encoding).topic(Topic::named("t"));
            options.batch = batch;
            devices.push(Device::connect(options).await);
        }
    }
    let url = format!("http://{}/v1/stream", server.addr);
    let token: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(|| token::scoped("bob", ALL_TOPICS));
    let sse = SseFollower::start(SseOptions::new(vec![url], &["t"], token).keep_messages()).unwrap();
    sse.wait_until("follow", DEADLINE, |replica| replica.topic("t").is_some_and(Track::is_followed)).await;

    let mut expected = Vec::new();
    // Each device publishes in its own encoding, then a backend over HTTP.
    for (n, data) in data().into_iter().enumerate() {
        let device = &devices[n % devices.len()];
        let ack = device.publish("t", "E", data.clone()).await.unwrap();
        assert_eq!(ack.seq, Some(expected.len() as u64 + 1), "{}", device.name());
        expected.push(data.clone());
        server.publish("t", "E", data.clone()).await;
        expected.push(data);
    }
    for device in &devices {
        device.wait_until("have all", DEADLINE, |replica| length(replica.topic("t")) == expected.len()).await;
    }
    sse.wait_until("have all", DEADLINE, |replica| length(replica.topic("t")) == expected.len()).await;
    let seen = sse.look(|replica| replica.topic("t").unwrap().messages().to_vec());
    for (event, data) in seen.iter().zip(&expected) {
        assert!(event["payload"] == *data, "{event:.200}");
    }
    assert_eq!(sse.violations(), []);
    for device in &devices {
        let messages = device.look(|replica| replica.topic("t").unwrap().messages().to_vec());
        assert!(messages == seen, "{} has seen something else", device.name());
        assert_eq!(device.violations(), [], "{}", device.name());
    }
}

#[tokio::test]
async fn drafts_and_signals_travel_in_every_encoding() {
    let server = Server::start().await;
    let mut devices = Vec::new();
    for encoding in
        [Encoding::Json, Encoding::MessagePack, Encoding::JsonDeflate, Encoding::MessagePackDeflate]
    {
        let mut options = server.follower("alice", &format!("{encoding:?}")).encoding(encoding);
        options.drafts = true;
        devices.push(Device::connect(options.topic(Topic::named("t").presence())).await);
    }
    for device in &devices {
        device.create(device.name(), json!({ "title": "x".repeat(2000), "n": 1.5 })).await.unwrap();
        device.edit(device.name(), json!({ "n": { "a": [1, null] } })).await.unwrap();
        device.signal("t", "TYPING", json!({ "by": device.name() })).await.unwrap();
        let refused = device.update(device.name(), 9, json!({})).await.unwrap_err();
        assert_eq!(refused.code, "bad_request", "{refused}");
    }
    for device in &devices {
        let all_here = |track: &Track| track.signals() == 4 && track.presence().counts() == (1, 4);
        device
            .wait_until("have all", DEADLINE, |replica| {
                replica.seq() == 8 && replica.topic("t").is_some_and(all_here)
            })
            .await;
        assert_eq!(device.drafts(), devices[0].drafts(), "{}", device.name());
        assert_eq!(device.violations(), [], "{}", device.name());
    }
}

/// A socket in the subprotocol of MessagePack, behind `WELCOME`.
async fn packed(server: &Server) -> RawSocket {
    let request = RawRequest::new(format!("{}?device=phone", server.socket_url()))
        .bearer(&token::scoped("alice", ALL_TOPICS))
        .subprotocol("draftwire.v1.msgpack");
    let mut socket = RawSocket::connect(&request).await.unwrap();
    let welcome = next_packed(&mut socket).await;
    assert_eq!((&welcome["type"], &welcome["payload"]["userId"]), (&json!("WELCOME"), &json!("alice")));
    socket
}

async fn next_packed(socket: &mut RawSocket) -> Value {
    message_pack(&socket.next_binary(DEADLINE).await.unwrap()).unwrap()
}

async fn send_packed(socket: &mut RawSocket, message: &Value) {
    socket.send_binary(&rmp_serde::to_vec(message).unwrap()).await.unwrap();
}

#[tokio::test]
async fn commands_are_taken_as_message_pack() {
    let server = Server::start().await;
    let mut socket = packed(&server).await;
    send_packed(&mut socket, &json!({ "type": "SUBSCRIBE", "id": "s", "payload": { "topic": "t" } })).await;
    let ack = next_packed(&mut socket).await;
    assert_eq!((&ack["type"], &ack["id"], &ack["payload"]["seq"]), (&json!("ACK"), &json!("s"), &json!(0)));
    // Integers in wider forms than they need, and a float for a whole number's place.
    let publish = b"\x83\xa4type\xa7PUBLISH\xa2id\xa1p\xa7payload\x83\xa5topic\xa1t\xa5event\xa1E\
        \xa4data\x94\xcf\0\0\0\0\0\0\0\x07\xd3\xff\xff\xff\xff\xff\xff\xff\xff\xca\x3f\x80\0\0\xd9\x01x";
    socket.send_binary(publish).await.unwrap();
    let messages = [next_packed(&mut socket).await, next_packed(&mut socket).await];
    let event = messages.iter().find(|message| message["type"] == "E").unwrap();
    assert_eq!(event["payload"], json!([7, -1, 1.0, "x"]));
    send_packed(&mut socket, &json!({ "type": "PING" })).await;
    assert_eq!(next_packed(&mut socket).await["type"], "PONG");
}

#[tokio::test]
async fn message_pack_that_is_no_message_is_refused() {
    let server = Server::start().await;
    let cases: [(&str, &[u8]); 12] = [
        ("nothing", b""),
        ("cut off", b"\x82\xa4type\xa4PING"),
        ("followed by more", b"\x81\xa4type\xa4PING\xc0"),
        ("a number", b"\x07"),
        ("an array", b"\x91\x81\xa4type\xa4PING"),
        ("JSON", b"{\"type\":\"PING\"}"),
        ("a number for a key", b"\x82\xa4type\xa4PING\x01\x01"),
        ("binary data", b"\x82\xa4type\xa4PING\xa2id\xc4\x01a"),
        ("an extension", b"\x82\xa4type\xa4PING\xa2id\xd4\x01a"),
        ("no UTF-8", b"\x82\xa4type\xa4PING\xa2id\xa1\xff"),
        ("a length without end", b"\xdf\xff\xff\xff\xff"),
        ("the reserved byte", b"\xc1"),
    ];
    let nan = b"\x83\xa4type\xa7PUBLISH\xa2id\xa1p\xa7payload\x83\xa5topic\xa1t\xa5event\xa1E\
        \xa4data\xcb\x7f\xf8\0\0\0\0\0\0";
    let infinite = b"\x83\xa4type\xa7PUBLISH\xa2id\xa1p\xa7payload\x83\xa5topic\xa1t\xa5event\xa1E\
        \xa4data\xca\x7f\x80\0\0";
    let deep = [&vec![0x91; 100_000][..], b"\xc0"].concat();
    let more: [(&str, &[u8]); 3] = [("NaN", nan), ("infinity", infinite), ("too deep", &deep)];
    let mut socket = packed(&server).await;
    for (what, bytes) in cases.into_iter().chain(more) {
        socket.send_binary(bytes).await.unwrap();
        let answer = next_packed(&mut socket).await;
        assert_eq!(answer["code"], "bad_request", "{what}: {answer}");
        send_packed(&mut socket, &json!({ "type": "PING" })).await;
        assert_eq!(next_packed(&mut socket).await["type"], "PONG", "{what}");
    }
    // Ten in a row are too many, as ever.
    for _ in 0..10 {
        socket.send_binary(b"\xc1").await.unwrap();
    }
    assert_eq!(socket.close_code(DEADLINE).await.unwrap(), Some(4400));
}

/// Arrays within each other.
fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test]
async fn data_that_is_taken_reaches_followers_in_message_pack() {
    let server = Server::start().await;
    let mut socket = packed(&server).await;
    send_packed(&mut socket, &json!({ "type": "SUBSCRIBE", "id": "s", "payload": { "topic": "t" } })).await;
    next_packed(&mut socket).await;
    let publish = async |depth| {
        let body = format!(r#"{{"event":"E","data":{}}}"#, nested(depth));
        server.call(&service(), "POST", "/v1/topics/t/events", &[], &body).await
    };
    for depth in [101, 124, 127, 128] {
        let answer = publish(depth).await;
        problem(&answer, 400, "bad_request");
        assert!(answer.text.contains("nested deeper than 100 levels"), "{}", answer.text);
    }
    assert_eq!(publish(100).await.status, 201);
    let event = next_packed(&mut socket).await;
    assert_eq!((&event["type"], event["payload"].to_string()), (&json!("E"), nested(100)));
}

#[tokio::test]
async fn drafts_that_are_taken_reach_devices_in_message_pack() {
    let server = Server::start().await;
    let mut socket = packed(&server).await;
    let object = |depth: usize| format!(r#"{{"a":{}}}"#, nested(depth - 1));
    let call =
        async |method, path, body: &str| server.call(&token::good("alice"), method, path, &[], body).await;
    for depth in [101, 120, 126, 127] {
        let body = format!(r#"{{"content":{}}}"#, object(depth));
        problem(&call("POST", "/v1/drafts", &body).await, 400, "bad_request");
    }
    let body = format!(r#"{{"draftId":"d","content":{}}}"#, object(100));
    assert_eq!(call("POST", "/v1/drafts", &body).await.status, 201);
    assert_eq!(next_packed(&mut socket).await["payload"]["content"].to_string(), object(100));
    let path = "/v1/drafts/d?baseVersion=1";
    problem(&call("PATCH", path, &object(101)).await, 400, "bad_request");
    let patch = object(100).replace('1', "2");
    assert_eq!(call("PATCH", path, &patch).await.status, 200);
    assert_eq!(next_packed(&mut socket).await["payload"]["patch"].to_string(), patch);
    send_packed(&mut socket, &json!({ "type": "DRAFT_LIST", "id": "l" })).await;
    let list = next_packed(&mut socket).await;
    assert_eq!(list["payload"]["drafts"][0]["content"].to_string(), patch, "{list}");
}

#[tokio::test]
async fn a_frame_of_the_wrong_kind_is_malformed() {
    let server = Server::start().await;
    let mut packed = packed(&server).await;
    packed.send_text(r#"{"type":"PING"}"#).await.unwrap();
    assert_eq!(next_packed(&mut packed).await["code"], "bad_request");
    let (mut plain, _) = server.connect("alice", "").await;
    plain.send_binary(&rmp_serde::to_vec(&json!({ "type": "PING" })).unwrap()).await.unwrap();
    assert_eq!(plain.next(DEADLINE).await.unwrap()["code"], "bad_request");
    plain.send_binary(br#"{"type":"PING"}"#).await.unwrap();
    assert_eq!(plain.next(DEADLINE).await.unwrap()["code"], "bad_request");
    assert_eq!(ask(&mut plain, "PING", "p", json!({})).await["type"], "PONG");
}
