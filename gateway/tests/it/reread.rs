//! SIGHUP: what a node reads again while it serves, in a process of its own.

use std::{fs, path::Path};

use serde_json::json;
use testkit::{Node, NodeOptions, RawRequest, RawSocket, token, wait};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{DEADLINE, harness::ask};

const NEXT_SECRET: &str = "another secret of at least thirty-two bytes";

/// Sends SIGHUP and waits until the log says something that often.
async fn hang_up(node: &Node, sentence: &str, times: usize) {
    node.hang_up();
    wait::until(sentence, DEADLINE, || async {
        let log = node.log().unwrap();
        if log.matches(sentence).count() >= times { Ok(()) } else { Err(log) }
    })
    .await;
}

async fn start(dir: &Path) -> Node {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    fs::write(path("secret"), format!("{}\n", token::SECRET)).unwrap();
    fs::write(path("level"), "warn,gateway::process::serve=info\n").unwrap();
    let options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"))
        .env("JWT_SECRET", "")
        .env("JWT_SECRET_FILE", &path("secret"))
        .env("LOG_LEVEL", "")
        .env("LOG_LEVEL_FILE", &path("level"))
        .env("DEMO", "true");
    Node::start(options).await.unwrap()
}

#[tokio::test]
async fn keys_and_log_level_are_read_again_and_nobody_is_disconnected() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let old = token::good("alice");
    let new = token::sign(&json!({ "sub": "alice", "exp": 4_000_000_000_u64 }), NEXT_SECRET);
    let drafts = node.http_url("/v1/drafts");
    let status = async |token: &str| testkit::http::get_as(token, &drafts).await.unwrap().status;
    let mut socket = RawSocket::connect(&RawRequest::new(node.ws_url()).token(&old)).await.unwrap();
    socket.next_of("WELCOME", DEADLINE).await.unwrap();
    assert_eq!((status(&old).await, status(&new).await), (200, 401));

    // With a mistake in it: everything stays.
    fs::write(dir.path().join("secret"), "short\n").unwrap();
    hang_up(&node, "everything stays as it was: JWT_SECRET_FILE", 1).await;
    assert_eq!((status(&old).await, status(&new).await), (200, 401));

    fs::write(dir.path().join("secret"), format!("{NEXT_SECRET}\n")).unwrap();
    hang_up(&node, "read again", 1).await;
    assert_eq!((status(&old).await, status(&new).await), (401, 200));
    let demo = testkit::http::get(&node.http_url("/demo/token?user=bob")).await.unwrap();
    assert_eq!(status(demo.json["token"].as_str().unwrap()).await, 200, "the demo signs with the old secret");
    assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");

    assert!(!node.log().unwrap().contains("DEBUG"));
    fs::write(dir.path().join("level"), "debug\n").unwrap();
    hang_up(&node, "read again", 2).await;
    wait::until("a line of that level", DEADLINE, || async {
        let mut nonsense = TcpStream::connect(("127.0.0.1", node.port())).await.unwrap();
        nonsense.write_all(b"nonsense\r\n\r\n").await.unwrap();
        if node.log().unwrap().contains("DEBUG") { Ok(()) } else { Err(node.log().unwrap()) }
    })
    .await;
}
