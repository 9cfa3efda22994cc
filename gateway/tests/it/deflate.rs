//! permessage-deflate (RFC 7692), frame by frame.

use std::io::Read;

use flate2::read::DeflateDecoder;
use serde_json::{Value, json};
use testkit::{Device, Encoding, token};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Server, service},
};

/// What the handshake answers to an offer of extensions.
async fn negotiated(server: &Server, offer: &str) -> (Option<String>, TcpStream) {
    let query = format!("batch=1&token={}", token::scoped("alice", ALL_TOPICS));
    let answered = server.handshake(&query, &[("sec-websocket-extensions", offer)]).await;
    assert_eq!(answered.status, 101, "{offer}");
    (answered.header("sec-websocket-extensions").map(str::to_owned), answered.stream)
}

/// One unmasked frame: its first byte, and its payload.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let read = async {
        let first = stream.read_u8().await.unwrap();
        let length = match stream.read_u8().await.unwrap() {
            126 => usize::from(stream.read_u16().await.unwrap()),
            127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        (first, payload)
    };
    timeout(DEADLINE, read).await.expect("a frame in time")
}

/// RFC 7692 section 7.2.2, without what came before.
fn inflate(payload: &[u8]) -> String {
    let whole = [payload, b"\0\0\xff\xff"].concat();
    let mut text = vec![0; 1 << 20];
    let mut decoder = DeflateDecoder::new(&whole[..]);
    let mut length = 0;
    // The last block is not marked as such: the decoder ends by finding no more.
    while let Ok(read) = decoder.read(&mut text[length..])
        && read > 0
    {
        length += read;
    }
    text.truncate(length);
    String::from_utf8(text).unwrap()
}

/// FIN and a text.
const TEXT: u8 = 0x81;

/// The same, compressed (RFC 7692 section 7.2.3.1).
const COMPRESSED: u8 = 0xc1;

#[tokio::test]
async fn only_what_is_large_is_compressed_and_each_message_for_itself() {
    let server = Server::start().await;
    let (agreed, mut stream) = negotiated(&server, "permessage-deflate; client_max_window_bits").await;
    let agreed = agreed.expect("permessage-deflate is taken");
    for part in ["permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"] {
        assert!(agreed.contains(part), "{agreed}");
    }
    assert!(!agreed.contains("server_max_window_bits"), "{agreed}");
    let (first, payload) = frame(&mut stream).await;
    assert_eq!(first, TEXT, "a small WELCOME");
    assert!(payload.starts_with(b"{\"type\":\"WELCOME\""));
    for (number, length) in [(1, 100), (2, 3000), (3, 3000), (4, 100)] {
        let body = json!({ "event": "E", "data": "abc".repeat(length / 3) }).to_string();
        assert_eq!(server.call(&service(), "POST", "/v1/broadcast", &[], &body).await.status, 201);
        let (first, payload) = frame(&mut stream).await;
        let text = match length {
            100 => {
                assert_eq!(first, TEXT);
                String::from_utf8(payload).unwrap()
            }
            _ => {
                assert_eq!(first, COMPRESSED);
                assert!(payload.len() < 500, "{} bytes", payload.len());
                inflate(&payload)
            }
        };
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["seq"], number);
    }
    // An array is not compressed.
    let event = json!({ "event": "E", "data": "abc".repeat(1000) });
    let body = json!([event, event, event]).to_string();
    server.call(&service(), "POST", "/v1/broadcast", &[], &body).await;
    let mut last = 4;
    while last < 7 {
        let (first, payload) = frame(&mut stream).await;
        let text = if first == COMPRESSED { inflate(&payload) } else { String::from_utf8(payload).unwrap() };
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(message.is_array(), first == TEXT, "{text:.100}");
        for event in message.as_array().unwrap_or(&vec![message.clone()]) {
            last += 1;
            assert_eq!(event["seq"], last);
        }
    }
}

#[tokio::test]
async fn offers_of_compression_that_cannot_be_met_are_left() {
    let server = Server::start().await;
    for (offer, taken) in [
        ("permessage-deflate", true),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", true),
        ("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=15", true),
        ("permessage-deflate; unknown_parameter", false),
        ("permessage-deflate; server_max_window_bits=7", false),
        ("permessage-deflate; server_no_context_takeover=1", false),
        ("permessage-bzip2", false),
        ("permessage-deflate; unknown, permessage-deflate", true),
    ] {
        let (agreed, mut stream) = negotiated(&server, offer).await;
        assert_eq!(agreed.is_some(), taken, "{offer}: {agreed:?}");
        assert_eq!(frame(&mut stream).await.0, TEXT, "{offer}");
    }
    let off = Server::with(&[("DEFLATE", "false")]).await;
    assert_eq!(negotiated(&off, "permessage-deflate").await.0, None);
}

#[tokio::test]
async fn whoever_demands_a_smaller_window_is_sent_nothing_compressed() {
    let server = Server::start().await;
    let (_, mut stream) = negotiated(&server, "permessage-deflate; server_max_window_bits=10").await;
    assert_eq!(frame(&mut stream).await.0, TEXT);
    let body = json!({ "event": "E", "data": "abc".repeat(1000) }).to_string();
    server.call(&service(), "POST", "/v1/broadcast", &[], &body).await;
    let (first, payload) = frame(&mut stream).await;
    assert_eq!(first, TEXT);
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap()["seq"], 1);
}

/// A compressed command of few bytes must not become a large one.
#[tokio::test]
async fn a_compressed_message_counts_by_what_it_becomes() {
    let server = Server::with(&[("MAX_MESSAGE_BYTES", "64KiB")]).await;
    let device = Device::connect(server.follower("alice", "phone").encoding(Encoding::JsonDeflate)).await;
    let long = json!({ "topic": "t", "event": "E", "data": "x".repeat(1 << 20) });
    device.misuse(json!({ "type": "PUBLISH", "id": "long", "payload": long }));
    device.reach(DEADLINE, |_| false).await;
    assert_eq!(device.closed(), Some(1009));
}
