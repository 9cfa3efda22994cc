//! Clients that hold what they do not use.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    DEADLINE,
    harness::{Server, ask},
};

#[tokio::test]
async fn headers_that_do_not_end_end_the_connection() {
    let server = Server::start().await;
    let starts: [&[u8]; 3] = [b"", b"GET /v1/drafts HTTP/1.1\r\nhost: x\r\n", b"GET /ws/rea"];
    let addr = server.addr;
    let ended = starts.map(|start| async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("given up by the server").ok();
    });
    futures_util::future::join_all(ended).await;
}

#[tokio::test]
async fn headers_larger_than_allowed_are_refused() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("answered in time");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(testkit::http::get(&format!("http://{}/livez", server.addr)).await.unwrap().status, 200);
}

#[tokio::test]
async fn more_commands_than_may_wait_are_read_later_and_all_answered() {
    let server = Server::with(&[("PENDING_COMMANDS_MAX", "2"), ("COMMANDS_PER_SECOND", "10000")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    ask(&mut socket, "DRAFT_CREATE", "c", json!({ "draftId": "d", "content": {} })).await;
    for n in 1..=100 {
        let payload = json!({ "draftId": "d", "baseVersion": n, "patch": { "n": n } });
        let update = json!({ "type": "DRAFT_UPDATE", "id": format!("u{n}"), "payload": payload });
        socket.send(&update).await.unwrap();
    }
    for n in 1..=100 {
        let answer = socket.answer(&format!("u{n}"), DEADLINE).await.unwrap();
        assert_eq!(answer["payload"]["version"], n + 1, "{answer}");
    }
}
