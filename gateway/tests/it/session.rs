//! The life of a connection: heartbeats, renewed and expiring tokens; and every way to close.

use std::{collections::BTreeSet, time::Duration};

use common::close::Close;
use serde_json::json;
use testkit::{RawRequest, RawSocket, token};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    DEADLINE,
    harness::{Server, ask, service},
};

#[tokio::test]
async fn ping_is_answered_with_or_without_an_id() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "").await;
    let pong = ask(&mut socket, "PING", "p1", json!({})).await;
    assert_eq!((&pong["type"], &pong["id"]), (&json!("PONG"), &json!("p1")));
    assert!(pong["payload"]["serverTime"].as_u64().unwrap() > 1_600_000_000_000);
    socket.send(&json!({ "type": "PING" })).await.unwrap();
    let pong = socket.next(DEADLINE).await.unwrap();
    assert_eq!(pong["type"], "PONG");
    assert!(pong.get("id").is_none(), "{pong}");
}

#[tokio::test]
async fn a_fresh_token_prolongs_the_connection() {
    let server = Server::start().await;
    let short = token::short("alice", Duration::from_secs(3));
    let mut socket = RawSocket::connect(&RawRequest::new(server.socket_url()).token(&short)).await.unwrap();
    // It ends within the warning time: the warning comes half-way, and not at once. A client that is told
    // at once of every short token that it fetches would do nothing else.
    let expiring = socket.next_of("TOKEN_EXPIRING", DEADLINE).await.unwrap();
    let left = expiring["payload"]["inMs"].as_u64().unwrap();
    assert!(left <= 1500, "{left}");
    let ended = Instant::now() + Duration::from_millis(left);
    let renewed = ask(&mut socket, "AUTH", "a", json!({ "token": token::good("alice") })).await;
    assert_eq!(renewed["type"], "ACK");
    assert!(renewed["payload"]["expiresAt"].as_u64().unwrap() > 1_600_000_000_000);
    while Instant::now() < ended + Duration::from_millis(500) {
        assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
        // No warning follows either: what comes next is nothing, for a while.
        assert!(socket.next(Duration::from_millis(100)).await.is_err());
    }
    assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
}

#[tokio::test]
async fn a_token_that_does_not_fit_changes_nothing_and_the_connection_ends_in_its_time() {
    let server = Server::start().await;
    let short = token::short("alice", Duration::from_secs(2));
    let mut socket = RawSocket::connect(&RawRequest::new(server.socket_url()).token(&short)).await.unwrap();
    for (id, token, code) in [
        ("a1", token::good("bob"), "forbidden"),
        ("a2", token::expired("alice"), "unauthorized"),
        ("a3", token::forged("alice"), "unauthorized"),
        ("a4", token::unsigned("alice"), "unauthorized"),
        ("a5", String::new(), "unauthorized"),
    ] {
        let answer = ask(&mut socket, "AUTH", id, json!({ "token": token })).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("ERROR"), &json!(code)), "{id}");
    }
    assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
    let (code, reason) = socket.closed(DEADLINE).await.unwrap().unwrap();
    assert_eq!(code, 4401);
    assert!(reason.contains("expired"), "{reason}");
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let settings =
        [("WS_PING_INTERVAL", "50ms"), ("WS_PING_INTERVAL_MAX", "50ms"), ("WS_PONG_TIMEOUT", "300ms")];
    let server = Server::with(&settings).await;
    let (mut socket, _) = server.connect("alice", "").await;
    // Waiting for a message answers pings; none comes for four times the patience of the server.
    assert!(socket.next(Duration::from_millis(1200)).await.is_err());
    assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
}

/// Reads frames of the server, answering none, until the connection ends: the opcodes, and the code
/// of the close frame.
async fn watch(stream: &mut TcpStream) -> (Vec<u8>, Option<u16>) {
    let mut opcodes = Vec::new();
    let mut code = None;
    while let Ok(first) = stream.read_u8().await {
        let length = match stream.read_u8().await.unwrap() {
            126 => usize::from(stream.read_u16().await.unwrap()),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        opcodes.push(first & 0x0f);
        if first & 0x0f == 8 {
            code = Some(u16::from_be_bytes([payload[0], payload[1]]));
        }
    }
    (opcodes, code)
}

#[tokio::test]
async fn a_client_that_never_answers_pings_is_closed() {
    let server = Server::with(&[("WS_PING_INTERVAL", "50ms"), ("WS_PONG_TIMEOUT", "300ms")]).await;
    let answered = server.handshake(&format!("token={}", token::good("alice")), &[]).await;
    let mut stream = answered.stream;
    let (opcodes, code) = timeout(DEADLINE, watch(&mut stream)).await.expect("closed in time");
    assert_eq!(opcodes[0], 1, "WELCOME");
    assert!(opcodes.iter().filter(|opcode| **opcode == 9).count() > 1, "pings: {opcodes:?}");
    assert_eq!(code, Some(Close::Dead.code()));
    until_forgotten(&server).await;
}

async fn until_forgotten(server: &Server) {
    testkit::wait::until("the connection to be forgotten", DEADLINE, || async {
        let total = server.node.connections.total();
        if total == 0 { Ok(()) } else { Err(format!("{total} connections")) }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_has_closed_is_let_go_before_the_next_ping() {
    let server = Server::with(&[("WS_PING_INTERVAL", "60s"), ("WS_PONG_TIMEOUT", "180s")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    socket.send_close(Some(1000)).await.unwrap();
    // The connection itself stays, as those do whose client has gone to sleep.
    until_forgotten(&server).await;
    drop(socket);
}

/// Each way in which a server closes is provoked by a test; those of which it cannot be yet are named
/// here, so that a new one is not forgotten.
#[test]
fn every_close_code_is_provoked_by_a_test() {
    let provoked = [
        (Close::Misuse, "bad_input, handshake"),
        (Close::Unauthorized, "handshake, session"),
        (Close::Revoked, "backend_auth, disconnect"),
        (Close::TooLarge, "bad_input"),
        (Close::Dead, "session"),
        (Close::Replaced, "handshake"),
        (Close::Disconnected, "disconnect"),
        (Close::TooMany, "handshake"),
        (Close::Restart, "shutdown"),
        (Close::Overloaded, "handshake"),
    ];
    let known: BTreeSet<u16> = provoked.iter().map(|(close, _)| close.code()).collect();
    assert_eq!(known, Close::ALL.iter().map(|close| close.code()).collect());
}

#[tokio::test]
async fn a_client_that_does_not_read_ends_with_its_token() {
    let server = Server::roomy(&[]).await;
    let short = token::short("alice", Duration::from_secs(3));
    let request = RawRequest::new(server.socket_url()).token(&short).receive_buffer_bytes(4096);
    let socket = RawSocket::connect(&request).await.unwrap();
    let event = json!({ "event": "E", "data": "x".repeat(900_000) }).to_string();
    for _ in 0..12 {
        let answer = server.call(&service(), "POST", "/v1/users/alice/events", &[], &event).await;
        assert_eq!(answer.status, 201);
    }
    // By default it would be given up after a minute of not reading.
    testkit::wait::until("the connection to end", Duration::from_secs(20), || async {
        let total = server.node.connections.total();
        if total == 0 { Ok(()) } else { Err(format!("{total} connections")) }
    })
    .await;
    drop(socket);
}
